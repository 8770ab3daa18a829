"""Processes, hosts and batch systems."""
