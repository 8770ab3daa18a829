"""What was found of a plan before it runs: one line each, with what to do about it."""

from dataclasses import dataclass
from typing import Literal

from accelbench.errors import UserError

FindingState = Literal["ok", "warning", "fails"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, and how it is: ok, worth a look, or bound to fail; then what to do."""

    what: str
    verdict: FindingState
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
