"""What else a host did during a measurement: others are seen, we are not."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from accelbench.jobs import host_activity
from accelbench.jobs.host_activity import HostActivity, Reading, between, worst
from accelbench.jobs.process import WORKFLOW_PID
from tests.waiting import until

BUSY = "import time\nwhile time.process_time() < 20: pass"
BEFORE = Reading(at_s=0.0, cores=4, busy_s=1000.0, own_s=100.0, steal_s=3.0, pressure=None)


@pytest.fixture(autouse=True)
def _no_workflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WORKFLOW_PID, raising=False)


def after(**spent: float) -> Reading:
    moved = {name: getattr(BEFORE, name) + value for name, value in spent.items()}
    return replace(BEFORE, **{"at_s": 10.0, **moved})


@pytest.mark.parametrize(
    ("busy_s", "own_s", "share"),
    [(20.0, 20.0, 0.0), (20.0, 0.0, 0.5), (40.0, 10.0, 0.75), (19.9, 20.0, 0.0), (41.0, 0.0, 1.0)],
)
def test_what_is_not_ours_is_of_others(busy_s: float, own_s: float, share: float) -> None:
    assert between(BEFORE, after(busy_s=busy_s, own_s=own_s))["share_of_others"] == share


def test_stolen_time_and_pressure_at_both_ends_are_recorded() -> None:
    pressure = {"cpu": 1.5, "memory": 0.0, "io": 0.2}
    assert between(BEFORE, replace(after(busy_s=0.0, steal_s=1.0), pressure=pressure)) == {
        "share_of_others": 0.0,
        "steal_share": 0.025,
        "pressure_start": None,
        "pressure_end": pressure,
        "wall_s": 10.0,
        "cores": 4,
        "why": None,
    }


def test_a_span_too_short_for_the_kernels_clock_has_no_share() -> None:
    found = between(BEFORE, replace(after(busy_s=0.1), at_s=0.2))
    assert found["share_of_others"] is None and found["steal_share"] is None and "too short" in found["why"]


def test_pressure_is_read_where_the_kernel_tells_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_activity, "PRESSURE", tmp_path)
    assert host_activity.reading().pressure is None
    for name in ("cpu", "memory", "io"):
        (tmp_path / name).write_text("some avg10=1.27 avg60=0.76 avg300=0.75 total=98\nfull avg10=0.00 total=0\n")
    assert host_activity.reading().pressure == {"cpu": 1.27, "memory": 1.27, "io": 1.27}


def session(share: float | None, why: str | None = None) -> dict[str, Any]:
    return {"share_of_others": share, "why": why}


def test_of_several_sessions_the_worst_counts_and_an_unknown_one_is_said() -> None:
    assert worst([session(0.01), session(0.4), session(0.2)]) == session(0.4)
    assert worst([None, session(0.4), session(None, "too short")]) == session(0.4, "not known of 2 of 3 sessions")
    assert worst([None, session(None, "too short")]) == session(None, "too short")
    assert worst([None]) is None and worst([]) is None


@contextmanager
def outsider() -> Iterator[None]:
    """Keep one core busy by a process that is not below this one."""
    start = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {BUSY!r}], stdout=2).pid)"
    pid = subprocess.run([sys.executable, "-c", start], stdout=subprocess.PIPE, text=True, check=True).stdout
    try:
        yield
    finally:
        os.kill(int(pid), signal.SIGKILL)


def test_another_programs_load_is_seen() -> None:
    with outsider():
        activity = HostActivity()
        time.sleep(1.0)
        found = activity.end()
    assert found["share_of_others"] * found["cores"] * found["wall_s"] > 0.2, found  # a core, unless shared with more


@pytest.mark.parametrize("ends", [True, False], ids=["ended", "running"])
def test_our_own_load_is_not_counted_as_others(ends: bool) -> None:
    before = host_activity.reading()
    with subprocess.Popen([sys.executable, "-c", BUSY]) as child:
        assert until(lambda: sum(psutil.Process(child.pid).cpu_times()[:2]) > 0.2)
        if ends:
            child.kill()
            child.wait()
        assert host_activity.reading().own_s - before.own_s >= 0.2
        child.kill()


def test_the_other_jobs_of_the_same_workflow_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BUSY!r}])"
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True) as workflow:
        monkeypatch.setenv(WORKFLOW_PID, str(workflow.pid))
        before = host_activity.reading()
        assert until(lambda: host_activity.reading().own_s - before.own_s > 0.2)
        os.killpg(workflow.pid, signal.SIGKILL)


def test_a_server_started_by_hand_on_this_machine_is_ours() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        servers, why = host_activity._servers(url)
    assert [server.pid for server in servers] == [os.getpid()] and why is None


def test_an_endpoint_elsewhere_is_not_looked_for() -> None:
    assert host_activity._servers("https://192.0.2.1/v1") == ([], None)


def test_a_server_that_another_user_started_here_makes_the_share_unknown() -> None:
    servers, why = host_activity._servers("http://127.0.0.1:1/v1")
    assert servers == [] and why is not None and "another user's" in why
    assert between(BEFORE, after(busy_s=1.0), why)["share_of_others"] is None
