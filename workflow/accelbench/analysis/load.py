"""One load in figures: classes, latencies, speeds, throughput, and what has to be said beside them.

In closed loop, throughput is taken only while all slots were busy; in open loop from the first request to the last.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accelbench.foreign import message, one_line
from accelbench.store.records import contradiction
from accelbench.store.requests import Column, Requests

TOKENS = ("total_tokens", "completion_tokens", "answer_tokens")
ALL_AT_ONCE_S = 0.001  # an answer whose tokens came within it was collected before it was sent

Spans = tuple[Column, Column]
"""When some intervals begin and when they end."""


def speeds(attempts: Requests, slots: int | None) -> dict[str, float | None]:
    """Return what the successes of one load brought per second: tokens, kind by kind, and `requests`.

    `attempts` are all of the load; `slots`: None in open loop. None where a success has no token count, or the slots
    were never busy together; the requests then are those of the whole load.
    """
    good = _good(attempts)
    starts, ends = (np.empty(0), np.empty(0)) if slots is None else spans_with(_occupied(attempts), slots)
    is_busy = len(starts) > 0
    lasted_s = float((ends - starts).sum()) if is_busy else wall_s(attempts)
    if not lasted_s:
        return dict.fromkeys((*TOKENS, "requests"))
    shares = _shares(good, (starts, ends)) if is_busy else np.ones(len(good))
    found: dict[str, float | None] = {"requests": float(shares.sum()) / lasted_s}
    for kind in TOKENS:
        counts = good[kind]
        known = len(good) and not np.isnan(counts).any() and (is_busy or slots is None)
        found[kind] = float(counts @ shares) / lasted_s if known else None
    return found


def user_speed(attempts: Requests) -> float | None:
    """Return the output tokens per second of one load as its user sees them: of all successes, over their latencies."""
    good = _good(attempts)
    tokens, latencies_s = float(good["completion_tokens"].sum()), float(np.nansum(good["e2e_s"]))
    return tokens / latencies_s if len(good) and not np.isnan(tokens) and latencies_s else None


def wall_s(attempts: Requests) -> float | None:
    """Return the seconds from the first request's turn to the last answer's end.

    The health calls between the requests of a sequential load are in them.
    """
    lasted_s = 0.0
    for own in attempts.by("session").values():
        ends, due = _there(own["end_unix_s"]), _there(own["scheduled_unix_s"])
        begins = _there(np.where(np.isnan(due), own["dequeued_unix_s"], due))
        if not (np.isnan(ends).all() or np.isnan(begins).all()):
            lasted_s += float(np.nanmax(ends) - np.nanmin(begins))
    return lasted_s or None


def spans_with(spans: Spans, slots: int) -> Spans:
    """Return the intervals in which at least `slots` of the spans overlap."""
    at_s, change = np.concatenate(spans), np.repeat([1, -1], [len(own) for own in spans])
    order = np.lexsort((change, at_s))
    at_s, change = at_s[order], change[order]
    after = np.cumsum(change)
    before = after - change
    return at_s[(before < slots) & (slots <= after)], at_s[(before >= slots) & (slots > after)]


def _shares(requests: Requests, busy: Spans) -> Column:
    """Return the share of each answer that was made within some spans of time, its tokens spread evenly.

    An answer that came all at once was made since it was asked.
    """
    lasted_s, first_s = _there(requests["e2e_s"]), requests["ttft_s"]
    ends, made_s = requests["sent_unix_s"] + lasted_s, lasted_s - np.nan_to_num(first_s)
    made_s = np.where(made_s > ALL_AT_ONCE_S, made_s, lasted_s)
    return np.nan_to_num((_covered_s(busy, ends) - _covered_s(busy, ends - made_s)) / made_s)


def _covered_s(spans: Spans, until: Column) -> Column:
    """Return how many seconds of the spans lie before some moments. The spans are in order, and none overlap."""
    starts, ends = spans
    before_s = np.concatenate([[0.0], np.cumsum(ends - starts)])
    begun = np.searchsorted(starts, until, side="right")
    last = np.maximum(begun - 1, 0)
    return np.where(begun > 0, before_s[last] + np.minimum(until, ends[last]) - starts[last], 0.0)


def _there(moments_s: Column) -> Column:
    """Return moments, or times, of which 0 says that there is none."""
    return np.where(moments_s == 0, np.nan, moments_s)


def _occupied(attempts: Requests) -> Spans:
    """Return from when to when each request held a slot: connections are opened, and busy answers waited for, in it.

    Requests that other tools measured don't say when it was their turn to connect: they hold it from their sending.
    """
    sent, turn = _there(attempts["sent_unix_s"]), _there(attempts["dequeued_unix_s"])
    is_told = ~np.isnan(_there(attempts["connected_unix_s"])) | np.isnan(sent)
    held = {"begin": np.where(is_told, turn, sent), "end": _there(attempts["end_unix_s"])}
    requests = pd.DataFrame({"request": _numbers(attempts)} | held).dropna().groupby("request", sort=False)
    return requests["begin"].min().to_numpy(), requests["end"].max().to_numpy()


def _numbers(attempts: Requests) -> NDArray[np.intp]:
    """Number the requests: a key within a session. (As texts, pandas would copy all keys.)"""
    keys, names = pd.factorize(attempts["key"])
    return pd.factorize(attempts["session"])[0] * len(names) + keys


def _good(attempts: Requests) -> Requests:
    return attempts.where(attempts["last_attempt"] & attempts["is_success"])


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
    arrivals: str | None = None
    """How requests arrive, in words, where the rate does not say it all."""
    context_tokens: int | None = None
    max_tokens: int | None = None
    output_tokens: int | None = None
    """Of each answer, where that was fixed."""
    prefix: str | None = None
    """What its prompts begin with: which requests share a prefix, and its share of the prompt."""

    @property
    def slots(self) -> int | None:
        """The concurrency of a closed loop; None: open loop, or not known."""
        return (self.concurrency or None) if self.rate_per_s is None else None


def reasons_by_class(attempts: Requests) -> dict[str, str]:
    """Return the commonest reason of each class that is no success: status, finish_reason, the endpoint's own text."""
    said: dict[str, Counter[str]] = {}
    failed = attempts.where(~attempts["is_success"])
    told = zip(*(failed[name] for name in ("class_", "http_status", "finish_reason", "error_text")), strict=True)
    for (kind, *reason), count in Counter(told).items():
        said.setdefault(kind, Counter())[_reason(*reason)] += count
    return {kind: own.most_common(1)[0][0] for kind, own in said.items()}


def _reason(http_status: float, finish_reason: str | None, error_text: str | None) -> str:
    status = "" if http_status == 200 or np.isnan(http_status) else f"status {http_status:.0f}"
    ended = f"finish_reason {finish_reason}" if finish_reason else ""
    text = message(error_text or "")
    parts = [status, ended if ended not in text else "", text]
    return one_line(": ".join(part for part in parts if part) or "no reason given", MOST_REASON)


def from_schedule_s(requests: Requests, latencies_s: Column) -> Column:
    """Return latencies counted from the moment the requests were due; NaN in closed loop."""
    return latencies_s + _there(requests["sent_unix_s"]) - _there(requests["scheduled_unix_s"])


def waited_s(attempts: Requests) -> float:
    """Return the total seconds that requests waited after the endpoint reported that it was busy."""
    was_busy = (attempts["class_"] == "rate_limited") | (attempts["http_status"] == 503)
    if not was_busy.any():
        return 0.0
    times = {name: _there(attempts[name]) for name in ("dequeued_unix_s", "end_unix_s")}
    tries = pd.DataFrame({"request": _numbers(attempts), "attempt": attempts["attempt"], "was_busy": was_busy} | times)
    tries = tries.sort_values(["request", "attempt"])
    waits_s = tries.groupby("request")["dequeued_unix_s"].shift(-1) - tries["end_unix_s"]
    return float(waits_s[tries["was_busy"]].clip(lower=0).sum())


def sent_per_s(asked: Requests) -> float | None:
    """Return the sends per second of an open loop, between the first and the last; beside it stands what was due."""
    return _per_s(_there(asked["sent_unix_s"]))


def due_per_s(asked: Requests) -> float | None:
    """Return the arrivals per second as drawn."""
    return _per_s(_there(asked["scheduled_unix_s"]))


def late_sends(asked: Requests) -> int:
    """Return how many requests of an open loop were written late, whatever held them."""
    return int((_there(asked["sent_unix_s"]) - _there(asked["scheduled_unix_s"]) > _LATE_S).sum())


def labels(attempts: Requests, slots: int | None) -> list[str]:
    """Return what a reader must know of one load before its figures."""
    said = [
        too_short(attempts, slots),
        held_back(attempts),
        connecting(attempts),
        batched(attempts),
        *_counted(attempts),
    ]
    return [label for label in said if label]


def too_short(attempts: Requests, slots: int | None) -> str | None:
    """Say that a closed loop was too short for its slots to be busy together for most of it."""
    asked, lasted_s = int(attempts["last_attempt"].sum()), wall_s(attempts)
    if slots is None or not lasted_s or asked >= REQUESTS_PER_SLOT * slots or lasted_s >= ROUND_S:
        return None
    return (
        f"too short for a throughput: {asked / slots:.3g} requests per slot in {lasted_s:.2g} s "
        f"(it takes {REQUESTS_PER_SLOT} per slot, or {ROUND_S:g} s)"
    )


def held_back(attempts: Requests) -> str | None:
    """Say that a load was not open loop: requests had to wait for those before them."""
    first = attempts.where(attempts["attempt"] == 1)
    late_s = _there(first["dequeued_unix_s"]) - _there(first["scheduled_unix_s"])
    held = int((late_s > HELD_BACK_S).sum())
    if not held:
        return None
    return (
        f"not open loop: {held} of {_count(late_s)} requests were held back, by up to {np.nanmax(late_s):.2g} s, "
        "by max_in_flight or requests_per_s"
    )


def connecting(attempts: Requests) -> str | None:
    """Say that requests waited for a connection to be opened."""
    opened_s = _there(attempts["connected_unix_s"]) - _there(attempts["dequeued_unix_s"])
    waited = opened_s[opened_s > _LATE_S]
    if 2 * len(waited) <= _count(opened_s):
        return None
    return (
        f"connections opened during the load: {len(waited)} of {_count(opened_s)} requests waited for one, "
        f"{np.median(waited):.2g} s (median): this lowers the speeds but is not added to latencies"
    )


def batched(attempts: Requests) -> str | None:
    """Say that tokens were collected before they were sent: their times are not those of their making."""
    streams = attempts.where(attempts["last_attempt"] & attempts["is_whole"] & ~np.isnan(attempts["ttft_s"]))
    together = int((streams["streaming"] == "batched").sum())
    if not together:
        return None
    return f"times between tokens withheld: {together} of {len(streams)} streams came in batches"


def _counted(attempts: Requests) -> list[str]:
    """Say which token counts are estimates, and which are not `completion_tokens` alone."""
    whole = attempts.where(attempts["last_attempt"] & attempts["is_whole"] & ~attempts["warm_up"])
    claimed, estimated = ~np.isnan(whole["tokens_claimed"]), whole["tokens_estimated"]
    claims, estimates = whole.where(claimed), int((estimated & ~claimed).sum())
    rules = Counter(rule for rule in whole["tokens_rule"][~estimated] if rule)
    said = [f"tokens counted as {rule}: {n} of {len(whole)} answers" for rule, n in rules.items() if "_tokens " in rule]
    if estimates:
        said.append(f"tokens estimated: {estimates} of {len(whole)} answers came without a count")
    if len(claims):
        claim = contradiction(int(claims["tokens_claimed"][0]), int(np.nan_to_num(claims["events"][0])))
        said.append(
            f"tokens estimated from the stream: the counts of {len(claims)} of {len(whole)} answers contradict it "
            f"({claim})"
        )
    return said


def other_lengths(asked: Requests, output_tokens: int | None) -> str | None:
    """Say how many answers have not the tokens that were asked for; None where all do, or none were.

    `output_tokens`: what was asked of requests that don't record it.
    """
    good, default = _good(asked), np.nan if output_tokens is None else output_tokens
    wanted = np.where(np.isnan(good["output_tokens_asked"]), default, good["output_tokens_asked"])
    tokens = np.where(good["tokens_estimated"], np.nan, good["completion_tokens"])[~np.isnan(wanted)]
    wanted = wanted[~np.isnan(wanted)]
    other, unknown = int((tokens != wanted).sum()), int(np.isnan(tokens).sum())
    if not other:
        return None
    is_same = wanted.min() == wanted.max()
    length = f"{wanted[0]:,.0f} tokens" if is_same else "the tokens of the trace"
    if unknown == len(tokens):
        return f"whether answers have {length} is not known: usage does not count them"
    found, sign = (tokens, "") if is_same else (tokens - wanted, "+")
    span = f"{np.nanmin(found):{sign},.0f} to {np.nanmax(found):{sign},.0f}"
    they = f"they {'have' if is_same else 'differ by'} {span}" + (f", {unknown} not known" if unknown else "")
    return f"answers of other lengths: {other} of {len(tokens)} don't have {length} ({they})"


def abandoned(asked: Requests) -> str | None:
    """Say how many conversations did not come to their last turn; None where all did."""
    begun, turns = asked["turn"] == 1, asked["turns"]
    ended = int((asked["turn"] == turns).sum())
    if (count := int(begun.sum())) <= ended:
        return None
    unsent = int(turns[begun].sum()) - int((turns > 0).sum())
    why = "after a turn that failed, or at the end of the round's time"
    return f"abandoned conversations: {count - ended} of {count}, {why}; {unsent} turns were not sent"


def _per_s(moments_s: Column) -> float | None:
    count = _count(moments_s)
    lasted_s = float(np.nanmax(moments_s) - np.nanmin(moments_s)) if count else 0.0
    return (count - 1) / lasted_s if lasted_s else None


def _count(values: Column) -> int:
    return int((~np.isnan(values)).sum())
