"""Preflight: what would go wrong, said before hours of queueing.

Each check is a function from a config to findings, and looks only at what the config plans. Nothing is measured, no
prompt is sent, and no secret stands in a finding.
"""

from collections.abc import Callable, Iterator

from accelbench.config import Config
from accelbench.preflight.disk import disk
from accelbench.preflight.endpoints import endpoints
from accelbench.preflight.finding import Finding
from accelbench.preflight.load import load
from accelbench.preflight.machine import machine
from accelbench.preflight.prompts import prompts
from accelbench.preflight.proxies import proxies
from accelbench.preflight.servers import servers
from accelbench.preflight.tools import tools
from accelbench.preflight.training import training

__all__ = ["CHECKS", "Finding", "preflight"]

CHECKS: tuple[Callable[[Config], Iterator[Finding]], ...] = (
    machine,
    tools,
    training,
    prompts,
    servers,
    proxies,
    endpoints,
    load,
    disk,
)


def preflight(config: Config) -> list[Finding]:
    """Return all findings, in the order in which a run would meet them."""
    return [finding for check in CHECKS for finding in check(config)]
