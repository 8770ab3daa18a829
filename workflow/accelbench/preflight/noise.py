"""What makes this machine's figures vary, and what to do about it (as `pyperf system show` does). All of it is advice.

Nothing is said of what is fine, or can't be read here. Processes are counted, never named.
"""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from accelbench.analysis.disturbance import MOST_TAKEN
from accelbench.config import Config
from accelbench.errors import Finding, warning

CPUS, CGROUPS, OWN_CGROUP = Path("/sys/devices/system/cpu"), Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_LOOK_S, _MUCH_SWAPPED_BYTES, _FIRST_PERSON = 0.5, 100e6, 1000  # uids below are the system's


def check_noise(config: Config) -> Iterator[Finding]:
    """Yield what makes figures vary here."""
    yield from _clock()
    yield from _limits()
    yield from _others()
    swapped = psutil.swap_memory().used
    if swapped > _MUCH_SWAPPED_BYTES:
        text = f"{swapped / 1e9:.1f} GB of memory are swapped out; reading them back delays whatever needs them"
        yield warning("swap", text, "Free memory, then `sudo swapoff -a && sudo swapon -a`.")


def _clock() -> Iterator[Finding]:
    governors = {text for path in CPUS.glob("cpu[0-9]*/cpufreq/scaling_governor") if (text := _read(path))}
    if governors - {"performance"}:
        text = f"the clock follows the load (governor {', '.join(sorted(governors))})"
        yield warning("CPU governor", text, "`sudo cpupower frequency-set --governor performance`")
    for switch, turbo in ((CPUS / "intel_pstate/no_turbo", "0"), (CPUS / "cpufreq/boost", "1")):
        if _read(switch) == turbo:
            text = "the clock rises above its nominal value until the processor is hot: long runs get slower"
            yield warning("turbo", text, f"`echo {1 - int(turbo)} | sudo tee {switch}`")
    if _read(CPUS / "smt/active") == "1":
        text = "two threads share each core (SMT), so more threads than cores slow each other"
        yield warning("SMT", text, "Set the threads of servers and trainers to the number of cores.")


def _limits() -> Iterator[Finding]:
    cores = psutil.cpu_count() or 1
    allowed = _allowed_cores()
    if allowed is not None and allowed < cores:
        text = f"a control group allows {allowed:g} of {cores} cores, and stops programs that want more"
        yield warning(
            "CPU limit", text, f"Lift it, or set the threads of servers and trainers to {max(1, int(allowed))}."
        )
    spent = psutil.cpu_times()
    steal_s = getattr(spent, "steal", 0.0)
    if steal_s > MOST_TAKEN * (spent.user + spent.system + steal_s):
        share = steal_s / (spent.user + spent.system + steal_s)
        text = f"other virtual machines took {share:.0%} of the CPU time that this one wanted since it started"
        yield warning("virtual machine", text, "Measure on a machine with cores of its own.")


def _allowed_cores() -> float | None:
    """Return how many cores the limit of our control group (version 2) allows; None without a limit."""
    with suppress(ValueError, StopIteration):
        own = next(line[3:] for line in (_read(OWN_CGROUP) or "").splitlines() if line.startswith("0::"))
        quota, period = (_read(CGROUPS / own.lstrip("/") / "cpu.max") or "").split()
        return int(quota) / int(period)  # "max" is no number: there is no limit
    return None


def _others() -> Iterator[Finding]:
    """Yield how busy the machine is, and with how many other users' processes."""
    cores = psutil.cpu_count() or 1
    before, begun_s = _spent_by_others(), time.monotonic()
    all_before_s = psutil.cpu_times()
    time.sleep(_LOOK_S)
    after, all_after_s, lasted_s = _spent_by_others(), psutil.cpu_times(), time.monotonic() - begun_s
    spent_s = {pid: after[pid] - before[pid] for pid in after.keys() & before.keys()}
    share = sum(spent_s.values()) / (cores * lasted_s)
    if share > MOST_TAKEN:
        text = f"{sum(s > 0 for s in spent_s.values())} processes of other users use {share:.0%} of the CPU time"
        yield warning("other users", text, "Measure when they have ended, or on a machine of your own.")
    used_s = sum(getattr(all_after_s, key) - getattr(all_before_s, key) for key in ("user", "system"))
    busy = used_s / (cores * lasted_s)
    if busy - share > MOST_TAKEN:
        text = f"programs use {busy:.0%} of the CPU time before anything is measured (load {os.getloadavg()[0]:.1f})"
        yield warning("busy", text, "End them. A round waits up to 60 s for a quiet machine (measurement.when_busy).")


def _spent_by_others() -> dict[int, float]:
    """Return the CPU time of each process of another person."""
    spent = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if (uid := process.uids().real) >= _FIRST_PERSON and uid != os.getuid():
                spent[process.pid] = sum(process.cpu_times()[:2])
    return spent


def _read(path: Path) -> str | None:
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text().strip()
    return None
