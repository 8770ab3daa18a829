"""Errors a user can cause. Their text is all that is shown: what is wrong, where, and what to do."""


class UserError(Exception):
    """One clear message; the command prints it without a traceback and exits with 1."""
