"""All checks of the preflight, in the order in which a run would meet what they look at."""

from collections.abc import Callable, Iterator

from accelbench.config import Config
from accelbench.preflight.disk import check_disk
from accelbench.preflight.endpoints import check_endpoints, check_proxies
from accelbench.preflight.findings import Finding
from accelbench.preflight.load import check_loads
from accelbench.preflight.machine import check_machine, check_tools
from accelbench.preflight.prompts import check_prompts
from accelbench.preflight.servers import check_servers
from accelbench.preflight.training import check_training

CHECKS: tuple[Callable[[Config], Iterator[Finding]], ...] = (
    check_machine,
    check_tools,
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
