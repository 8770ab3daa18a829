"""What else a host did while a measurement ran: CPU time of others, time stolen by its hypervisor, pressure.

Ours is what belongs to the measurement: the workflow with all its jobs and what they started (client, trainer, local
server), and a server that was started by hand on this machine. All other CPU time, but for interrupts, is of others.
From psutil, on Linux thus from /proc; macOS knows no steal and no pressure.
"""

import os
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from accelbench.jobs.process import WORKFLOW_PID
from accelbench.store.records import Activity

SHORTEST_S = 0.5  # CPU time is counted in hundredths of a second: below, one of them is more than 1 % of two cores
PRESSURE = Path("/proc/pressure")
RESOURCES = ("cpu", "memory", "io")


@dataclass(frozen=True, slots=True)
class Reading:
    """The CPU time spent since the host was started, in seconds of one core, and its pressure now."""

    at_s: float
    cores: int
    busy_s: float
    own_s: float
    steal_s: float | None
    pressure: dict[str, float] | None


class HostActivity:
    """Compares the host at the end of a span with its begin."""

    def __init__(self, base_url: str | None = None) -> None:
        """Begin; what serves `base_url` counts as ours where it runs on this machine."""
        self._servers, self._why = _servers(base_url) if base_url else ([], None)
        self._before = reading(self._servers)

    def end(self) -> Activity:
        """Return what run.json says of the span."""
        return between(self._before, reading(self._servers), self._why)


def reading(servers: Sequence[psutil.Process] = ()) -> Reading:
    """Read the host's counters, and those of our processes."""
    own_s, spent = _own_s([_root(), *servers]), psutil.cpu_times()
    return Reading(
        at_s=time.perf_counter(),
        cores=psutil.cpu_count() or 1,
        busy_s=spent.user + getattr(spent, "nice", 0.0) + spent.system,
        own_s=own_s,
        steal_s=getattr(spent, "steal", None),
        pressure=_pressure(),
    )


def between(before: Reading, after: Reading, why: str | None = None) -> Activity:
    """Return what the host did between two readings; `why`: what makes the share of others unknown."""
    wall_s = after.at_s - before.at_s
    if wall_s < SHORTEST_S:
        why = f"less than {SHORTEST_S:g} s: too short to tell"
    core_s = after.cores * wall_s
    others_s = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
    steal_s = None if before.steal_s is None or after.steal_s is None else after.steal_s - before.steal_s
    return Activity(
        share_of_others=None if why else _share(others_s, core_s),
        steal_share=None if steal_s is None or wall_s < SHORTEST_S else _share(steal_s, core_s),
        pressure_start=before.pressure,
        pressure_end=after.pressure,
        wall_s=round(wall_s, 3),
        cores=after.cores,
        why=why,
    )


def worst(sessions: Sequence[Activity | None]) -> Activity | None:
    """Return what is recorded of the session in which others took most; `why` says if it is not known of all."""
    known = [(share, found) for found in sessions if found and (share := found["share_of_others"]) is not None]
    if not known:
        return next(filter(None, sessions), None)
    _, most = max(known, key=itemgetter(0))
    unknown = len(sessions) - len(known)
    return {**most, "why": f"not known of {unknown} of {len(sessions)} sessions"} if unknown else most


def _share(spent_s: float, core_s: float) -> float:
    return round(min(1.0, max(0.0, spent_s / core_s)), 4)


def _root() -> psutil.Process:
    """Return the workflow that this job belongs to, else this process."""
    with suppress(psutil.Error, ValueError):
        return psutil.Process(int(os.environ.get(WORKFLOW_PID, "")))
    return psutil.Process()


def _own_s(roots: Sequence[psutil.Process]) -> float:
    """Return the CPU time of processes and all below them, with that of their children that have ended."""
    processes: set[psutil.Process] = set()
    for root in roots:
        with suppress(psutil.Error):
            processes |= {root, *root.children(recursive=True)}
    return sum(os.times()[:4]) + sum(map(_spent_s, processes - {psutil.Process()}))


def _spent_s(process: psutil.Process) -> float:
    try:
        return sum(process.cpu_times()[:4])  # user and system, its own and its ended children's
    except psutil.Error:
        return 0.0


def _servers(base_url: str) -> tuple[list[psutil.Process], str | None]:
    """Return the processes of this machine that listen where the URL points, or why they can't be told."""
    split = urlsplit(base_url)
    port = split.port or (443 if split.scheme == "https" else 80)
    if not _is_here(split.hostname or ""):
        return [], None
    with suppress(psutil.Error):
        sockets = [one for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
        pids = {one.pid for one in sockets if one.laddr and one.laddr.port == port}
        if pids and None not in pids:
            return list(_processes(filter(None, pids))), None
    return [], f"what serves port {port} of this machine is another user's: its CPU time can't be told from others'"


def _processes(pids: Iterable[int]) -> Iterator[psutil.Process]:
    for pid in pids:
        with suppress(psutil.Error):
            yield psutil.Process(pid)


def _is_here(name: str) -> bool:
    own = {address.address for addresses in psutil.net_if_addrs().values() for address in addresses}
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return any(str(address[0]).startswith("127.") or address[0] in own for *_, address in found)


def _pressure() -> dict[str, float] | None:
    """Return the share of the last 10 s in which some task waited, in percent, by resource; None: not known here."""
    try:
        return {name: _avg10((PRESSURE / name).read_text()) for name in RESOURCES}
    except (OSError, ValueError, IndexError):
        return None


def _avg10(text: str) -> float:
    """Return avg10 of the line `some avg10=1.27 avg60=0.76 …`."""
    return float(text.split()[1].removeprefix("avg10="))
