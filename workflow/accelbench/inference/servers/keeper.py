"""A server that is kept for all rounds of its endpoint: `python -m accelbench.inference.servers.keeper`.

The first round that needs the server starts this process, tells it on standard input what to serve, and reads from its
standard output that the server is ready, or why not. A record in KEPT says to later rounds where it is. It ends when
its workflow is gone, all rounds are measured, another keeper has taken its place, or its server has ended.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

import orjson

from accelbench.config import Endpoint
from accelbench.errors import UserError
from accelbench.inference.endpoints.pages import get_page
from accelbench.inference.servers import Running, running
from accelbench.jobs.guard import MARK, identity
from accelbench.jobs.process import (
    GRACE_S,
    KEPT,
    KILLED_S,
    PACKAGE_PARENT,
    end_with_workflow,
    is_alive,
    workflow_identity,
)
from accelbench.plan import specs
from accelbench.plan.measurement import now
from accelbench.store import paths
from accelbench.store.files import read_record, write_json
from accelbench.store.records import JsonObject

_POLL_S, _ENDED_POLL_S = 0.5, 0.05


class _Record(TypedDict, total=False):
    """A keeper whose server is ready."""

    pid: int
    identity: str | None
    workflow: str | None
    spec_digest: str
    since: str
    base_url: str
    health_url: str
    facts: JsonObject


@dataclass(frozen=True, slots=True)
class _Told:
    """What a keeper is told."""

    name: str
    endpoint: dict[str, Any]
    log: str
    rounds: Mapping[str, str]


@contextmanager
def kept(name: str, endpoint: Endpoint, rounds: Mapping[str, str]) -> Iterator[Running]:
    """Yield the endpoint's server of this workflow, which is started unless it is there already.

    `rounds` are all results that it is kept for, and the digests of their specs. An error in the block ends the server:
    it may be the reason, or still be at work on requests that nobody waits for. Raises UserError as `running` does.
    """
    path = KEPT / f"{name}.json"
    found: _Record = read_record(path)
    is_ours = found.get("workflow") == workflow_identity() and found.get("spec_digest") == _digest(endpoint)
    fault = _fault(found) if is_ours else None
    if not is_ours or fault:
        _end(path)
        _start(_Told(name, endpoint.model_dump(mode="json"), str(_log(name)), rounds), anew=fault is None)
        found = read_record(path)
        new: JsonObject = {"replaced": f"the kept server {fault}"} if fault else {}
        facts = {**found["facts"], **new}
    else:
        facts = {**found["facts"], "start_up_s": None, "kept_since": found["since"]}
    try:
        yield Running(found["base_url"], found["health_url"], facts, found["pid"])
    except BaseException:
        _end(path)
        raise


def _log(name: str) -> Path:
    return Path(paths.RESULTS) / "inference" / name / "server.log"


def _digest(endpoint: Endpoint) -> str:
    """Return the digest of what is served, and how."""
    return specs.digest(orjson.dumps([endpoint.model, endpoint.model_dump(mode="json")["server"]]).decode())


def _fault(found: _Record) -> str | None:
    """Return why the server of a record can't be used, if it can't."""
    if not is_alive(found):
        return "had ended"
    page = get_page(found["health_url"])
    return None if page.is_good else f"did not answer: {page.text}"


def _end(path: Path) -> None:
    """End the keeper of a record and its server, if it is alive."""
    found: _Record = read_record(path)
    path.unlink(missing_ok=True)
    for number, within_s in ((signal.SIGTERM, GRACE_S + KILLED_S), (signal.SIGKILL, KILLED_S)):
        until_s = time.monotonic() + within_s
        with suppress(ProcessLookupError):
            if is_alive(found):
                os.kill(found["pid"], number)
        while is_alive(found) and time.monotonic() < until_s:
            time.sleep(_ENDED_POLL_S)


def _start(told: _Told, *, anew: bool) -> None:
    """Start a keeper and wait until its server is ready."""
    log = Path(told.log)
    log.parent.mkdir(parents=True, exist_ok=True)
    if anew:
        log.unlink(missing_ok=True)
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [PACKAGE_PARENT, os.environ.get("PYTHONPATH")])),
        MARK: str(workflow_identity()),
    }
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "accelbench.inference.servers.keeper"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            env=env,
            start_new_session=True,  # Ctrl-C is the workflow's
        )
    assert process.stdin and process.stdout
    try:
        with suppress(BrokenPipeError), process.stdin:
            process.stdin.write(orjson.dumps(asdict(told)))
        with process.stdout:
            said = process.stdout.read()
    except BaseException:
        process.terminate()
        raise
    if not said:
        raise UserError(f"{told.name}: what keeps its server was killed; see {log}.")
    if error := orjson.loads(said).get("error"):
        raise UserError(error)


def main() -> None:
    """Serve until nobody needs the server any more."""
    told = _Told(**orjson.loads(sys.stdin.buffer.read()))
    end_with_workflow()
    endpoint, path = Endpoint.model_validate(told.endpoint), KEPT / f"{told.name}.json"
    try:
        with running(told.name, endpoint, Path(told.log), append=True) as server:
            record = _Record(
                pid=os.getpid(),
                identity=identity(os.getpid()),
                workflow=workflow_identity(),
                spec_digest=_digest(endpoint),
                since=now(),
                base_url=server.base_url,
                health_url=server.health_url,
                facts={**server.facts, "log": told.log},
            )
            write_json(path, record)
            _say({})
            _serve(server, path, list(told.rounds.items()))
    except UserError as error:
        _say({"error": str(error)})


def _serve(server: Running, path: Path, rounds: list[tuple[str, str]]) -> None:
    """Wait until all rounds are measured, another keeper has taken this one's place, or the server has ended."""
    while server.guard and server.guard.poll() is None and read_record(path).get("pid") == os.getpid():
        while rounds and read_record(Path(rounds[-1][0])).get("spec_digest") == rounds[-1][1]:
            rounds.pop()
        if not rounds:
            path.unlink(missing_ok=True)
            return
        time.sleep(_POLL_S)


def _say(what: JsonObject) -> None:
    """Tell the round that started this process, and no other, how that went."""
    with suppress(BrokenPipeError):
        os.write(1, orjson.dumps(what))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


if __name__ == "__main__":
    main()
