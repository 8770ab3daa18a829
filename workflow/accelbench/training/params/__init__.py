"""Params files in ModelZoo's format: rendered, scaled, checked."""
