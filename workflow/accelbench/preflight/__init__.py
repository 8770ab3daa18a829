"""Preflight: check what would go wrong before hours of queueing.

Each check is a function from a config to findings, and looks only at what the config plans. Nothing is measured, no
prompt is sent, and no finding contains a secret. `CHECKS` has them in the order in which a run would meet the problems.
"""

import sys
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from accelbench.config import Config
from accelbench.errors import Finding
from accelbench.foreign import printable
from accelbench.preflight.endpoints import check_endpoints, check_proxies
from accelbench.preflight.inference import check_loads, check_prompts, check_servers
from accelbench.preflight.machine import check_disk, check_machine, check_noise, check_tools
from accelbench.preflight.training import check_training

CHECKS: tuple[Callable[[Config], Iterator[Finding]], ...] = (
    check_machine,
    check_tools,
    check_noise,
    check_training,
    check_prompts,
    check_servers,
    check_proxies,
    check_endpoints,
    check_loads,
    check_disk,
)


def preflight(config: Config) -> list[Finding]:
    """Return the findings of all checks."""
    return [finding for check in CHECKS for finding in check(config)]


STYLES = {"ok": "green", "warning": "yellow", "fails": "bold red"}
LOG_COLUMNS = 120


def print_findings(findings: Sequence[Finding]) -> None:
    """Print one line per finding, with the remedy below it, and the totals."""
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
    """Return the number of lines of each kind, and the conclusion."""
    fails, warnings = (sum(finding.verdict == kind for finding in findings) for kind in ("fails", "warning"))
    counted = f"{len(findings)} checks: {fails} fail, {warnings} warn. Nothing was measured."
    return f"{counted} {'Fix what fails first.' if fails else 'The run can start.'}"
