"""The workflow's measuring job: one planned round, measured, resumed or restored; or why not (failure.json)."""

import datetime
import os
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import orjson

from accelbench.analysis.disturbance import MOST_TAKEN, disturbed_in_words
from accelbench.config import CommandServer, Config
from accelbench.errors import UserError
from accelbench.foreign import as_number
from accelbench.inference.answers.classify import classify_round, round_record, with_telemetry
from accelbench.inference.client.journal import EXCHANGES, set_aside
from accelbench.inference.client.load import Attempt
from accelbench.inference.endpoints.credentials import Credentials
from accelbench.inference.endpoints.pages import get_page
from accelbench.inference.endpoints.readiness import NotReadyError, described, wait_until_ready
from accelbench.inference.endpoints.served_model import Gateway
from accelbench.inference.prompts import read_passages, read_prompts
from accelbench.inference.round import Plan, Round
from accelbench.inference.servers import running
from accelbench.inference.servers.keeper import kept
from accelbench.jobs.process import WORKFLOW_PID, workflow_identity
from accelbench.jobs.scheduler import end_explained
from accelbench.plan import specs
from accelbench.plan.measurement import MEASURED, check, finish, host, measuring, now, restore
from accelbench.store import paths
from accelbench.store.files import read_record, write_json
from accelbench.store.records import FailureFile, JsonObject, LoadRun
from accelbench.telemetry.recorder import TELEMETRY, recorded, recording, wait_until_quiet
from accelbench.telemetry.sources.gpu import CARDS_OF_JOB
from accelbench.telemetry.sources.source import Watched

FAILURE = "failure.json"
RECENT = datetime.timedelta(minutes=10)


def write_failure(folder: Path, spec: str, error: UserError) -> None:
    """Record why a round ended; a disk that is full must not hide the reason."""
    record = FailureFile(
        spec_digest=specs.digest(spec),
        at=now(),
        text=str(error),
        not_ready=isinstance(error, NotReadyError),
        workflow=os.environ.get(WORKFLOW_PID),
    )
    with suppress(OSError):
        write_json(folder / FAILURE, record)


def waited_in_vain(endpoint: str) -> str | None:
    """Name a round of this run that waited for the endpoint in vain within the last ten minutes, if one did."""
    pattern = paths.INFER_ROUND.format(endpoint=endpoint, cell="*", round="*")
    for path in sorted(Path().glob(f"{pattern}/{FAILURE}")):
        if _is_recent(read_record(path)):
            return str(path.parent)
    return None


def _is_recent(failure: FailureFile) -> bool:
    in_this_run = failure.get("workflow") == os.environ.get(WORKFLOW_PID)
    if not failure.get("not_ready") or not in_this_run or "at" not in failure:
        return False
    at = datetime.datetime.fromisoformat(failure["at"])
    return datetime.datetime.now().astimezone() - at < RECENT


RECORD, SERVER_LOG = "run.json", "server.log"


@dataclass(frozen=True, slots=True)
class Ready:
    """An endpoint that answers: where, and what is known about it."""

    base_url: str
    health_url: str | None
    facts: JsonObject
    started_by: int
    """The process that started its server, if it is a local one; else the job."""


def measure_round(config: Config, item: specs.InferRound, spec: str, prompts: Path, folder: Path) -> None:
    """Measure one round, resume it, or restore the finished one of the same spec.

    Raises UserError, and leaves failure.json, when the endpoint can't be measured.
    """
    with measuring(folder):
        in_vain = waited_in_vain(item.endpoint)
        for left in (MEASURED, FAILURE):
            (folder / left).unlink(missing_ok=True)
        if not config.restore and (folder / RECORD).exists():  # a finished round, to be measured afresh
            (folder / EXCHANGES).unlink(missing_ok=True)
        set_aside(folder / EXCHANGES, specs.digest(spec))
        if not (folder / EXCHANGES).exists():
            (folder / TELEMETRY).unlink(missing_ok=True)
        if config.restore and restore(folder, spec):
            return
        (folder / RECORD).unlink(missing_ok=True)
        try:
            with end_explained(lambda reason: write_failure(folder, spec, UserError(reason))):
                record = measure(replace(_plan(config, item, spec, prompts, folder), in_vain=in_vain))
        except UserError as error:
            write_failure(folder, spec, error)
            raise
        write_json(folder / RECORD, {"spec": orjson.loads(spec), **record})
        finish(folder, spec, [EXCHANGES, RECORD, *recorded(folder)])
        streamed = specs.scenario_of(config, item.cell).stream
        print(f"{folder}: {_came_out(item, folder, record, streamed=streamed)}", flush=True)


def _came_out(item: specs.InferRound, folder: Path, record: LoadRun, *, streamed: bool) -> str:
    """Say how many requests were answered, how soon, and whether the host was busy."""
    requests = classify_round(item, folder, {}, streamed=streamed, asked=record.get("request_example"))
    asked = [request for request in requests if request.last_attempt and not request.warm_up]
    latencies_s = [request.e2e_s for request in asked if request.is_success and request.e2e_s]
    said = f"{sum(request.is_success for request in asked):,} of {len(asked):,} answered"
    if latencies_s:
        said += f", typical latency {statistics.geometric_mean(latencies_s):,.3g} s"
    told = with_telemetry(round_record((item.endpoint, item.cell, item.round), record), folder, requests)
    busy = disturbed_in_words([told.host_activity])
    return f"{said}; busy: {busy}" if busy else said


def measure_endpoint(config: Config, endpoint: str, spec: str, out: Path) -> None:
    """Measure all rounds of an endpoint that are not measured yet, one after the other; its server is kept for them.

    Raises UserError, after the rounds before it are finished, when a round can't be measured.
    """
    rounds = specs.rounds_of(config, endpoint)
    for each in rounds:
        folder, own = paths.infer_round(endpoint, each.cell, each.round), specs.infer_spec(config, each)
        prompts = Path(paths.PROMPTS.format(set=specs.scenario_of(config, each.cell).prompts) + ".jsonl")
        if not (config.restore and _is_measured(folder, own)):
            measure_round(config, each, own, prompts, folder)
    write_json(out, {"spec": orjson.loads(spec), "rounds": len(rounds), "measured_at": now()})


def _is_measured(folder: Path, spec: str) -> bool:
    try:
        check(folder, spec)
    except UserError:
        return False
    return True


def measure(plan: Plan, on_attempt: Callable[[Attempt], None] = lambda _: None) -> LoadRun:
    """Get the endpoint ready, put it under the load, and return the round's record."""
    machine, started_at = host(), now()
    credentials = Credentials(plan.name, plan.endpoint)
    cluster = Gateway(plan.endpoint, credentials)
    with _ready(plan, credentials, cluster) as ready:
        watched = _watched(plan, ready, credentials)
        if plan.waits:
            wait_until_quiet(str(plan.folder), watched, MOST_TAKEN)
        with recording(plan.folder, watched):
            before = cluster.latest
            load = Round(plan, ready.base_url, credentials, on_attempt, health_url=ready.health_url)
            measured = load.measure()
            after = cluster.jobs()
    cold_s = (as_number(ready.facts.get("cold_start_s")) or 0.0) + load.cold_start_s
    return {
        "started_at": started_at,
        "ended_at": now(),
        **measured,
        "endpoint": {
            "model": plan.endpoint.model,
            "base_url": ready.base_url,
            **ready.facts,
            "cold_start_s": round(cold_s, 2) or None,
            **load.facts(),
        },
        "jobs": {"before": before, "after": after} if before or after else None,
        "host": machine,
    }


def _watched(plan: Plan, ready: Ready, credentials: Credentials) -> Watched:
    """Return what the recorder is told; only a page on the endpoint's own host gets its credentials."""
    metrics_url = plan.endpoint.metrics_url
    if plan.endpoint.server is not None:
        metrics_url = f"{ready.base_url.removesuffix('/v1')}/metrics"
    is_its_own = metrics_url is not None and urlsplit(metrics_url)[:2] == urlsplit(ready.base_url)[:2]
    headers = credentials.headers() if is_its_own and plan.endpoint.server is None else {}
    server = plan.endpoint.server
    cards = server.env.get(CARDS_OF_JOB) if isinstance(server, CommandServer) else None
    return Watched(ready.started_by, cards=cards, base_url=ready.base_url, metrics_url=metrics_url, headers=headers)


def _plan(config: Config, item: specs.InferRound, spec: str, prompts: Path, folder: Path) -> Plan:
    cell = specs.cells(config)[item.cell]
    first = (item.round - 1) * cell.load.requests
    return Plan(
        name=item.endpoint,
        endpoint=config.inference.endpoints[item.endpoint],
        cell=cell,
        round=item.round,
        seed=config.seed,
        prompts=read_prompts(prompts)[first : first + cell.load.requests],
        folder=folder,
        spec_digest=specs.digest(spec),
        passages=read_passages(prompts) if cell.needs_passages else [],
        waits=config.measurement.when_busy == "wait",
        kept_for=kept_for(config, item),
    )


def kept_for(config: Config, item: specs.InferRound | specs.Search) -> dict[str, str]:
    """Return the results that an endpoint's server is kept for, and the digests of their specs.

    With keep: run they are all of the endpoint's; else a search has a server of its own, and a round has none kept.
    """
    server = config.inference.endpoints[item.endpoint].server
    if server is None or workflow_identity() is None:
        return {}
    planned: list[specs.InferRound | specs.Search] = [*specs.infer_rounds(config), *specs.searches(config)]
    own = [each for each in planned if each.endpoint == item.endpoint]
    if server.keep == "round":
        own = [each for each in own if each == item and isinstance(each, specs.Search)]
    return {str(each.folder / MEASURED): specs.digest(specs.spec_of(config, each)) for each in own}


@contextmanager
def _ready(plan: Plan, credentials: Credentials, cluster: Gateway) -> Iterator[Ready]:
    """Yield an endpoint that answers."""
    name, endpoint = plan.name, plan.endpoint
    if endpoint.server is not None:
        log = plan.folder / SERVER_LOG
        with kept(name, endpoint, plan.kept_for) if plan.kept_for else running(name, endpoint, log) as server:
            said = described(name, endpoint, server.base_url, get_page(f"{server.base_url}/models"))
            yield Ready(server.base_url, server.health_url, {**server.facts, **said}, server.started_by)
        return
    base_url = str(endpoint.base_url)
    facts = wait_until_ready(name, endpoint, base_url, credentials, cluster, in_vain=plan.in_vain)
    yield Ready(base_url, endpoint.health_url, facts, os.getpid())
