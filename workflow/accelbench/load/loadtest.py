"""Load tests outside any workflow: measured, classified, summed up; of one endpoint, or of several in turn.

Several endpoints take turns in the workflow's own balanced order. In a round all are asked the same questions, each
with random prefixes of its own, so that no cache of one answers another.
"""

import datetime
import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from accelbench.config import ColumnMap, Endpoint, PromptSet, Scenario
from accelbench.config.inference import is_credential
from accelbench.errors import UserError, keys_called
from accelbench.foreign import one_line, parse_json
from accelbench.inference.answers.classify import ROUND_REQUESTS, classify_round, round_record, with_telemetry
from accelbench.inference.client import journal
from accelbench.inference.infer import RECORD, measure
from accelbench.inference.prompts import Prompt, all_prompts, columns_of, passages_of
from accelbench.inference.round import Plan
from accelbench.load.progress import Progress
from accelbench.plan import specs
from accelbench.plan.measurement import measuring
from accelbench.plan.specs import InferRound, balanced_orders
from accelbench.store.files import read_json, read_record, write_json, write_jsonl
from accelbench.store.records import JsonObject, LoadRun, LoadSpec, RequestRecord

if TYPE_CHECKING:
    from accelbench.analysis.inference import LoadFigures, SweepFigures

NAME, CELL = "endpoint", "load"
OPTION_OF = {
    "rate_per_s": "--rate",
    "env": "--token-env",
    "token": "--token-env",
    "secret_headers": "--header",
    "headers": "--header",
    "extra_body": "--body",
    "omit_body": "--body",
    "ready_timeout_s": "--wait-s",
    "timeout_read_s": "--timeout-s",
    "timeout_total_s": "--total-timeout-s",
}
RISING = 1.05  # a doubled concurrency that brings less is not worth its latency
PER_SLOT = 10  # requests, at least, at each concurrency of a sweep
MOST_SLOTS = 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """When a sweep stops before the throughput does."""

    e2e_p90_s: float | None = None
    slots: int = MOST_SLOTS


def option_of(key: str) -> str:
    """Return the option that sets a key of the config's, or a field of the endpoint's or the scenario's."""
    field = next((part for part in reversed(key.split(".")) if part in OPTION_OF), key.split(".")[-1])
    return OPTION_OF.get(field, f"--{field.replace('_', '-')}")


@keys_called(option_of)
def prompt_set(path: Path | None) -> PromptSet:
    """Return the questions of a file, worded by the columns it has, or the bundled ones.

    Only questions can't be done without: one without a passage is asked as it stands. Raises UserError when the file
    can't be read.
    """
    if path is None:
        return PromptSet(source="bundled", template="short_span")
    there = columns_of(path)
    if not {"question", "prompt"} & set(there):
        has = one_line(", ".join(sorted(there)), 200) or "no rows, or no column that all rows have"
        raise UserError(
            f"<prompts>: {path} has no column question (it has {has}); rename its columns to question (or prompt), "
            "context and answers.",
            prompts="inference.prompts",
        )
    columns = ColumnMap(
        question="prompt" if "prompt" in there and "question" not in there else "question",
        context="context" if "context" in there else None,
    )
    template = "short_span" if columns.context else "{question}"
    return PromptSet(source="path", path=str(path), columns=columns, template=template)


def shaped(body: Sequence[str], headers: Sequence[str], query: Sequence[str]) -> JsonObject:
    """Return the endpoint's settings that --body key=json, --header name=env:NAME and --query key=value ask for.

    `key=` alone leaves out a field that is sent by default. Raises ValueError, which names the option.
    """
    fields, sent = _pairs("--body", body), _pairs("--header", headers)
    values = {}
    for key, value in fields.items():
        if value:
            try:
                values[key] = parse_json(value)
            except ValueError:
                raise ValueError(f'--body: {key} must be JSON: a number, true, "a text in quotes", {{…}}') from None
    secret = {name: {"env": value[4:]} for name, value in sent.items() if value.startswith("env:")}
    added = _pairs("--query", query)
    for option, pairs in (("--header", sent), ("--query", added)):
        clear = next((name for name, value in pairs.items() if name not in secret and is_credential(name, value)), None)
        if clear:
            raise ValueError(
                f"{option}: {clear} looks like a credential, which others can read in the process list; put it into "
                "a variable and use --header name=env:VARIABLE"
            )
    return {
        "extra_body": values,
        "omit_body": [key for key, value in fields.items() if not value],
        "headers": {name: value for name, value in sent.items() if name not in secret},
        "secret_headers": secret,
        "query": added,
    }


def _pairs(option: str, given: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    for key, equals, _ in pairs:
        if not key.strip() or not equals:
            raise ValueError(f"{option}: write it as key=value")
    return {key.strip(): value for key, _, value in pairs}


def load_test(
    endpoint: Endpoint,
    scenario: Scenario,
    prompts: PromptSet,
    folder: Path,
    *,
    quiet: bool = False,
    ends_when_busy: bool = False,
) -> "LoadFigures":
    """Measure one load, or go on with it where it was interrupted; return its figures.

    `folder` gets exchanges.jsonl, requests.jsonl and run.json. Whatever the endpoint answers is data; where it
    `ends_when_busy`, no request is sent after the first 429 or 503. Raises UserError when the endpoint can't be asked,
    or when the folder holds another load test.
    """
    item = specs.InferRound(NAME, CELL, 1)
    with keys_called(option_of):
        questions = questions_of(prompts, folder)
        requests = measure_load(item, endpoint, scenario, questions, folder, quiet=quiet, ends_when_busy=ends_when_busy)
    return figures_of(requests, scenario, folder)


def new_folder(name: str) -> Path:
    """Return a folder for records that no other measurement has: one measured earlier is never taken for this one."""
    return Path(f"{name}-{datetime.datetime.now().astimezone():%Y%m%d-%H%M%S}")


def figures_of(requests: Sequence[RequestRecord], scenario: Scenario, folder: Path) -> "LoadFigures":
    """Return the figures of one measured load, with what its folder's run.json says of it."""
    from accelbench.analysis.disturbance import disturbed_in_words
    from accelbench.analysis.inference import load_figures  # heavy: not before the first request
    from accelbench.store.requests import Requests

    record: LoadRun = read_json(folder / RECORD)
    slots = None if scenario.arrivals != "closed" else scenario.most_in_flight
    figures = load_figures(Requests.of(requests), record["client"], slots=slots)
    round_ = with_telemetry(round_record((NAME, CELL, 1), record), folder, requests)
    disturbed = disturbed_in_words([round_.host_activity])
    labels = [*figures.labels, *([f"busy host: {disturbed}"] if disturbed else [])]
    if changes := record["endpoint"].get("request_changes"):
        labels.append(f"the endpoint refuses fields of the request, so it was asked {changes}")
    return replace(figures, labels=labels, resumed=record["resumed"], disturbed=bool(disturbed))


def sweep(
    endpoint: Endpoint, scenario: Scenario, prompts: PromptSet, folder: Path, limits: Limits, *, quiet: bool = False
) -> "SweepFigures":
    """Double the concurrency until the throughput stops rising, the endpoint is busy, or a limit breaks.

    Each concurrency is a load test of its own in `folder`/c{concurrency}.
    """
    steps: dict[int, LoadFigures] = {}
    slots, why = 1, None
    while why is None:
        requests = max(scenario.requests, slots * PER_SLOT)
        load = scenario.model_copy(update={"concurrency": slots, "requests": requests})
        print(f"concurrency {slots}: {requests} requests", file=sys.stderr, flush=True)
        steps[slots] = load_test(endpoint, load, prompts, folder / f"c{slots}", quiet=quiet, ends_when_busy=True)
        why = _enough(steps, slots, limits)
        slots *= 2
    from accelbench.analysis.inference import SweepFigures

    undisturbed = [at for at, step in steps.items() if not step.disturbed]
    best = max(undisturbed or steps, key=lambda at: steps[at].speed("output_tok_per_s") or 0.0)
    return SweepFigures(best, steps, why)


def _enough(steps: dict[int, "LoadFigures"], slots: int, limits: Limits) -> str | None:
    """Return why a sweep ends with the step that it just took; None: it goes on."""
    figures = steps[slots]
    busy = [kind for kind in ("rate_limited", "http_5xx") if figures.attempts_by_class.get(kind)]
    if busy:
        return f"the endpoint was busy or failed at concurrency {slots} ({', '.join(busy)})"
    p90_s = figures.time("e2e_s").p90
    if limits.e2e_p90_s is not None and p90_s is not None and p90_s > limits.e2e_p90_s:
        return f"at concurrency {slots} the latency (p90) is above {limits.e2e_p90_s:g} s"
    speed = figures.speed("output_tok_per_s")
    if speed is None and not figures.n:
        return f"the endpoint was busy: it answered the warm-up of concurrency {slots} with 429 or 503"
    if speed is None:
        return f"concurrency {slots} gave no throughput; see the classes and token counts of its requests"
    lower = [step for at, step in steps.items() if at < slots]
    if lower and not any(_rises(rate, figures, lower) for rate in ("output_tok_per_s", "requests_per_s")):
        less = f"concurrency {slots} adds less than {RISING - 1:.0%} more tokens/s or requests/s than a lower one"
        return f"{less}, but the host was busy, so more may be possible" if figures.disturbed else less
    if 2 * slots > limits.slots:
        return f"{limits.slots} is the maximum concurrency"
    return None


def _rises(rate: str, figures: "LoadFigures", lower: Sequence["LoadFigures"]) -> bool:
    """Tell whether a rate is above all earlier ones; tokens/s also fall where a step's answers happen to be shorter."""
    return (figures.speed(rate) or 0.0) >= RISING * max(step.speed(rate) or 0.0 for step in lower)


def questions_of(prompts: PromptSet, folder: Path) -> list[Prompt]:
    """Return all questions of a set; `folder` is where they are asked from. Raises UserError when there are none."""
    folder.mkdir(parents=True, exist_ok=True)
    with redirect_stdout(sys.stderr):
        _, questions = all_prompts(prompts, folder / "prompts.jsonl")
    if not questions:
        raise UserError("<prompts>: the file has no questions.", prompts="inference.prompts")
    return questions


def measure_load(
    item: specs.InferRound,
    endpoint: Endpoint,
    scenario: Scenario,
    questions: Sequence[Prompt],
    folder: Path,
    *,
    head: str = "",
    quiet: bool = False,
    ends_when_busy: bool = False,
    waits: bool = False,
    kept_for: Mapping[str, str] | None = None,
) -> list[RequestRecord]:
    """Measure one round of a load into its folder, or go on with it; return its attempts.

    Each round asks the questions that follow those of the round before. `head` stands before the progress; a round that
    `waits` begins when the host is quiet, or after a minute. `kept_for`: what a local server is kept for, if it is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with redirect_stdout(sys.stderr), measuring(folder):  # stdout is for the figures alone
        asked = _cycled(questions, scenario, item.round)
        record = _measured(
            item, endpoint, scenario, asked, passages_of(questions), folder, head, quiet=quiet,
            ends_when_busy=ends_when_busy, waits=waits, kept_for=kept_for or {},
        )  # fmt: skip
    by_id = {prompt.id: prompt for prompt in asked}
    recorded = replace(item, endpoint=NAME)  # as of a round that is read before it is classified
    requests = classify_round(recorded, folder, by_id, streamed=scenario.stream, asked=record.get("request_example"))
    write_jsonl(folder / ROUND_REQUESTS, requests)
    return requests


def _measured(
    item: specs.InferRound,
    endpoint: Endpoint,
    scenario: Scenario,
    asked: Sequence[Prompt],
    passages: Sequence[str],
    folder: Path,
    head: str,
    *,
    quiet: bool,
    ends_when_busy: bool,
    waits: bool,
    kept_for: Mapping[str, str],
) -> LoadRun:
    """Return the record of the folder's load test; measure what there is not yet of it."""
    _token_is_there(item.endpoint, endpoint)
    spec = LoadSpec(
        kind="load",
        endpoint=specs.measured_fields(endpoint),
        scenario=specs.measured_fields(scenario),
        prompts=specs.digest("".join(prompt.prompt for prompt in asked)),
        ends_when_busy=ends_when_busy,
    )
    record = _begun(folder, spec)
    if "ended_at" in record:
        print(f"{folder} holds this load test, already finished: nothing is sent.", file=sys.stderr, flush=True)
        return record
    seed = record["seed"]
    digest = specs.digest(specs.canonical({**spec, "seed": seed}))
    plan = Plan(
        item.endpoint,
        endpoint,
        specs.Cell(CELL, CELL, scenario),
        item.round,
        seed,
        asked,
        folder,
        digest,
        passages,
        all_is_data=True,
        waits=waits,
        ends_when_busy=ends_when_busy,
        kept_for=kept_for,
    )
    kept = len(_finished(folder))
    progress = Progress(len(asked) - kept, kept, head)
    record = {**record, **measure(plan, (lambda _: None) if quiet and not progress.on_terminal else progress)}
    write_json(folder / RECORD, record)
    return record


def _begun(folder: Path, spec: LoadSpec) -> LoadRun:
    """Return what run.json holds: begun by an earlier session, or now.

    The seed is drawn: two load tests ask with different random prefixes, so that no cache of the one answers
    the other. Raises UserError when the folder holds another load test: nothing measured is lost by mistake.
    """
    path = folder / RECORD
    found = _read(path) if path.exists() else LoadRun()
    was = found.get("spec", LoadSpec())
    is_new = not any((folder / name).exists() for name in (RECORD, ROUND_REQUESTS, journal.EXCHANGES))
    if is_new or (was.get("kind") == spec["kind"] and not _finished(folder)):
        begun = LoadRun(spec=spec, seed=secrets.randbelow(2**32))
        (folder / journal.EXCHANGES).unlink(missing_ok=True)  # of sessions that finished no request
        write_json(path, begun)
        return begun
    if was.get("kind") != spec["kind"]:
        raise UserError(f"{folder} holds records that are not from a load test. Name another folder with --out.")
    if specs.canonical(was) != specs.canonical(spec):
        differ = ", ".join(sorted(key for key in {*was, *spec} if was.get(key) != spec.get(key)))
        raise UserError(
            f"{folder} holds another load test (other {differ}). Name another folder with --out, or remove this one."
        )
    return found


def _read(path: Path) -> LoadRun:
    """Return a run.json; {} when it is none of this program's. Raises UserError when it is broken."""
    try:
        record = read_json(path)
    except ValueError:
        raise UserError(f"{path} is broken. Name another folder with --out, or remove this one.") from None
    return cast(LoadRun, record if isinstance(record, dict) and isinstance(record.get("spec"), dict) else {})


def _finished(folder: Path) -> set[str]:
    keys = journal.finished_keys(folder / journal.EXCHANGES)
    return {key for key in keys if not key.startswith(journal.WARM_UP)}


def _cycled(questions: Sequence[Prompt], scenario: Scenario, round_no: int) -> list[Prompt]:
    """Return a prompt per request of a round, the questions over and over, each with an id of its own."""
    last = round_no * scenario.requests
    places = range(last - scenario.requests, last)
    if places.start <= len(questions) < last:
        prefix = ", each time with a new random prefix" if scenario.nonce else ""
        print(f"{last} requests, {len(questions)} of them different; questions are repeated{prefix}.", flush=True)
    turns = [(questions[place % len(questions)], place // len(questions)) for place in places]
    return [replace(question, id=f"{question.id}~{turn + 1}") if turn else question for question, turn in turns]


def _token_is_there(side: str, endpoint: Endpoint) -> None:
    name = endpoint.token.env if endpoint.token else None
    if name and not os.environ.get(name, "").strip():
        raise UserError(
            f"<token>: the variable {name} is not set. Set it, or omit the option.",
            token=f"inference.endpoints.{side}.token",
        )


def measure_rounds(
    sides: Mapping[Path, Endpoint],
    scenario: Scenario,
    prompts: PromptSet,
    *,
    quiet: bool = False,
    called: Callable[[str], str] = option_of,
) -> None:
    """Put each endpoint under the load once a round, into r1, r2, … of its folder, which names it.

    Each round waits for a quiet host. Finished rounds are kept: the same command with more rounds adds to them.
    `called`: how errors call a config key.
    Raises UserError when an endpoint can't be asked, or when a folder holds another load test.
    """
    folders = {folder.name: folder for folder in sides}
    orders = balanced_orders(list(folders), " ".join(sorted(folders)))
    planned = [(number, name) for number in range(1, scenario.rounds + 1) for name in next(orders)]
    with keys_called(called):
        questions = questions_of(prompts, next(iter(sides)))
        lasted_s: list[float] = []
        for place, (number, name) in enumerate(planned):
            folder = folders[name] / f"r{number}"
            head = f"round {number} of {scenario.rounds}, {name}{_left(lasted_s, len(planned) - place)}: "
            was_over, begun_s = "ended_at" in read_record(folder / RECORD), time.monotonic()
            item = InferRound(name, CELL, number)
            measure_load(item, sides[folders[name]], scenario, questions, folder, head=head, quiet=quiet, waits=True)
            lasted_s += [] if was_over else [time.monotonic() - begun_s]


def _left(lasted_s: list[float], measurements: int) -> str:
    """Return about how long all further measurements take, by those of this session."""
    if not lasted_s:
        return ""
    left_s = measurements * sum(lasted_s) / len(lasted_s)
    return f" (all: {left_s:.0f} s to go)" if left_s < 120 else f" (all: {left_s / 60:.0f} min to go)"
