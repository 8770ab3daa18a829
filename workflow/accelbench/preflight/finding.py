"""One line of the preflight: what was looked at, what was found, and what to do about it."""

from dataclasses import dataclass
from typing import Literal

from accelbench.errors import UserError

Verdict = Literal["ok", "warning", "fails"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, and how it is: ok, worth a look, or bound to fail; then what to do."""

    what: str
    verdict: Verdict
    text: str
    remedy: str = ""


def ok(what: str, text: str) -> Finding:
    """Return what is as it should be."""
    return Finding(what, "ok", text)


def warning(what: str, text: str, remedy: str = "") -> Finding:
    """Return what may go wrong, or needs to be known."""
    return Finding(what, "warning", text, remedy)


def fails(what: str, found: str | UserError, remedy: str = "") -> Finding:
    """Return what would end a measurement; a UserError says itself what to do."""
    return Finding(what, "fails", str(found), remedy)
