"""Measurements that kept one host busy at the same time: neither's figures are of a machine of its own.

Measuring jobs take turns on a host by its lock. Where they do not (a folder of another account, a batch system that
puts two jobs on one node), the recorded hosts and times show it afterwards.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime

from accelbench.records import InferRoundRecord, TrainRunRecord

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
