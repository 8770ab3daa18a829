"""What a user can mend: errors, and findings before a run. Both say what is wrong, where, and what to do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

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


FindingState = Literal["ok", "warning", "fails"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was checked, its state (ok, warning, or fails), and what to do."""

    what: str
    verdict: FindingState
    text: str
    remedy: str = ""


def ok(what: str, text: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(what, "ok", text)


def warning(what: str, text: str, remedy: str = "") -> Finding:
    """Return a finding that something may go wrong, or must be known."""
    return Finding(what, "warning", text, remedy)


def fails(what: str, found: str | UserError, remedy: str = "") -> Finding:
    """Return a finding that would make a measurement fail; a UserError says itself what to do."""
    return Finding(what, "fails", str(found), remedy)
