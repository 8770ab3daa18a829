"""The speed of an endpoint as a whole: in closed loop only while all slots were busy, in open loop from the first
arrival to the last answer.

A slot that waits because the endpoint was busy (429, 503) is occupied and brings nothing: the waits count here, and
never in a latency. Of a load that was resumed, the gap between its sessions is left out.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from operator import itemgetter

from accelbench.records import SUCCESS, RequestRecord

TOKENS = ("total_tokens", "completion_tokens", "answer_tokens")
ALL_AT_ONCE_S = 0.001  # an answer whose tokens came within it was collected before it was sent


def speeds(attempts: Sequence[RequestRecord], slots: int | None) -> dict[str, float | None]:
    """Return the tokens per second, kind by kind, that the successes of one load brought. `slots`: None in open loop.

    `attempts` are all of the load. None where a success has no token count, or the slots were never busy together.
    """
    good = _good(attempts)
    counts = {kind: [getattr(request, kind) for request in good] for kind in TOKENS}
    known = {kind: own for kind, own in counts.items() if own and None not in own}
    nothing: dict[str, float | None] = dict.fromkeys(TOKENS)
    if slots is not None:
        return nothing | _busy_speeds(attempts, slots, known)
    lasted_s = wall_s(attempts)
    return nothing | {kind: sum(own) / lasted_s for kind, own in known.items() if lasted_s}


def user_speed(attempts: Sequence[RequestRecord]) -> float | None:
    """Return the output tokens per second of one load as its user sees them: of all successes, over their latencies."""
    good = _good(attempts)
    counts = [request.completion_tokens for request in good if request.completion_tokens is not None]
    latencies_s = sum(request.e2e_s or 0.0 for request in good)
    return sum(counts) / latencies_s if counts and len(counts) == len(good) and latencies_s else None


def requests_per_s(attempts: Sequence[RequestRecord]) -> float | None:
    """Return the successes per second of one load."""
    lasted_s = wall_s(attempts)
    return len(_good(attempts)) / lasted_s if lasted_s else None


def wall_s(attempts: Sequence[RequestRecord]) -> float | None:
    """Return the seconds from the first request's turn to the last answer's end.

    The health calls between the requests of a sequential load are in them.
    """
    lasted_s = 0.0
    for session in {attempt.session for attempt in attempts}:
        own = [attempt for attempt in attempts if attempt.session == session]
        ends = [attempt.end_unix_s for attempt in own if attempt.end_unix_s]
        begins = [begin for attempt in own if (begin := attempt.scheduled_unix_s or attempt.dequeued_unix_s)]
        lasted_s += max(ends) - min(begins) if begins and ends else 0.0
    return lasted_s or None


def spans_with(spans: Sequence[tuple[float, float]], slots: int) -> list[tuple[float, float]]:
    """Return the intervals in which at least `slots` of the spans overlap."""
    marks = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    busy, open_, since = [], 0, 0.0
    for at, change in marks:
        if open_ < slots <= open_ + change:
            since = at
        elif open_ >= slots > open_ + change:
            busy.append((since, at))
        open_ += change
    return busy


def _busy_speeds(
    attempts: Sequence[RequestRecord], slots: int, counts: Mapping[str, Sequence[int]]
) -> dict[str, float]:
    """Return the tokens per second in the spans with all slots busy, each answer's spread evenly.

    An answer that came all at once was made since it was asked. `counts`: the tokens of each success.
    """
    busy = spans_with(_occupied(attempts), slots)
    busy_s = sum(end - start for start, end in busy)
    if busy_s <= 0:
        return {}
    counted = dict.fromkeys(counts, 0.0)
    for place, request in enumerate(_good(attempts)):
        if request.sent_unix_s is None or not request.e2e_s:
            continue
        end, made_s = request.sent_unix_s + request.e2e_s, request.e2e_s - (request.ttft_s or 0.0)
        made_s = made_s if made_s > ALL_AT_ONCE_S else request.e2e_s
        overlap_s = _overlap_s(busy, end - made_s, end)
        for kind, own in counts.items():
            counted[kind] += own[place] * overlap_s / made_s
    return {kind: tokens / busy_s for kind, tokens in counted.items()}


def _overlap_s(spans: Sequence[tuple[float, float]], begin: float, end: float) -> float:
    """Return for how many seconds of an interval one of the spans lasted. They are in order, and none overlap."""
    overlap_s = 0.0
    for place in range(bisect_right(spans, begin, key=itemgetter(1)), len(spans)):
        start, stop = spans[place]
        if start >= end:
            break
        overlap_s += min(end, stop) - max(begin, start)
    return overlap_s


def _occupied(attempts: Sequence[RequestRecord]) -> list[tuple[float, float]]:
    """Return from when to when each request held a slot, the waits between its attempts included."""
    spans: dict[tuple[int, str], list[tuple[float, float]]] = defaultdict(list)
    for attempt in attempts:
        begin = attempt.sent_unix_s or attempt.dequeued_unix_s
        if begin and attempt.end_unix_s:
            spans[attempt.session, attempt.key].append((begin, attempt.end_unix_s))
    return [(min(begin for begin, _ in own), max(end for _, end in own)) for own in spans.values()]


def _good(attempts: Sequence[RequestRecord]) -> list[RequestRecord]:
    return [attempt for attempt in attempts if attempt.last_attempt and attempt.class_ in SUCCESS]
