"""What disturbed a measurement: a host busy with other work, or two measurements on one host at the same time."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal

from accelbench import foreign_json
from accelbench.store.records import Activity, InferRoundRecord, TrainRunRecord

MOST_OTHERS, MOST_STEAL = 0.10, 0.05
"""Of all CPU time. Chosen beforehand, not measured: a tenth of the CPU time can move a measurement that needs all of it
by more than the 5 % within which two sides are called equal. Stolen time comes in bursts: half as much."""


def is_busy(activity: Activity | None) -> bool:
    """Tell whether other programs, or other guests of the same machine, took more than the stated shares."""
    return _share(activity, "share_of_others") > MOST_OTHERS or _share(activity, "steal_share") > MOST_STEAL


def busy_in_words(activities: Sequence[Activity | None], what: str = "rounds") -> str | None:
    """Say how many of some rounds (or runs) were measured on a busy host, and how busy; None where none was."""
    busy = [each for each in activities if is_busy(each)]
    if not busy:
        return None
    taken = statistics.fmean(_share(each, "share_of_others") + _share(each, "steal_share") for each in busy)
    cores = {(each or {}).get("cores") for each in busy}
    of = f"all {cores.pop()} cores" if len(cores) == 1 and None not in cores else "the CPU time"
    which = f" in {len(busy)} of {len(activities)} {what}" if len(activities) > 1 else ""
    return f"other programs used {100 * taken:.0f} % of {of}{which}"


def _share(activity: Activity | None, key: Literal["share_of_others", "steal_share"]) -> float:
    return foreign_json.as_number((activity or {}).get(key)) or 0.0


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
    return f"shared its node: {len(names)} of {len(own)} ran beside {shown}"


def _by_host(records: Iterable[TrainRunRecord | InferRoundRecord]) -> dict[tuple[object, ...], list[Span]]:
    spans: dict[tuple[object, ...], list[Span]] = defaultdict(list)
    for record in records:
        host = record.host or {}
        for begin, end in record.busy:
            place = (host.get("name"), host.get("cpu"), host.get("cores"))
            spans[place].append((datetime.fromisoformat(begin), datetime.fromisoformat(end), record.name))
    return spans
