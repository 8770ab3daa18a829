"""Sources of telemetry: each is one class in a file of its own and an entry of SOURCES."""

from collections.abc import Callable, Mapping

from accelbench.telemetry.sources.gpu import Gpu
from accelbench.telemetry.sources.host import Host
from accelbench.telemetry.sources.powercap import Powercap
from accelbench.telemetry.sources.server import ServerPage
from accelbench.telemetry.sources.source import Source, Watched

SOURCES: Mapping[str, Callable[[Watched], Source]] = {
    "host": Host,
    "gpu": Gpu,
    "powercap": Powercap,
    "server": ServerPage,
}
"""The sources by the name that their readings have in telemetry.jsonl."""
