"""The speed of an endpoint as a whole: in closed loop only while all slots were busy, in open loop from the first
arrival to the last answer.

A slot is occupied from a request's turn to its last answer's end. While it opens a connection, or waits because the
endpoint was busy (429, 503), it brings nothing: that counts here, and never in a latency. Requests and tokens are
counted over the same time, each request with the share of it that fell into this time, so that tokens/s by requests/s
are tokens per request. Of a load that was resumed, the gap between its sessions is left out.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from operator import itemgetter

from accelbench.records import SUCCESS, RequestRecord

TOKENS = ("total_tokens", "completion_tokens", "answer_tokens")
ALL_AT_ONCE_S = 0.001  # an answer whose tokens came within it was collected before it was sent


def speeds(attempts: Sequence[RequestRecord], slots: int | None) -> dict[str, float | None]:
    """Return what the successes of one load brought per second: tokens, kind by kind, and `requests`.

    `attempts` are all of the load; `slots`: None in open loop. None where a success has no token count, or the slots
    were never busy together; the requests then are those of the whole load.
    """
    good = _good(attempts)
    busy = [] if slots is None else spans_with(_occupied(attempts), slots)
    lasted_s = sum(end - start for start, end in busy) if busy else wall_s(attempts)
    if not lasted_s:
        return dict.fromkeys((*TOKENS, "requests"))
    shares = [_share(request, busy) if busy else 1.0 for request in good]
    found: dict[str, float | None] = {"requests": sum(shares) / lasted_s}
    for kind in TOKENS:
        counts = [getattr(request, kind) for request in good]
        known = counts and None not in counts and (busy or slots is None)
        tokens = sum(count * share for count, share in zip(counts, shares, strict=True)) if known else 0.0
        found[kind] = tokens / lasted_s if known else None
    return found


def user_speed(attempts: Sequence[RequestRecord]) -> float | None:
    """Return the output tokens per second of one load as its user sees them: of all successes, over their latencies."""
    good = _good(attempts)
    counts = [request.completion_tokens for request in good if request.completion_tokens is not None]
    latencies_s = sum(request.e2e_s or 0.0 for request in good)
    return sum(counts) / latencies_s if counts and len(counts) == len(good) and latencies_s else None


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


def _share(request: RequestRecord, busy: Sequence[tuple[float, float]]) -> float:
    """Return the share of an answer that was made within some spans of time, its tokens spread evenly.

    An answer that came all at once was made since it was asked.
    """
    if request.sent_unix_s is None or not request.e2e_s:
        return 0.0
    end, made_s = request.sent_unix_s + request.e2e_s, request.e2e_s - (request.ttft_s or 0.0)
    made_s = made_s if made_s > ALL_AT_ONCE_S else request.e2e_s
    return _overlap_s(busy, end - made_s, end) / made_s


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
    """Return from when to when each request held a slot: connections are opened, and busy answers waited for, in it.

    Requests that other tools measured don't say when it was their turn to connect: they hold it from their sending.
    """
    spans: dict[tuple[int, str], list[tuple[float, float]]] = defaultdict(list)
    for attempt in attempts:
        sent = None if attempt.connected_unix_s else attempt.sent_unix_s
        begin = sent or attempt.dequeued_unix_s
        if begin and attempt.end_unix_s:
            spans[attempt.session, attempt.key].append((begin, attempt.end_unix_s))
    return [(min(begin for begin, _ in own), max(end for _, end in own)) for own in spans.values()]


def _good(attempts: Sequence[RequestRecord]) -> list[RequestRecord]:
    return [attempt for attempt in attempts if attempt.last_attempt and attempt.class_ in SUCCESS]
