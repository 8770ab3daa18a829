"""What preflight finds about a plan: one line each, with what to do about it."""

from dataclasses import dataclass
from typing import Literal

from accelbench.errors import UserError

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
