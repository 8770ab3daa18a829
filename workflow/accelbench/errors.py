"""Errors a user can cause. Only their text is shown: what is wrong, where, and what to do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_name_of: ContextVar[Callable[[str], str]] = ContextVar("name_of", default=str)


class UserError(Exception):
    """One clear message; the command prints it without a traceback and exits with 1.

    `<name>` in it is a config key. Commands without a config show their option instead.
    """

    def __init__(self, text: str, **keys: str) -> None:
        """Keep the text, and the keys that it names."""
        super().__init__(text)
        self._text, self._keys = text, keys

    def __str__(self) -> str:
        """Return the message; keys are named as in the config, or as `keys_called` says."""
        text = self._text
        for name, key in self._keys.items():
            text = text.replace(f"<{name}>", _name_of.get()(key))
        return text


@contextmanager
def keys_called(name_of: Callable[[str], str]) -> Iterator[None]:
    """Let the errors of a command without a config call each key as `name_of` does."""
    before = _name_of.set(name_of)
    try:
        yield
    except UserError as error:
        raise UserError(str(error)) from None
    finally:
        _name_of.reset(before)
