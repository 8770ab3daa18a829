"""What the preflight found: one line each, with what to do about it; and all of them as a table."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from accelbench.errors import UserError
from accelbench.words import printable

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


STYLES = {"ok": "green", "warning": "yellow", "fails": "bold red"}
LOG_COLUMNS = 120


def print_findings(findings: Sequence[Finding]) -> None:
    """Print one line per finding, what to do below what was found, and the sum."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for header in ("", "what", "found → what to do"):
        table.add_column(header, overflow="fold")
    for finding in findings:
        text = f"{finding.text}\n→ {finding.remedy}" if finding.remedy else finding.text
        table.add_row(Text(finding.verdict, STYLES[finding.verdict]), Text(finding.what), Text(printable(text)))
    console = Console(width=None if sys.stdout.isatty() else LOG_COLUMNS, highlight=False)
    console.print(table)
    console.print(Text(_summary(findings)))


def _summary(findings: Sequence[Finding]) -> str:
    """Return how many lines are of each kind, and what that means."""
    fails, warnings = (sum(finding.verdict == kind for finding in findings) for kind in ("fails", "warning"))
    counted = f"{len(findings)} checks: {fails} fail, {warnings} warn. Nothing was measured."
    return f"{counted} {'Mend what fails first.' if fails else 'The plan can start.'}"
