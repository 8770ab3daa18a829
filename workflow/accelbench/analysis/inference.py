"""The endpoints in figures: one row per endpoint and cell, and each endpoint's ratio to the baseline.

Latency is E2E: from the moment the request was written to the last token. What was delivered whole carries
latencies; failures stay in the denominator of the success rate, and count as infinite in percentiles of all requests.
"""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from accelbench.analysis import load
from accelbench.analysis.disturbance import busy_in_words, is_busy
from accelbench.analysis.intervals import (
    Description,
    Estimate,
    Observation,
    Proportion,
    describe,
    geometric_mean,
    proportion,
)
from accelbench.analysis.load import Load
from accelbench.analysis.percentiles import Percentiles, percentiles
from accelbench.analysis.ratios import Ratios, Speeds, ratios, speeds_by_round
from accelbench.analysis.sample import Hosts, Side, hosts_of, interleaving
from accelbench.analysis.tail import Gaps, Tail, gaps, tail
from accelbench.store.records import InferRoundRecord, RequestRecord


@dataclass(frozen=True, slots=True)
class InferenceRow:
    """One endpoint under one load, over its measured rounds. Warm-up requests are left out everywhere.

    `total_tok_per_s`, `output_tok_per_s` and `answer_tok_per_s` divide the tokens (prompt + completion; completion;
    completion without reasoning) of all successes by the sum of their latencies: the speed one request sees. Those of
    the `system_` are the speeds of the endpoint as a whole, described over rounds: in closed loop while all slots were
    busy, waits for a busy endpoint included. Scores are means over the answers that were delivered whole, an empty one
    counting as wrong.
    `ratio_to_baseline` is null for `baseline` itself, and without a pair.
    """

    endpoint: str
    cell: str
    concurrency: int
    rounds: int
    rounds_planned: int
    requests: int
    successes: int
    latency: Description | None
    typical_latency: Estimate | None
    ttft: Description | None
    tpot: Description | None
    total_tok_per_s: float | None
    output_tok_per_s: float | None
    system_output_tok_per_s: Description | None
    prompt_tokens: float | None
    completion_tokens: float | None
    exact_match: float | None
    f1: float | None
    contains_gold: float | None
    failures: str | None
    missing: str | None
    ratio_to_baseline: Ratios | None
    baseline: str | None = None
    labels: str | None = None
    """What a reader must know of this load before its figures."""
    scenario: str | None = None
    rate_per_s: float | None = None
    """Arrivals per second that were asked for; null: closed loop."""
    context_tokens: int | None = None
    """What prompts were to be filled to; null: they were not filled."""
    max_tokens: int | None = None
    truncated: int | None = None
    latency_tail: Tail | None = None
    latency_of_all: Tail | None = None
    ttft_tail: Tail | None = None
    ttft_of_all: Tail | None = None
    ttfat: Description | None = None
    from_schedule_latency: Description | None = None
    """Open loop: from the moment a request was due."""
    requests_per_s: Description | None = None
    """Successes per second of a round, over rounds."""
    due_per_s: float | None = None
    """Open loop: arrivals per second as drawn, and as sent; means over rounds."""
    sent_per_s: float | None = None
    late_sends: int | None = None
    waited_s: float | None = None
    """Seconds that requests waited, all together, after answers that the endpoint was busy."""

    itl: Gaps | None = None
    """All gaps between the tokens of streams that came as they were made."""
    answer_tok_per_s: float | None = None
    system_total_tok_per_s: Description | None = None
    system_answer_tok_per_s: Description | None = None
    latency_percentiles: Percentiles | None = None
    ttft_percentiles: Percentiles | None = None
    success_rate: Proportion | None = None
    exact_match_share: Proportion | None = None
    f1_mean: Proportion | None = None
    contains_share: Proportion | None = None
    exact_match_folded: Proportion | None = None
    f1_folded: Proportion | None = None

    busy_rounds: tuple[int, ...] = ()
    """Those during which the host was busy with other work."""

    @property
    def load(self) -> str:
        """The load in words."""
        if self.rate_per_s is not None:
            return f"open loop, {self.rate_per_s:g} requests per s"
        return f"{self.concurrency} at a time" if self.concurrency else "concurrency not recorded"


def inference_rows(
    rounds: Sequence[InferRoundRecord],
    requests: Sequence[RequestRecord],
    loads: Mapping[str, Load],
    baseline: str | None,
    largest_gap_s: float,
) -> list[InferenceRow]:
    """Return one row per endpoint and cell, cells together, in the order of the config.

    Ratios are paired where the same prompt was asked of both within `largest_gap_s`, from one host.
    """
    attempts: dict[tuple[str, str], list[RequestRecord]] = defaultdict(list)
    for request in requests:
        if not request.warm_up:
            attempts[request.endpoint, request.cell].append(request)
    rows = []
    for cell in dict.fromkeys(record.cell for record in rounds):
        endpoints = list(dict.fromkeys(r.endpoint for r in rounds if r.cell == cell))
        against = baseline if baseline in endpoints else endpoints[0]
        base = _Measured.of(against, cell, attempts[against, cell], loads[cell], hosts_of(against, cell, rounds))
        for endpoint in endpoints:
            planned = [r for r in rounds if (r.endpoint, r.cell) == (endpoint, cell)]
            if endpoint == against:
                rows.append(_row(planned, base, loads[cell], None, against))
                continue
            hosts = hosts_of(endpoint, cell, rounds)
            own = _Measured.of(endpoint, cell, attempts[endpoint, cell], loads[cell], hosts)
            met = interleaving(own.side.asked, base.side.asked, largest_gap_s)
            over_base = ratios(own.side, base.side, own.speeds, base.speeds, met)
            rows.append(_row(planned, own, loads[cell], over_base, against))
    return rows


@dataclass(frozen=True, slots=True)
class _Measured:
    """What one endpoint did under one load: all attempts by round, the requests, the speeds of each round."""

    rounds: Mapping[int, list[RequestRecord]]
    side: Side
    speeds: Speeds

    @classmethod
    def of(
        cls, endpoint: str, cell: str, attempts: Sequence[RequestRecord], asked_for: Load, hosts: Hosts
    ) -> "_Measured":
        rounds = _by_round(attempts)
        return cls(rounds, Side.of(endpoint, cell, attempts, hosts), speeds_by_round(rounds, asked_for.slots))


def _row(
    planned: Sequence[InferRoundRecord], own: _Measured, asked_for: Load, over_base: Ratios | None, baseline: str
) -> InferenceRow:
    asked, good = own.side.requests, own.side.good
    whole = [request for request in asked if request.is_whole]
    failed = len(asked) - len(whole)
    latencies = [request.e2e_s for request in good if request.e2e_s is not None]
    slots, is_open = asked_for.slots, asked_for.rate_per_s is not None
    rounds = list(own.rounds.values())
    prompt, completion = _tokens(good, "prompt_tokens"), _tokens(good, "completion_tokens")
    missing = [f"round {r.round} {r.state}: {r.why}" for r in planned if r.state != "measured"]
    return InferenceRow(
        endpoint=planned[0].endpoint,
        cell=planned[0].cell,
        **asdict(asked_for),
        rounds=len(planned) - len(missing),
        rounds_planned=len(planned),
        requests=len(asked),
        successes=len(good),
        truncated=sum(request.class_ == "truncated_length" for request in good),
        latency=describe(request.e2e_s for request in whole),
        typical_latency=geometric_mean(list(own.side.observations("e2e_s").values())),
        latency_tail=tail(request.e2e_s for request in whole),
        latency_of_all=tail((request.e2e_s for request in whole), failures=failed),
        latency_percentiles=percentiles(_timed(whole, lambda r: r.e2e_s)),
        ttft=describe(request.as_streamed(request.ttft_s) for request in whole),
        ttft_tail=tail(request.as_streamed(request.ttft_s) for request in whole),
        ttft_of_all=_ttft_of_all(whole, failed),
        ttft_percentiles=percentiles(_timed(whole, lambda r: r.as_streamed(r.ttft_s))),
        ttfat=describe(request.as_streamed(request.ttfat_s) for request in good),
        tpot=describe(request.as_streamed(request.tpot_s) for request in whole),
        itl=gaps(whole),
        from_schedule_latency=describe(load.from_schedule_s(request, request.e2e_s) for request in whole),
        total_tok_per_s=_speed(prompt + completion, latencies) if prompt and completion else None,
        output_tok_per_s=_speed(completion, latencies),
        answer_tok_per_s=_speed(_tokens(good, "answer_tokens"), latencies),
        system_total_tok_per_s=describe(own.speeds["total_tokens"].values()),
        system_output_tok_per_s=describe(own.speeds["completion_tokens"].values()),
        system_answer_tok_per_s=describe(own.speeds["answer_tokens"].values()),
        requests_per_s=describe(own.speeds["requests"].values()),
        due_per_s=_mean_over(rounds, load.due_per_s),
        sent_per_s=_mean_over(rounds, load.sent_per_s) if is_open else None,
        late_sends=load.late_sends(asked) if is_open else None,
        waited_s=sum(load.waited_s(attempts) for attempts in rounds),
        prompt_tokens=_mean(prompt),
        completion_tokens=_mean(completion),
        success_rate=proportion([_observation(r, r.is_success) for r in asked]),
        exact_match_share=proportion(_scored(good, "exact_match")),
        f1_mean=proportion(_scored(good, "f1")),
        contains_share=proportion(_scored(good, "contains_gold")),
        exact_match_folded=proportion(_scored(good, "exact_match_folded")),
        f1_folded=proportion(_scored(good, "f1_folded")),
        exact_match=_mean(r.exact_match for r in asked),
        f1=_mean(r.f1 for r in asked),
        contains_gold=_mean(r.contains_gold for r in asked),
        failures=_counted(r.class_ for r in asked if not r.is_success),
        missing="; ".join(missing) or None,
        labels="; ".join([*_busy(planned), *_labels(rounds, slots)]) or None,
        busy_rounds=tuple(r.round for r in planned if is_busy(r.host_activity)),
        ratio_to_baseline=over_base,
        baseline=baseline,
    )


def _busy(planned: Sequence[InferRoundRecord]) -> list[str]:
    said = busy_in_words([r.host_activity for r in planned if r.state == "measured"])
    return [f"busy host: {said}"] if said else []


def _by_round(attempts: Iterable[RequestRecord]) -> dict[int, list[RequestRecord]]:
    """Return the attempts round by round: above one at a time, the round is what is independent."""
    rounds: dict[int, list[RequestRecord]] = defaultdict(list)
    for attempt in attempts:
        rounds[attempt.round].append(attempt)
    return {number: rounds[number] for number in sorted(rounds)}


def _mean_over(
    rounds: Sequence[Sequence[RequestRecord]], figure: Callable[[Sequence[RequestRecord]], float | None]
) -> float | None:
    return _mean(figure([attempt for attempt in own if attempt.last_attempt]) for own in rounds)


def _ttft_of_all(whole: Sequence[RequestRecord], failed: int) -> Tail:
    """Return the percentiles with failures as infinite; none where a whole answer has no TTFT: it was no failure."""
    timed = [request.as_streamed(request.ttft_s) for request in whole]
    return tail([]) if None in timed else tail(timed, failures=failed)


def _labels(rounds: Iterable[Sequence[RequestRecord]], slots: int | None) -> list[str]:
    """Return the labels of all rounds; those that differ in figures alone, once."""
    by_kind: dict[str, list[str]] = defaultdict(list)
    for own in rounds:
        for label in load.labels(own, slots):
            by_kind[label.partition(":")[0]].append(label)
    return [found[0] + (f" (the first of {len(found)} such rounds)" if found[1:] else "") for found in by_kind.values()]


def _counted(classes: Iterable[str]) -> str | None:
    """Return "2 connection, 1 timeout_read"."""
    there = list(classes)
    return ", ".join(f"{there.count(kind)} {kind}" for kind in sorted(set(there))) or None


def _scored(requests: Iterable[RequestRecord], score: str) -> list[Observation]:
    """Return the scores of those that have one."""
    return [_observation(r, value) for r in requests if (value := getattr(r, score)) is not None]


def _observation(request: RequestRecord, value: float) -> Observation:
    return Observation(float(value), request.passage or request.key, request.round)


def _timed(requests: Iterable[RequestRecord], seconds: Callable[[RequestRecord], float | None]) -> list[Observation]:
    """Return the times of those that have one."""
    return [_observation(r, value) for r in requests if (value := seconds(r))]


def _tokens(requests: Iterable[RequestRecord], kind: str) -> list[float]:
    """Return the token counts of all requests; none at all if one endpoint answer lacks its count."""
    counts = [getattr(request, kind) for request in requests]
    return [] if None in counts else counts


def _speed(tokens: Sequence[float], latencies: Sequence[float]) -> float | None:
    return sum(tokens) / sum(latencies) if tokens and sum(latencies) > 0 else None


def _mean(values: Iterable[float | None]) -> float | None:
    there = [float(value) for value in values if value is not None]
    return statistics.fmean(there) if there else None
