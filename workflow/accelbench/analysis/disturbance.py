"""What disturbed a measurement: a host busy with other work, or two measurements on one host at the same time."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from accelbench import foreign
from accelbench.store.records import Activity, InferRoundRecord, TrainRunRecord

MOST_TAKEN, MOST_WAITING = 0.03, 0.05
"""Of all CPU time, what other programs, a hypervisor or a limit may take; of the time, in which some program may wait
for memory. Beside other programs that take 2 to 4 %, servers and training are 5 % slower (docs/benchmarks.md)."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Something that disturbs a measurement: the share that it took, and above which share it does."""

    share: Callable[[Activity], float | None]
    most: float
    said: str


def _recorded(key: Literal["share_of_others", "steal_share", "throttled"]) -> Callable[[Activity], float | None]:
    return lambda activity: foreign.as_number(activity.get(key))


def _waiting_for_memory(activity: Activity) -> float | None:
    return foreign.as_number((activity.get("waiting_share") or {}).get("memory"))


def _limited(activity: Activity) -> float | None:
    kept_s, wall_s = activity.get("cgroup_throttled_s"), activity.get("wall_s")
    return kept_s / (wall_s * (activity.get("cores") or 1)) if kept_s is not None and wall_s else None


_CAUSES = (
    Cause(_recorded("share_of_others"), MOST_TAKEN, "other programs used {share:.0%} of {cores}"),
    Cause(_recorded("steal_share"), MOST_TAKEN, "other virtual machines took {share:.0%} of {cores}"),
    Cause(_limited, MOST_TAKEN, "a CPU limit (cgroup) withheld {share:.0%} of {cores}"),
    Cause(_waiting_for_memory, MOST_WAITING, "programs waited for memory, swapping, in {share:.0%} of the time"),
    Cause(_recorded("throttled"), 0.0, "hot processors were throttled"),
)


def disturbances(activity: Activity | None) -> list[Cause]:
    """Return what disturbed a round or a run; nothing where its host was quiet, or is not known to have been busy."""
    return [cause for cause in _CAUSES if activity and (cause.share(activity) or 0.0) > cause.most]


def disturbed_in_words(activities: Sequence[Activity | None], what: str = "rounds") -> str | None:
    """Say what disturbed how many of some rounds (or runs), and how much; None where nothing did."""
    found: dict[Cause, list[Activity]] = defaultdict(list)
    for activity in filter(None, activities):
        for cause in disturbances(activity):
            found[cause].append(activity)
    said = []
    for cause, own in found.items():
        share = statistics.fmean(cause.share(activity) or 0.0 for activity in own)
        which = f" in {len(own)} of {len(activities)} {what}" if len(activities) > 1 else ""
        said.append(cause.said.format(share=share, cores=_cores(own)).replace("%", " %") + which)
    return "; ".join(said) or None


def unknown_in_words(activities: Sequence[Activity | None], what: str = "rounds") -> str | None:
    """Say of how many rounds (or runs) it is not known whether the host was quiet, and why; None where it is of all."""
    whys = [why for activity in activities if (why := _why_unknown(activity))]
    if not whys:
        return None
    return f"{len(whys)} of {len(activities)} {what} ({Counter(whys).most_common(1)[0][0]})"


def _why_unknown(activity: Activity | None) -> str | None:
    if activity and activity.get("share_of_others") is not None:
        return None
    return (activity or {}).get("why") or "not recorded"


def _cores(activities: Iterable[Activity]) -> str:
    cores = {activity.get("cores") for activity in activities}
    count = cores.pop() if len(cores) == 1 else None
    return "the CPU time" if not count else "both cores" if count == 2 else f"all {count} cores"


Span = tuple[datetime, datetime, str]


def overlaps(records: Iterable[TrainRunRecord | InferRoundRecord]) -> dict[str, list[str]]:
    """Return the names of measurements that shared their host, each with those of the others."""
    found: dict[str, set[str]] = defaultdict(set)
    for spans in _by_host(records).values():
        running: list[Span] = []
        for span in sorted(spans):
            begin, _, name = span
            running = [other for other in running if other[1] > begin]
            for _, _, other in running:
                if other != name:
                    found[name].add(other)
                    found[other].add(name)
            running.append(span)
    return {name: sorted(others) for name, others in found.items()}


def shared(own: Sequence[TrainRunRecord | InferRoundRecord], found: dict[str, list[str]]) -> str | None:
    """Say how many of a row's measurements shared their node, and with what; None where none did."""
    names = [record.name for record in own if record.name in found]
    if not names:
        return None
    others = sorted({other for name in names for other in found[name]} - set(names)) or names
    shown = ", ".join(others[:2]) + (f" and {len(others) - 2} more" if others[2:] else "")
    return f"shared its node: {len(names)} of {len(own)} ran at the same time as {shown}"


def _by_host(records: Iterable[TrainRunRecord | InferRoundRecord]) -> dict[tuple[object, ...], list[Span]]:
    spans: dict[tuple[object, ...], list[Span]] = defaultdict(list)
    for record in records:
        host = record.host or {}
        for begin, end in record.busy:
            place = (host.get("name"), host.get("cpu"), host.get("cores"))
            spans[place].append((datetime.fromisoformat(begin), datetime.fromisoformat(end), record.name))
    return spans
