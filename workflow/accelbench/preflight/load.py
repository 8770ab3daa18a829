"""What a config plans to ask of each endpoint: requests, tokens, minutes."""

from collections.abc import Iterator
from dataclasses import dataclass

from accelbench.config import Config
from accelbench.plan import specs
from accelbench.plan.findings import Finding, ok, warning

PROMPT_TOKENS = 250  # a SQuAD passage and its question, roughly
SLOW_TOK_PER_S = 50.0  # of one request; published: 77 to 1,800 for gpt-oss-120b
FIXED_S = 1.0  # of one request: network, gateway, queue


@dataclass(frozen=True, slots=True)
class PlannedLoad:
    """What is planned against one endpoint; tokens and minutes at most, if each answer is as long as it may be."""

    requests: int
    prompt_tokens: int
    answer_tokens: int
    minutes: float

    @property
    def tok_per_min(self) -> float:
        """Prompts and answers, per minute, on average."""
        return (self.prompt_tokens + self.answer_tokens) / self.minutes


def check_loads(config: Config) -> Iterator[Finding]:
    """Yield the planned load of each endpoint."""
    for name in config.inference.run:
        plan = planned_loads(config, name)
        yield ok(
            f"{name}: plan",
            f"{plan.requests:,} requests, about {plan.prompt_tokens:,} prompt tokens, at most {plan.answer_tokens:,} "
            f"answer tokens, {plan.minutes:,.3g} min if all answers are that long and come at {SLOW_TOK_PER_S:g} tok/s",
        )
        yield from _rates(config, name)


def planned_loads(config: Config, name: str) -> PlannedLoad:
    """Return the load of all cells and rounds against one endpoint, warm-ups included."""
    requests = prompt_tokens = answer_tokens = 0
    seconds = 0.0
    for cell in specs.cells(config).values():
        asked = cell.load.rounds * (cell.load.requests + cell.load.warm_up)
        requests += asked
        prompt_tokens += asked * (cell.context_tokens or PROMPT_TOKENS)
        answer_tokens += asked * cell.max_tokens
        seconds += cell.load.rounds * _round_s(cell, config.inference.endpoints[name].requests_per_s)
    return PlannedLoad(requests, prompt_tokens, answer_tokens, seconds / 60)


def _round_s(cell: specs.Cell, requests_per_s: float | None) -> float:
    answer_s = FIXED_S + cell.max_tokens / SLOW_TOK_PER_S
    busy_s = cell.load.requests / (cell.rate_per_s if cell.is_open else cell.slots / answer_s)
    held_back_s = cell.load.requests / requests_per_s if requests_per_s else 0.0
    begun_s = min(max(busy_s, held_back_s), cell.load.duration_s or float("inf"))
    return begun_s + answer_s + cell.load.warm_up * answer_s


def _rates(config: Config, name: str) -> Iterator[Finding]:
    """Yield where the plan sends faster than the endpoint is to be asked, or nothing keeps it from doing so."""
    endpoint, what = config.inference.endpoints[name], f"{name}: rate"
    if endpoint.requests_per_s is None:
        if endpoint.shared:
            remedy = f"Set inference.endpoints.{name}.requests_per_s (ALCF: 10 per second and user)."
            yield warning(what, "others use it, and nothing bounds how fast it is asked", remedy)
        return
    fastest = max((cell.rate_per_s for cell in specs.cells(config).values() if cell.is_open), default=0.0)
    if fastest > endpoint.requests_per_s:
        text = (
            f"{fastest:g} requests/s are planned, and requests_per_s is {endpoint.requests_per_s:g}: they are held back"
        )
        yield warning(what, text, "Lower rate_per_s: held back, it is no open loop.")
    else:
        yield ok(what, f"never faster than {endpoint.requests_per_s:g} requests/s")
