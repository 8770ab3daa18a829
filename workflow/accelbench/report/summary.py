"""All that a report shows, gathered once from the derived files: records, rows, labels, and the data set's name."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from accelbench.analysis.disturbance import overlaps, shared
from accelbench.analysis.economy import Economy, economy
from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.inference import inference_rows as summarise_inference
from accelbench.analysis.load import Load
from accelbench.analysis.load_curve import load_curves
from accelbench.analysis.pairs import TESTS_OF_A_PAIR, Judged, judge_all, pairs_of
from accelbench.analysis.published import Published, read_published
from accelbench.analysis.sample import Side
from accelbench.analysis.sweep import rate_spread
from accelbench.analysis.training import TrainingRow, by_series
from accelbench.analysis.training import training_rows as summarise_training
from accelbench.config import Config
from accelbench.plan import specs
from accelbench.report.requests import _Line, read_figures, read_lines, uncollected
from accelbench.store import paths
from accelbench.store.files import read_record, write_jsonl
from accelbench.store.records import InferRoundRecord, RequestRecord, TrainRunRecord

RUNS, ROUNDS = Path("training/runs.jsonl"), Path("inference/rounds.jsonl")


@dataclass(frozen=True)
class Summary:
    """What there is to show."""

    title: str
    runs: list[TrainRunRecord]
    rounds: list[InferRoundRecord]
    requests: list[RequestRecord]
    """Those read from files have their figures only; `whole_requests` has their texts, too."""
    training: list[TrainingRow]
    inference: list[InferenceRow]
    labels: dict[str, str]
    """Platform or endpoint -> how it is called."""
    hardware: dict[str, str]
    """Endpoint -> what it runs on, where the config says so."""
    prompts: dict[str, dict[str, Any]]
    """Prompt set -> its facts (source, revision, digest, counts)."""
    published: Published | None = None
    """Published training figures to show beside one's own."""
    judged: Sequence[Judged] = ()
    economies: Sequence[Economy] = ()
    read_again: bool = False
    """Whether whole requests stand in the files of the rounds only."""

    @property
    def data_set(self) -> str:
        """Name the data really asked."""
        names = {facts["source"]["name"] for facts in self.prompts.values()}
        return ", ".join(sorted(names)) or "none"

    @cached_property
    def endpoints(self) -> list[str]:
        """The endpoints in the config's order."""
        return list(dict.fromkeys(record.endpoint for record in self.rounds))

    @cached_property
    def sides(self) -> list[Side]:
        """The requests of each row of `inference`."""
        found: dict[tuple[str, str], list[RequestRecord]] = {}
        for request in self.requests:
            found.setdefault((request.endpoint, request.cell), []).append(request)
        return [Side.of(row.endpoint, row.cell, found.get((row.endpoint, row.cell), []), {}) for row in self.inference]

    @cached_property
    def tests_beside(self) -> int:
        """How many tests the report makes beside those of endpoints against each other: of knees and batch sizes."""
        curves = (curve for group in load_curves(self.inference, self.requests) for curve in group)
        sweeps = (rate_spread(own) for own in by_series(self.runs).values())
        return sum(c.p_value is not None for c in curves) + sum(s is not None and s.p is not None for s in sweeps)

    @cached_property
    def tests(self) -> int:
        """How many tests the report makes at most: all its sentences that name a winner are of one family."""
        compared = sum(row.ratio_to_baseline is not None for row in self.inference)
        return max(1, self.tests_beside + compared * TESTS_OF_A_PAIR)

    def whole_requests(self, places: Container[int] | None = None) -> Iterable[_Line]:
        """Return the fields of the requests, their texts, too: of all, or of those at these places of `requests`."""
        if self.read_again:
            return read_lines(self.rounds, places)
        return (asdict(request) for place, request in enumerate(self.requests) if places is None or place in places)


@uncollected()
def summarise(config: Config, results: Path) -> Summary:
    """Read what parse and classify wrote under `results` and put it into rows, without the verdicts on pairs."""
    runs = [TrainRunRecord(**record) for record in _jsonl(results / RUNS)]
    rounds = [InferRoundRecord(**record) for record in _jsonl(results / ROUNDS)]
    requests = read_figures(rounds)
    facts = {name: paths.prompt_facts(name) for name in specs.prompt_sets(config)}
    named = {**config.training.platforms, **config.inference.endpoints}
    asked, together = config.inference, overlaps([*runs, *rounds])
    rows = summarise_inference(rounds, requests, _loads(config), asked.baseline, asked.interleaved_within_s)
    return Summary(
        title=config.title,
        runs=runs,
        rounds=rounds,
        requests=requests,
        training=[_told_of_runs(row, runs, together) for row in summarise_training(runs, config.training)],
        inference=[_told_of_rounds(row, rounds, together) for row in rows],
        labels={name: item.label or name for name, item in named.items()},
        hardware={n: e.hardware for n, e in config.inference.endpoints.items() if e.hardware},
        prompts={name: found for name, path in facts.items() if (found := read_record(path))},
        published=read_published(paths.found(config.training.reference)) if config.training.reference else None,
        economies=[_economy(config, row, requests) for row in rows],
        read_again=True,
    )


@uncollected()
def with_verdicts(config: Config, summary: Summary) -> Summary:
    """Add what can be said of each pair of endpoints: only the page tells it."""
    asked, cells = config.inference, specs.cells(config)
    pairs = pairs_of(summary.rounds, summary.requests, asked.baseline, asked.interleaved_within_s)
    judged = judge_all(
        pairs,
        primary=asked.primary,
        time_margin=asked.equivalence.time,
        score_margin=asked.equivalence.quality,
        controls=[name for name, endpoint in asked.endpoints.items() if endpoint.control_of],
        others=summary.tests_beside,
    )
    return replace(summary, judged=[replace(each, scenario=cells[each.pair.ours.cell].scenario) for each in judged])


def write_records(results: Path, runs: list[TrainRunRecord], rounds: list[InferRoundRecord]) -> None:
    """Write what became of all runs and rounds (a partial report's own copies)."""
    write_jsonl(results / RUNS, list(runs))
    write_jsonl(results / ROUNDS, list(rounds))


def _told_of_runs(row: TrainingRow, runs: Sequence[TrainRunRecord], together: dict[str, list[str]]) -> TrainingRow:
    """Add whether runs of a row shared their node."""
    if not together:
        return row
    size = (row.platform, row.batch_size, row.micro_batch_size)
    own = [run for run in runs if (run.platform, run.batch_size, run.micro_batch_size) == size]
    return replace(row, shared_node=shared(own, together))


def _told_of_rounds(
    row: InferenceRow, rounds: Sequence[InferRoundRecord], together: dict[str, list[str]]
) -> InferenceRow:
    """Add whether rounds of a row shared their node."""
    if not together:
        return row
    own = [item for item in rounds if (item.endpoint, item.cell) == (row.endpoint, row.cell)]
    return replace(row, labels="; ".join(filter(None, [row.labels, shared(own, together)])) or None)


def _economy(config: Config, row: InferenceRow, requests: Sequence[RequestRecord]) -> Economy:
    own = [r for r in requests if (r.endpoint, r.cell) == (row.endpoint, row.cell) and not r.warm_up]
    return economy(row, config.inference.endpoints[row.endpoint], config.inference.goodput, own)


def _loads(config: Config) -> dict[str, Load]:
    return {
        name: Load(
            scenario=cell.scenario,
            concurrency=cell.slots,
            rate_per_s=cell.rate_per_s if cell.is_open else None,
            context_tokens=cell.context_tokens,
            max_tokens=cell.max_tokens,
        )
        for name, cell in specs.cells(config).items()
    }


def _jsonl(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]
