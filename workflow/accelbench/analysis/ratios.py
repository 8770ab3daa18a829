"""One endpoint over the baseline, metric by metric, with intervals.

Where the endpoints were interleaved, times are compared prompt by prompt: the typical ratio (geometric mean) over the
prompts that both answered in the same round. Means and the speed that requests see are compared as such, over the same
prompts (`quotients`). A throughput is a round's: it is compared round by round. Where they were not interleaved, each
side is a sample of its own, as in the verdicts, and intervals are Welch's.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from accelbench.analysis.contrast import contrast
from accelbench.analysis.interleaving import Interleaving
from accelbench.analysis.quotients import compared, ratio_of_means
from accelbench.analysis.sides import Side
from accelbench.analysis.spread import Spread, deviation, too_few, welch
from accelbench.analysis.statistics import Estimate
from accelbench.analysis.throughput import TOKENS, speeds
from accelbench.records import RequestRecord

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


def ratios(ours: Side, theirs: Side, our_speeds: Speeds, their_speeds: Speeds, met: Interleaving) -> Ratios:
    """Compare two endpoints under one load; in pairs only where they met."""

    def typical(metric: str) -> Estimate | None:
        found = contrast(ours, theirs, metric, met)
        return found.estimate() if found else None

    def system(kind: str) -> Estimate | None:
        one, other = our_speeds[kind], their_speeds[kind]
        if not met.interleaved:
            passages = min(_passages(ours.whole), _passages(theirs.whole))
            return over_separate_rounds(list(one.values()), list(other.values()), passages)
        pairs = [(one[number], other[number]) for number in one if number in other]
        return over_rounds([mine / base for mine, base in pairs if mine and base], _passages(ours.whole))

    def quotient(over: str, under: str | None = None) -> Estimate | None:
        if any(getattr(request, over) is None for request in (*ours.good, *theirs.good)):
            return None
        return compared(ours, theirs, met, (ours.good, theirs.good), over, under)

    return Ratios(
        mean_latency=ratio_of_means(ours, theirs, met),
        typical_latency=typical("e2e_s"),
        ttft=typical("ttft_s"),
        ttfat=typical("ttfat_s"),
        tpot=typical("tpot_s"),
        total_tok_per_s=quotient("total_tokens", "e2e_s"),
        output_tok_per_s=quotient("completion_tokens", "e2e_s"),
        answer_tok_per_s=quotient("answer_tokens", "e2e_s"),
        system_total_tok_per_s=system("total_tokens"),
        system_output_tok_per_s=system("completion_tokens"),
        system_answer_tok_per_s=system("answer_tokens"),
        requests_per_s=system("requests"),
        completion_tokens=quotient("completion_tokens"),
    )


def speeds_by_round(rounds: Mapping[int, Sequence[RequestRecord]], slots: int | None) -> Speeds:
    """Return the speeds of an endpoint as a whole, round by round, where they are known.

    The rounds hold all attempts. `slots`: the concurrency of a closed loop; None in open loop.
    """
    found: dict[str, dict[int, float]] = {kind: {} for kind in (*TOKENS, "requests")}
    for number, own in rounds.items():
        for kind, per_s in speeds(own, slots).items():
            if per_s is not None:
                found[kind][number] = per_s
    return found


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


def over_separate_rounds(ours: Sequence[float], theirs: Sequence[float], passages: int) -> Estimate | None:
    """Estimate a ratio of typical rounds of two sides that share no conditions, by Welch's interval of logarithms."""
    logs = [[math.log(per_s) for per_s in own if per_s] for own in (ours, theirs)]
    if not all(logs):
        return None
    one, other = (math.fsum(own) / len(own) for own in logs)
    value, n = math.exp(one - other), sum(map(len, logs))
    why = too_few(passages, min(map(len, logs)))
    if why:
        return Estimate(value, None, None, n, why)
    mine, base = (Spread(deviation(own) / math.sqrt(len(own)), len(own) - 1) for own in logs)
    factor = math.exp(welch(mine, base).half_width())
    return Estimate(value, value / factor, value * factor, n)


def _passages(requests: Sequence[RequestRecord]) -> int:
    return len({request.passage or request.key for request in requests})
