"""Rounds as other tools write theirs: read back by our own importer, held against the published schema."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

from accelbench.cli import app
from accelbench.compare.endpoints import compare_endpoints
from accelbench.compare.exporters import EXPORTERS, export
from accelbench.compare.importers import read_results
from accelbench.errors import UserError
from accelbench.store.files import read_json, write_json, write_jsonl
from accelbench.store.records import RequestRecord

from ..analysis.records import failed, request

SCHEMA = json.loads((Path(__file__).parents[1] / "data/llm_d_benchmark_report.json").read_text())


def streamed(place: int) -> RequestRecord:
    """Return a success whose tokens came one by one, four at a time in flight."""
    begun_s, gap_s = 1e9 + place // 4, 0.02 + 0.001 * place
    events_s = [0.1 + gap_s * number for number in range(10)]
    return request(
        key=f"p{place}", passage=f"P{place}", dequeued_unix_s=begun_s, sent_unix_s=begun_s, event_times_s=events_s,
        end_unix_s=begun_s + events_s[-1], ttft_s=events_s[0], tpot_s=gap_s, e2e_s=events_s[-1],
        prompt_tokens=50 + place,
    )  # fmt: skip


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """Write two rounds of 12 requests, one of which failed."""
    lost = failed(key="p11", dequeued_unix_s=1e9 + 2, sent_unix_s=1e9 + 2, end_unix_s=1e9 + 3)
    for number in (1, 2):
        asked = [*map(streamed, range(11)), lost]
        folder = tmp_path / f"mine/r{number}"
        write_jsonl(folder / "requests.jsonl", [replace(each, round=number) for each in asked])
        times = {"started_at": "2026-11-28T08:00:00+00:00", "ended_at": "2026-11-28T08:00:04+00:00"}
        spec = {"kind": "load", "scenario": {"concurrency": 4, "requests": 12}}
        write_json(folder / "run.json", {**times, "spec": spec, "endpoint": {"model": "m", "base_url": "http://h/v1"}})
    return tmp_path / "mine"


def exported(source: Path, format_: str) -> list[Any]:
    return [read_json(path) for path in export(source, format_, source.parent / format_)]


def test_an_export_to_vllm_comes_back_as_it_was(measured: Path) -> None:
    first, _ = exported(measured, "vllm")
    (load,) = read_results(measured.parent / "vllm/load-r1.json").loads
    assert (load.concurrency, load.summary.ok, load.summary.requests) == (4, 11, 12)
    mine = [streamed(place) for place in range(11)]
    for name in ("e2e_s", "ttft_s", "tpot_s"):
        found = [getattr(each, name) for each in load.requests[:11]]
        assert found == pytest.approx([getattr(each, name) for each in mine])
    assert load.requests[11].error_text == "no"
    assert (first["model_id"], first["request_rate"], first["max_concurrency"]) == ("m", "inf", 4)
    assert first["duration"] == pytest.approx(3.0)
    assert first["output_throughput"] == pytest.approx(110 / 3)


def test_compare_finds_an_export_equal_to_what_it_was_made_of(measured: Path) -> None:
    export(measured, "vllm", measured.parent / "vllm")
    (pair,) = compare_endpoints([measured, measured.parent / "vllm"]).document.pairs
    assert pair.ratio_of_means == pytest.approx(1.0)


def test_a_report_for_llm_d_fits_its_published_schema(measured: Path) -> None:
    reports = exported(measured, "llm-d")
    for report in reports:
        jsonschema.validate(report, SCHEMA)
    found = reports[0]["results"]["request_performance"]["aggregate"]
    assert (found["requests"]["total"], found["requests"]["failures"]) == (12, 1)
    assert found["latency"]["time_to_first_token"]["mean"] == pytest.approx(0.1)
    assert "p99" not in found["latency"]["request_latency"]  # 11 requests don't support it
    assert reports[0]["scenario"]["load"]["standardized"]["concurrency"] == 4
    assert reports[0]["run"]["uid"] != reports[1]["run"]["uid"]


def test_a_round_of_which_nothing_came_fits_the_schema_too(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "r1/requests.jsonl", [failed()])
    (report,) = exported(tmp_path, "llm-d")
    jsonschema.validate(report, SCHEMA)
    assert report["results"]["request_performance"]["aggregate"]["latency"]["request_latency"] is None


def test_what_can_not_be_exported_is_said(measured: Path) -> None:
    with pytest.raises(UserError, match="choose from vllm, llm-d"):
        export(measured, "csv", measured.parent)
    (result,) = export(measured / "r1", "vllm", measured.parent / "vllm")
    write_json(measured.parent / "sum.json", {k: v for k, v in read_json(result).items() if not isinstance(v, list)})
    with pytest.raises(UserError, match="holds no single requests"):
        export(measured.parent / "sum.json", "vllm", measured.parent)


@pytest.mark.parametrize("format_", EXPORTERS)
def test_the_command_names_the_files(format_: str, measured: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["export", "--format", format_, str(measured), "-o", str(tmp_path / "out")])
    assert done.stdout.splitlines() == [str(tmp_path / f"out/load-r{number}.json") for number in (1, 2)]
