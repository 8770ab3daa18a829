"""The torch backend: a trainer that reads ModelZoo's params files."""
