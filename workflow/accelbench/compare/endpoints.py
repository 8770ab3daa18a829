"""Measured endpoints side by side, outside any workflow: figures, and what they carry.

What has no single requests is shown by its own figures, and never tested.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import cast

from accelbench.analysis.evidence import Evidence, evidence_of
from accelbench.analysis.inference import InferenceRow, inference_rows
from accelbench.analysis.intervals import Description, Estimate, describe
from accelbench.analysis.latency_law import LawFigures
from accelbench.analysis.load import Load, _counted, due_per_s, reasons_by_class
from accelbench.analysis.metrics import METRICS, Figure
from accelbench.analysis.pairs import Judged, Pair, judge_all, pair_up
from accelbench.analysis.percentiles import Times
from accelbench.analysis.sample import Side, sides_of
from accelbench.compare.sides import Recorded, read_sides
from accelbench.errors import UserError
from accelbench.foreign import one_line
from accelbench.report import verdicts
from accelbench.report.reasons import Reason, confounds, reasons
from accelbench.report.text import listed, unique
from accelbench.store.records import InferRoundRecord
from accelbench.store.requests import Requests

LARGEST_GAP_S = 1800.0
AGREE = 0.01  # our throughput and a file's own: beyond, it is said by how much they differ


@dataclass(frozen=True, slots=True)
class SideDocument:
    """One side under one load, as JSON has it."""

    name: str
    load: str
    n: int | None
    ok: int | None
    latency_s: Mapping[str, float | None]
    completion_tokens_mean: Figure | None
    prompt_tokens_mean: Figure | None
    notes: list[str]
    output_tok_per_s: Figure | None = None
    total_tok_per_s: Figure | None = None
    law: LawFigures | None = None
    metrics: Mapping[str, Figure | None] = field(default_factory=lambda: dict.fromkeys(METRICS))


@dataclass(frozen=True, slots=True)
class PairDocument:
    """Two sides under one load, as JSON has it: a against b."""

    a: str
    b: str
    load: str
    ratio_of_means: float | None
    notes: list[str]
    verdict: list[str]
    paired: bool = False
    ratio_ci: tuple[float, float] | None = None
    paired_diff_s: float | None = None
    paired_diff_ci: tuple[float, float] | None = None
    p_value: float | None = None
    crossover_tokens: float | None = None
    crossover_ci: tuple[float | None, float | None] | None = None
    crossover_kind: str | None = None
    crossover_extrapolated: bool = False
    metrics: Mapping[str, Estimate] | None = None


@dataclass(frozen=True, slots=True)
class ThroughputDocument:
    """The speeds of an endpoint as a whole, beside those that another tool's file says."""

    name: str
    load: str
    output_tok_per_s: float | None
    total_tok_per_s: float | None
    requests_per_s: float | None
    in_the_file: Mapping[str, float | None] | None


@dataclass(frozen=True, slots=True)
class Document:
    """A comparison as JSON has it."""

    sides: list[SideDocument]
    pairs: list[PairDocument]
    throughput: list[ThroughputDocument]
    reasons: list[dict[str, str]]
    notes: list[str]


@dataclass(frozen=True, slots=True)
class Compared:
    """What `compare` says: figures for programs, the requests behind them for tables, and what a reader must know."""

    loads: list[Recorded]
    verdicts: list[str]
    """What each pair carries, without the laws behind it."""
    in_short: list[str]
    """The same of each pair in two sentences."""
    rows: list[InferenceRow]
    document: Document
    remarks: list[str]


@dataclass(frozen=True, slots=True)
class Paired:
    """The loads of some sides, and each that two of them have compared: the later side against the earlier."""

    sides: list[list[Recorded]]
    loads: list[Recorded]
    rounds: list[InferRoundRecord]
    shapes: Mapping[str, Load]
    placed: Mapping[tuple[str, str], Side]
    met: list[tuple[Recorded, Recorded]]
    pairs: list[Pair]
    remarks: list[str]


def read_pairs(paths: Sequence[Path]) -> Paired:
    """Read some sides and compare them. Raises UserError when a side holds no requests, or is named twice."""
    sides = read_sides(paths)
    apart = _called_apart(sides)
    if all(len(own) == 1 for own in sides):  # one load each: compared, whatever they are called
        sides = [[load.under(sides[0][0].cell)] for [load] in sides]
    met, loads = _met(sides), [load for own in sides for load in own]
    requests = Requests.of(attempt for load in loads for attempt in load.attempts)
    rounds = [record for load in loads for record in load.rounds]
    cells = unique(load.cell for load in loads)
    shapes = {cell: _load([load for load in loads if load.cell == cell]) for cell in cells}
    placed = sides_of(rounds, requests, shapes)
    pairs = [
        pair_up(placed[ours.at], placed[theirs.at], LARGEST_GAP_S)
        for ours, theirs in met
        if ours.attempts and theirs.attempts
    ]
    return Paired(sides, loads, rounds, shapes, placed, met, pairs, apart)


def compare_endpoints(paths: Sequence[Path]) -> Compared:
    """Compare each side with each earlier one, load by load; ratios and differences are against the earlier.

    Raises UserError when a side holds no requests, or is named twice.
    """
    found = read_pairs(paths)
    sides, loads, rounds, placed, pairs = found.sides, found.loads, found.rounds, found.placed, found.pairs
    tested = {load.at: placed[load.at] for load in loads if load.attempts}
    judged = {each.pair.name: each for each in judge_all(pairs)}
    met = [(ours, theirs, judged.get((ours.name, theirs.name, ours.cell))) for ours, theirs in found.met]
    told_pairs = [(each, _pair(each) if each else _untested(ours, theirs)) for ours, theirs, each in met]
    said = [line for each, pair in told_pairs for line in (_briefly(each) if each else pair.verdict)]
    in_short = [verdicts.in_two_sentences(each, {}) if each else pair.verdict[0] for each, pair in told_pairs]
    measured = inference_rows(rounds, placed, pairs, found.shapes, sides[0][0].name)
    row_at, load_at = {(row.endpoint, row.cell): row for row in measured}, {load.at: load for load in loads}
    rows = [_at_own_speed(row, load_at[at]) for at, row in row_at.items()]
    evidence = evidence_of(rounds, placed)
    told = [
        *found.remarks,
        *_origins(loads),
        *(f"{load.name}: {label}" for load in loads for label in _counted(Requests.of(load.attempts))),
        *_failures(loads),
        *_speeds_that_differ(row_at, loads),
        *_without_passages(tested.values()),
        *(f"all sides: {what}" for what in confounds(rounds, _recorded(evidence, loads), {})),
    ]
    remarks = unique(map(one_line, told))
    document = Document(
        sides=[
            _side(tested[load.at], row_at[load.at].figures) if load.attempts else _summed_up(load) for load in loads
        ],
        pairs=[pair for _, pair in told_pairs],
        throughput=[_throughput(load, rows) for load in loads],
        reasons=[_reason(each) for each in reasons(rows, evidence, rounds)] if pairs else [],
        notes=unique([*remarks, *(note for pair in pairs for note in _notes(pair))]),
    )
    return Compared(loads, said, in_short, rows, document, remarks)


def _briefly(each: Judged) -> list[str]:
    return list(filter(None, [verdicts.headline([each], {}), verdicts.others(each, {})]))


def _failures(loads: Sequence[Recorded]) -> Iterator[str]:
    """Yield the commonest reason of each class of failures."""
    for load in loads:
        for kind, why in reasons_by_class(Requests.of(load.attempts)).items():
            yield f"{load.name}, {load.cell}: {kind}: {why}"


def _recorded(evidence: Sequence[Evidence], loads: Sequence[Recorded]) -> list[Evidence]:
    """Return the evidence of loads that were recorded here: few tools say whether they warmed up."""
    imported = {load.at for load in loads if load.imported}
    return [each for each in evidence if (each.endpoint, each.cell) not in imported]


def _called_apart(sides: Sequence[Sequence[Recorded]]) -> list[str]:
    """Say that loads of different names are compared as one, where each side has one."""
    if any(len(own) > 1 for own in sides) or len({own[0].cell for own in sides}) == 1:
        return []
    named = listed([f"{own[0].name} {own[0].cell}" for own in sides])
    return [f"the loads have different names and are compared as one: {named}"]


def _met(sides: Sequence[Sequence[Recorded]]) -> list[tuple[Recorded, Recorded]]:
    """Return each load of a side with the same one of each earlier side."""
    met = [
        (later, earlier)
        for first, second in itertools.combinations(sides, 2)
        for earlier, later in itertools.product(first, second)
        if earlier.cell == later.cell
    ]
    if len(sides) > 1 and not met:
        held = "; ".join(f"{own[0].name}: {', '.join(load.cell for load in own)}" for own in sides)
        raise UserError(f"no two sides have a load in common ({held}).")
    return met


def _load(loads: Sequence[Recorded]) -> Load:
    """Return the load that is common to some sides as their records tell: they hold no config.

    Where an import does not say how many requests were in flight, or sides say otherwise, the number counts as unknown:
    then the speed of all is told by the whole time.
    """
    told = {load.slots for load in loads if load.attempts}
    first = loads[0].attempts
    one_round = Requests.of(r for r in first if r.round == first[0].round and r.last_attempt)
    rate = next((load.imported.rate_per_s for load in loads if load.imported), None) or due_per_s(one_round)
    if any(load.imported for load in loads):
        return Load(loads[0].cell, told.pop() if len(told) == 1 else 0, rate_per_s=rate)
    return Load(loads[0].cell, max(told, default=1), rate_per_s=rate)


# --- as JSON ------------------------------------------------------------------------------------------------


def _side(side: Side, found: Mapping[str, Figure]) -> SideDocument:
    law, why = side.law
    latency = cast(Times | None, found.get("latency"))
    why = law.why if law else why
    return SideDocument(
        name=side.name,
        load=side.cell,
        n=len(side.requests),
        ok=len(side.good),
        latency_s={key: value for key, value in asdict(latency or Times(0)).items() if key != "p50"},
        output_tok_per_s=found.get("output_tok_per_s"),
        total_tok_per_s=found.get("total_tok_per_s"),
        completion_tokens_mean=found.get("completion_tokens"),
        prompt_tokens_mean=found.get("prompt_tokens"),
        law=law.figures if law else None,
        notes=[f"law: {why}"] if why else [],
        metrics={key: found.get(key) for key in METRICS},
    )


def _summed_up(load: Recorded) -> SideDocument:
    """Return a side of which only the file's own figures are known."""
    own = load.summary
    return SideDocument(
        name=load.name,
        load=load.cell,
        n=own.requests,
        ok=own.ok,
        latency_s={"n": own.ok, **asdict(own.latency_s)},
        completion_tokens_mean=own.completion_tokens,
        prompt_tokens_mean=own.prompt_tokens,
        notes=["law: there are no single requests"],
    )


def _pair(each: Judged) -> PairDocument:
    pair = each.pair
    ratio, difference, crossed = pair.ratios.get("latency"), pair.difference_s, pair.crossover
    latency = pair.comparisons.get("typical_latency")
    is_bounded = crossed.kind in ("interval", "one_sided", "unbounded")
    return PairDocument(
        a=pair.ours.name,
        b=pair.theirs.name,
        load=pair.ours.cell,
        paired=pair.paired,
        ratio_of_means=ratio.value if ratio else None,
        ratio_ci=_bounds(ratio),
        paired_diff_s=difference.value if difference else None,
        paired_diff_ci=_bounds(difference),
        p_value=latency.p_value if latency else None,
        crossover_tokens=crossed.tokens,
        crossover_ci=(crossed.low_tokens, crossed.high_tokens) if is_bounded else None,
        crossover_kind=crossed.kind,
        crossover_extrapolated=crossed.extrapolated,
        notes=list(_notes(pair)),
        metrics={key: found.estimate() for key, found in pair.comparisons.items()},
        verdict=verdicts.sentences(each, {}),
    )


def _untested(ours: Recorded, theirs: Recorded) -> PairDocument:
    """Return a pair of which one side has no single requests: the ratio of the means, without interval or test."""
    means = [_mean_latency_s(load) for load in (ours, theirs)]
    ratio = means[0] / means[1] if means[0] and means[1] else None
    without = " and ".join(load.name for load in (ours, theirs) if not load.attempts)
    found = f"ratio of mean latencies {ratio:.3g}" if ratio else "no mean latency is known for both"
    return PairDocument(
        a=ours.name,
        b=theirs.name,
        load=ours.cell,
        ratio_of_means=ratio,
        notes=[f"ratio_ci, p_value: {without}: no single requests"],
        verdict=[f"{ours.name} against {theirs.name}: not tested: no single requests of {without}; {found}."],
    )


def _mean_latency_s(load: Recorded) -> float | None:
    latencies_s = Side(load.name, load.cell, Requests.of(load.attempts)).latencies_s
    return float(latencies_s.mean()) if len(latencies_s) else load.summary.latency_s.mean


def _throughput(load: Recorded, rows: Sequence[InferenceRow]) -> ThroughputDocument:
    own, row = load.summary, next((row for row in rows if (row.endpoint, row.cell) == load.at), None)
    speeds = row.figures if row else {}
    output, total = (speeds.get(f"system_{kind}") for kind in ("output_tok_per_s", "total_tok_per_s"))
    return ThroughputDocument(
        name=load.name,
        load=load.cell,
        output_tok_per_s=_mean(output) if row else own.output_tok_per_s,
        total_tok_per_s=_mean(total) if row else own.total_tok_per_s,
        requests_per_s=row.requests_per_s.mean if row and row.requests_per_s else own.requests_per_s,
        in_the_file={"output_tok_per_s": own.output_tok_per_s, "wall_s": own.wall_s} if load.imported else None,
    )


def _mean(figure: Figure | None) -> float | None:
    return figure.mean if isinstance(figure, Description) else None


def _reason(reason: Reason) -> dict[str, str]:
    return {
        "candidate": reason.candidate,
        "side": reason.endpoint,
        "load": reason.cell,
        "finding": reason.finding,
        "evidence": reason.evidence,
    }


def _bounds(estimate: Estimate | None) -> tuple[float, float] | None:
    if estimate is None or estimate.low is None or estimate.high is None:
        return None
    return estimate.low, estimate.high


# --- what a reader must know --------------------------------------------------------------------------------


def _notes(pair: Pair) -> Iterator[str]:
    """Say why what is null is null."""
    ratio, difference, crossed = pair.ratios.get("latency"), pair.difference_s, pair.crossover
    latency = pair.comparisons.get("typical_latency")
    if not pair.paired:
        yield f"unpaired: {pair.why_unpaired}"
    if ratio is None:
        yield "ratio_of_means: a side has no latencies"
    if difference is None:
        yield "paired_diff_s: no prompt was answered by both in the same round"
    for key, figure in (("ratio_ci", ratio), ("paired_diff_ci", difference), ("p_value", latency)):
        if figure and figure.why_no_interval:
            yield f"{key}: {figure.why_no_interval}"
    if crossed.kind == "none" or crossed.why:
        yield f"crossover: {'one side is faster at every output length' if crossed.kind == 'none' else crossed.why}"


def _without_passages(sides: Iterable[Side]) -> Iterator[str]:
    names = unique(side.name for side in sides if not side.requests["passage"].astype(bool).any())
    if names:
        yield f"{', '.join(names)}: passages are not recorded, so each prompt counts as a separate passage"


def _origins(loads: Sequence[Recorded]) -> list[str]:
    """Say what a reader must know of the files, and of which side where there are several."""
    of_note: dict[str, list[str]] = defaultdict(list)
    for load in loads:
        for note in load.notes:
            of_note[one_line(note)].append(load.name)
    several = len({load.name for load in loads}) > 1
    return [f"{listed(unique(names))}: {note}" if several else note for note, names in of_note.items()]


def _tells_its_speed(row: InferenceRow, load: Recorded) -> bool:
    """Tell whether the requests give the system throughput: not those without moments, nor a sample of them."""
    return bool(row.system_output_tok_per_s) and row.successes >= (load.summary.ok or 0)


def _at_own_speed(row: InferenceRow, load: Recorded) -> InferenceRow:
    """Take the file's own speed where its requests can't tell it."""
    own = load.summary
    if not load.imported or not own.is_there or _tells_its_speed(row, load):
        return row
    speeds = {
        "system_output_tok_per_s": describe([own.output_tok_per_s]),
        "system_total_tok_per_s": describe([own.total_tok_per_s]),
        "system_answer_tok_per_s": None,
        "requests_per_s": describe([own.requests_per_s]),
    }
    known = {key: figure for key, figure in row.figures.items() if key not in speeds}
    return replace(row, figures=known | {key: speed for key, speed in speeds.items() if speed})


def _speeds_that_differ(row_at: Mapping[tuple[str, str], InferenceRow], loads: Sequence[Recorded]) -> Iterator[str]:
    """Say where a throughput is the file's own, or differs from it."""
    cells: dict[tuple[str, str], list[str]] = defaultdict(list)
    for load in loads:
        if load.imported and (row := row_at.get(load.at)) and (said := _beside_the_file(row, load)):
            cells[load.name, said].append(load.cell)
    yield from (f"{name}, {listed(own)}: {said}" for (name, said), own in cells.items())


def _beside_the_file(row: InferenceRow, load: Recorded) -> str | None:
    speed, own = row.system_output_tok_per_s, load.summary.output_tok_per_s
    if speed is None and own is None:
        return "no system throughput: its requests have no timestamps"
    if speed is None or not _tells_its_speed(row, load):
        return "the system throughput is the file's own; it can't be computed from its requests"
    if not own or abs(speed.mean / own - 1) <= AGREE:
        return None
    closed = row.concurrency and row.rate_per_s is None
    how = f"while {row.concurrency} were in flight" if closed else "from the first request to the last answer"
    return (
        f"system throughput {speed.mean:.4g} output tok/s, {how}; the file itself says {own:.4g} "
        f"({100 * (speed.mean / own - 1):+.1f} % off)"
    )
