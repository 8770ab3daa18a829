"""Measurements side by side, outside any workflow; and those of other tools, read as records."""
