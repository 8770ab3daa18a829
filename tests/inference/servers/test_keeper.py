"""A server that is kept: started once for all rounds of a workflow, replaced when it is no good, never left behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from accelbench.config import Endpoint
from accelbench.errors import UserError
from accelbench.inference.servers.keeper import kept
from accelbench.jobs.guard import identity
from accelbench.jobs.process import KEPT, WORKFLOW_PID, end_what_was_left, kept_processes
from accelbench.plan.measurement import MEASURED
from accelbench.store.files import write_json
from accelbench.telemetry.sources.host import Host
from accelbench.telemetry.sources.source import Watched
from tests.waiting import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="servers are kept on Linux")

RECORD = KEPT / "mine.json"
ROUNDS = {f"r1/{MEASURED}": "a1", f"r2/{MEASURED}": "b2"}
SERVER = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if os.path.exists("ill-" + sys.argv[1]) else 200)
        self.end_headers()
print("started", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture(autouse=True)
def workflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """What stands for Snakemake: a process that the jobs of this test belong to."""
    monkeypatch.chdir(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        monkeypatch.setenv(WORKFLOW_PID, str(process.pid))
        yield process
        process.kill()
    assert until(lambda: not living())
    psutil.wait_procs(psutil.Process().children(), timeout=1)  # keepers are children of whoever started them


def endpoint(program: str = SERVER, *words: str) -> Endpoint:
    server = {"kind": "command", "keep": "run", "command": [sys.executable, "-c", program, "{port}", *words]}
    return Endpoint.model_validate({"server": server, "model": "m", "ready_timeout_s": 20.0})


def facts_of_a_round(own: Endpoint | None = None) -> dict[str, Any]:
    with kept("mine", own or endpoint(), ROUNDS) as server:
        return {**server.facts, "keeper": server.started_by, "base_url": server.base_url}


def living() -> list[psutil.Process]:
    """Return what works in this test's folder, but for the test and what stands for Snakemake."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cwd() == str(Path.cwd()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    apart = (os.getpid(), int(os.environ[WORKFLOW_PID]))
    return [process for process in found if process.pid not in apart]


def starts() -> int:
    return Path("results/inference/mine/server.log").read_text().count("started\n")


def test_later_rounds_use_the_server_that_the_first_one_started() -> None:
    first, second, third = (facts_of_a_round() for _ in range(3))
    assert starts() == 1
    assert first["keeper"] == second["keeper"] == third["keeper"]
    assert first["start_up_s"] > 0
    assert second["start_up_s"] is None
    assert second["kept_since"]
    assert "kept_since" not in first
    assert "replaced" not in second


def test_an_endpoint_of_another_spec_gets_a_server_of_its_own() -> None:
    first, other = facts_of_a_round(), facts_of_a_round(endpoint(SERVER, "--other"))
    assert other["keeper"] != first["keeper"]
    assert "replaced" not in other
    assert identity(first["keeper"]) is None


@pytest.mark.parametrize("killed", ["keeper", "guard", "server"])
def test_one_that_was_killed_is_replaced_and_that_is_said(killed: str) -> None:
    keeper = psutil.Process(facts_of_a_round()["keeper"])
    (guard,) = keeper.children()
    (server,) = guard.children()
    {"keeper": keeper, "guard": guard, "server": server}[killed].kill()
    assert until(lambda: not living())
    assert facts_of_a_round()["replaced"] == "the kept server had ended"
    assert starts() == 2


def test_one_that_does_not_answer_any_more_is_replaced_and_ended() -> None:
    first = facts_of_a_round()
    port = first["base_url"].removeprefix("http://127.0.0.1:").removesuffix("/v1")
    Path(f"ill-{port}").touch()
    assert facts_of_a_round()["replaced"] == "the kept server did not answer: status 503"
    assert identity(first["keeper"]) is None
    assert starts() == 2


def test_a_process_that_got_the_id_of_a_keeper_is_none() -> None:
    facts_of_a_round()
    record = json.loads(RECORD.read_bytes())
    write_json(RECORD, {**record, "pid": os.getpid()})
    assert kept_processes() == []
    assert facts_of_a_round()["replaced"] == "the kept server had ended"


def test_what_another_workflow_kept_is_not_used() -> None:
    facts_of_a_round()
    write_json(RECORD, {**json.loads(RECORD.read_bytes()), "workflow": "pid:[1]/1/1"})
    assert kept_processes() == []
    assert "replaced" not in facts_of_a_round()


def test_a_round_that_fails_ends_the_server() -> None:
    with pytest.raises(LookupError), kept("mine", endpoint(), ROUNDS):
        raise LookupError
    assert until(lambda: not living(), 2)


def test_a_server_that_does_not_start_is_named_with_its_log_and_leaves_nothing() -> None:
    own = endpoint("import sys; print('no such weights'); sys.exit(3)")
    with pytest.raises(UserError, match=r"^mine: the server python\S* ended before .*inference/mine/server\.log"):
        facts_of_a_round(own)
    assert "no such weights" in Path("results/inference/mine/server.log").read_text()
    assert until(lambda: not living(), 2)


def test_it_ends_when_all_its_rounds_are_measured_as_planned() -> None:
    facts_of_a_round()
    write_json(Path("r1") / MEASURED, {"spec_digest": "a1"})
    write_json(Path("r2") / MEASURED, {"spec_digest": "of another spec"})
    assert not until(lambda: not living(), 1.5)
    write_json(Path("r2") / MEASURED, {"spec_digest": "b2"})
    assert until(lambda: not living())
    assert not RECORD.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_its_workflow_whatever_ends_that(
    number: signal.Signals, workflow: subprocess.Popen[bytes]
) -> None:
    facts_of_a_round()
    workflow.send_signal(number)
    assert until(lambda: not living(), 5)


def test_the_next_measurement_ends_a_keeper_whose_workflow_is_gone_and_none_whose_workflow_lives(
    workflow: subprocess.Popen[bytes],
) -> None:
    keeper = psutil.Process(facts_of_a_round()["keeper"])
    end_what_was_left()
    assert keeper.is_running()
    keeper.suspend()  # it can't see that its workflow ends
    workflow.kill()
    workflow.wait()
    end_what_was_left()
    assert until(lambda: not living(), 2)


def test_a_job_that_is_killed_leaves_the_server_to_the_next_try() -> None:
    code = (
        "from tests.inference.servers.test_keeper import *\n"
        "with kept('mine', endpoint(), ROUNDS) as server: print(server.started_by, flush=True); input()"
    )
    root = str(Path(__file__).parents[3])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as job:
        assert job.stdout
        keeper = int(job.stdout.readline())
        job.kill()
    assert facts_of_a_round()["keeper"] == keeper


def test_telemetry_takes_kept_servers_for_ours_and_the_memory_of_the_one_that_is_measured() -> None:
    facts = facts_of_a_round()
    with kept("other", endpoint(SERVER, "x" * 1000), {"other": "c3"}) as other:
        source = Host(Watched(facts["keeper"], base_url=facts["base_url"]))
        without = Host(Watched(facts["keeper"], base_url=facts["base_url"], kept=[facts["keeper"]]))
        assert {facts["keeper"], other.started_by} == set(kept_processes())
        guard_and_server = psutil.Process(other.started_by).children(recursive=True)
        assert until(
            lambda: without.read()["other_processes"] - source.read()["other_processes"] == 1 + len(guard_and_server)
        )
        reading = source.read()
    (server,) = psutil.Process(facts["keeper"]).children()[0].children()
    assert reading["program_bytes"] == pytest.approx(server.memory_info().rss, rel=0.05)
