"""Before a measurement: no wait on a quiet host, and never more than a minute on a busy one."""

import os
from pathlib import Path

import pytest

from accelbench.telemetry import recorder
from accelbench.telemetry.recorder import wait_until_quiet
from accelbench.telemetry.sources.source import Watched


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(recorder.MOST_S, "60")
    monkeypatch.chdir(tmp_path)


def shows(monkeypatch: pytest.MonkeyPatch, *shares: float | None) -> list[float]:
    """Let the host show these shares, one look after the other; return how long each look was."""
    left, looks = iter(shares), []

    def look(host: object, look_s: float) -> float | None:
        looks.append(look_s)
        return next(left)

    monkeypatch.setattr(recorder, "_share_of_others", look)
    return looks


def test_a_quiet_host_is_looked_at_once_and_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = shows(monkeypatch, 0.05)
    wait_until_quiet("r1", Watched(), 0.1)
    assert looks == [0.5] and capsys.readouterr().out == ""


def test_a_busy_host_is_waited_for_and_the_reason_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = shows(monkeypatch, 0.83, 0.4, 0.02)
    wait_until_quiet("r1", Watched(), 0.1)
    assert looks == [0.5, 2.0, 2.0]
    assert capsys.readouterr().out == "r1: waiting up to 60 s, as other programs use 83% of the CPU time\n"


def test_it_waits_no_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(recorder.time, "monotonic", lambda: next(clock))
    looks = shows(monkeypatch, *[0.9] * 10)
    wait_until_quiet("r1", Watched(), 0.1)
    assert len(looks) == 3


def test_a_host_that_stays_busy_delays_one_measurement_in_ten_minutes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(recorder.MOST_S, "1e-9")
    shows(monkeypatch, 0.9, 0.9)
    wait_until_quiet("r1", Watched(), 0.1)
    looks = shows(monkeypatch, 0.5, 0.9)
    wait_until_quiet("r2", Watched(), 0.1)
    assert looks == [0.5]
    assert capsys.readouterr().out.endswith(
        "r2: other programs use 50% of the CPU time; an earlier wait did not help\n"
    )
    [waited] = Path(".snakemake").iterdir()
    os.utime(waited, (0, 0))
    wait_until_quiet("r3", Watched(), 0.1)
    assert "r3: waiting" in capsys.readouterr().out


def test_an_unknown_share_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = shows(monkeypatch, None)
    wait_until_quiet("r1", Watched(), 0.1)
    assert len(looks) == 1
