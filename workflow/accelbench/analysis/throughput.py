"""The speed of an endpoint as a whole, counted only while all slots were busy."""

from collections.abc import Sequence

from accelbench.records import SUCCESS, RequestRecord

ALL_AT_ONCE_S = 0.001  # an answer whose tokens came within it was collected before it was sent


def busy_speed(requests: Sequence[RequestRecord], slots: int, tokens: str = "completion_tokens") -> float | None:
    """Return the tokens per second of one round in the spans with all slots busy, each answer's spread evenly.

    A slot whose request fails is busy too, and brings nothing. An answer that came all at once was made since it
    was asked. None: the slots were never busy together, or a success has no token count.
    """
    busy = spans_with([(r.sent_unix_s, r.end_unix_s) for r in requests if r.sent_unix_s and r.end_unix_s], slots)
    busy_s = sum(end - start for start, end in busy)
    if busy_s <= 0:
        return None
    counted = 0.0
    for request in requests:
        if request.class_ not in SUCCESS or request.sent_unix_s is None or not request.e2e_s:
            continue
        count = getattr(request, tokens)
        if count is None:
            return None
        end, made_s = request.sent_unix_s + request.e2e_s, request.e2e_s - (request.ttft_s or 0.0)
        made_s = made_s if made_s > ALL_AT_ONCE_S else request.e2e_s
        inside = sum(max(0.0, min(end, stop) - max(end - made_s, start)) for start, stop in busy)
        counted += count * inside / made_s
    return counted / busy_s


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
