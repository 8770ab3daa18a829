"""From the journal to requests.jsonl: attempts, sessions, and rounds that are not there."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from accelbench.analysis.load import labels
from accelbench.analysis.sample import Side
from accelbench.config import Config, Endpoint, Inference, PromptSet, Scenario
from accelbench.errors import UserError
from accelbench.inference.answers.classify import classify_round, classify_rounds, with_telemetry
from accelbench.inference.answers.scoring import Scoring
from accelbench.inference.client.http import Exchange
from accelbench.inference.client.journal import Journal
from accelbench.inference.client.load import Attempt
from accelbench.inference.prompts import Prompt
from accelbench.plan import specs
from accelbench.store import paths
from accelbench.store.records import InferRoundRecord, RequestRecord
from accelbench.store.requests import Requests
from accelbench.telemetry.energy import read_power
from accelbench.telemetry.recorder import TELEMETRY

from ..endpoint_stand_in import delta, event, tokens, usage

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


def classified(*attempts: Attempt, streamed: bool = True, scoring: Scoring = "squad") -> list[RequestRecord]:
    (FOLDER / "exchanges.jsonl").unlink(missing_ok=True)
    written = journal()
    for attempt in attempts:
        written.add(attempt, final=True)
    written.close()
    return classify_round(ITEM, FOLDER, {"p1": PROMPT}, streamed=streamed, scoring=scoring)


def one(*reads: bytes, status: int | None = 200, **more: Any) -> RequestRecord:
    (record,) = classified(Attempt("p1", 1, 0.4, exchange(*reads, status=status, **more)))
    return record


def unstreamed(**more: Any) -> RequestRecord:
    message = {"choices": [{"message": {"content": "Paris, France."}, "finish_reason": "stop"}], **more}
    (record,) = classified(Attempt("p1", 1, 0.4, exchange(json.dumps(message).encode())), streamed=False)
    return record


def test_an_answer_is_timed_scored_and_put_on_the_wall_clock() -> None:
    record = one(STREAM, first_byte_s=1.4)
    assert (record.class_, record.answer, record.exact_match, record.f1) == ("ok", "Paris", True, 1.0)
    assert (record.ttft_s, record.e2e_s) == (1.0, 1.0)
    assert (record.dequeued_unix_s, record.connected_unix_s, record.sent_unix_s) == (1000.4, 1000.5, 1001.0)
    assert (record.first_byte_unix_s, record.end_unix_s) == (1001.4, 1009.0)
    assert (record.article, record.passage, record.golds) == ("Paris", "abc", ["Paris", "the city"])
    assert record.error_text is None


def test_a_journal_from_before_first_bytes_were_noted_is_read() -> None:
    one(STREAM)
    path = FOLDER / "exchanges.jsonl"
    path.write_text(path.read_text().replace('"first_byte_s":null,', ""))
    (record,) = classify_round(ITEM, FOLDER, {"p1": PROMPT}, streamed=True)
    assert (record.class_, record.first_byte_unix_s) == ("ok", None)


@pytest.mark.parametrize("said", [delta(reasoning="hm"), delta(" "), delta()])
def test_a_counted_generation_without_an_answer_has_latencies_and_no_quality(said: bytes) -> None:
    record = one(said, delta(finish_reason="length"), usage(9))
    assert (record.class_, record.completion_tokens, record.e2e_s is not None) == ("no_answer", 9, True)
    assert record.ttfat_s is None
    assert (record.exact_match, record.f1, record.f1_folded, record.contains_gold) == (None, None, None, None)
    assert record.error_text is None


def test_an_empty_answer_that_no_usage_counts_has_no_latency() -> None:
    for reads in ([delta(finish_reason="stop")], [delta(reasoning="hm"), delta(finish_reason="stop"), usage(0)]):
        record = one(*reads)
        assert (record.class_, record.completion_tokens) == ("no_answer", None)
        assert (record.ttft_s, record.tpot_s, record.e2e_s, record.event_times_s) == (None, None, None, [])


@pytest.mark.parametrize(
    ("scoring", "scores"),
    [("squad", (False, 2 / 3, True, True)), ("contains", (None, None, None, True)), ("none", (None, None, None, None))],
)
def test_a_prompt_set_says_how_it_is_scored(scoring: Scoring, scores: tuple[Any, ...]) -> None:
    said = [delta("Answer: Paris"), delta(finish_reason="stop"), usage(3)]
    (record,) = classified(Attempt("p1", 1, 0.4, exchange(*said)), scoring=scoring)
    assert (record.exact_match, record.f1, record.exact_match_folded, record.contains_gold) == pytest.approx(scores)


def test_thinking_between_tags_is_not_scored_and_the_answer_is_timed_after_it() -> None:
    parts = ["<think>", " Maybe Paris?", "</think>\n\n", "Rome"]
    record = one(*map(delta, parts), delta(finish_reason="stop"), usage(9))
    assert (record.answer, record.contains_gold, record.f1) == ("Rome", False, 0.0)
    assert (record.ttft_s, record.ttfat_s) == (1.0, 4.0)


def test_a_stream_without_finish_reason_is_cut_and_says_what_was_there() -> None:
    said = [delta("The"), delta(" cat"), usage(2), event(b"[DONE]")]
    record = one(*said)
    assert (record.class_, record.error_text) == (
        "stream_cut",
        "no finish_reason after 2 events with tokens, but usage and [DONE]",
    )
    assert one(said[0]).error_text == "no finish_reason after 1 events with tokens"


def answer_tokens(record: RequestRecord) -> float:
    return float(Requests.of([record])["answer_tokens"][0])


def test_reasoning_is_not_scored_and_its_tokens_are_told_apart() -> None:
    record = one(delta(reasoning="Paris"), delta("Rome"), delta(finish_reason="stop"), usage(3))
    assert (record.contains_gold, record.f1) == (False, 0.0)
    assert (record.completion_tokens, record.reasoning_tokens, answer_tokens(record)) == (3, 2, 1)
    assert record.reasoning_tokens_estimated


def test_tokens_without_usage_are_estimated_and_marked() -> None:
    streamed, document = one(delta("a"), delta("b"), delta(finish_reason="stop")), unstreamed()
    assert (streamed.completion_tokens, streamed.tokens_estimated) == (2, True)
    assert (document.completion_tokens, document.tokens_estimated) == (4, True)
    cut = one(delta("a"))
    assert (cut.class_, cut.completion_tokens, cut.tokens_estimated) == ("stream_cut", None, False)


def test_reasoning_beside_completion_tokens_counts_in_all_that_is_derived() -> None:
    said = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 47}
    told = event({"usage": said | {"completion_tokens_details": {"reasoning_tokens": 30}}})
    record = one(*[delta(reasoning_content="hm ")] * 30, *[delta("word ")] * 5, delta(finish_reason="stop"), told)
    assert (record.completion_tokens, record.reasoning_tokens, answer_tokens(record)) == (35, 30, 5)
    assert (record.tokens_rule, record.tokens_estimated) == ("completion_tokens + reasoning_tokens", False)
    assert record.tpot_s == pytest.approx(1.0)
    label = labels(Requests.of([record]), None)[-1]
    assert label == "tokens counted as completion_tokens + reasoning_tokens: 1 of 1 answers"


def test_a_count_that_contradicts_its_stream_is_labelled_and_gives_no_law() -> None:
    record = one(*[delta("x ")] * 40, delta(finish_reason="stop"), usage(1))
    assert (record.class_, record.completion_tokens, record.tokens_claimed, record.tokens_estimated) == (
        "ok", 40, 1, True,
    )  # fmt: skip
    assert record.note == "the count of tokens contradicts the stream (1 token, 40 events)"
    label = labels(Requests.of([record]), None)[-1]
    assert label == (
        "tokens estimated from the stream: the counts of 1 of 1 answers contradict it (1 token, 40 events)"
    )
    assert Side("one", "load", Requests.of([record] * 20)).law[0] is None
    assert labels(Requests.of([replace(record, warm_up=True), record]), None)[-1] == label


def test_more_tokens_than_max_tokens_are_noted() -> None:
    assert "max_tokens 4" in str(asked_for(4, *[delta("x ")] * 4, usage(40)).note)
    assert asked_for(4, *[delta("x ")] * 40, usage(40)).note == "more tokens than max_tokens 4"
    assert asked_for(40, *[delta("x ")] * 40, usage(40)).note is None


def asked_for(most: int, *reads: bytes) -> RequestRecord:
    one(*reads, delta(finish_reason="length"))
    (record,) = classify_round(ITEM, FOLDER, {}, streamed=True, asked={"max_tokens": most})
    return record


def test_hidden_reasoning_does_not_make_the_answers_tokens_faster() -> None:
    told = event({"usage": {"completion_tokens": 110, "completion_tokens_details": {"reasoning_tokens": 100}}})
    record = one(*[delta("word ")] * 10, delta(finish_reason="stop"), told)
    assert (record.completion_tokens, record.reasoning_tokens, record.reasoning) == (110, 100, "")
    assert record.tpot_s == pytest.approx(1.0)


def test_cached_tokens_are_kept_per_request() -> None:
    told = event({"usage": {"completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 8}}})
    assert one(delta("a"), delta(finish_reason="stop"), told).cached_tokens == 8


def test_a_batched_stream_keeps_its_times_and_is_marked() -> None:
    record = one(*[delta("word") * 20] * 5, delta(finish_reason="stop"), usage(100))
    assert (record.streaming, record.ttft_s, len(record.event_times_s)) == ("batched", 1.0, 100)
    assert (one(*[delta("word")] * 12, delta(finish_reason="stop")).streaming, unstreamed().streaming) == (
        "faithful",
        "none",
    )


def test_overhead_is_what_the_server_does_not_account_for() -> None:
    record = unstreamed(response_time=0.25)
    assert (record.e2e_s, record.server_s, record.server_ttft_s, record.overhead_s) == (1.0, 0.25, None, 0.75)
    assert unstreamed().overhead_s is None


def test_overhead_of_a_stream_counts_to_the_last_byte_as_the_server_does() -> None:
    timed = event({"choices": [], "timings": {"prompt_ms": 200, "predicted_ms": 1700}})
    record = one(delta("a"), delta("b"), delta(finish_reason="stop"), timed)
    assert (record.e2e_s, record.server_s, record.server_ttft_s) == (2.0, 1.9, 0.2)
    assert record.overhead_s == pytest.approx(2.1)


def test_a_body_encoded_unasked_is_named() -> None:
    record = one(gzip.compress(STREAM, mtime=0), headers={"content-encoding": "gzip"})
    assert (record.class_, record.error_text) == ("malformed", "the body is encoded (gzip), which was not requested")


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
    assert (record.class_, record.completion_tokens, record.prompt_tokens) == ("ok", 1, None)
    assert record.tokens_estimated


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
        classify_rounds(config(), Path("requests.parquet"))


def test_a_partial_report_says_why_a_round_is_not_there() -> None:
    (missing,) = classify_rounds(config(), Path("requests.parquet"), partial=True)
    put("failure.json", {"text": "one: the token was refused"})
    (failed,) = classify_rounds(config(), Path("requests.parquet"), partial=True)
    put("measured.json", {"spec": {"kind": "infer", "cell": "other"}})
    (refused,) = classify_rounds(config(), Path("requests.parquet"), partial=True)
    assert missing.state == "missing"
    command = "snakemake --cores 4 results/inference/one/load/r1/measured.json"
    assert missing.why == f"not measured yet; `{command}`, with the same config files, measures it."
    assert (failed.state, failed.why) == ("failed", "one: the token was refused")
    assert refused.state == "refused"
    assert "another spec" in str(refused.why)


@pytest.mark.parametrize(("counted", "ours"), [(True, 4.0), (False, None)])
def test_the_servers_tokens_stand_beside_those_that_came_to_us_warm_ups_too(
    tmp_path: Path, counted: bool, ours: float | None
) -> None:
    asked = one(*tokens("a", "b")) if counted else one(delta("a"), delta("b"), delta(finish_reason="stop"))
    requests = [replace(asked, key="warm-up-1", warm_up=True), asked]
    header = {"started_unix_s": 0.0, "at_s": 0.0, "host": {"cores": 1}, "server": {"why": None}}
    lines = [header, *({"at_s": at_s, "server": {"generated_tokens": 10 * at_s}} for at_s in (0.0, 2e9))]
    (tmp_path / TELEMETRY).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    seen = with_telemetry(InferRoundRecord("a", "c", 1, "measured", None), tmp_path, requests).surroundings
    assert seen and seen["server"] and seen["server"]["our_tokens"] == ours


def test_a_round_without_a_recorder_has_the_energy_that_others_recorded(tmp_path: Path) -> None:
    asked = replace(one(*tokens("a", "b")), dequeued_unix_s=100.0, end_unix_s=160.0)
    (tmp_path / "pdu.csv").write_text("".join(f"{at_s},50\n" for at_s in range(90, 200, 10)))
    power = read_power(str(tmp_path / "pdu.csv"), "rack")
    found = with_telemetry(InferRoundRecord("a", "c", 1, "measured", None), None, [asked], power)
    assert found.host_activity is None and found.surroundings
    assert [(each["scope"], each["joules"]) for each in found.surroundings["energy"]] == [("rack", 3000.0)]
