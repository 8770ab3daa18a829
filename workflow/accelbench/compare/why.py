"""Why two sides differ: the candidate reasons, what the records decide, and the measurements that would tell more.

Intervals are corrected for all factors that are judged in one report (Bonferroni).
"""

import itertools
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from accelbench.analysis.intervals import Comparison, Estimate
from accelbench.analysis.sample import interleaving, sides_of
from accelbench.analysis.verdicts import ALPHA
from accelbench.compare.reasons.case import C, Candidate, Case, Experiment, Known
from accelbench.compare.reasons.endpoints import OF_ENDPOINTS
from accelbench.compare.reasons.training import OF_TRAINING, SizePair, SizeRuns, sizes_of
from accelbench.config import Config
from accelbench.config.configfile import load_merged, merge, read
from accelbench.plan import specs
from accelbench.plan.past import Past, past, usual_s
from accelbench.report.reasons import EXPERIMENT, ReasonState, reasons
from accelbench.report.summary import Summary, read_summary
from accelbench.report.text import interval, listed, markdown, number, unique
from accelbench.report.verdicts import conclusion
from accelbench.store import paths
from accelbench.store.files import write_atomically

_RUN_CONFIG = Path(paths.RUN_CONFIG).name
_ORDER: tuple[ReasonState, ...] = ("supported", "ruled out", "open")
_Item = specs.TrainRun | specs.InferRound


@dataclass(frozen=True, slots=True)
class Judgement:
    """One candidate: what was decided of it, and why. `factor`: what it makes up, with its corrected interval."""

    candidate: str
    predicts: str
    finding: ReasonState
    factor: Estimate | None
    evidence: str
    experiments: list[str]
    """Those that would decide it; empty where it is decided, or where none can be planned."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Two sides that differ, in words, and all candidates. Factors are in the time of `side`."""

    difference: str
    side: str
    judgements: list[Judgement]


@dataclass(frozen=True, slots=True)
class Effort:
    """What an experiment takes, start-up included; minutes are null where nothing like it was measured before."""

    name: str
    measurements: int
    requests: int
    minutes: float | None


@dataclass(frozen=True, slots=True)
class Why:
    """All differences of a report with their reasons, and what to measure next, cheapest first."""

    explanations: list[Explanation]
    efforts: list[Effort]
    overlay: Mapping[str, Any]
    notes: list[str]


@dataclass(frozen=True, slots=True)
class _Weighed:
    """A candidate, what is known of it, and what would tell more."""

    candidate: Candidate[Any]
    known: Known
    experiments: list[Experiment]


def why(results: Path) -> Why:
    """Explain what differs in a folder of results. Raises UserError where it holds no finished report."""
    config_file = results / _RUN_CONFIG
    config, summary = load_merged(config_file), read_summary(results / "analysis.json")
    summary = replace(summary, requests_file=str(results.parent / summary.requests_file))
    cases: list[tuple[str, str, float, list[_Weighed]]] = []
    for case in _endpoints(summary, config):
        said, side = f"{case.cell}: {conclusion(case.judged, summary.labels)}", case.ours.name
        cases.append((said, side, case.explained, _candidates(OF_ENDPOINTS, case)))
    for sizes, ratio in _training(summary, config):
        slower, faster = sizes.names
        said = f"{slower} against {faster}: {number(ratio.value, 2)} times as long per sample, start-up included."
        cases.append((said, slower, abs(ratio.centre), _candidates(OF_TRAINING, sizes)))
    weighed = [each.known for *_, own in cases for each in own]
    factors = sum(known.effect is not None and not known.excludes for known in weighed)
    confidence = 1 - ALPHA / max(1, factors)
    planner = _Planner(read(config_file), config, list(past()))
    explanations = [
        Explanation(said, side, _in_order([_judged(each, explained, confidence, planner) for each in own], planner))
        for said, side, explained, own in cases
    ]
    return Why(explanations, planner.efforts, planner.overlay, planner.notes)


def write_overlay(path: Path, found: Why) -> None:
    """Write the experiments as a config file."""
    text = yaml.safe_dump(dict(found.overlay), sort_keys=False, allow_unicode=True)
    write_atomically(path, f"# Written by `accelbench why`: put it over results/run_config.yaml.\n{text}")


# --- what differs -------------------------------------------------------------------------------------------


def _endpoints(summary: Summary, config: Config) -> Iterator[Case]:
    """Yield the pairs that differ, under each load of the user's own."""
    if not summary.judged:
        return
    sides = sides_of(summary.rounds, summary.requests, {})
    facts = {(r.candidate, r.endpoint, r.cell): r for r in reasons(summary.inference, summary.evidence, summary.rounds)}
    cells, gap_s = specs.cells(config), config.inference.interleaved_within_s
    found: dict[tuple[str, str, str], Case] = {}
    for judged in summary.judged:
        ours, theirs, cell = judged.pair.name
        if judged.control or cell not in cells or not {ours, theirs} <= config.inference.endpoints.keys():
            continue
        busy = sides[ours, cell].busy | sides[theirs, cell].busy
        one, other = (sides[name, cell].without(busy) for name in (ours, theirs))
        met = interleaving(one, other, gap_s)
        rounds = tuple(r for r in summary.rounds if r.cell == cell and r.state == "measured")
        found[ours, theirs, cell] = Case(judged, one, other, met, cells[cell], config, facts, rounds, found)
    own = (
        case
        for (ours, _, cell), case in found.items()
        if not ours.startswith(EXPERIMENT) and not cell.startswith(EXPERIMENT)
    )
    yield from (case for case in own if case.explained)


def _training(summary: Summary, config: Config) -> Iterator[tuple[SizePair, Comparison]]:
    """Yield the sizes that differ: of each platform its slowest and its fastest, and platforms at one batch size."""
    found = sizes_of([run for run in summary.runs if run.platform in config.training.platforms])
    own = [size for size in found if not size.first.platform.startswith(EXPERIMENT)]
    pairs = [
        pair
        for pair in itertools.combinations(own, 2)
        if len({size.first.platform for size in pair}) == 1 or _alike(*pair)
    ]
    ordered = [_slower_first(one, other, found, config) for one, other in pairs]
    compared = [(sizes, ratio) for sizes in ordered if (ratio := sizes.ratio)]
    tests = sum(ratio.p_value is not None for _, ratio in compared)
    told = [(sizes, ratio) for sizes, ratio in compared if ratio.p_value is not None and tests * ratio.p_value <= ALPHA]
    widest: dict[frozenset[str], tuple[SizePair, Comparison]] = {}
    for sizes, ratio in told:
        key = frozenset((sizes.ours.first.platform, sizes.theirs.first.platform))
        if key not in widest or abs(ratio.centre) > abs(widest[key][1].centre):
            widest[key] = sizes, ratio
    yield from widest.values()


def _alike(one: SizeRuns, other: SizeRuns) -> bool:
    size, of_other = ((each.first.batch_size, each.first.micro_batch_size) for each in (one, other))
    return size == of_other


def _slower_first(one: SizeRuns, other: SizeRuns, found: Sequence[SizeRuns], config: Config) -> SizePair:
    """Return two sizes, the one that takes longer per sample first."""
    pair = SizePair(one, other, found, config)
    return SizePair(other, one, found, config) if pair.ratio and pair.ratio.centre < 0 else pair


# --- what is decided ----------------------------------------------------------------------------------------


def _candidates(candidates: Sequence[Candidate[C]], case: C) -> list[_Weighed]:
    return [_Weighed(each, each.known(case), list(each.experiments(case))) for each in candidates]


def _judged(each: _Weighed, explained: float, confidence: float, planner: "_Planner") -> Judgement:
    finding, effect = each.known.finding(explained, confidence), each.known.effect
    factor = None
    if effect:
        low, high = effect.interval(confidence) or (None, None)
        factor = Estimate(effect.value, low, high, effect.n, effect.why_no_interval)
    evidence, planned = [each.known.evidence] if each.known.evidence else [], []
    if finding == "open":
        planned = [name for experiment in each.experiments if (name := planner.add(experiment))]
        evidence += [f"if so, {each.candidate.predicts}"]
        evidence += [f"no interval: {factor.why_no_interval}"] if factor and factor.why_no_interval else []
        evidence += [] if planned or not each.candidate.otherwise else [f"to tell: {each.candidate.otherwise}"]
    shown = None if each.known.excludes else factor
    return Judgement(each.candidate.name, each.candidate.predicts, finding, shown, "; ".join(evidence), planned)


def _in_order(judgements: Sequence[Judgement], planner: "_Planner") -> list[Judgement]:
    """Sort what is decided first, then what is open, the cheapest to decide first."""
    return sorted(judgements, key=lambda each: (_ORDER.index(each.finding), planner.minutes(each.experiments)))


# --- what to measure next -----------------------------------------------------------------------------------


class _Planner:
    """The experiments that are to be added to a config, each of which it accepts, and what they take."""

    def __init__(self, tree: Mapping[str, Any], config: Config, finished: Sequence[Past]) -> None:
        self._tree, self._finished = dict(tree), finished
        self._planned = set(_items(config))
        self._efforts: dict[str, Effort] = {}
        self._trees: list[dict[str, Any]] = []
        self._like: dict[str, str] = {}
        self._times: dict[str, float] = {}
        self.notes: list[str] = []

    @property
    def efforts(self) -> list[Effort]:
        """What each takes, cheapest first."""
        return sorted(self._efforts.values(), key=lambda each: (_last(each.minutes), each.requests))

    @property
    def overlay(self) -> dict[str, Any]:
        """All of them as one config."""
        return merge({}, self._trees)

    def minutes(self, names: Sequence[str]) -> float:
        """Return the minutes of the cheapest of some experiments; without end where there is none."""
        return min((_last(self._efforts[name].minutes) for name in names), default=math.inf)

    def add(self, experiment: Experiment) -> str | None:
        """Plan an experiment; return its name, or None where the config cannot hold it."""
        if experiment.name in self._efforts:
            return experiment.name
        try:
            config = self._with(experiment.tree)
            lacking = specs.out_of_reach(config)
        except ValidationError as error:
            first = error.errors()[0]
            lacking = [f"{first.get('ctx', {}).get('key', 'it')} {first['msg']}"]
        if lacking:
            self.notes.append(f"{experiment.name} can't be planned: {lacking[0]}")
            return None
        new = [item for item in _items(config) if item not in self._planned]
        self._trees.append(dict(experiment.tree))
        self._efforts[experiment.name] = self._effort(experiment, config, new)
        return experiment.name

    def _with(self, tree: Mapping[str, Any]) -> Config:
        return Config.model_validate(merge({}, [self._tree, *self._trees, dict(tree)]))

    def _effort(self, experiment: Experiment, config: Config, new: Sequence[_Item]) -> Effort:
        self._like[experiment.name] = experiment.like_side or experiment.like_load or experiment.name
        self._times[experiment.name] = experiment.times
        each_s = list(map(self._usual_s, new))
        known = [lasts_s for lasts_s in each_s if lasts_s is not None]
        self._planned |= set(new)
        loads = [specs.scenario_of(config, item.cell) for item in new if isinstance(item, specs.InferRound)]
        return Effort(
            experiment.name,
            len(new),
            sum(load.requests + load.warm_up for load in loads),
            sum(known) / 60 if len(known) == len(new) else None,
        )

    def _usual_s(self, item: _Item) -> float | None:
        """Return how long a measurement takes: as long as earlier ones that it is like."""
        if isinstance(item, specs.TrainRun):
            return usual_s(replace(item, platform=self._like.get(item.platform, item.platform)), self._finished)
        side, load = (self._like.get(name, name) for name in (item.endpoint, item.cell))
        lasts_s = usual_s(replace(item, endpoint=side, cell=load), self._finished)
        return None if lasts_s is None else lasts_s * self._times.get(item.cell, 1.0)


def _items(config: Config) -> list[_Item]:
    return [*specs.infer_rounds(config), *specs.train_runs(config)]


def _last(minutes: float | None) -> float:
    return math.inf if minutes is None else minutes


# --- in words -----------------------------------------------------------------------------------------------


def why_text(found: Why, results: Path, overlay: Path) -> str:
    """Return each difference with its reasons, then what to measure next and how."""
    if not found.explanations:
        return "No two sides differ significantly, so there is nothing to explain."
    parts = []
    for each in found.explanations:
        told = f"Factors, with their corrected intervals, are in the time of {each.side}."
        parts += [each.difference, *map(_line, each.judgements), told, ""]
    parts += [*_next(found, results, overlay), *(f"- {note}" for note in found.notes)]
    return "\n".join(parts)


def _line(judged: Judgement) -> str:
    factor = [f"factor {interval(judged.factor)}, n = {judged.factor.n}"] if judged.factor else []
    return f"  {judged.finding:<9}  {judged.candidate}: {'; '.join(filter(None, [*factor, judged.evidence]))}"


def _next(found: Why, results: Path, overlay: Path) -> list[str]:
    if not found.efforts:
        return ["Nothing that is open can be decided by a measurement that is planned here."] if _is_open(found) else []
    judgements = [judged for each in found.explanations for judged in each.judgements]
    tells = {
        effort.name: unique(judged.candidate for judged in judgements if effort.name in judged.experiments)
        for effort in found.efforts
    }
    body = [
        [each.name, listed(tells[each.name]), number(each.measurements), number(each.requests), _minutes(each.minutes)]
        for each in found.efforts
    ]
    requests = sum(each.requests for each in found.efforts)
    minutes = [each.minutes for each in found.efforts]
    in_all = None if None in minutes else sum(filter(None, minutes))
    files = shlex.join([str(results / _RUN_CONFIG), str(overlay)])
    return [
        "What would decide the open ones, cheapest first:",
        "",
        markdown(["measurement", "tells", "rounds or runs", "requests", "minutes"], body),
        f"{overlay} plans them: {requests:,} requests, {_minutes(in_all)} minutes with start-up. Run",
        "",
        f"    {paths.snakemake()} --cores 4 --configfile {files}",
        "",
        f"and then `accelbench why {results}` again.",
    ]


def _is_open(found: Why) -> bool:
    return any(judged.finding == "open" for each in found.explanations for judged in each.judgements)


def _minutes(minutes: float | None) -> str:
    return "unknown" if minutes is None else f"about {max(1, round(minutes)):,}"
