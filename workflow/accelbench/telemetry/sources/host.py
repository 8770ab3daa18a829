"""The host: its CPU time and how much of it is ours, pressure, memory, clock, throttling.

Ours is what belongs to the measurement: the workflow with all its jobs and what they started (client, trainer, local
server), and a server that was started by hand on this machine. All other CPU time but for interrupts is of others.
By psutil, on Linux from /proc and /sys; macOS shows no steal, no pressure and no throttling.
"""

import os
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from accelbench.store.records import JsonObject
from accelbench.telemetry.sources.source import Watched

PRESSURE, CPUS, CGROUPS = Path("/proc/pressure"), Path("/sys/devices/system/cpu"), Path("/sys/fs/cgroup")
RESOURCES = ("cpu", "memory", "io")
SLOW_S = 5.0  # between readings of what changes slowly or is read slowly


class Host:
    """Reads the host's counters and those of our processes."""

    interval_s = 0.5
    shows_power = False

    def __init__(self, watched: Watched) -> None:
        """Find out which processes are ours."""
        servers, self._why = _servers(watched.base_url) if watched.base_url else ([], None)
        self._ours = _Family([watched.workflow or watched.job, *watched.kept, *servers])
        self._job = watched.job
        self._slow: JsonObject = {}
        self._slow_at_s = -SLOW_S
        self._throttled = sorted(CPUS.glob("cpu[0-9]*/thermal_throttle/package_throttle_count"))
        self._cgroup = _cgroup_stat()

    def facts(self) -> JsonObject:
        """Return the number of cores, and why the CPU time of others is unknown, if it is."""
        return {"cores": psutil.cpu_count() or 1, "why": self._why}

    def read(self) -> JsonObject:
        """Return counters in seconds of one core since the host was started, sizes in bytes."""
        self._ours.update()
        spent = psutil.cpu_times()
        reading = {
            "busy_s": round(spent.user + getattr(spent, "nice", 0.0) + spent.system, 2),
            "own_s": round(self._ours.spent_s(), 2),
            "steal_s": getattr(spent, "steal", None),
            "pressure_s": _pressure_s(),
            "load_1min": round(os.getloadavg()[0], 2),
            "other_processes": self._ours.others,
            "program_bytes": self._ours.resident_bytes(self._job),
        }
        if time.monotonic() - self._slow_at_s >= SLOW_S:
            self._slow_at_s = time.monotonic()
            reading |= self._read_slowly()
        return reading

    def _read_slowly(self) -> JsonObject:
        frequency = None
        with suppress(OSError, NotImplementedError, AttributeError):
            frequency = psutil.cpu_freq()
        return {
            "frequency_mhz": round(frequency.current) if frequency else None,
            "throttled": _sum(self._throttled),
            "cgroup_throttled_s": _throttled_s(self._cgroup),
            "available_bytes": psutil.virtual_memory().available,
            "swap_used_bytes": psutil.swap_memory().used,
        }


class _Family:
    """Processes and all that they start. Found anew are only those that were not there at the last update."""

    def __init__(self, roots: Iterable[int]) -> None:
        self._members: dict[int, psutil.Process] = {}
        self._parents: dict[int, int] = {}
        self._seen: set[int] = set()
        for root in roots:
            with suppress(psutil.Error):
                self._members[root] = psutil.Process(root)
                self._parents[root] = self._members[root].ppid()
        self.others = 0

    def update(self) -> None:
        """Take in what the members have started since, and let go of those that have ended."""
        here = set(psutil.pids())
        self._members = {pid: process for pid, process in self._members.items() if pid in here}
        parents = {}
        for pid in here - self._seen:
            with suppress(psutil.Error):
                parents[pid] = psutil.Process(pid).ppid()
        self._seen = here
        while new := [pid for pid, parent in parents.items() if pid in self._members or parent in self._members]:
            for pid in new:
                with suppress(psutil.Error):
                    self._members.setdefault(pid, psutil.Process(pid))
                self._parents[pid] = parents.pop(pid)
        self.others = len(here) - len(self._members)

    def spent_s(self) -> float:
        """Return the CPU time of all members, with that of their children that have ended."""
        return sum(map(_spent_s, self._members.values()))

    def resident_bytes(self, job: int) -> int:
        """Return the resident memory of what a job's guards started: shared pages count once per process."""
        return sum(_resident_bytes(self._members[pid]) for pid in self._members if self._depth(pid, job) >= 2)

    def _depth(self, pid: int, above: int) -> int:
        """Return how many generations lie between a process and one above it; -1: it is not above it."""
        depth = 0
        while pid != above:
            if pid not in self._parents:
                return -1
            pid, depth = self._parents[pid], depth + 1
        return depth


def _spent_s(process: psutil.Process) -> float:
    try:
        return sum(process.cpu_times()[:4])  # user and system, its own and its ended children's
    except psutil.Error:
        return 0.0


def _resident_bytes(process: psutil.Process) -> int:
    try:
        resident: int = process.memory_info().rss
        return resident
    except psutil.Error:
        return 0


def _servers(base_url: str) -> tuple[list[int], str | None]:
    """Return the processes of this machine that listen where the URL points, or why they can't be told."""
    split = urlsplit(base_url)
    port = split.port or (443 if split.scheme == "https" else 80)
    if not _is_here(split.hostname or ""):
        return [], None
    with suppress(psutil.Error):
        sockets = [one for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
        pids = {one.pid for one in sockets if one.laddr and one.laddr.port == port}
        if pids and None not in pids:
            return [pid for pid in pids if pid is not None], None
    return (
        [],
        f"the server on port {port} belongs to another user, so its CPU time is unknown",
    )


def _is_here(name: str) -> bool:
    own = {address.address for addresses in psutil.net_if_addrs().values() for address in addresses}
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return any(str(address[0]).startswith("127.") or address[0] in own for *_, address in found)


def _pressure_s() -> dict[str, float] | None:
    """Return for how long some task has waited for each resource; None: not known here."""
    try:
        return {name: _total_s((PRESSURE / name).read_text()) for name in RESOURCES}
    except (OSError, ValueError, IndexError):
        return None


def _total_s(text: str) -> float:
    """Return the total of the line `some avg10=1.27 avg60=0.76 avg300=0.10 total=9057692781` (microseconds)."""
    return int(text.split("\n", 1)[0].rpartition("total=")[2]) / 1e6


def _sum(counters: Iterable[Path]) -> int | None:
    """Return the sum of counters that stand in files; None where there are none."""
    found = list(_numbers(counters))
    return sum(found) if found else None


def _numbers(counters: Iterable[Path]) -> Iterator[int]:
    for path in counters:
        with suppress(OSError, ValueError):
            yield int(path.read_text())


def _cgroup_stat() -> Path | None:
    """Return where the limits of our control group (version 2) are accounted."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        own = next(line.removeprefix("0::") for line in lines if line.startswith("0::"))
        stat = CGROUPS / own.lstrip("/") / "cpu.stat"
        return stat if stat.exists() else None
    return None


def _throttled_s(stat: Path | None) -> float | None:
    """Return for how long the control group was kept from running by its limit."""
    with suppress(OSError, ValueError, StopIteration):
        lines = stat.read_text().splitlines() if stat else []
        return int(next(line.split()[1] for line in lines if line.startswith("throttled_usec"))) / 1e6
    return None
