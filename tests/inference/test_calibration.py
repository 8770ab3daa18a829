"""What a calibration plans, and what its client records."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from accelbench.config import Config
from accelbench.errors import UserError
from accelbench.inference import calibration
from accelbench.inference.calibration import (
    bench_loads,
    closed,
    reached,
    record,
    recorded_requests,
    serving_truth,
    spec,
    truth,
    workbench,
)


def config(scenarios: dict[str, dict[str, Any]], *base_urls: str) -> Config:
    endpoints = {f"e{n}": {"base_url": url, "model": "m"} for n, url in enumerate(base_urls or ("http://a/v1",))}
    inference = {"run": list(endpoints), "endpoints": endpoints, "scenarios_run": list(scenarios)}
    inference |= {"scenarios": scenarios, "prompts": {"questions": {"source": "bundled"}}}
    return Config.model_validate({"inference": inference})


def test_each_load_is_planned_once_for_all_its_cells() -> None:
    loads = bench_loads(config({"one": {}, "long": {"max_tokens": [16, 900]}, "many": {"concurrency": [1, 8]}}))
    assert {load.name: load.cells for load in loads} == {
        "1 at a time": ("one", "long-out16", "long-out900", "many-c1"),
        "8 at a time": ("many-c8",),
    }


def test_an_https_endpoint_is_calibrated_over_https_and_another_one_is_not() -> None:
    loads = bench_loads(config({"one": {}}, "http://a/v1", "https://b/v1", "https://c/v1"))
    assert [(load.name, load.https) for load in loads] == [("1 at a time", False), ("1 at a time, https", True)]


def test_an_open_loop_is_calibrated_at_its_rate() -> None:
    load, *others = bench_loads(config({"open": {"arrivals": "poisson", "rate_per_s": 30, "max_in_flight": 7}}))
    assert (load.scenario.rate_per_s, load.scenario.max_in_flight, load.scenario.requests) == (30, 7, 150)
    assert others == []


def test_nothing_planned_is_nothing_to_calibrate() -> None:
    assert bench_loads(Config()) == []


def test_the_spec_is_the_loads_and_the_code_not_the_cells_names() -> None:
    eight = closed(8)
    assert spec([eight]) == spec([replace(eight, cells=("renamed",))])
    assert spec([eight]) != spec([closed(9)]) != spec([closed(9, https=True)])


def test_the_client_records_what_the_server_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "TTFT_S", 0.05)
    load = closed(2)
    few = replace(load, scenario=load.scenario.model_copy(update={"requests": 4, "max_tokens": 5, "ramp_up_s": 0.0}))
    client = record(few, tmp_path)
    requests = recorded_requests(tmp_path)
    assert client["late_sends"] == 0
    assert [request.class_ for request in requests] == ["truncated_length"] * 4
    for request in requests:
        arrived_s, written_s = truth(request.answer)
        assert len(written_s) == len(request.event_times_s) == 5
        assert request.ttft_s == pytest.approx(written_s[0] - arrived_s, abs=0.05)


def test_a_server_that_does_not_start_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "none.pem"
    with (
        pytest.raises(UserError, match=r"did not start.*server\.log"),
        serving_truth(tmp_path / "server.log", certificate=missing),
    ):
        pass


def test_the_environment_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "elsewhere")
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    with reached(tmp_path / "certificate.pem"):
        assert os.environ["no_proxy"] == "127.0.0.1"
        assert os.environ["REQUESTS_CA_BUNDLE"] == str(tmp_path / "certificate.pem")
    assert os.environ["no_proxy"] == "elsewhere"
    assert "REQUESTS_CA_BUNDLE" not in os.environ


def test_the_bench_is_cleared(tmp_path: Path) -> None:
    with workbench(tmp_path / "out") as bench:
        (bench / "exchanges.jsonl").write_text("…")
    assert list((tmp_path / "out").iterdir()) == []
