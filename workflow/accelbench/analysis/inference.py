"""The endpoints in figures: one row per endpoint and cell, and each endpoint's ratio to the baseline.

Latency is E2E: from the moment the request was written to the last token. Complete answers have latencies; failures
stay in the denominator of the success rate, and count as infinite in percentiles of all requests.
"""

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TypeVar

from accelbench.analysis import load
from accelbench.analysis.disturbance import disturbances, disturbed_in_words
from accelbench.analysis.intervals import Description, Estimate, Proportion
from accelbench.analysis.load import Load
from accelbench.analysis.metrics import METRICS, Figure, figures
from accelbench.analysis.pairs import Pair, baseline_of
from accelbench.analysis.percentiles import Tail, Times, tail
from accelbench.analysis.sample import Side
from accelbench.store.records import SUCCESS, ClientFacts, InferRoundRecord, JsonObject
from accelbench.store.requests import Requests

F = TypeVar("F")


@dataclass(frozen=True, slots=True)
class InferenceRow:
    """One endpoint under one load, over its measured rounds. Warm-up requests are left out everywhere.

    `figures` holds what is measured, by metric (analysis.metrics); what isn't known is left out.
    `ratio_to_baseline`, by metric, is null for `baseline` itself and for what was not measured.
    """

    endpoint: str
    cell: str
    concurrency: int
    rounds: int
    rounds_planned: int
    requests: int
    successes: int
    failures: str | None
    missing: str | None
    figures: dict[str, Figure] = field(default_factory=dict)
    ratio_to_baseline: dict[str, Estimate] | None = None
    baseline: str | None = None
    labels: str | None = None
    """What a reader must know about this load before using its figures."""
    energy: str | None = None
    """What the measured energy is of, and in which rounds it is unknown."""
    scenario: str | None = None
    rate_per_s: float | None = None
    """Configured arrivals per second, on average; null: closed loop."""
    arrivals: str | None = None
    """How they arrive, in words, where the rate does not say it all."""
    context_tokens: int | None = None
    """Configured context length of the prompts; null: they were not filled."""
    max_tokens: int | None = None
    output_tokens: int | None = None
    """Configured length of each answer; null: not fixed."""
    prefix: str | None = None
    """Which requests share a prefix, and its configured share of the prompt; null: none."""
    truncated: int | None = None
    due_per_s: float | None = None
    """Open loop: arrivals per second as drawn, and as sent; means over rounds."""
    sent_per_s: float | None = None
    late_sends: int | None = None
    waited_s: float | None = None
    """Total seconds that requests waited after the endpoint reported that it was busy."""
    busy_rounds: tuple[int, ...] = ()
    """Those during which the host was disturbed: no time and no speed is of them, unless it was in all rounds."""

    @property
    def disturbed(self) -> bool:
        """Whether the host was disturbed in all rounds, so that no time and no speed carries a statement."""
        return 0 < self.rounds <= len(self.busy_rounds)

    @property
    def left_out(self) -> frozenset[int]:
        """The rounds that times and speeds leave out."""
        return frozenset() if self.disturbed else frozenset(self.busy_rounds)

    @property
    def load(self) -> str:
        """The load in words."""
        if self.rate_per_s is not None:
            told = f" {self.arrivals}" if self.arrivals else ""
            return f"open loop, {self.rate_per_s:.4g} requests per s{told}"
        return f"{self.concurrency} at a time" if self.concurrency else "concurrency not recorded"

    @property
    def latency(self) -> Times | None:
        """E2E of complete answers."""
        return self._of("latency", Times)

    @property
    def typical_latency(self) -> Estimate | None:
        """The geometric mean of E2E."""
        return self._of("typical_latency", Estimate)

    @property
    def completion_tokens(self) -> float | None:
        """Output tokens of a success, on average."""
        return self._of("completion_tokens", float)

    @property
    def output_tok_per_s(self) -> float | None:
        """The speed that one request sees."""
        return self._of("output_tok_per_s", float)

    @property
    def system_output_tok_per_s(self) -> Description | None:
        """The speed of the endpoint as a whole, over rounds."""
        return self._of("system_output_tok_per_s", Description)

    @property
    def requests_per_s(self) -> Description | None:
        """Successes per second, over rounds."""
        return self._of("requests_per_s", Description)

    @property
    def contains_share(self) -> Proportion | None:
        """The share of answers that contain the gold answer."""
        return self._of("contains_share", Proportion)

    def _of(self, metric: str, kind: type[F]) -> F | None:
        figure = self.figures.get(metric)
        return figure if isinstance(figure, kind) else None


def inference_rows(
    rounds: Sequence[InferRoundRecord],
    sides: Mapping[tuple[str, str], Side],
    pairs: Iterable[Pair],
    loads: Mapping[str, Load],
    baseline: str | None,
) -> list[InferenceRow]:
    """Return one row per side, with the ratios of its pair with the baseline."""
    against = {cell: baseline_of(cell, rounds, baseline) for _, cell in sides}
    ratios = {
        (pair.ours.name, pair.ours.cell): pair.ratios for pair in pairs if pair.theirs.name == against[pair.ours.cell]
    }
    planned: dict[tuple[str, str], list[InferRoundRecord]] = defaultdict(list)
    for record in rounds:
        planned[record.endpoint, record.cell].append(record)
    return [
        _row(planned[key], side, loads[side.cell], ratios.get(key), against[side.cell]) for key, side in sides.items()
    ]


def _row(
    planned: Sequence[InferRoundRecord],
    side: Side,
    asked_for: Load,
    over_base: dict[str, Estimate] | None,
    baseline: str,
) -> InferenceRow:
    rounds, is_open = side.by_round.values(), asked_for.rate_per_s is not None
    asked = [attempts.where(attempts["last_attempt"]) for attempts in rounds]
    missing = [f"round {r.round} {r.state}: {r.why}" for r in planned if r.state != "measured"]
    return InferenceRow(
        endpoint=side.name,
        cell=side.cell,
        **asdict(asked_for),
        rounds=len(planned) - len(missing),
        rounds_planned=len(planned),
        requests=len(side.requests),
        successes=len(side.good),
        truncated=side.classes["truncated_length"],
        figures=figures(side),
        ratio_to_baseline=over_base,
        baseline=baseline,
        due_per_s=_mean(map(load.due_per_s, asked)),
        sent_per_s=_mean(map(load.sent_per_s, asked)) if is_open else None,
        late_sends=load.late_sends(side.requests) if is_open else None,
        waited_s=sum(load.waited_s(attempts) for attempts in rounds),
        failures=_failures(side),
        missing="; ".join(missing) or None,
        labels="; ".join([*_busy(planned), *_labels(rounds, side.slots), *_unlike_planned(side, asked_for)]) or None,
        energy="; ".join(filter(None, [side.energy_scope, side.energy_why])) or None,
        busy_rounds=tuple(r.round for r in planned if disturbances(r.host_activity)),
    )


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """One load in figures."""

    n: int
    by_class: dict[str, int]
    attempts_by_class: dict[str, int]
    reasons: dict[str, str]
    """The commonest reason of each class that is no success."""
    metrics: dict[str, Figure | None]
    """By their names in JSON; of a speed its mean."""
    e2e_of_all_s: Tail
    """With failures as infinite."""
    failures: int
    wall_s: float | None
    waited_s: float
    labels: list[str]
    client: ClientFacts
    due_per_s: float | None
    """Of an open loop, as the next."""
    sent_per_s: float | None
    resumed: bool = False
    disturbed: bool = False
    """Whether the host was: no time and no speed carries a statement."""

    @property
    def is_open(self) -> bool:
        """Whether requests arrived by a schedule."""
        return self.due_per_s is not None

    @property
    def successes(self) -> int:
        """Answers, whole or cut by their length."""
        return sum(self.by_class.get(kind, 0) for kind in SUCCESS)

    def speed(self, name: str) -> float | None:
        """Return a metric that is one number."""
        figure = self.metrics[name]
        return figure if isinstance(figure, float | int) else None

    def time(self, name: str) -> Times:
        """Return a metric that is a sample of times."""
        figure = self.metrics[name]
        return figure if isinstance(figure, Times) else Times(0)

    def as_json(self) -> JsonObject:
        """Return all of it as one object, the metrics beside the rest."""
        found = asdict(self)
        metrics, failures = found.pop("metrics"), found.pop("failures")
        return {**found, **metrics, "e2e_of_all_s": {**found["e2e_of_all_s"], "failures": failures}}


@dataclass(frozen=True, slots=True)
class SweepFigures:
    """A sweep over concurrencies: the one with the most tokens per second, all steps, and why it ended there."""

    concurrency: int
    steps: dict[int, LoadFigures]
    stopped: str

    def as_json(self) -> JsonObject:
        """Return the best step's figures with those of all steps."""
        steps = {slots: step.as_json() for slots, step in self.steps.items()}
        return {**steps[self.concurrency], "concurrency": self.concurrency, "steps": steps, "stopped": self.stopped}


def load_figures(requests: Requests, client: ClientFacts, *, slots: int | None) -> LoadFigures:
    """Return the figures of one load. `slots`: the concurrency of a closed loop; None: open loop."""
    side = Side("", "", requests, slots=slots)
    asked, attempts = side.requests, side.attempts
    return LoadFigures(
        n=len(asked),
        by_class=dict(side.classes),
        attempts_by_class=dict(Counter(attempts["class_"].tolist())),
        reasons=load.reasons_by_class(attempts),
        metrics={key: _of_one_round(metric.value(side)) for metric in METRICS.values() if (key := metric.in_load)},
        e2e_of_all_s=tail(side.latencies_s, failures=side.failures),
        failures=side.failures,
        wall_s=load.wall_s(attempts),
        waited_s=load.waited_s(attempts),
        labels=load.labels(attempts, slots),
        client=client,
        due_per_s=load.due_per_s(asked) if slots is None else None,
        sent_per_s=load.sent_per_s(asked) if slots is None else None,
    )


def _of_one_round(figure: Figure | None) -> Figure | None:
    return figure.mean if isinstance(figure, Description) else figure


def _busy(planned: Sequence[InferRoundRecord]) -> list[str]:
    said = disturbed_in_words([r.host_activity for r in planned if r.state == "measured"])
    return [f"busy host: {said}"] if said else []


def _unlike_planned(side: Side, asked_for: Load) -> list[str]:
    said = load.other_lengths(side.requests, asked_for.output_tokens), load.abandoned(side.requests)
    return [each for each in said if each]


def _labels(rounds: Iterable[Requests], slots: int | None) -> list[str]:
    """Return the labels of all rounds; those that differ only in figures are given once."""
    by_kind: dict[str, list[str]] = defaultdict(list)
    for own in rounds:
        for label in load.labels(own, slots):
            by_kind[label.partition(":")[0]].append(label)
    return [found[0] + (f" (the first of {len(found)} such rounds)" if found[1:] else "") for found in by_kind.values()]


def _failures(side: Side) -> str | None:
    """Return "2 connection, 1 timeout_read"."""
    return ", ".join(f"{n} {kind}" for kind, n in sorted(side.classes.items()) if kind not in SUCCESS) or None


def _mean(values: Iterable[float | None]) -> float | None:
    there = [float(value) for value in values if value is not None]
    return statistics.fmean(there) if there else None
