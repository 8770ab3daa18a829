"""One endpoint over the baseline, metric by metric, with intervals.

Times are compared prompt by prompt: the typical ratio (geometric mean) over the prompts that both answered in the same
round. Means and the speed that requests see are compared as such, over the same prompts; their intervals come from
what each prompt adds to the logarithm of the ratio, to first order. A throughput is a round's: it is compared round by
round.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from accelbench.analysis.sides import Side
from accelbench.analysis.spread import Spread, deviation, half_width, spreads_of, too_few
from accelbench.analysis.statistics import Estimate, paired_ratio
from accelbench.analysis.throughput import TOKENS, requests_per_s, speeds
from accelbench.records import RequestRecord

Pair = tuple[RequestRecord, RequestRecord]
"""Ours and theirs."""
Speeds = Mapping[str, Mapping[int, float]]
"""Kind of token, or "requests" -> round -> per second."""


@dataclass(frozen=True, slots=True)
class Ratios:
    """Ours / the baseline's; null where a metric is not known of both."""

    mean_latency: Estimate | None
    typical_latency: Estimate | None
    ttft: Estimate | None
    ttfat: Estimate | None
    tpot: Estimate | None
    total_tok_per_s: Estimate | None
    output_tok_per_s: Estimate | None
    answer_tok_per_s: Estimate | None
    system_total_tok_per_s: Estimate | None
    system_output_tok_per_s: Estimate | None
    system_answer_tok_per_s: Estimate | None
    requests_per_s: Estimate | None
    completion_tokens: Estimate | None


def ratios(ours: Side, theirs: Side, our_speeds: Speeds, their_speeds: Speeds) -> Ratios:
    """Compare two endpoints under one load."""
    whole, good = _paired(ours.whole, theirs.whole), _paired(ours.good, theirs.good)
    passages = len({_passage(request) for request in ours.whole})

    def typical(metric: str) -> Estimate | None:
        return paired_ratio(ours.observations(metric), theirs.observations(metric))

    def system(kind: str) -> Estimate | None:
        one, other = our_speeds[kind], their_speeds[kind]
        pairs = [(one[number], other[number]) for number in one if number in other]
        return over_rounds([mine / base for mine, base in pairs if mine and base], passages)

    def counted(kind: str) -> bool:
        return all(getattr(request, kind) is not None for request in (*ours.good, *theirs.good))

    def per_request(kind: str) -> Estimate | None:
        return ratio_of_quotients(good, kind, "e2e_s") if counted(kind) else None

    return Ratios(
        mean_latency=ratio_of_quotients(whole, "e2e_s"),
        typical_latency=typical("e2e_s"),
        ttft=typical("ttft_s"),
        ttfat=typical("ttfat_s"),
        tpot=typical("tpot_s"),
        total_tok_per_s=per_request("total_tokens"),
        output_tok_per_s=per_request("completion_tokens"),
        answer_tok_per_s=per_request("answer_tokens"),
        system_total_tok_per_s=system("total_tokens"),
        system_output_tok_per_s=system("completion_tokens"),
        system_answer_tok_per_s=system("answer_tokens"),
        requests_per_s=system("requests"),
        completion_tokens=ratio_of_quotients(good, "completion_tokens") if counted("completion_tokens") else None,
    )


def speeds_by_round(rounds: Mapping[int, Sequence[RequestRecord]], slots: int | None) -> Speeds:
    """Return the speeds of an endpoint as a whole, round by round, where they are known.

    The rounds hold all attempts. `slots`: the concurrency of a closed loop; None in open loop.
    """
    found: dict[str, dict[int, float]] = {kind: {} for kind in (*TOKENS, "requests")}
    for number, own in rounds.items():
        for kind, per_s in {**speeds(own, slots), "requests": requests_per_s(own)}.items():
            if per_s is not None:
                found[kind][number] = per_s
    return found


def ratio_of_quotients(pairs: Sequence[Pair], over: str, under: str | None = None) -> Estimate | None:
    """Estimate the ratio of two quotients of sums (tokens over seconds), or of two means where nothing is `under`.

    Pairs without all figures are left out; None where none is left.
    """
    names = (over,) if under is None else (over, under)
    figures = ((one, [getattr(r, name) for r in (one, other) for name in names]) for one, other in pairs)
    known = [(one, own) for one, own in figures if None not in own]
    parts = np.array([own for _, own in known], dtype=float)
    means = parts.mean(axis=0) if known else np.zeros(1)
    if not (means > 0).all():
        return None
    signs = np.array([1, -1]) if under is None else np.array([1, -1, -1, 1])
    value = float(np.prod(means**signs))
    passages, rounds = [_passage(one) for one, _ in known], [one.round for one, _ in known]
    why = too_few(len(set(passages)), len(set(rounds)))
    if why:
        return Estimate(value, None, None, len(known), why)
    moves = parts / means @ signs
    factor = math.exp(half_width(spreads_of(moves.tolist(), passages, rounds)))
    return Estimate(value, value / factor, value * factor, len(known))


def over_rounds(by_round: Sequence[float], passages: int) -> Estimate | None:
    """Estimate a ratio from those of single rounds, by a t interval of their logarithms; None without any."""
    if not by_round:
        return None
    logs, n = [math.log(ratio) for ratio in by_round], len(by_round)
    value = math.exp(math.fsum(logs) / n)
    why = too_few(passages, n)
    if why:
        return Estimate(value, None, None, n, why)
    factor = math.exp(Spread(deviation(logs) / math.sqrt(n), n - 1).half_width())
    return Estimate(value, value / factor, value * factor, n)


def _paired(ours: Sequence[RequestRecord], theirs: Sequence[RequestRecord]) -> list[Pair]:
    """Return the requests of one prompt in one round."""
    by_prompt = {(request.round, request.key): request for request in theirs}
    return [(one, by_prompt[one.round, one.key]) for one in ours if (one.round, one.key) in by_prompt]


def _passage(request: RequestRecord) -> str:
    return request.passage or request.key
