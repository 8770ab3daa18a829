"""Preflight: check what would go wrong before hours of queueing.

Each check is a function from a config to findings, and looks only at what the config plans. Nothing is measured, no
prompt is sent, and no finding contains a secret.
"""
