"""The host's counters: others' CPU time is seen, ours is not taken for theirs."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from tests.waiting import until

from accelbench.telemetry.sources import host
from accelbench.telemetry.sources.host import Host
from accelbench.telemetry.sources.source import Watched

BUSY = "import time\nwhile time.process_time() < 20: pass"


def ours() -> Host:
    return Host(Watched(workflow=None))


def own_s(source: Host) -> float:
    return float(str(source.read()["own_s"]))


@contextmanager
def outsider() -> Iterator[int]:
    """Keep one core busy by a process that is not below this one."""
    start = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {BUSY!r}], stdout=2).pid)"
    pid = int(subprocess.run([sys.executable, "-c", start], stdout=subprocess.PIPE, text=True, check=True).stdout)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)


def test_another_programs_cpu_time_is_not_ours() -> None:
    with outsider() as pid:
        source = ours()
        before = source.read()
        assert until(lambda: sum(psutil.Process(pid).cpu_times()[:2]) > 0.4)
        after = source.read()
    busy_s, spent_s = (float(str(after[key])) - float(str(before[key])) for key in ("busy_s", "own_s"))
    assert busy_s - spent_s > 0.2


@pytest.mark.parametrize("ends", [True, False], ids=["ended", "running"])
def test_the_cpu_time_of_what_we_start_is_ours(ends: bool) -> None:
    source = ours()
    before = own_s(source)
    with subprocess.Popen([sys.executable, "-c", BUSY]) as child:
        assert until(lambda: sum(psutil.Process(child.pid).cpu_times()[:2]) > 0.2)
        if ends:
            child.kill()
            child.wait()
        assert own_s(source) - before >= 0.2
        child.kill()


def test_the_other_jobs_of_the_same_workflow_are_ours() -> None:
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BUSY!r}])"
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True) as workflow:
        source = Host(Watched(workflow=workflow.pid))
        before = own_s(source)
        assert until(lambda: own_s(source) - before > 0.2)
        os.killpg(workflow.pid, signal.SIGKILL)


def test_a_process_stays_ours_when_the_one_that_started_it_is_gone() -> None:
    code = f"import subprocess, sys, time; print(subprocess.Popen([sys.executable, '-c', {BUSY!r}], stdout=2).pid)"
    with subprocess.Popen([sys.executable, "-c", f"{code}\ntime.sleep(20)"], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        orphan = int(parent.stdout.readline())
        source = ours()
        source.read()
        parent.kill()
        parent.wait()
        before = own_s(source)
        try:
            assert until(lambda: own_s(source) - before > 0.1)
        finally:
            os.kill(orphan, signal.SIGKILL)


def test_the_memory_of_the_program_is_that_of_what_a_guard_started(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys; held = bytearray(80_000_000); print('held', flush=True); sys.stdin.read()"
    guard = f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', {code!r}]))"
    source = ours()
    assert source.read()["program_bytes"] == 0
    with subprocess.Popen([sys.executable, "-c", guard], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        assert started.stdout and started.stdout.readline() == b"held\n"
        listening = [child.pid for child in psutil.Process(started.pid).children()]
        monkeypatch.setattr(host, "_servers", lambda _: (listening, None))
        for each in (source, ours(), Host(Watched(base_url="http://127.0.0.1:1/v1"))):
            held = each.read()["program_bytes"]
            assert isinstance(held, int) and 80e6 < held < 160e6


def test_a_server_started_by_hand_on_this_machine_is_ours() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        assert host._servers(url) == ([os.getpid()], None)


def test_an_endpoint_elsewhere_is_not_looked_for() -> None:
    assert host._servers("https://192.0.2.1/v1") == ([], None)


def test_a_server_that_another_user_started_here_makes_the_share_unknown() -> None:
    said = Host(Watched(base_url="http://127.0.0.1:1/v1")).facts()["why"]
    assert "another user" in str(said)


def test_pressure_is_read_where_the_kernel_tells_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "PRESSURE", tmp_path)
    assert ours().read()["pressure_s"] is None
    for name in ("cpu", "memory", "io"):
        (tmp_path / name).write_text("some avg10=1.27 avg60=0.76 avg300=0.75 total=98000\nfull avg10=0.00 total=5\n")
    assert ours().read()["pressure_s"] == {"cpu": 0.098, "memory": 0.098, "io": 0.098}


def test_throttling_by_heat_is_counted_over_all_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "CPUS", tmp_path)
    assert ours().read()["throttled"] is None
    for cpu, count in (("cpu0", "2"), ("cpu11", "5")):
        (tmp_path / cpu / "thermal_throttle").mkdir(parents=True)
        (tmp_path / cpu / "thermal_throttle/package_throttle_count").write_text(f"{count}\n")
    assert ours().read()["throttled"] == 7


def test_throttling_by_a_control_group_is_read(tmp_path: Path) -> None:
    (tmp_path / "cpu.stat").write_text("usage_usec 9\nnr_periods 4\nnr_throttled 2\nthrottled_usec 1500000\n")
    assert host._throttled_s(tmp_path / "cpu.stat") == 1.5
    assert host._throttled_s(tmp_path / "gone") is None and host._throttled_s(None) is None
