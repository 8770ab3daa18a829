"""The workflow's measuring job: one planned round, measured, resumed or restored."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from accelbench import specs
from accelbench.config import Config, Endpoint
from accelbench.errors import UserError
from accelbench.files import write_json
from accelbench.inference import servers
from accelbench.inference.client import proxy_of
from accelbench.inference.endpoints import Credentials, wait_until_ready
from accelbench.inference.journal import EXCHANGES, set_aside
from accelbench.inference.load import Attempt
from accelbench.inference.prompts import read_passages, read_prompts
from accelbench.inference.round import Plan, Round
from accelbench.measurement import MEASURED, finish, host, measuring, now, restore

RECORD, FAILURE, SERVER_LOG = "run.json", "failure.json", "server.log"


def infer(config: Config, item: specs.InferRound, spec: str, prompts: Path, folder: Path) -> None:
    """Measure one round, resume it, or restore the finished one of the same spec.

    Raises UserError, and leaves failure.json, when the endpoint can't be measured.
    """
    with measuring(folder):
        for left in (MEASURED, FAILURE):
            (folder / left).unlink(missing_ok=True)
        if not config.restore and (folder / RECORD).exists():  # a finished round, to be measured afresh
            (folder / EXCHANGES).unlink(missing_ok=True)
        set_aside(folder / EXCHANGES, specs.digest(spec))
        if config.restore and restore(folder, spec):
            return
        (folder / RECORD).unlink(missing_ok=True)
        try:
            record = measure(_plan(config, item, spec, prompts, folder))
        except UserError as error:
            write_json(folder / FAILURE, {"spec_digest": specs.digest(spec), "at": now(), "text": str(error)})
            raise
        write_json(folder / RECORD, {"spec": orjson.loads(spec), **record})
        finish(folder, spec, [EXCHANGES, RECORD])


def measure(plan: Plan, on_attempt: Callable[[Attempt], None] = lambda _: None) -> dict[str, Any]:
    """Get the endpoint ready, put it under the load, and return the round's record."""
    machine, started_at = host(), now()
    credentials = Credentials(plan.name, plan.endpoint)
    with _ready(plan.name, plan.endpoint, credentials, plan.folder) as (base_url, facts):
        measured = Round(plan, base_url, credentials, on_attempt).measure()
    return {
        "started_at": started_at,
        "ended_at": now(),
        **measured,
        "endpoint": {"model": plan.endpoint.model, "base_url": base_url, **facts},
        "host": machine,
    }


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
        passages=read_passages(prompts) if cell.context_tokens else [],
    )


@contextmanager
def _ready(
    name: str, endpoint: Endpoint, credentials: Credentials, folder: Path
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield base URL and facts of an endpoint that answers."""
    if endpoint.server is not None:
        with servers.running(name, endpoint, folder / SERVER_LOG) as server:
            yield server.base_url, server.facts
        return
    base_url = str(endpoint.base_url)
    waited_s = wait_until_ready(name, endpoint, base_url, credentials)
    proxy = proxy_of(base_url)
    yield base_url, {"ready_after_s": round(waited_s, 2), "proxy": proxy.hostname if proxy else None}
