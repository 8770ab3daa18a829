"""What all tests share."""

from hypothesis import settings

settings.register_profile("shared machine", deadline=None)  # an example may be slow because others work beside it
settings.load_profile("shared machine")
