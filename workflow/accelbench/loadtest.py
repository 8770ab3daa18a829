"""One endpoint under one load, outside any workflow: measured, classified, summed up."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from accelbench import specs
from accelbench.analysis.load import load_figures
from accelbench.config import Endpoint, PromptSet, Scenario
from accelbench.errors import UserError
from accelbench.files import write_json, write_jsonl
from accelbench.inference import journal
from accelbench.inference.classify import REQUESTS, classify_round
from accelbench.inference.infer import RECORD, measure
from accelbench.inference.load import Attempt
from accelbench.inference.prompts import Prompt, all_prompts, passages_of
from accelbench.inference.round import Plan
from accelbench.measurement import measuring

NAME, CELL = "endpoint", "load"
RISING = 1.05  # a doubled concurrency that brings less is not worth its latency
MOST_SLOTS = 1024
SHOWN_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """When a sweep stops before the throughput does."""

    e2e_p90_s: float | None = None
    slots: int = MOST_SLOTS


def load_test(
    endpoint: Endpoint, scenario: Scenario, prompts: PromptSet, folder: Path, *, seed: int = 1, quiet: bool = False
) -> dict[str, Any]:
    """Measure one load, or go on with it where it was interrupted; return its figures.

    `folder` gets exchanges.jsonl, requests.jsonl and run.json. Raises UserError when nothing can be measured, or
    when the folder holds another measurement.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _, questions = all_prompts(prompts, folder / "prompts.jsonl")
    asked = _cycled(questions, scenario.requests)
    cell = specs.Cell(CELL, CELL, scenario)
    spec = {
        "kind": "load",
        "endpoint": specs.measured(endpoint),
        "scenario": specs.measured(scenario),
        "seed": seed,
        "prompts": specs.digest("".join(prompt.prompt for prompt in asked)),
    }
    digest = specs.digest(specs.canonical(spec))
    _refuse_another(folder, digest)
    plan = Plan(NAME, endpoint, cell, 1, seed, asked, folder, digest, passages_of(questions))
    with measuring(folder):
        record = measure(plan, Progress(scenario.requests) if not quiet else lambda _: None)
    write_json(folder / RECORD, {"spec": spec, **record})
    item = specs.InferRound(NAME, CELL, 1)
    requests = classify_round(item, folder, {prompt.id: prompt for prompt in asked}, streamed=scenario.stream)
    write_jsonl(folder / REQUESTS, requests)
    figures = load_figures(requests, record["client"], slots=None if cell.is_open else cell.slots)
    return {**figures, "resumed": record["resumed"]}


def sweep(
    endpoint: Endpoint, scenario: Scenario, prompts: PromptSet, folder: Path, limits: Limits, *, quiet: bool = False
) -> tuple[dict[int, dict[str, Any]], str]:
    """Double the concurrency until the throughput stops rising or a limit breaks; return all figures, and why.

    Each concurrency is a load test of its own in `folder`/c{concurrency}.
    """
    steps: dict[int, dict[str, Any]] = {}
    slots, best = 1, 0.0
    while slots <= limits.slots:
        load = scenario.model_copy(update={"concurrency": slots, "requests": max(scenario.requests, slots * 10)})
        figures = steps[slots] = load_test(endpoint, load, prompts, folder / f"c{slots}", quiet=quiet)
        if any(figures["attempts_by_class"].get(kind) for kind in ("rate_limited", "http_5xx")):
            return steps, f"the endpoint was busy or failed at concurrency {slots}"
        p90_s = figures["e2e_s"]["p90"]
        if limits.e2e_p90_s is not None and p90_s is not None and p90_s > limits.e2e_p90_s:
            return steps, f"at concurrency {slots} the latency (p90) is above {limits.e2e_p90_s:g} s"
        speed = figures["output_tok_per_s"]
        if speed is None or speed < RISING * best:
            return steps, f"concurrency {slots} brings no more tokens/s than {slots // 2}"
        slots, best = slots * 2, speed
    return steps, f"concurrency {limits.slots} is the most that was asked for"


@dataclass
class Progress:
    """One line on the terminal that says how far a load is; told of each finished attempt, it only counts."""

    requests: int
    begun_s: float = field(default_factory=time.perf_counter)
    done: int = 0
    failed: int = 0
    events: int = 0
    shown_s: float = 0.0
    show: Callable[[str], object] = lambda line: print(line, end="", file=sys.stderr, flush=True)

    def __call__(self, attempt: Attempt) -> None:
        """Count an attempt; show where things are once a second."""
        exchange = attempt.exchange
        if attempt.key.startswith(journal.WARM_UP):
            return
        failed = exchange.error is not None or exchange.status != 200
        self.done += not failed
        self.failed += failed
        self.events += sum(data.count(b"data:") for _, data in exchange.reads)
        now_s = time.perf_counter()
        if now_s - self.shown_s >= SHOWN_EVERY_S or self.done + self.failed >= self.requests:
            self.shown_s = now_s
            self.show(self.line(now_s - self.begun_s))

    def line(self, passed_s: float) -> str:
        """Return the line, which takes the place of the one before it."""
        over = self.done + self.failed
        left_s = passed_s * (self.requests - over) / over if over else 0.0
        end = "\n" if over >= self.requests else ""
        speed = f"about {self.events / passed_s:,.0f} tok/s, " if self.events else ""
        return f"\r{self.done} done, {self.failed} failed of {self.requests}, {speed}{left_s:.0f} s to go   {end}"


def _cycled(questions: Sequence[Prompt], count: int) -> list[Prompt]:
    """Return `count` prompts, the questions over and over, each with an id of its own."""
    if not questions:
        raise UserError("the prompt file holds no question.")
    return [
        question if turn == 0 else replace(question, id=f"{question.id}~{turn + 1}")
        for turn in range(-(-count // len(questions)))
        for question in questions
    ][:count]


def _refuse_another(folder: Path, digest: str) -> None:
    """Refuse a folder that holds a load test of other settings: nothing measured is lost by mistake."""
    for header in journal.sessions(folder / journal.EXCHANGES)[:1]:
        if header["spec_digest"] != digest:
            raise UserError(
                f"{folder} holds a load test with other settings. Name another folder with --out, or remove this one."
            )
