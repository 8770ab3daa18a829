"""Requests as files hold them: whole, and as the figures that statistics take."""

import gc
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from accelbench.analysis.economy import speculates
from accelbench.analysis.load import Load
from accelbench.report.requests import read_figures, read_lines, uncollected
from accelbench.store import paths
from accelbench.store.files import write_jsonl
from accelbench.store.records import InferRoundRecord, RequestRecord

from ..analysis.records import asked_rounds, failed, measured, request, rows_of


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[InferRoundRecord], list[RequestRecord]]:
    """Two endpoints, five rounds each, in files: reasoning, event times, failures, repeated attempts; one missing."""
    monkeypatch.chdir(tmp_path)
    told = {"reasoning": "hm", "event_times_s": [0.1, 0.25, 0.4], "server_timings": {"draft_n": 3, "predicted_ms": 8.5}}
    requests = [r for name in ("one", "two") for r in asked_rounds(name, lambda tokens: 1 + 0.01 * tokens, **told)]
    requests[3] = replace(requests[3], reasoning="", event_times_s=[], reasoning_tokens=4)
    requests += [failed(endpoint="two", round=5, key="lost", attempt=1, last_attempt=False)]
    requests += [request(endpoint="two", round=5, key="lost", attempt=2, passage=None)]
    rounds = [measured(name, number) for name in ("one", "two") for number in range(1, 6)]
    for record in rounds:
        own = [r for r in requests if (r.endpoint, r.round) == (record.endpoint, record.round)]
        write_jsonl(paths.infer_round(record.endpoint, record.cell, record.round) / "requests.jsonl", own)
    return [*rounds, InferRoundRecord("two", "load", 6, "missing", "not run yet")], requests


def test_whole_requests_are_read_as_they_were_written(
    recorded: tuple[list[InferRoundRecord], list[RequestRecord]],
) -> None:
    rounds, requests = recorded
    assert [RequestRecord(**line) for line in read_lines(rounds)] == requests
    assert [RequestRecord(**line) for line in read_lines(rounds, {2, 40})] == [requests[2], requests[40]]


def test_a_field_that_a_line_lacks_is_at_its_default(
    recorded: tuple[list[InferRoundRecord], list[RequestRecord]],
) -> None:
    rounds, requests = recorded
    path = paths.infer_round("one", "load", 1) / "requests.jsonl"
    write_jsonl(path, [{k: v for k, v in asdict(r).items() if k != "server_s"} for r in requests if r.round == 1])
    assert next(iter(read_lines(rounds)))["server_s"] is None
    assert read_figures(rounds)[0].server_s is None


def test_figures_give_the_same_rows_as_whole_requests(
    recorded: tuple[list[InferRoundRecord], list[RequestRecord]],
) -> None:
    rounds, requests = recorded
    loads = {"load": Load("load", 1)}
    assert rows_of(rounds, read_figures(rounds), loads, "one", 60.0) == rows_of(rounds, requests, loads, "one", 60.0)


def test_figures_lack_only_texts(recorded: tuple[list[InferRoundRecord], list[RequestRecord]]) -> None:
    rounds, requests = recorded
    figures = read_figures(rounds)
    assert [(list(f.event_times_s), f.answer_tokens) for f in figures] == [
        (list(r.event_times_s), r.answer_tokens) for r in requests
    ]
    assert [speculates(f.server_timings) for f in figures] == [speculates(r.server_timings) for r in requests]
    same = {"answer": "", "reasoning": "", "golds": [], "event_times_s": [], "server_timings": {}}
    assert [replace(f, **same) for f in figures] == [replace(r, **same) for r in requests]


def test_the_garbage_collector_is_on_again_whatever_happened() -> None:
    with pytest.raises(ValueError, match="broken"), uncollected():
        assert not gc.isenabled()
        raise ValueError("broken")
    assert gc.isenabled()
    gc.unfreeze()
