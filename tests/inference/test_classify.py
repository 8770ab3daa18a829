"""From the journal to requests.jsonl: attempts, sessions, and rounds that are not there."""

import json
from pathlib import Path
from typing import Any

import pytest

from accelbench import paths, specs
from accelbench.config import Config, Endpoint, Inference, PromptSet, Scenario
from accelbench.errors import UserError
from accelbench.inference.classify import classify_round, classify_rounds
from accelbench.inference.client import Exchange
from accelbench.inference.journal import Journal
from accelbench.inference.load import Attempt
from accelbench.inference.prompts import Prompt
from accelbench.records import RequestRecord

from .endpoint_stand_in import delta, tokens, usage

ITEM = specs.InferRound("one", "load", 1)
FOLDER = paths.infer_round("one", "load", 1)
PROMPT = Prompt("p1", "Paris", "abc", "Paris is the capital.", "What is?", ["Paris", "the city"], "…")
STREAM = b"".join(step for step in tokens("Par", "is") if isinstance(step, bytes))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def journal() -> Journal:
    return Journal(paths.infer_round("one", "load", 1) / "exchanges.jsonl", "spec", 1000.0)


def exchange(*reads: bytes, status: int | None = 200, **more: Any) -> Exchange:
    return Exchange(0.5, 1.0, 1.5, 9.0, status=status, reads=[(2.0 + n, data) for n, data in enumerate(reads)], **more)


def classified(*attempts: Attempt) -> list[RequestRecord]:
    written = journal()
    for attempt in attempts:
        written.add(attempt, final=True)
    written.close()
    return classify_round(ITEM, FOLDER, {"p1": PROMPT}, streamed=True)


def one(*reads: bytes, status: int | None = 200, **more: Any) -> RequestRecord:
    (record,) = classified(Attempt("p1", 1, 0.4, exchange(*reads, status=status, **more)))
    return record


def test_an_answer_is_timed_scored_and_put_on_the_wall_clock() -> None:
    record = one(STREAM)
    assert (record.class_, record.answer, record.exact_match, record.f1) == ("ok", "Paris", True, 1.0)
    assert (record.ttft_s, record.e2e_s) == (1.0, 1.0)
    assert (record.dequeued_unix_s, record.sent_unix_s, record.end_unix_s) == (1000.4, 1001.0, 1009.0)
    assert (record.article, record.passage, record.golds) == ("Paris", "abc", ["Paris", "the city"])
    assert record.error_text is None


def test_an_empty_answer_has_a_latency_and_is_a_wrong_one() -> None:
    record = one(delta(reasoning="hm"), delta(finish_reason="length"), usage(9))
    assert (record.class_, record.e2e_s, record.ttfat_s) == ("no_answer", 1.0, None)
    assert (record.exact_match, record.f1, record.contains_gold) == (False, 0.0, False)


def test_a_failure_has_no_times_and_no_scores_but_its_reason() -> None:
    record = one(b"overl\xc3\xb6aded", status=500)
    assert (record.class_, record.http_status, record.error_text) == ("http_5xx", 500, "overlöaded")
    assert (record.ttft_s, record.e2e_s, record.exact_match, record.f1) == (None, None, None, None)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ((delta("[ERROR] CUDA", finish_reason="stop"),), "[ERROR] CUDA"),
        ((b'{"error": {"message": "CUDA"}}',), "CUDA"),
        ((b"<html>",), "<html>"),
        ((b"",), "an empty answer"),
        ((delta("a"), delta(finish_reason="abort")), "finish_reason abort"),
    ],
)
def test_a_failure_inside_a_200_keeps_what_was_said(record: tuple[bytes, ...], reason: str) -> None:
    assert reason in str(one(*record).error_text)


def test_a_network_error_keeps_its_text() -> None:
    record = one(status=None, error="connection", error_text="ConnectionResetError: reset")
    assert (record.class_, record.error_text) == ("connection", "ConnectionResetError: reset")


def test_the_last_attempt_of_a_request_is_marked() -> None:
    records = classified(
        Attempt("p1", 1, 0.4, exchange(status=None, error="connection")), Attempt("p1", 2, 0.5, exchange(STREAM))
    )
    assert [(r.attempt, r.last_attempt, r.class_) for r in records] == [(1, False, "connection"), (2, True, "ok")]


def test_an_attempt_of_a_later_session_counts_from_its_own_clock() -> None:
    classified(Attempt("p1", 1, 0.4, exchange(status=None, error="connection")))
    again = Journal(paths.infer_round("one", "load", 1) / "exchanges.jsonl", "spec", 5000.0)
    again.add(Attempt("p1", 1, 0.4, exchange(STREAM)), final=True)
    again.close()
    first, second = classify_round(ITEM, FOLDER, {"p1": PROMPT}, streamed=True)
    assert (first.session, first.last_attempt) == (1, False)
    assert (second.session, second.last_attempt, second.sent_unix_s) == (2, True, 5001.0)


def test_warm_ups_are_marked() -> None:
    warm_up, measured = classified(
        Attempt("warm-up-1", 1, 0.1, exchange(STREAM)), Attempt("p1", 1, 0.4, exchange(STREAM))
    )
    assert (warm_up.warm_up, measured.warm_up) == (True, False)
    assert warm_up.exact_match is None


def test_timings_of_the_server_are_kept_from_wherever_they_stand() -> None:
    said = (
        b'{"usage": {"time_to_first_token": 0.2, "total_latency": 0.6, "other": 1}, "response_time": 0.5, "choices": '
    )
    said += b'[{"message": {"content": "a"}, "finish_reason": "stop"}]}'
    assert one(said).server_timings == {"time_to_first_token": 0.2, "total_latency": 0.6, "response_time": 0.5}


def test_counts_that_are_none_are_null() -> None:
    said = delta("a", finish_reason="stop") + b'data: {"usage": {"completion_tokens": "9", "prompt_tokens": -1}}\n\n'
    record = one(said)
    assert (record.class_, record.completion_tokens, record.prompt_tokens) == ("ok", None, None)


def config() -> Config:
    return Config(
        inference=Inference(
            run=["one"],
            scenarios_run=["load"],
            endpoints={"one": Endpoint(base_url="http://127.0.0.1:9/v1", model="m")},
            scenarios={"load": Scenario(requests=1, rounds=1)},
            prompts={"questions": PromptSet(source="bundled")},
        )
    )


def put(name: str, content: Any) -> None:
    path = paths.infer_round("one", "load", 1) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_a_round_that_is_missing_stops_the_full_run() -> None:
    with pytest.raises(UserError, match=r"measured\.json is missing"):
        classify_rounds(config())


def test_a_partial_report_says_why_a_round_is_not_there() -> None:
    (missing,) = classify_rounds(config(), partial=True)
    put("failure.json", {"text": "one: the token was refused"})
    (failed,) = classify_rounds(config(), partial=True)
    put("measured.json", {"spec": {"kind": "infer", "cell": "other"}})
    (refused,) = classify_rounds(config(), partial=True)
    assert (missing.state, missing.why) == ("missing", "not measured yet")
    assert (failed.state, failed.why) == ("failed", "one: the token was refused")
    assert refused.state == "refused"
    assert "another spec" in str(refused.why)
