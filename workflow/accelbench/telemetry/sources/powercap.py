"""The energy that the processors' packages take (RAPL), from Linux' powercap tree.

https://docs.kernel.org/power/powercap/powercap.html: energy_uj counts microjoules and wraps at max_energy_range_uj.
Many systems let only root read it.
"""

import math
import re
from contextlib import suppress
from pathlib import Path

from accelbench.store.records import JsonObject
from accelbench.telemetry.sources.source import Watched

POWERCAP = Path("/sys/class/powercap")
_PACKAGE = re.compile(r"intel-rapl:\d+")  # also of AMD's; its domains (intel-rapl:0:0) are part of it


class Powercap:
    """Reads the energy counter of each package."""

    def __init__(self, _: Watched) -> None:
        """Find the packages whose counters may be read."""
        found = sorted(path for path in POWERCAP.glob("intel-rapl:*") if _PACKAGE.fullmatch(path.name))
        readable = [path for path in found if _number(path / "energy_uj") is not None]
        self._packages = {path.name.rpartition(":")[2]: path for path in readable}
        self._why = None if self._packages else "only root may read energy_uj" if found else "no powercap tree"
        self.shows_power = bool(self._packages)
        self.interval_s = 0.5 if self._packages else math.inf

    def facts(self) -> JsonObject:
        """Return the packages with the energy at which their counters wrap, in joules."""
        ranges = {name: _number(path / "max_energy_range_uj") for name, path in self._packages.items()}
        scopes = {
            name: {"scope": f"CPU package {name}", "wraps_j": None if at is None else at / 1e6}
            for name, at in ranges.items()
        }
        return {"scopes": scopes, "why": self._why}

    def read(self) -> JsonObject:
        """Return the counters in joules."""
        read = {name: _number(path / "energy_uj") for name, path in self._packages.items()}
        return {f"{name}.energy_j": None if value is None else value / 1e6 for name, value in read.items()}


def _number(path: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int(path.read_text())
    return None
