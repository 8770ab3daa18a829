"""Everything that a report shows, computed once: analysis.json has records, rows, verdicts, labels, and a version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import orjson
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import to_json
from pydantic_core.core_schema import FloatSchema

from accelbench.analysis.disturbance import overlaps, shared
from accelbench.analysis.economy import Economy, economy
from accelbench.analysis.evidence import Evidence, evidence_of
from accelbench.analysis.history import HistoryRow, headlines
from accelbench.analysis.inference import InferenceRow, inference_rows
from accelbench.analysis.load import Load
from accelbench.analysis.load_curve import LoadCurve, load_curves
from accelbench.analysis.pairs import Judged, Pair, judge_all, pairs_of, tests_of_a_pair
from accelbench.analysis.published import Published, read_published
from accelbench.analysis.sample import Side, sides_of
from accelbench.analysis.sweep import Sweep, sweeps_of
from accelbench.analysis.training import TrainingRow, size_of, training_rows
from accelbench.config import Config
from accelbench.errors import UserError
from accelbench.plan import specs
from accelbench.plan.measurement import MEASURED, check, how_to_measure
from accelbench.plan.past import RECORD, unmeasured
from accelbench.store import paths
from accelbench.store.files import read_jsonl, read_record, write_atomically
from accelbench.store.records import InferRoundRecord, PromptSetFacts, SearchRecord, SearchResult, TrainRunRecord
from accelbench.store.requests import Requests

_Record = TypeVar("_Record")
MAX_SAMPLED = 2000  # successes that the page shows
VERSION = 2
"""Of results/analysis.json; changes when a field changes its meaning or is removed."""


@dataclass(frozen=True, slots=True)
class ShownRequests:
    """The attempts that the page shows, by their place among all: each that failed, and a sample of the others."""

    places: list[int]
    failed: int
    succeeded: int


@dataclass(frozen=True)
class Summary:
    """What there is to show (results/analysis.json)."""

    __pydantic_config__ = ConfigDict(ser_json_inf_nan="strings")

    title: str
    runs: list[TrainRunRecord]
    rounds: list[InferRoundRecord]
    training: list[TrainingRow]
    inference: list[InferenceRow]
    labels: dict[str, str]
    """Platform or endpoint -> how it is called."""
    hardware: dict[str, str]
    """Endpoint -> what it runs on, where the config says so."""
    prompts: dict[str, PromptSetFacts]
    sweeps: list[Sweep] = field(default_factory=list)
    """What the batch sizes of each series show together: spread, total times, outliers, losses reached."""
    published: Published | None = None
    """Published training figures to show next to one's own."""
    judged: list[Judged] = field(default_factory=list)
    """The verdicts on each endpoint against the baseline."""
    economies: list[Economy] = field(default_factory=list)
    curves: list[list[LoadCurve]] = field(default_factory=list)
    """The load curves of each scenario and shape, by endpoint."""
    evidence: list[Evidence] = field(default_factory=list)
    shown: ShownRequests = ShownRequests([], 0, 0)
    tests: int = 1
    """The largest number of tests in the report: all its sentences that name a winner are one family."""
    headlines: list[HistoryRow] = field(default_factory=list)
    """What the history keeps of this report."""
    searches: list[SearchRecord] = field(default_factory=list)
    """The highest load of each endpoint, where a scenario searches it."""
    requests_file: str = paths.REQUESTS
    """Where all attempts stand, by column."""
    version: int = VERSION

    @property
    def planned(self) -> list[TrainRunRecord | InferRoundRecord | SearchRecord]:
        """All planned measurements."""
        return [*self.runs, *self.rounds, *self.searches]

    @property
    def data_set(self) -> str:
        """Name the data that was really used."""
        names = {facts["source"]["name"] for facts in self.prompts.values()}
        return ", ".join(sorted(names)) or "as recorded"

    @cached_property
    def endpoints(self) -> list[str]:
        """The endpoints in the config's order."""
        return list(dict.fromkeys(record.endpoint for record in self.rounds))

    @cached_property
    def requests(self) -> Requests:
        """All attempts."""
        return Requests.read(Path(self.requests_file)) if self.rounds else Requests.of([])


@cache
def summary_type() -> TypeAdapter[Summary]:
    """Return what reads, writes and describes analysis.json."""
    return TypeAdapter(Summary)


class _Schema(GenerateJsonSchema):
    def float_schema(self, schema: FloatSchema) -> JsonSchemaValue:
        """Describe a figure; non-finite numbers are written as words."""
        return {"anyOf": [super().float_schema(schema), {"enum": ["NaN", "Infinity", "-Infinity"]}]}


def summary_schema() -> JsonSchemaValue:
    """Return the JSON schema of analysis.json."""
    return summary_type().json_schema(mode="serialization", schema_generator=_Schema)


def read_summary(path: Path) -> Summary:
    """Read analysis.json. Raises UserError if it is missing, or from another version."""
    anew = f"`{paths.snakemake()} --cores 4 --forcerun analyse` rebuilds it."
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} is not there; `{paths.snakemake()} --cores 4` makes it.") from None
    try:
        if orjson.loads(content)["version"] == VERSION:
            return summary_type().validate_json(content)
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is damaged; {anew}") from None
    raise UserError(f"{path} was made by another version of accelbench; {anew}")


def write_summary(path: Path, summary: Summary) -> None:
    """Write analysis.json. (By its type, a figure that is infinite within a union would become null.)"""
    write_atomically(path, to_json(summary, inf_nan_mode="strings"))


def read_records() -> tuple[list[TrainRunRecord], list[InferRoundRecord]]:
    """Read the records of all planned runs and rounds. Raises UserError for an invalid record."""
    runs, rounds = TypeAdapter(list[TrainRunRecord]), TypeAdapter(list[InferRoundRecord])
    return _records(Path(paths.RUNS), runs, "parse"), _records(Path(paths.ROUNDS), rounds, "classify")


def _records(path: Path, kind: TypeAdapter[list[_Record]], rule: str) -> list[_Record]:
    try:
        return kind.validate_python(read_jsonl(path))
    except ValidationError as error:
        place, *keys = error.errors()[0]["loc"]
        raise UserError(
            f"{path}: line {int(place) + 1}: {'.'.join(map(str, keys))} is invalid; `{paths.snakemake()} --cores 4 "
            f"--forcerun {rule}` rebuilds it."
        ) from None


def summarise(
    config: Config,
    runs: Sequence[TrainRunRecord],
    rounds: Sequence[InferRoundRecord],
    requests_file: Path = Path(paths.REQUESTS),
) -> Summary:
    """Put what parse and classify found into rows and verdicts."""
    requests = Requests.read(requests_file) if rounds else Requests.of([])
    facts = {name: paths.prompt_facts(name) for name in specs.prompt_sets(config)}
    named = {**config.training.platforms, **config.inference.endpoints}
    asked, together = config.inference, overlaps([*runs, *rounds])
    loads = _loads(config)
    sides = sides_of(rounds, requests, loads)
    pairs = pairs_of(rounds, sides, asked.baseline, asked.interleaved_within_s)
    rows = inference_rows(rounds, sides, pairs, loads, asked.baseline)
    rows = [_told_of_rounds(row, rounds, together) for row in rows]
    sweeps = sweeps_of(runs)
    beside = _tests_beside(sweeps, rows, sides)
    tests = max(1, beside + len(pairs) * tests_of_a_pair())
    training, judged = training_rows(runs, config.training), _judged(config, pairs, beside)
    return Summary(
        title=config.title,
        runs=list(runs),
        rounds=list(rounds),
        training=[_told_of_runs(row, runs, together) for row in training],
        inference=rows,
        labels={name: item.label or name for name, item in named.items()},
        hardware={n: e.hardware for n, e in config.inference.endpoints.items() if e.hardware},
        prompts={name: found for name, path in facts.items() if (found := read_record(path))},
        sweeps=sweeps,
        published=read_published(paths.found(config.training.reference)) if config.training.reference else None,
        judged=judged,
        economies=[
            economy(row, asked.endpoints[row.endpoint], asked.goodput, sides[row.endpoint, row.cell]) for row in rows
        ],
        curves=load_curves(rows, sides, tests),
        evidence=evidence_of(rounds, sides),
        shown=shown_of(requests),
        tests=tests,
        headlines=headlines(runs, rounds, training, rows, sides, judged, _specs_of(config, [*runs, *rounds])),
        searches=[_searched(config, item) for item in specs.searches(config)],
        requests_file=str(requests_file),
    )


def _searched(config: Config, item: specs.Search) -> SearchRecord:
    """Return what a search found, or why it has no result."""
    try:
        measured = check(item.folder, specs.search_spec(config, item))
    except UserError as error:
        state, why = unmeasured(item.folder, error)
        profile = config.cluster.profile if config.inference.endpoints[item.endpoint].own_node else None
        anew = how_to_measure(item.folder / MEASURED, profile=profile)
        return SearchRecord(item.endpoint, item.cell, state, why or f"not measured yet; {anew}")
    found = TypeAdapter(SearchResult).validate_python(read_record(item.folder / RECORD))
    return SearchRecord(item.endpoint, item.cell, "measured", None, measured["measured_at"], found)


def _tests_beside(sweeps: Sequence[Sweep], rows: Sequence[InferenceRow], sides: Mapping[tuple[str, str], Side]) -> int:
    """Return how many tests the report makes in addition to those between endpoints: of knees and batch sizes."""
    curves = (curve for group in load_curves(rows, sides) for curve in group)
    spreads = (sweep.spread for sweep in sweeps)
    return sum(c.p_value is not None for c in curves) + sum(s is not None and s.p is not None for s in spreads)


def _judged(config: Config, pairs: Sequence[Pair], others: int) -> list[Judged]:
    asked, cells = config.inference, specs.cells(config)
    judged = judge_all(
        pairs,
        primary=asked.primary,
        time_margin=asked.equivalence.time,
        score_margin=asked.equivalence.quality,
        controls=[name for name, endpoint in asked.endpoints.items() if endpoint.control_of],
        others=others,
    )
    return [replace(each, scenario=cells[each.pair.ours.cell].scenario) for each in judged]


def _specs_of(config: Config, records: Sequence[TrainRunRecord | InferRoundRecord]) -> dict[str, str]:
    """Return the spec of each run and round that was measured, by its name."""
    measured = {record.name for record in records if record.measured_at}
    runs = {run.name: specs.train_spec(config, run) for run in specs.train_runs(config) if run.name in measured}
    rounds = (each for each in specs.infer_rounds(config) if each.name in measured)
    return runs | {each.name: specs.infer_spec(config, each) for each in rounds}


def shown_of(requests: Requests) -> ShownRequests:
    """Return all failed attempts, and an even sample of the successes."""
    failed, good = np.flatnonzero(~requests["is_success"]), np.flatnonzero(requests["is_success"])
    count = min(MAX_SAMPLED, len(good))
    sampled = good[np.arange(count) * len(good) // max(1, count)]
    return ShownRequests(np.sort(np.concatenate([failed, sampled])).tolist(), len(failed), len(good))


def _told_of_runs(row: TrainingRow, runs: Sequence[TrainRunRecord], together: dict[str, list[str]]) -> TrainingRow:
    """Add whether runs of a row shared their node."""
    if not together:
        return row
    own = [run for run in runs if size_of(run) == size_of(row)]
    return replace(row, shared_node=shared(own, together))


def _told_of_rounds(
    row: InferenceRow, rounds: Sequence[InferRoundRecord], together: dict[str, list[str]]
) -> InferenceRow:
    """Add whether rounds of a row shared their node."""
    if not together:
        return row
    own = [item for item in rounds if (item.endpoint, item.cell) == (row.endpoint, row.cell)]
    return replace(row, labels="; ".join(filter(None, [row.labels, shared(own, together)])) or None)


def _loads(config: Config) -> dict[str, Load]:
    return {
        name: Load(
            scenario=cell.scenario,
            concurrency=cell.slots,
            rate_per_s=cell.rate_per_s if cell.is_open else None,
            arrivals=cell.arrivals,
            context_tokens=cell.context_tokens,
            max_tokens=cell.max_tokens,
            output_tokens=cell.output_tokens,
            prefix=f"{cell.load.prefix}, {cell.prefix_share:.0%} of a prompt" if cell.load.prefix else None,
        )
        for name, cell in specs.cells(config).items()
    }
