"""When an answer's tokens came: latencies by their definitions, and whether the stream was passed on as it was made.

Times count from the moment the request was written. TTFT: to the first token event of any kind. TTFAT: to the first
token of the answer, reasoning left out. E2E: to the last token event (unstreamed: the last byte). TPOT: (E2E - TTFT)
by the tokens after the first arrival.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from accelbench.inference.answers.events import Answer, TokenEvent

FIRST_EVENT_SHARE = 0.25  # TPOT says nothing when the first arrival held more of the tokens than this

# A gateway that batches (ALCF's Sophia: 20 chunks or 0.5 s) sends many events at once, at a regular beat. A server
# that decodes speculatively sends a few per step, unevenly; TCP joins two or three when a reader is late.
TELLING_EVENTS = 10  # fewer may all come of one speculative step
PAUSE_S = 0.05  # 20 chunks last longer below 400 tokens/s; a step on an accelerator takes 10 to 50 ms
PAUSED_SHARE = 0.9  # of the span: inside a batch, events come ten times as fast as over all
BATCH_EVENTS = 4  # more than TCP joins by chance; 0.5 s at 8 tokens/s
REGULAR = 0.5  # the smallest batch to the median one: accepted tokens per speculative step vary more
TELLING_BATCHES = 4  # the first and the last may be partial
FASTEST_TOK_PER_S = 10_000  # what comes faster was collected: published single streams reach 2,000 tokens/s

Streaming = Literal["faithful", "batched", "none"]


@dataclass(frozen=True, slots=True)
class ArrivalTimes:
    """Latencies of one attempt, in seconds; null: not streamed, or can't be said."""

    ttft_s: float | None
    ttfat_s: float | None
    tpot_s: float | None
    e2e_s: float | None


def arrival_times(answer: Answer, tokens: int | None, *, sent_s: float, last_byte_s: float) -> ArrivalTimes:
    """Return the latencies of an answer of `tokens` tokens, from when it was asked for to its last byte."""
    events = answer.token_events
    if not events:
        return ArrivalTimes(None, None, None, last_byte_s - sent_s)
    first_s, last_s = events[0].at_s, events[-1].at_s
    first_answer_s = next((event.at_s for event in events if event.kind == "answer"), None)
    return ArrivalTimes(
        ttft_s=first_s - sent_s,
        ttfat_s=None if first_answer_s is None else first_answer_s - sent_s,
        tpot_s=_tpot(last_s - first_s, events, tokens),
        e2e_s=last_s - sent_s,
    )


def streaming(events: Sequence[TokenEvent]) -> Streaming | None:
    """Tell from the arrival pattern whether tokens were passed on as they were made; null: too few events to tell.

    `batched`: TTFT and the times between tokens are the gateway's, not the server's. `none`: not streamed.
    """
    if not events:
        return "none"
    if len(events) < TELLING_EVENTS:
        return None
    span_s = events[-1].at_s - events[0].at_s
    if span_s < len(events) / FASTEST_TOK_PER_S:
        return "batched"
    gaps_s = [late.at_s - early.at_s for early, late in pairwise(events)]
    if sum(gap_s for gap_s in gaps_s if gap_s >= PAUSE_S) < PAUSED_SHARE * span_s:
        return "faithful"
    batches = _batches(gaps_s)
    if len(batches) < TELLING_BATCHES:
        return None
    usual, smallest = statistics.median(batches[1:-1]), min(batches[1:-1])
    return "batched" if usual >= BATCH_EVENTS and smallest >= REGULAR * usual else "faithful"


def _batches(gaps_s: Sequence[float]) -> list[int]:
    """Return the number of events between pauses."""
    batches = [1]
    for gap_s in gaps_s:
        if gap_s >= PAUSE_S:
            batches.append(0)
        batches[-1] += 1
    return batches


def _tpot(span_s: float, events: Sequence[TokenEvent], tokens: int | None) -> float | None:
    """Divide by the tokens after the first arrival: all events of the first read, their share by characters.

    Where events and tokens are as many (usage counts the end token, which no event shows), events are counted.
    """
    characters = sum(event.characters for event in events)
    burst = [event.characters for event in events if event.at_s == events[0].at_s]
    if not tokens or len(events) < 2 or not characters:
        return None
    share = sum(burst) / characters if tokens > len(events) + 1 else len(burst) / tokens
    first = max(1.0, share * tokens)
    return span_s / (tokens - first) if first <= FIRST_EVENT_SHARE * tokens else None
