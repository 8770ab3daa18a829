"""Hostile endpoints against all that meets them: `make attack`."""
