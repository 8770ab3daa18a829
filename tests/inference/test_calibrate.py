"""Calibrating: the record, and what is said when something can't be calibrated."""

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from accelbench.errors import UserError
from accelbench.inference import calibration
from accelbench.inference.calibration import BenchLoad, calibrate, closed
from accelbench.store.files import read_json


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("ACCELBENCH_WORKFLOW_PID", raising=False)
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def short(load: BenchLoad) -> BenchLoad:
    few = {"requests": 4, "max_tokens": 5, "ramp_up_s": 0.0}
    return replace(load, scenario=load.scenario.model_copy(update=few), cells=("parallel",))


def test_the_record_holds_errors_and_what_the_client_says_of_itself(tmp_path: Path) -> None:
    out = tmp_path / "calibration"
    record = calibrate([short(closed(2))], out)
    (row,) = record["loads"]
    assert (row["load"], list(row["cells"]), row["requests"], row["failed"]) == ("2 at a time", ["parallel"], 4, 0)
    assert row["ttft_s"]["n"] == row["e2e_s"]["n"] == 4
    assert row["itl_s"]["n"] == 16
    assert {"lag_p99_s", "cpu_share", "limited"} <= row["client"].keys()
    assert read_json(out / "calibration.json")["loads"][0]["itl_s"] == row["itl_s"]
    assert sorted(path.name for path in out.iterdir()) == [".lock", "calibration.json"]


def test_https_without_openssl_is_skipped_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "can_make_certificates", lambda: False)
    record = calibrate([short(closed(2, https=True))], tmp_path)
    assert record["loads"] == []
    assert record["skipped"] == [{"load": "2 at a time, https", "why": "openssl is not installed"}]


def test_a_config_that_asks_nothing_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"inference\.run.*--concurrency"):
        calibrate([], tmp_path)
