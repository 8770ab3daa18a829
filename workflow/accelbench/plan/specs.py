"""Specs: what a job measures, as one canonical text.

A spec holds the measured fields of the job's own part of the config, those at their default left out, and the
digests of the data it uses. It is the one thing that Snakemake compares, it stands in the result, and the
aggregation refuses a result whose spec is not the config's. Rendering a spec never depends on key order,
comments, labels, or on a default being written out.
"""

import ast
import functools
import hashlib
import itertools
import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import BaseModel

from accelbench.config import BatchSettings, Config, Platform, Scenario
from accelbench.config.inference import BUNDLED_QUESTIONS
from accelbench.errors import UserError
from accelbench.foreign import complaint, read_yaml
from accelbench.plan.trace import Arrival, read_trace
from accelbench.store import paths
from accelbench.store.files import read_record, sha256
from accelbench.store.records import PromptSetFacts, run_name

PENDING = "pending"
QUESTION_TOKENS = 100  # of a question and what it is worded in, roughly
PACKAGE = Path(__file__).parents[1]
MATCHING = ("match", "base_batch_size", "lr_scaling", "schedule_unit")  # specs hold what comes of them


@dataclass(frozen=True, slots=True)
class TrainRun:
    """One training run of the sweep."""

    platform: str
    batch: int
    repeat: int
    micro: int | None = None
    """The micro batch, where it is an axis of the sweep."""
    length: int | None = None
    """The tokens of a sample, where they are an axis of the sweep."""

    @property
    def folder(self) -> Path:
        """Where it is measured."""
        return paths.train_run(self.platform, self.batch, self.repeat, self.micro, self.length)

    @property
    def name(self) -> str:
        """Its name in lists, as its record's."""
        return run_name(self.platform, self.batch, self.repeat, self.micro, self.length)


@dataclass(frozen=True, slots=True)
class Cell:
    """One load: a scenario at one value of each of its lists."""

    name: str
    scenario: str
    load: Scenario
    """The scenario with that value in the place of each list."""

    @property
    def is_open(self) -> bool:
        """Whether requests are sent at scheduled times, whatever became of those before."""
        return self.load.arrivals != "closed"

    @property
    def slots(self) -> int:
        """The most requests in flight: the concurrency of a closed loop, the cap of an open one."""
        return int(self.load.most_in_flight)

    @property
    def rate_per_s(self) -> float:
        """Arrivals per second of an open loop, on average over a round."""
        if self.load.arrivals == "trace":
            return self.load.requests / (self.trace[-1].at_s or 1.0)
        first = float(cast(float, self.load.rate_per_s))
        return first if self.load.ramp_to_per_s is None else (first + self.load.ramp_to_per_s) / 2

    @property
    def trace(self) -> list[Arrival]:
        """The requests of the trace that each round replays; none without one. Raises UserError as `read_trace`."""
        load = self.load
        return read_trace(load.trace, load.requests, load.time_scale) if load.trace else []

    @property
    def arrivals(self) -> str | None:
        """How requests arrive, in words, unless the average rate says it all."""
        load = self.load
        told = {
            "gamma": f"in bursts (gamma, shape {load.burstiness:g})",
            "trace": f"as in {Path(load.trace or '').name}",
        }
        parts = [
            told.get(load.arrivals),
            f"from {load.rate_per_s:g} to {load.ramp_to_per_s:g} per s" if load.ramp_to_per_s else None,
        ]
        return ", ".join(filter(None, parts)) or None

    def replaying(self, arrival: Arrival) -> "Cell":
        """Return the cell with the lengths of one request of its trace."""
        most = self.context_tokens or math.inf
        lengths = {
            "context_tokens": int(min(arrival.input_tokens, most)),
            "output_tokens": min(arrival.output_tokens, self.max_tokens),
        }
        return replace(self, load=self.load.model_copy(update=lengths))

    @property
    def max_tokens(self) -> int:
        """Most tokens of an answer."""
        return self.load.most_tokens

    @property
    def output_tokens(self) -> int | None:
        """The tokens of each answer, if that is fixed."""
        return cast(int | None, self.load.output_tokens)

    @property
    def context_tokens(self) -> int | None:
        """What the context is filled to, if it is."""
        return cast(int | None, self.load.context_tokens)

    @property
    def prefix_share(self) -> float:
        """The share of a prompt that its prefix takes; 0 without one."""
        return float(cast(float, self.load.prefix_share)) if self.load.prefix else 0.0

    @property
    def needs_passages(self) -> bool:
        """Whether its prompts hold other passages of the set."""
        return bool(self.load.context_tokens or self.load.prefix or self.load.trace)


@dataclass(frozen=True, slots=True)
class InferRound:
    """One round of one cell against one endpoint."""

    endpoint: str
    cell: str
    round: int

    @property
    def folder(self) -> Path:
        """Where it is measured."""
        return paths.infer_round(self.endpoint, self.cell, self.round)

    @property
    def name(self) -> str:
        """Its name in lists, as its record's."""
        return f"{self.endpoint} {self.cell} round {self.round}"


@dataclass(frozen=True, slots=True)
class Search:
    """The search for the highest load at one endpoint (`find_max`)."""

    endpoint: str
    cell: str

    @property
    def folder(self) -> Path:
        """Where it is measured."""
        return paths.search_folder(self.endpoint, self.cell)

    @property
    def name(self) -> str:
        """Its name in lists."""
        return f"{self.endpoint} {self.cell}"


Measurement = TrainRun | InferRound | Search


# --- what a config plans ------------------------------------------------------------------------------------


def train_runs(config: Config) -> list[TrainRun]:
    """Return all planned training runs, in config order."""
    training = config.training
    return [
        TrainRun(platform, batch, repeat, micro, length)
        for platform in training.run
        for batch in training.batch_sizes
        for micro in training.micro_batches(batch)
        for length in training.lengths
        for repeat in range(1, training.repeats + 1)
    ]


def cells(config: Config) -> dict[str, Cell]:
    """Return the loads of all scenarios that run: one per value of each list, named after the values.

    Those of which the highest is searched are `searched_cells`.
    """
    return {name: cell for name, cell in _all_cells(config).items() if cell.load.find_max is None}


def searched_cells(config: Config) -> dict[str, Cell]:
    """Return the loads of which the highest is searched; each has the highest level that is tried."""
    return {name: cell for name, cell in _all_cells(config).items() if cell.load.find_max is not None}


def _all_cells(config: Config) -> dict[str, Cell]:
    """Return all cells; those of the last config are kept, as every job's spec asks for them."""
    global _last_cells
    if _last_cells is None or _last_cells[0] is not config:
        _last_cells = (config, _made_cells(config))
    return _last_cells[1]


def _made_cells(config: Config) -> dict[str, Cell]:
    scenarios = {name: config.inference.scenarios[name] for name in config.inference.scenarios_run}
    return {
        cell: Cell(cell, name, load)
        for name, scenario in scenarios.items()
        for cell, load in scenario.cells(name).items()
    }


_last_cells: tuple[Config, dict[str, Cell]] | None = None


def infer_rounds(config: Config) -> list[InferRound]:
    """Return all planned rounds, in config order."""
    return [
        InferRound(endpoint, cell.name, round_no)
        for endpoint in config.inference.run
        for cell in cells(config).values()
        for round_no in range(1, scenario_of(config, cell.name).rounds + 1)
    ]


def scenario_of(config: Config, cell: str) -> Scenario:
    """Return the scenario of a cell, with the cell's value in the place of each list."""
    return _all_cells(config)[cell].load


def searches(config: Config) -> list[Search]:
    """Return all planned searches, in config order."""
    return [Search(endpoint, cell) for endpoint in config.inference.run for cell in searched_cells(config)]


def priorities(config: Config) -> dict[Measurement, int]:
    """Return the order of all measuring jobs as Snakemake priorities (higher runs earlier).

    Repeats and rounds are blocks: all of repeat k before any of k + 1, and within a block the order is drawn
    from the seed, so that a drift of the machine falls on all sides alike. The order of endpoints is balanced.
    Searches come last: they overload what they measure.
    """
    draw = random.Random(f"order {config.seed}")
    order: list[Measurement] = []
    training = train_runs(config)
    for repeat in sorted({run.repeat for run in training}):
        block = sorted((run for run in training if run.repeat == repeat), key=repr)
        order += draw.sample(block, len(block))
    rounds = {cell: scenario_of(config, cell).rounds for cell in cells(config)}
    orders = {cell: balanced_orders(config.inference.run, f"order {config.seed} {cell}") for cell in rounds}
    for round_no in range(1, max(rounds.values(), default=0) + 1):
        for cell in (cell for cell, planned in rounds.items() if round_no <= planned):
            order += [InferRound(endpoint, cell, round_no) for endpoint in next(orders[cell])]
    order += searches(config)
    return {item: len(order) - place for place, item in enumerate(order)}


def balanced_orders(endpoints: Sequence[str], seed: str) -> Iterator[list[str]]:
    """Yield the order of each round: a drawn one and then its reverse, over and over.

    However many rounds there are, how often each endpoint comes first differs by at most one, and so does how often
    one of two comes before the other: a drift of the session falls on both alike.
    """
    names, draw = sorted(endpoints), random.Random(seed)
    if len(names) < 2:
        yield from itertools.repeat(names)
    firsts: list[str] = []
    while True:
        while len(firsts) < 2:
            drawn = draw.sample(names, len(names))
            while firsts and drawn[0] == firsts[0]:
                drawn = draw.sample(names, len(names))
            firsts += drawn
        first, last = firsts[:2]
        between = [name for name in names if name not in (first, last)]
        order = [first, *draw.sample(between, len(between)), last]
        yield order
        yield order[::-1]
        del firsts[:2]


def prompts_needed(config: Config, prompt_set: str) -> int:
    """Return how many prompts the scenarios that run take from a set."""
    scenarios = (config.inference.scenarios[name] for name in config.inference.scenarios_run)
    needed = [s.rounds * s.requests for s in scenarios if s.prompts == prompt_set]
    if not needed:
        raise UserError(f"inference.prompts.{prompt_set}: no scenario in inference.scenarios_run uses it.")
    return max(needed)


def prompt_sets(config: Config) -> list[str]:
    """Return the prompt sets in use."""
    scenarios = (config.inference.scenarios[name] for name in config.inference.scenarios_run)
    return list(dict.fromkeys(s.prompts for s in scenarios)) if config.inference.run else []


def needs_local(config: Config) -> bool:
    """Tell whether anything planned needs the extra `local` (torch, local servers)."""
    platforms = (config.training.platforms[name] for name in config.training.run)
    endpoints = (config.inference.endpoints[name] for name in config.inference.run)
    servers = (endpoint.server for endpoint in endpoints)
    return any(each.needs_local for each in platforms) or any(s is not None and s.packages for s in servers)


# --- specs ----------------------------------------------------------------------------------------------------


def canonical(record: Any) -> str:
    """Return the sorted-key JSON of a record: equal records give equal texts."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


def digest(text: str) -> str:
    """Return the short name of a spec: 16 hex digits of its SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def measured_fields(model: BaseModel) -> dict[str, Any]:
    """Return the measured fields of a config model that differ from their default, as plain data."""
    fields = {}
    for name, field in type(model).model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        value = getattr(model, name)
        if extra.get("measured", True) and value != field.get_default(call_default_factory=True):
            fields[name] = _plain(value)
    return fields


def train_spec(config: Config, run: TrainRun) -> str:
    """Return the spec of one training run."""
    training = config.training
    platform = training.platforms[run.platform]
    if log := platform.log(run.batch, run.repeat, run.micro):
        return _log_run(platform, run, log)
    sweep = measured_fields(training)
    for resolved in ("seed", "model", *MATCHING, *BatchSettings.model_fields):
        sweep.pop(resolved, None)
    factors = {"lr_factor": training.lr_factor(run.batch), "schedule_factor": training.schedule_factor(run.batch)}
    return canonical(
        {
            "kind": "train",
            "platform": {"name": run.platform, **_plain(platform)},
            "sweep": sweep,
            "settings": _plain(training.settings(run.batch, run.micro)),
            **{name: str(factor) for name, factor in factors.items() if factor != 1},
            "batch_size": run.batch,
            "repeat": run.repeat,
            "seed": training.seed_of(run.repeat),
            "model": _plain(base_params(str(training.model))),
            "corpus": corpus_digest(run.length) if training.corpus else None,
            **({"sequence_length": run.length} if run.length else {}),
        }
    )


def _log_run(platform: Platform, run: TrainRun, log: Path) -> str:
    """Return the spec of a run that is over: what it trained stands nowhere but in its log."""
    return canonical(
        {
            "kind": "train",
            "platform": {"name": run.platform, **_plain(platform)},
            "batch_size": run.batch,
            **({"micro_batch_size": run.micro} if run.micro else {}),
            "repeat": run.repeat,
            "seed": None,
            "model": None,
            "corpus": None,
            "log": file_digest(log),
        }
    )


def infer_spec(config: Config, item: InferRound) -> str:
    """Return the spec of one round."""
    scenario = scenario_of(config, item.cell)
    return canonical(
        {
            "kind": "infer",
            "endpoint": {"name": item.endpoint, **_plain(config.inference.endpoints[item.endpoint])},
            "scenario": measured_fields(scenario),
            "cell": item.cell,
            "round": item.round,
            "seed": config.seed if scenario.nonce else None,
            "prompts": prompts_digest(scenario, item.round),
            **({"trace": file_digest(paths.found(scenario.trace))} if scenario.trace else {}),
        }
    )


def search_spec(config: Config, item: Search) -> str:
    """Return the spec of one search."""
    scenario = scenario_of(config, item.cell)
    return canonical(
        {
            "kind": "search",
            "endpoint": {"name": item.endpoint, **_plain(config.inference.endpoints[item.endpoint])},
            "scenario": measured_fields(scenario),
            "cell": item.cell,
            "prompts": prompts_digest(scenario, 1),
        }
    )


def spec_of(config: Config, item: Measurement) -> str:
    """Return the spec of a measurement."""
    if isinstance(item, TrainRun):
        return train_spec(config, item)
    return infer_spec(config, item) if isinstance(item, InferRound) else search_spec(config, item)


def rounds_of(config: Config, endpoint: str) -> list[InferRound]:
    """Return all planned rounds of an endpoint, in the order in which they are measured."""
    order = priorities(config)
    return sorted((each for each in infer_rounds(config) if each.endpoint == endpoint), key=lambda each: -order[each])


def endpoint_spec(config: Config, endpoint: str) -> str:
    """Return the spec of all rounds of an endpoint that are one job: the digests of theirs, or PENDING."""
    named = {f"{each.cell}/r{each.round}": infer_spec(config, each) for each in rounds_of(config, endpoint)}
    pending = any(json.loads(spec)["prompts"] == PENDING for spec in named.values())
    return canonical(
        {
            "kind": "infer_endpoint",
            "endpoint": endpoint,
            "rounds": {name: digest(spec) for name, spec in named.items()},
            "prompts": PENDING if pending else None,
        }
    )


def result_of(config: Config, item: InferRound) -> Path:
    """Return the file that says that a round is measured, as a rule makes it: its own, or one of all its endpoint's."""
    in_one_job = config.inference.endpoints[item.endpoint].in_one_job
    folder = paths.INFER_ENDPOINT if in_one_job else paths.INFER_ROUND
    return Path(folder.format(endpoint=item.endpoint, cell=item.cell, round=item.round)) / "measured.json"


def corpus_spec(config: Config) -> str:
    """Return the spec of the training corpus."""
    path = str(config.training.model)
    try:
        trainer = base_params(path)["trainer"]
        first = trainer[0]["trainer"] if isinstance(trainer, list) else trainer
        model = first["init"]["model"]
        sizes = {"sequence_length": model["max_position_embeddings"], "vocab_size": model["vocab_size"]}
    except (KeyError, TypeError, IndexError):
        needed = "trainer.init.model with max_position_embeddings and vocab_size"
        raise UserError(f"training.model: {path} must have {needed}, for which the corpus is made.") from None
    drawn = {"seed": config.training.seed} if config.training.corpus == "synthetic" else {}
    axis = config.training.sequence_lengths
    return canonical({"kind": config.training.corpus, **sizes, **drawn, **({"sequence_lengths": axis} if axis else {})})


def prompts_spec(config: Config, prompt_set: str) -> str:
    """Return the spec of a prompt set."""
    settings = measured_fields(config.inference.prompts[prompt_set])
    return canonical({**settings, "count": prompts_needed(config, prompt_set)})


def code(*modules: str) -> str:
    """Return the digest of modules of this package and of all they import from it when they are loaded.

    A folder stands for all its files. Imports inside functions and for type checking alone don't count.
    """
    sums = hashlib.sha256()
    for path in sorted(_with_imports([file for module in modules for file in _files(PACKAGE / module)])):
        sums.update(path.name.encode() + path.read_bytes())
    return sums.hexdigest()[:16]


def _with_imports(files: list[Path]) -> set[Path]:
    found: set[Path] = set()
    while files:
        path = files.pop()
        if path not in found:
            found.add(path)
            files += _imports(path) if path.suffix == ".py" else []
    return found


@functools.lru_cache
def _imports(path: Path) -> list[Path]:
    """Return the files of this package that a module imports at its top level."""
    names = []
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    places = [PACKAGE.parent.joinpath(*name.split(".")) for name in names]
    candidates = [file for place in places for file in (place.with_suffix(".py"), place / "__init__.py")]
    return [file for file in candidates if file.is_relative_to(PACKAGE) and file.exists()]


# --- data that specs name ---------------------------------------------------------------------------------------


OLD_LAYOUT = ("runconfig", "train_input", "eval_input")


def base_params(path: str) -> dict[str, Any]:
    """Return the base params file of a sweep as data."""
    try:
        params: dict[str, Any] = _yaml(path, paths.found(path).stat().st_mtime_ns)
    except OSError as error:
        raise UserError(f"training.model: {path} can't be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise UserError(f"training.model: {path} is not UTF-8 text.") from None
    except yaml.YAMLError as error:
        raise UserError(f"training.model: {path} can't be read as YAML: {complaint(error)}.") from None
    if not isinstance(params, dict):
        raise UserError(f"training.model: {path} must be a params file with `trainer:` at its top.")
    if "trainer" not in params and (old := [key for key in OLD_LAYOUT if key in params]):
        raise UserError(
            f"training.model: {path} is in the layout of ModelZoo 1.x ({', '.join(old)} at its top), where 2.x has "
            "`trainer:`. Convert it with convert_legacy_params_to_trainer_params of cerebras.modelzoo.trainer.utils."
        )
    return params


def corpus_digest(length: int | None = None) -> str:
    """Return the digest of the prepared corpus, of samples of a length that is an axis; PENDING before it is made."""
    made = _facts(paths.corpus_facts())
    return str((made.get("lengths", {}).get(str(length), {}) if length else made).get("digest", PENDING))


def corpus_is_made(config: Config) -> bool:
    """Tell whether the training corpus is there, for the model that the config trains."""
    made = _facts(paths.corpus_facts())
    asked = json.loads(corpus_spec(config))
    same = all(made.get(key) == asked.get(key) for key in ("sequence_length", "vocab_size", "seed"))
    lengths = {str(length) for length in asked.get("sequence_lengths", [])}
    return bool(made) and same and lengths <= made.get("lengths", {}).keys()


def prompts_digest(scenario: Scenario, round_no: int) -> str:
    """Return the digest of the prompts that one round asks, or PENDING before they are made."""
    facts: PromptSetFacts = _facts(paths.prompt_facts(scenario.prompts))
    asked = facts.get("digests", [])[(round_no - 1) * scenario.requests : round_no * scenario.requests]
    if len(asked) < scenario.requests:
        return PENDING
    return digest(
        "".join(asked)
        + (facts["passages_digest"] if scenario.context_tokens or scenario.prefix or scenario.trace else "")
    )


def prompts_are_made(config: Config, prompt_set: str) -> bool:
    """Tell whether a prompt set is there, of what the config says, and as large as its scenarios need.

    What an older version made tells only some of what it was made of.
    """
    made: PromptSetFacts = _facts(paths.prompt_facts(prompt_set))
    asked = config.inference.prompts[prompt_set]
    if made.get("count", 0) < prompts_needed(config, prompt_set):
        return False
    if "spec" in made:
        return made["spec"] == measured_fields(asked)
    told = {"template": asked.template, "select": asked.select, "seed": asked.seed}
    return (made["source"]["kind"] == "path") == (asked.source == "path") and told.items() <= made.items()


def out_of_reach(config: Config) -> list[str]:
    """Return a line, with its key, for all of a plan that can't be had: files, questions, room for contexts."""
    return [*_missing_files(config), *_lacking_questions(config), *too_long_contexts(config)]


def _lacking_questions(config: Config) -> Iterator[str]:
    """Yield the sets of bundled questions that hold too few."""
    for name in prompt_sets(config):
        needed = prompts_needed(config, name)
        if config.inference.prompts[name].source == "bundled" and needed > BUNDLED_QUESTIONS:
            yield (
                f"inference.prompts.{name}: the scenarios need {needed:,} questions (rounds × requests), but only "
                f"{BUNDLED_QUESTIONS} are bundled. Lower requests or rounds, or use a larger data set."
            )


def too_long_contexts(config: Config) -> Iterator[str]:
    """Yield the servers of the config that can't hold what a cell fills the context with, and its answer."""
    for name in config.inference.run:
        server = config.inference.endpoints[name].server
        filled = [cell for cell in _all_cells(config).values() if cell.context_tokens]
        if server is None or server.context_tokens is None or not filled:
            continue
        worst = max(filled, key=lambda cell: (cell.context_tokens or 0) + cell.max_tokens)
        longest = (worst.context_tokens or 0) + worst.max_tokens
        if longest > server.context_tokens:
            yield (
                f"inference.endpoints.{name}.server.context_tokens is {server.context_tokens:,}, and {worst.name} asks "
                f"for {worst.context_tokens:,} tokens of context and {worst.max_tokens:,} of answer. Set it to "
                f"{longest + QUESTION_TOKENS:,} or more, or ask for less."
            )


def _missing_files(config: Config) -> list[str]:
    found = []
    for name in prompt_sets(config):
        path = config.inference.prompts[name].path
        if path and not paths.found(path).is_file() and not prompts_are_made(config, name):
            found.append(
                f"inference.prompts.{name}.path: {path} does not exist. Put the file there, or correct the path."
            )
    for cell in cells(config).values():
        try:
            _ = cell.trace
        except UserError as error:
            found.append(f"inference.scenarios.{cell.scenario}.{error}")
    training = config.training
    if any(training.platforms[name].trains for name in training.run):
        try:
            base_params(str(training.model))
        except UserError as error:
            found.append(str(error))
    if training.reference and not paths.found(training.reference).is_file():
        found.append(f"training.reference: {training.reference} does not exist. Correct the path, or leave it out.")
    return found


def file_digest(path: Path) -> str:
    """Return the digest of a file that was brought along (a log, a trace), or PENDING where it is not to be read."""
    try:
        return _digest(path, path.stat().st_mtime_ns)
    except OSError:
        return PENDING


def _facts(path: Path) -> Any:
    return _record(path, path.stat().st_mtime_ns) if path.exists() else {}


@functools.lru_cache
def _digest(path: Path, _modified_ns: int) -> str:
    return sha256(path)[:16]


@functools.lru_cache
def _record(path: Path, _modified_ns: int) -> Any:
    return read_record(path)


@functools.lru_cache
def _yaml(path: str, _modified_ns: int) -> Any:
    return read_yaml(paths.found(path))


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return measured_fields(value)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has none
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    else:
        yield path
