"""All checks of the preflight, in the order in which a run would meet what they look at."""

from collections.abc import Callable, Iterator

from accelbench.config import Config
from accelbench.preflight.disk import disk
from accelbench.preflight.endpoints import endpoints, proxies
from accelbench.preflight.findings import Finding
from accelbench.preflight.load import load
from accelbench.preflight.machine import machine, tools
from accelbench.preflight.prompts import prompts
from accelbench.preflight.servers import servers
from accelbench.preflight.training import training

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
    """Return the findings of all checks."""
    return [finding for check in CHECKS for finding in check(config)]
