"""The inference plan: the sources of its questions, the servers that jobs start, requests and tokens."""

import os
import shlex
import socket
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from accelbench.config import Config, Endpoint, PromptSet
from accelbench.config.inference import BUNDLED_QUESTIONS
from accelbench.errors import Finding, UserError, fails, ok, warning
from accelbench.inference.endpoints.credentials import NO_ENVIRONMENT
from accelbench.inference.endpoints.pages import get_page
from accelbench.inference.prompts import all_prompts
from accelbench.inference.servers import found_here, weights_bytes
from accelbench.plan import specs
from accelbench.store import paths

HUB = "https://huggingface.co"
CACHE = "~/.cache/huggingface/datasets"


def check_prompts(config: Config) -> Iterator[Finding]:
    """Yield, for each prompt set in use, where its questions come from."""
    for name in specs.prompt_sets(config):
        yield _source(config, name, config.inference.prompts[name])


def _source(config: Config, name: str, asked: PromptSet) -> Finding:
    what = f"{name}: prompts"
    if specs.prompts_are_made(config, name):
        return ok(what, "already made from what the config says")
    needed = specs.prompts_needed(config, name)
    if asked.source == "bundled":
        return _counted(ok(what, "the project's own questions"), name, needed, BUNDLED_QUESTIONS)
    if asked.path is None:
        return _hub(what, name, asked, needed)
    if not paths.found(asked.path).is_file():
        return fails(what, f"{asked.path} is not there", f"Put it there, or correct inference.prompts.{name}.path.")
    try:
        there = len(all_prompts(asked, Path())[1])
    except UserError as error:
        return fails(what, error)
    return _counted(ok(what, f"{asked.path}, {there:,} questions"), name, needed, there)


def _counted(found: Finding, name: str, needed: int, there: int) -> Finding:
    """Return the finding, or that the source has fewer questions than the scenarios need."""
    if needed <= there:
        return found
    text = f"{there:,} questions are there, but the scenarios need {needed:,} (rounds × requests)"
    return fails(
        found.what, text, f"Lower requests or rounds, or use a larger data set under inference.prompts.{name}."
    )


def _hub(what: str, name: str, asked: PromptSet, needed: int) -> Finding:
    host = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
    page = get_page(f"{host}/api/datasets/{asked.dataset}/revision/{asked.revision}")
    if page.is_good:
        return ok(what, f"{asked.dataset}, from {host}")
    answer = f"{host} does not provide {asked.dataset} ({page.text})"
    if page.status in (401, 403, 404):
        return fails(what, answer, f"Correct dataset and revision of inference.prompts.{name}.")
    if asked.source == "auto":
        instead = f"{answer}: the bundled questions are used instead"
        return _counted(warning(what, instead, "Set HTTPS_PROXY for SQuAD."), name, needed, BUNDLED_QUESTIONS)
    if _is_cached(asked.dataset):
        return warning(what, f"{answer}; there is a copy in the cache of `datasets`")
    remedy = f"Set HTTPS_PROXY, or write inference.prompts.{name}: {{source: path, path: dev-v1.1.json}}."
    return fails(what, answer, remedy)


def _is_cached(dataset: str) -> bool:
    cache = Path(os.environ.get("HF_DATASETS_CACHE", CACHE)).expanduser()
    return (cache / dataset.replace("/", "___")).is_dir()


def check_servers(config: Config) -> Iterator[Finding]:
    """Yield, for each endpoint whose server a job starts, whether that server could start here."""
    named = {name: config.inference.endpoints[name] for name in config.inference.run}
    for name, endpoint in named.items():
        if endpoint.server is not None:
            yield _server(f"{name}: server", endpoint)
            yield from _secrets(name, endpoint, for_pbs=config.cluster.is_for_pbs)
    yield from _memory([each for each in named.values() if each.server and each.server.keep == "run"])
    for sentence in specs.too_long_contexts(config):
        yield fails("context", sentence)
    if any(endpoint.server and not endpoint.own_node for endpoint in named.values()):
        yield _port()


def _memory(kept: Sequence[Endpoint]) -> Iterator[Finding]:
    """Yield whether the weights of all servers that are kept on this machine fit into its free memory together."""
    needs = [need for each in kept if not each.own_node and (need := weights_bytes(each))]
    if len(needs) < 2:
        return
    text = f"{sum(needs) / 2**30:.1f} GiB of weights, {psutil.virtual_memory().available / 2**30:.1f} GiB free"
    if sum(needs) <= psutil.virtual_memory().available:
        yield ok("kept servers", text)
    else:
        yield warning("kept servers", text, "Set server.keep: round, so that one server runs at a time.")


def _server(what: str, endpoint: Endpoint) -> Finding:
    try:
        return ok(what, found_here(endpoint))
    except UserError as error:
        if endpoint.own_node:
            return warning(what, str(error), "It must be there on the node.")
        return fails(what, error)


def _secrets(name: str, endpoint: Endpoint, *, for_pbs: bool) -> Iterator[Finding]:
    """Yield whether a job on a node gets the endpoint's secrets: PBS passes on no variables, but it can read a file."""
    if not endpoint.own_node:
        return
    token = {"token": endpoint.token} if endpoint.token else {}
    for key, source in {**token, **endpoint.secret_headers}.items():
        what, prefix = f"{name}: {key}", "" if key == "token" else "secret_headers."
        if source.command is None and for_pbs:
            place = f"inference.endpoints.{name}.{prefix}{key}"
            yield fails(what, f"{place}: a job on a node does not receive the variable {source.env}. {NO_ENVIRONMENT}.")
        elif source.command and source.command[0] == "cat" and len(source.command) > 1:
            yield _secret_file(what, Path(source.command[1]))


def _secret_file(what: str, path: Path) -> Finding:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        return fails(what, f"{path}: {error.strerror}", "Put the secret there, in a file with mode 0600.")
    if mode & 0o077:
        return warning(what, f"{path} can be read by others (mode {mode:04o})", f"`chmod 600 {shlex.quote(str(path))}`")
    return ok(what, f"{path} is there, with mode {mode:04o}")


def _port() -> Finding:
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
    except OSError as error:
        return fails("local ports", f"none can be opened on 127.0.0.1 ({error.strerror})", "Ask who runs this machine.")
    return ok("local ports", "free ports are available for the servers")


PROMPT_TOKENS = 250  # a SQuAD passage and its question, roughly
SLOW_TOK_PER_S = 50.0  # of one request; published: 77 to 1,800 for gpt-oss-120b
FIXED_S = 1.0  # of one request: network, gateway, queue


@dataclass(frozen=True, slots=True)
class PlannedLoad:
    """The planned load of one endpoint; tokens and minutes are upper bounds, with answers of the maximum length."""

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
            f"answer tokens, {plan.minutes:,.3g} min if all answers have that length and arrive at "
            f"{SLOW_TOK_PER_S:g} tok/s",
        )
        for cell, searched in specs.searched_cells(config).items():
            yield ok(
                f"{name}: {cell}",
                f"searches the highest load for {searched.load.find_max}: beside the plan, rounds of at least "
                f"{searched.load.requests:,} requests, as many as it takes, until the endpoint is overloaded",
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
    """Yield where the plan sends faster than the endpoint's limit, or where there is no limit."""
    endpoint, what = config.inference.endpoints[name], f"{name}: rate"
    if endpoint.requests_per_s is None:
        if endpoint.shared:
            remedy = f"Set inference.endpoints.{name}.requests_per_s (ALCF: 10 per second and user)."
            yield warning(what, "it is shared, and its request rate is not limited", remedy)
        return
    fastest = max((cell.rate_per_s for cell in specs.cells(config).values() if cell.is_open), default=0.0)
    if fastest > endpoint.requests_per_s:
        text = (
            f"{fastest:g} requests/s are planned, but requests_per_s is {endpoint.requests_per_s:g}: they are held back"
        )
        yield warning(what, text, "Lower rate_per_s: requests that are held back are not an open loop.")
    else:
        yield ok(what, f"never faster than {endpoint.requests_per_s:g} requests/s")
