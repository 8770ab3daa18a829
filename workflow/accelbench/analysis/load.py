"""One load in figures: classes, latencies, speeds, throughput, and what has to be said beside them.

In closed loop, throughput is taken only while all slots were busy; in open loop from the first request to the last.
"""

import statistics
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter

from accelbench.foreign_json import message
from accelbench.store.records import RequestRecord
from accelbench.words import one_line

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
    return [attempt for attempt in attempts if attempt.last_attempt and attempt.is_success]


REQUESTS_PER_SLOT, ROUND_S = 10, 30.0  # fewer, and less, than which the slots are seldom busy together
_LATE_S = 0.01
MOST_REASON = 200
HELD_BACK_S = 0.05  # a client that keeps up is never late by so much


@dataclass(frozen=True, slots=True)
class Load:
    """What a cell puts on an endpoint, as far as it is known."""

    scenario: str
    concurrency: int
    """In open loop the most requests in flight; 0: not known."""
    rate_per_s: float | None = None
    """Arrivals per second; None: closed loop."""
    context_tokens: int | None = None
    max_tokens: int | None = None

    @property
    def slots(self) -> int | None:
        """The concurrency of a closed loop; None: open loop, or not known."""
        return (self.concurrency or None) if self.rate_per_s is None else None


def reasons_by_class(attempts: Iterable[RequestRecord]) -> dict[str, str]:
    """Return the commonest reason of each class that is no success: status, finish_reason, the endpoint's own text."""
    said: dict[str, Counter[str]] = {}
    for attempt in attempts:
        if not attempt.is_success:
            said.setdefault(attempt.class_, Counter())[_reason(attempt)] += 1
    return {kind: own.most_common(1)[0][0] for kind, own in said.items()}


def _reason(attempt: RequestRecord) -> str:
    status = f"status {attempt.http_status}" if attempt.http_status not in (200, None) else ""
    ended = f"finish_reason {attempt.finish_reason}" if attempt.finish_reason else ""
    text = message(attempt.error_text or "")
    parts = [status, ended if ended not in text else "", text]
    return one_line(": ".join(part for part in parts if part) or "no reason given", MOST_REASON)


def from_schedule_s(request: RequestRecord, latency_s: float | None) -> float | None:
    """Return a latency counted from the moment the request was due; None in closed loop."""
    if latency_s is None or not request.sent_unix_s or not request.scheduled_unix_s:
        return None
    return latency_s + request.sent_unix_s - request.scheduled_unix_s


def waited_s(attempts: Sequence[RequestRecord]) -> float:
    """Return the total seconds that requests waited after the endpoint reported that it was busy."""
    waits = 0.0
    held = {(r.session, r.key) for r in attempts if _was_busy(r)}
    by_request = sorted(
        (r for r in attempts if (r.session, r.key) in held), key=lambda r: (r.session, r.key, r.attempt)
    )
    for before, after in pairwise(by_request):
        same = (before.session, before.key) == (after.session, after.key)
        if same and _was_busy(before) and before.end_unix_s and after.dequeued_unix_s:
            waits += max(0.0, after.dequeued_unix_s - before.end_unix_s)
    return waits


def _was_busy(attempt: RequestRecord) -> bool:
    return attempt.class_ == "rate_limited" or attempt.http_status == 503


def sent_per_s(asked: Sequence[RequestRecord]) -> float | None:
    """Return the sends per second of an open loop, between the first and the last; beside it stands what was due."""
    return _per_s([r.sent_unix_s for r in asked if r.sent_unix_s])


def due_per_s(asked: Sequence[RequestRecord]) -> float | None:
    """Return the arrivals per second as drawn."""
    return _per_s([r.scheduled_unix_s for r in asked if r.scheduled_unix_s])


def late_sends(asked: Sequence[RequestRecord]) -> int:
    """Return how many requests of an open loop were written late, whatever held them."""
    return sum(r.sent_unix_s - r.scheduled_unix_s > _LATE_S for r in asked if r.sent_unix_s and r.scheduled_unix_s)


def labels(attempts: Sequence[RequestRecord], slots: int | None) -> list[str]:
    """Return what a reader must know of one load before its figures."""
    said = [
        too_short(attempts, slots),
        held_back(attempts),
        connecting(attempts),
        batched(attempts),
        *_counted(attempts),
    ]
    return [label for label in said if label]


def too_short(attempts: Sequence[RequestRecord], slots: int | None) -> str | None:
    """Say that a closed loop was too short for its slots to be busy together for most of it."""
    asked, lasted_s = sum(r.last_attempt for r in attempts), wall_s(attempts)
    if slots is None or not lasted_s or asked >= REQUESTS_PER_SLOT * slots or lasted_s >= ROUND_S:
        return None
    return (
        f"too short for a throughput: {asked / slots:.3g} requests per slot in {lasted_s:.2g} s "
        f"(it takes {REQUESTS_PER_SLOT} per slot, or {ROUND_S:g} s)"
    )


def held_back(attempts: Sequence[RequestRecord]) -> str | None:
    """Say that a load was not open loop: requests had to wait for those before them."""
    first = [r for r in attempts if r.attempt == 1]
    due = [r.dequeued_unix_s - r.scheduled_unix_s for r in first if r.scheduled_unix_s and r.dequeued_unix_s]
    held = [late_s for late_s in due if late_s > HELD_BACK_S]
    if not held:
        return None
    return (
        f"not open loop: {len(held)} of {len(due)} requests were held back, by up to {max(held):.2g} s, "
        "by max_in_flight or requests_per_s"
    )


def connecting(attempts: Sequence[RequestRecord]) -> str | None:
    """Say that requests waited for a connection to be opened."""
    opened = [r.connected_unix_s - r.dequeued_unix_s for r in attempts if r.connected_unix_s and r.dequeued_unix_s]
    waited = [wait_s for wait_s in opened if wait_s > _LATE_S]
    if 2 * len(waited) <= len(opened):
        return None
    return (
        f"connections opened during the load: {len(waited)} of {len(opened)} requests waited for one, "
        f"{statistics.median(waited):.2g} s (median): this lowers the speeds but is not added to latencies"
    )


def batched(attempts: Sequence[RequestRecord]) -> str | None:
    """Say that tokens were collected before they were sent: their times are not those of their making."""
    streams = [r for r in attempts if r.last_attempt and r.is_whole and r.ttft_s is not None]
    together = sum(r.streaming == "batched" for r in streams)
    if not together:
        return None
    return f"times between tokens withheld: {together} of {len(streams)} streams came in batches"


def _counted(attempts: Sequence[RequestRecord]) -> list[str]:
    """Say which token counts are estimates, and which are not `completion_tokens` alone."""
    whole = [r for r in attempts if r.last_attempt and r.is_whole and not r.warm_up]
    claims = [r for r in whole if r.tokens_claimed is not None]
    estimates = sum(r.tokens_estimated and r.tokens_claimed is None for r in whole)
    rules = Counter(r.tokens_rule for r in whole if r.tokens_rule and not r.tokens_estimated)
    said = [f"tokens counted as {rule}: {n} of {len(whole)} answers" for rule, n in rules.items() if "_tokens " in rule]
    if estimates:
        said.append(f"tokens estimated: {estimates} of {len(whole)} answers came without a count")
    if claims:
        said.append(
            f"tokens estimated from the stream: the counts of {len(claims)} of {len(whole)} answers contradict it "
            f"({claims[0].contradiction})"
        )
    return said


def _per_s(moments_s: Sequence[float]) -> float | None:
    lasted_s = max(moments_s) - min(moments_s) if moments_s else 0.0
    return (len(moments_s) - 1) / lasted_s if lasted_s else None
