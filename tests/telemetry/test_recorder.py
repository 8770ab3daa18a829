"""The recorder: a process beside a measurement, which it never disturbs, whatever becomes of either."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from tests.waiting import until

from accelbench.telemetry import recorder
from accelbench.telemetry.recorder import TELEMETRY, read_telemetry, recorded, recording
from accelbench.telemetry.sources.source import Watched


def recorders() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "accelbench.telemetry.recorder" in child.cmdline()]


def test_it_has_read_before_the_measurement_begins_and_reads_once_more_at_its_end(tmp_path: Path) -> None:
    with recording(tmp_path, Watched()):
        begun_s = time.time()
        time.sleep(0.7)
        ended_s = time.time()
    (session,) = read_telemetry(tmp_path / TELEMETRY)
    times = [reading.at_unix_s for reading in session.readings["host"]]
    assert times[0] <= begun_s + 0.05 and times[-1] >= ended_s - 0.05 and len(times) >= 3
    assert session.recorder_share is not None and not recorders()


def test_each_session_is_appended(tmp_path: Path) -> None:
    assert recorded(tmp_path) == []
    for _ in range(2):
        with recording(tmp_path, Watched()):
            pass
    assert len(read_telemetry(tmp_path / TELEMETRY)) == 2 and recorded(tmp_path) == [TELEMETRY]


def test_one_that_is_killed_leaves_what_it_has_read_and_no_trace_in_the_measurement(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with recording(tmp_path, Watched()):
        (process,) = recorders()
        process.kill()
    (session,) = read_telemetry(tmp_path / TELEMETRY)
    assert session.readings["host"] and session.recorder_share is None
    assert capfd.readouterr() == ("", "")


def test_one_that_stops_answering_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "_ENDS_S", 0.3)
    with recording(tmp_path, Watched()):
        recorders()[0].suspend()
    assert not recorders()


def test_one_that_cannot_write_says_so_in_a_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / TELEMETRY).mkdir()
    with recording(tmp_path, Watched()):
        pass
    said = capfd.readouterr().err
    assert said.startswith("telemetry.jsonl: the recorder ended: IsADirectoryError") and said.count("\n") == 1


def test_it_ends_with_a_measurement_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import time; from pathlib import Path\n"
        "from accelbench.telemetry.recorder import recording\n"
        "from accelbench.telemetry.sources.source import Watched\n"
        f"with recording(Path({str(tmp_path)!r}), Watched()): print('on', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as measurement:
        assert measurement.stdout and measurement.stdout.readline() == b"on\n"
        (process,) = psutil.Process(measurement.pid).children()
        os.kill(measurement.pid, signal.SIGKILL)
    assert until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)
    assert read_telemetry(tmp_path / TELEMETRY)[0].recorder_share is not None


def test_what_was_torn_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / TELEMETRY
    assert read_telemetry(path) == []
    path.write_text(
        '{"started_unix_s": 1000.0, "at_s": 10.0, "host": {"cores": 2}}\n'
        '{"at_s": 11.0, "host": {"busy_s": 4.0}}\n{"at_s": 12.0, "ho'
    )
    (session,) = read_telemetry(path)
    assert [(r.at_unix_s, r.number("busy_s")) for r in session.readings["host"]] == [(1001.0, 4.0)]
