"""One endpoint over the baseline, metric by metric, with intervals.

Where the endpoints were interleaved, times are compared prompt by prompt: the typical ratio (geometric mean) over the
prompts that both answered in the same round. Means and the speed that requests see are compared as such, over the same
prompts. A throughput is a round's: it is compared round by round. Where they were not interleaved, each
side is a sample of its own, as in the verdicts, and intervals are Welch's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from accelbench.analysis.intervals import Estimate, Influence, contrast_of, too_few
from accelbench.analysis.load import TOKENS, speeds
from accelbench.analysis.pairs import contrast, ratio_of_means, ratio_of_quotients
from accelbench.analysis.sample import Interleaving, Side
from accelbench.store.records import RequestRecord

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
        passages = min(_passages(ours.whole), _passages(theirs.whole))
        return over_rounds(our_speeds[kind], their_speeds[kind], passages, paired=met.interleaved)

    def quotient(over: str, under: str | None = None) -> Estimate | None:
        if any(getattr(request, over) is None for request in (*ours.good, *theirs.good)):
            return None
        return ratio_of_quotients(ours, theirs, met, (ours.good, theirs.good), over, under)

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


def over_rounds(
    ours: Mapping[int, float], theirs: Mapping[int, float], passages: int, *, paired: bool
) -> Estimate | None:
    """Estimate the ratio of typical rounds, of the same ones where the sides were interleaved; None without any."""
    both = [number for number in ours if ours[number] and theirs.get(number)]
    one, other = (np.log([per_s for per_s in own.values() if per_s]) for own in (ours, theirs))
    if paired:
        one, other = (np.log([own[number] for number in both]) for own in (ours, theirs))
    if not len(one) or not len(other):
        return None
    why = too_few(passages, min(len(one), len(other)))
    if paired:
        return contrast_of("ratio", Influence.of_runs(one - other), why=why).estimate()
    return contrast_of("ratio", Influence.of_runs(one), Influence.of_runs(other), why=why).estimate()


def _passages(requests: Sequence[RequestRecord]) -> int:
    return len({request.passage or request.key for request in requests})
