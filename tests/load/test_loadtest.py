"""`accelbench load`: what it prints, what it leaves behind, how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from accelbench.analysis.inference import LoadFigures
from accelbench.analysis.percentiles import Tail, Times
from accelbench.jobs.process import PACKAGE_PARENT
from accelbench.load import loadtest
from accelbench.telemetry.recorder import TELEMETRY

from ..inference.endpoint_stand_in import (
    DONE,
    Script,
    Seen,
    StandIn,
    answer_document,
    chunked,
    delta,
    document,
    error,
    event,
    stream,
)
from ..waiting import until

LATENCIES = ("ttft_s", "ttfat_s", "itl_s", "tpot_s", "e2e_s")
STATISTICS = {"n", "mean", "median", "min", "max", "p50", "p90", "p95", "p99"}
TTFT_S, GAP_S = 0.1, 0.01


@pytest.fixture
def environment() -> dict[str, str]:
    """Leave out the proxy of this machine."""
    kept = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    return {**kept, "PYTHONPATH": PACKAGE_PARENT}


@pytest.fixture
def truth_url() -> Iterator[str]:
    command = [sys.executable, "-m", "accelbench.inference.truth_server"]
    command += ["--ttft-s", str(TTFT_S), "--gap-s", str(GAP_S)]
    environment = {**os.environ, "PYTHONPATH": PACKAGE_PARENT}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout
        yield f"http://127.0.0.1:{int(server.stdout.readline().split()[0])}/v1"
        server.kill()


def command(base_url: str, out: Path, *more: str) -> list[str]:
    fixed = ["--base-url", base_url, "--model", "m", "--out", str(out), "--warm-up", "0"]
    return [sys.executable, "-m", "accelbench", "load", *fixed, *more]


def load(environment: dict[str, str], base_url: str, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(base_url, out, *more), env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def figures(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def in_turn(scripts: Sequence[Script]) -> StandIn:
    return StandIn(list(scripts))


# --- figures ------------------------------------------------------------------------------------------------


def test_figures_are_those_of_the_truth(truth_url: str, tmp_path: Path, environment: dict[str, str]) -> None:
    asked = ["--requests", "40", "--concurrency", "4", "--max-tokens", "10", "--json"]
    load(environment, truth_url, tmp_path / "out", *asked)
    (tmp_path / "out" / TELEMETRY).unlink()
    found = figures(load(environment, truth_url, tmp_path / "out", *asked))  # as on a quiet host; nothing is sent
    assert found["ttft_s"]["median"] == pytest.approx(TTFT_S, abs=0.02)
    assert found["tpot_s"]["median"] == pytest.approx(GAP_S, rel=0.2)
    assert found["e2e_s"]["median"] == pytest.approx(TTFT_S + 9 * GAP_S, abs=0.03)
    assert found["output_tok_per_s"] == pytest.approx(4 * 10 / (TTFT_S + 9 * GAP_S), rel=0.2)
    assert (found["itl_s"]["n"], found["e2e_s"]["p95"] is None, found["e2e_s"]["p99"]) == (40 * 9, False, None)
    assert found["labels"] == []


def test_all_keys_are_there_and_classes_sum_to_n(tmp_path: Path, environment: dict[str, str]) -> None:
    answers = [stream(), error(500), document(b"no json"), stream(), error(429)]
    with in_turn(answers) as server:
        asked = ["--requests", "5", "--busy-wait-s", "0", "--json"]
        found = figures(load(environment, server.base_url, tmp_path / "out", *asked))
    assert found["n"] == 5
    assert found["by_class"] == {"ok": 2, "http_5xx": 1, "malformed": 1, "rate_limited": 1}
    assert (found["e2e_of_all_s"]["n"], found["e2e_of_all_s"]["failures"]) == (5, 3)
    assert all(set(found[key]) == STATISTICS for key in LATENCIES)
    assert {"output_tok_per_s", "total_tok_per_s", "answer_tok_per_s", "requests_per_s", "wall_s"} <= set(found)
    assert {"lag_p99_s", "cpu_share", "late_sends", "limited"} <= set(found["client"])
    assert found["from_schedule_e2e_s"] is found["from_schedule_ttft_s"] is None


def test_a_request_that_waited_counts_once_and_its_attempts_all(tmp_path: Path, environment: dict[str, str]) -> None:
    busy = document({"error": {}}, 429, Retry_After="1")
    with in_turn([busy, answer_document()]) as server:
        found = figures(
            load(environment, server.base_url, tmp_path / "out", "--requests", "1", "--no-stream", "--json")
        )
    assert found["by_class"] == {"ok": 1}
    assert found["attempts_by_class"] == {"rate_limited": 1, "ok": 1}
    assert found["waited_s"] == pytest.approx(1, abs=0.3)
    assert found["e2e_s"]["max"] < 0.5
    assert found["wall_s"] > 0.9


def test_without_a_stream_there_is_no_first_token(tmp_path: Path, environment: dict[str, str]) -> None:
    with StandIn(lambda _: answer_document()) as server:
        found = figures(
            load(environment, server.base_url, tmp_path / "out", "--requests", "3", "--no-stream", "--json")
        )
        assert [seen.json["stream"] for seen in server.posts] == [False] * 3
    assert found["ttft_s"] == {"n": 0, **dict.fromkeys(STATISTICS - {"n"})}
    assert found["e2e_s"]["n"] == 3


def test_open_loop_counts_from_the_schedule_too(truth_url: str, tmp_path: Path, environment: dict[str, str]) -> None:
    asked = ["--requests", "6", "--rate", "40", "--arrivals", "constant", "--max-tokens", "3", "--json"]
    found = figures(load(environment, truth_url, tmp_path / "free", *asked))
    assert found["due_per_s"] == pytest.approx(40, rel=0.01)
    assert found["from_schedule_e2e_s"]["median"] >= found["e2e_s"]["median"]
    held = figures(load(environment, truth_url, tmp_path / "held", *asked, "--max-in-flight", "1"))
    assert held["labels"][0].startswith("not open loop: 5 of 6 requests were held back")
    assert held["from_schedule_e2e_s"]["max"] > 4 * held["e2e_s"]["median"]


def test_the_table_says_what_one_has_to_know(tmp_path: Path, environment: dict[str, str]) -> None:
    with StandIn(lambda _: stream()) as server:
        done = load(environment, server.base_url, tmp_path / "out", "--requests", "4", "--concurrency", "2")
    assert "4 requests in" in done.stdout and "4 ok" in done.stdout
    assert "too short for a throughput: 2 requests per slot" in done.stdout
    assert "4 done, 0 failed of 4" in done.stderr


def test_a_sweep_stops_where_throughput_does(truth_url: str, tmp_path: Path, environment: dict[str, str]) -> None:
    asked = ["--requests", "1", "--sweep", "--max-concurrency", "2", "--max-tokens", "3", "--json"]
    load(environment, truth_url, tmp_path / "out", *asked)
    for slots in (1, 2):
        (tmp_path / f"out/c{slots}" / TELEMETRY).unlink()
    found = figures(load(environment, truth_url, tmp_path / "out", *asked))  # as on a quiet host; nothing is sent
    assert [(slots, step["n"]) for slots, step in found["steps"].items()] == [("1", 10), ("2", 20)]
    assert found["stopped"] == "2 is the maximum concurrency"
    assert (found["concurrency"], found["n"]) == (2, 20)
    header = {"started_unix_s": 0.0, "at_s": 0.0, "host": {"cores": 2}}
    busy = [header, *({"at_s": at_s, "host": {"busy_s": at_s, "own_s": 0.0}} for at_s in (0.0, 4e9))]
    (tmp_path / "out/c2" / TELEMETRY).write_text("".join(f"{json.dumps(line)}\n" for line in busy))
    disturbed = figures(load(environment, truth_url, tmp_path / "out", *asked))
    assert disturbed["concurrency"] == 1 and disturbed["steps"]["2"]["disturbed"]


@pytest.mark.parametrize(
    ("tok_per_s", "requests_per_s", "goes_on"), [(10.4, 1.04, False), (10.6, 1.0, True), (8.0, 1.06, True)]
)
def test_a_sweep_goes_on_while_tokens_or_requests_per_second_rise(
    tok_per_s: float, requests_per_s: float, goes_on: bool
) -> None:
    """Tokens per second alone would end it where the answers of a step happen to be shorter."""

    def step(tok_per_s: float, requests_per_s: float) -> LoadFigures:
        metrics = {"output_tok_per_s": tok_per_s, "requests_per_s": requests_per_s, "e2e_s": Times(20, p90=1.0)}
        ok = {"ok": 20}
        return LoadFigures(20, ok, ok, {}, metrics, Tail(20, None, None, None, None), 0, 1.0, 0.0, [], {}, None, None)

    limits = loadtest.Limits(slots=64, e2e_p90_s=None)
    steps = {1: step(10.0, 1.0), 2: step(tok_per_s, requests_per_s)}
    why = loadtest._enough(steps, 2, limits)
    assert (why is None) == goes_on
    steps[2] = replace(steps[2], disturbed=True)
    assert loadtest._enough(steps, 2, limits) == (why and f"{why}, but the host was busy, so more may be possible")


def test_a_sweep_stops_at_the_first_busy_answer(tmp_path: Path, environment: dict[str, str]) -> None:
    with StandIn(lambda _: error(503)) as server:
        asked = ["--requests", "2", "--sweep", "--busy-wait-s", "0", "--wait-s", "0.1"]
        done = load(environment, server.base_url, tmp_path / "out", *asked)
    assert done.returncode == 0
    assert "stopped: the endpoint was busy or failed at concurrency 1 (http_5xx)" in done.stdout


def test_a_sweep_whose_warm_up_found_the_endpoint_busy_says_so(tmp_path: Path, environment: dict[str, str]) -> None:
    with StandIn(lambda _: error(429)) as server:
        done = load(environment, server.base_url, tmp_path / "out", "--sweep", "--warm-up", "1")
    assert "stopped: the endpoint was busy: it answered the warm-up of concurrency 1 with 429" in done.stdout


def test_a_sweep_asks_nothing_more_of_an_endpoint_that_became_busy(tmp_path: Path, environment: dict[str, str]) -> None:
    """Nothing is sent again either, though a load test would wait; what was in flight is answered."""
    with StandIn(lambda seen: stream() if len(server.posts) <= 15 else error(429)) as server:
        asked = ["--requests", "2", "--sweep", "--json"]
        found = figures(load(environment, server.base_url, tmp_path / "out", *asked))
        assert 16 <= len(server.posts) <= 17
    assert found["stopped"] == "the endpoint was busy or failed at concurrency 2 (rate_limited)"
    assert sum(step["n"] for step in found["steps"].values()) == len(server.posts)


# --- prompts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "asked"),
    [
        ('{"question": "Who?"}', "Who?"),
        ('{"prompt": "Say {this}."}', "Say {this}."),
        ('{"question": "Who?", "context": "Ann."}', "Passage: Ann.\n\nQuestion: Who?"),
    ],
)
def test_questions_alone_are_asked_as_they_stand(
    row: str, asked: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "q.jsonl").write_text(f'{row}\n{{"answers": ["x"], {row[1:]}\n')
    options = ["--prompts", str(tmp_path / "q.jsonl"), "--requests", "2", "--json"]
    with StandIn(lambda _: stream()) as server:
        found = figures(load(environment, server.base_url, tmp_path / "out", *options))
    assert found["by_class"] == {"ok": 2}
    assert all(asked in seen.content for seen in server.posts)


def test_a_file_without_questions_is_told_its_columns(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "q.csv").write_text("text\nWho?\n")
    done = load(environment, "http://127.0.0.1:9/v1", tmp_path / "out", "--prompts", str(tmp_path / "q.csv"))
    assert done.returncode == 1
    assert "no column question (it has text); rename its columns to question (or prompt), context" in done.stderr
    assert done.stderr.startswith("accelbench: --prompts: ")


def test_questions_that_repeat_get_a_new_code_and_a_warning(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "q.jsonl").write_text('{"question": "Who?", "context": "Ann.", "answers": ["Ann"], "title": "t"}\n')
    with StandIn(lambda _: stream()) as server:
        asked = ["--requests", "3", "--prompts", str(tmp_path / "q.jsonl"), "--json"]
        done = load(environment, server.base_url, tmp_path / "out", *asked)
        assert len({seen.content for seen in server.posts}) == 3
    assert figures(done)["n"] == 3
    assert "3 requests, 1 of them different" in done.stderr


def test_two_load_tests_never_ask_the_same(tmp_path: Path, environment: dict[str, str]) -> None:
    with StandIn(lambda _: stream()) as server:
        for name in ("one", "two"):
            load(environment, server.base_url, tmp_path / name, "--requests", "2")
        assert len({seen.content for seen in server.posts}) == 4


# --- how it ends --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 500, 502])
def test_whatever_the_endpoint_answers_is_data(status: int, tmp_path: Path, environment: dict[str, str]) -> None:
    with StandIn(lambda _: error(status, "worker \x1b[2Jlost")) as server:
        found = figures(load(environment, server.base_url, tmp_path / "out", "--requests", "2", "--json"))
    kind = "http_4xx" if status == 408 else "http_5xx"
    assert (found["by_class"], found["reasons"]) == ({kind: 2}, {kind: f"status {status}: worker \\x1b[2Jlost"})
    assert found["output_tok_per_s"] is None


def test_what_failed_says_why_in_table_and_progress(tmp_path: Path, environment: dict[str, str]) -> None:
    away = document(b"", 307, Location="http://127.0.0.1:9/x")
    ended = chunked(delta("a"), delta(finish_reason="content_filter"), DONE)
    with in_turn([stream(), document(b"<html>log in</html>"), away, ended, chunked(delta("a")), stream()]) as server:
        done = load(environment, server.base_url, tmp_path / "out", "--requests", "6")
    said = done.stdout
    assert "http_4xx: status 307: a redirect to http://127.0.0.1:9/x" in said
    assert "malformed: log in" in said
    assert "error_event: finish_reason content_filter" in said
    assert "stream_cut: " in said
    assert "2 done, 4 failed of 6 (" in done.stderr  # an answer of status 200 may have failed


# --- a request that is refused --------------------------------------------------------------------------------

NOT_FOUND = document({"detail": "Not \x1b[2JFound"}, 404)
REFUSALS: dict[str, tuple[Script, Script, str, str]] = {
    "no /v1": (NOT_FOUND, NOT_FOUND, "", "404: Not \\x1b[2JFound. There is no"),
    "another model": (NOT_FOUND, document({"data": [{"id": "a"}]}), "/v1", "It serves a: set --model to one of them."),
    "too long a path": (NOT_FOUND, NOT_FOUND, "/v1/chat/completions", "--base-url must end before /chat/completions"),
    "a redirect": (document(b"", 308, Location="https://h/v1/chat/completions"), NOT_FOUND, "/v1", "Set --base-url to "
                   "https://h/v1"),
    "a page": (document(b"<!doctype html><p>Sign in</p>"), NOT_FOUND, "/v1", "an HTML page: Sign in"),
    "a token": (error(401), NOT_FOUND, "/v1", "a request without a token (401). Give it one with --token-env"),
    "a field": (error(422, "unknown field 'messages'"), NOT_FOUND, "/v1", "Check --model, --base-url and --body."),
    "no method": (error(405), NOT_FOUND, "/v1", "405"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_a_load_that_is_refused_from_the_start_ends_and_says_why(
    name: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    answer, page, path, said = REFUSALS[name]
    with StandIn(lambda _: answer, lambda _: page) as server:
        url = f"http://127.0.0.1:{server.port}{path}"
        done = load(environment, url, tmp_path / "out", "--requests", "50", "--concurrency", "2")
        assert len(server.posts) <= 8
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr.splitlines()[-1] and "\x1b" not in done.stderr
    assert not {"Traceback", "inference."} & set(done.stderr.split()) and "inference.endpoints" not in done.stderr


def test_a_list_of_models_that_is_refused_says_why_in_its_own_words(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    page = document(b"<html><h1>Blocked</h1> by \x1b[1ma firewall</html>", 403)
    with StandIn(lambda _: stream(), lambda _: page) as server:
        done = load(environment, server.base_url, tmp_path / "out")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "/models said: Blocked by \\x1b[1ma firewall" in done.stderr


def test_a_folder_whose_load_was_refused_takes_the_mended_one(tmp_path: Path, environment: dict[str, str]) -> None:
    with StandIn(lambda seen: stream() if seen.json["model"] == "m" else NOT_FOUND) as server:
        refused = load(environment, server.base_url, tmp_path / "out", "--requests", "4", "--model", "x")
        found = figures(load(environment, server.base_url, tmp_path / "out", "--requests", "4", "--json"))
    assert (refused.returncode, found["by_class"]) == (1, {"ok": 4})


def test_refusals_after_a_good_answer_are_data(tmp_path: Path, environment: dict[str, str]) -> None:
    with in_turn([stream(), *[NOT_FOUND] * 5]) as server:
        found = figures(load(environment, server.base_url, tmp_path / "out", "--requests", "6", "--json"))
    assert found["by_class"] == {"ok": 1, "http_4xx": 5}


def test_the_request_can_be_shaped(tmp_path: Path, environment: dict[str, str]) -> None:
    shape = ["--body", "seed=7", "--body", "top_p=", "--body", 'stop=["a=b"]', "--query", "api-version=2024-10-21"]
    shape += ["--header", "api-key=env:KEY", "--header", "x-team=blue", "--total-timeout-s", "30", "--requests", "1"]
    with StandIn(lambda _: stream()) as server:
        done = load({**environment, "KEY": "canary-0123456789"}, server.base_url, tmp_path / "out", *shape)
    (post,), (page,) = server.posts, [seen for seen in server.seen if seen.method == "GET"]
    assert done.returncode == 0, done.stderr
    assert (post.json["seed"], post.json["stop"], "top_p" in post.json) == (7, ["a=b"], False)
    assert (post.headers["api-key"], post.headers["x-team"]) == ("canary-0123456789", "blue")
    assert post.target == "/v1/chat/completions?api-version=2024-10-21"
    assert page.target == "/v1/models?api-version=2024-10-21"
    spec = json.loads((tmp_path / "out/run.json").read_text())["spec"]["endpoint"]
    assert (spec["omit_body"], spec["timeout_total_s"]) == (["top_p"], 30.0)
    assert not any(b"canary" in path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file())


def test_the_wait_for_an_endpoint_is_the_whole_wait(tmp_path: Path, environment: dict[str, str]) -> None:
    with StandIn([], lambda _: [b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n", 0.1] * 300]) as server:
        begun_s = time.perf_counter()
        done = load(environment, server.base_url, tmp_path / "out", "--wait-s", "1")
    assert done.returncode == 1
    assert "was not ready after 1 s" in done.stderr
    assert time.perf_counter() - begun_s < 10  # the start of the program among them


@pytest.mark.parametrize(
    "page",
    [b'{"data":' + b"[" * 300 + b"]" * 300 + b"}", b'{"data":[{"id":"m","max_model_len":' + b"9" * 400 + b"}]}"],
    ids=["nested 300 deep", "a count of 400 digits"],
)
def test_no_page_and_no_count_ends_it_in_a_traceback(page: bytes, tmp_path: Path, environment: dict[str, str]) -> None:
    counted = event(b'{"choices": [], "usage": {"completion_tokens": ' + b"9" * 100_000 + b"}}")
    answer = chunked(delta("a"), delta(finish_reason="stop"), counted, DONE)
    with StandIn(lambda _: answer, lambda _: document(page)) as server:
        for _ in range(2):
            done = load(environment, server.base_url, tmp_path / "out", "--requests", "2")
            assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def refused(seen: Seen) -> Script:
    return error(401)


def test_what_can_not_be_asked_is_one_message_and_status_1(tmp_path: Path, environment: dict[str, str]) -> None:
    out = tmp_path / "out"
    dead = load(environment, "http://127.0.0.1:9/v1", out, "--wait-s", "0.2")
    with StandIn(lambda _: stream(), get=refused) as server:
        no_token = load(environment, server.base_url, out, "--token-env", "NOT_SET")
        bad_token = load({**environment, "BAD": "x" * 20}, server.base_url, out, "--token-env", "BAD")
    (tmp_path / "broken.json").write_text("{")
    broken = load(environment, server.base_url, out, "--prompts", str(tmp_path / "broken.json"))
    for done, said in (
        (dead, "http://127.0.0.1:9/v1/models was not ready after 0.2 s"),
        (no_token, "--token-env: the variable NOT_SET is not set"),
        (bad_token, "the token was refused (401)"),
        (broken, "--prompts"),
    ):
        assert done.returncode == 1, done
        assert said in done.stderr.splitlines()[-1]
        assert not {"Traceback", "inference."} & set(done.stderr.split())
        assert "inference.endpoints" not in done.stderr


@pytest.mark.parametrize(
    "wrong",
    [
        ["--concurrency", "2", "--rate", "1"],
        ["--rate", "0"],
        ["--rate", "inf"],
        ["--sweep", "--stop-above-s", "0"],
        ["--base-url", "http://127.0.0.1:99999/v1"],
        ["--base-url", "http://[::1/v1"],
        ["--requests", "0"],
        ["--arrivals", "constant"],
        ["--rate", "1", "--arrivals", "weekly"],
        ["--max-concurrency", "4"],
        ["--max-rate", "4"],
        ["--find-max", "ttft<1"],
        ["--find-max", "success>0.9", "--rate", "1"],
        ["--find-max", "success>0.9", "--max-rate", "1", "--max-concurrency", "4"],
        ["--prompts", "no-such-file.json"],
        ["--base-url", "not a url"],
        ["--unknown"],
        ["--body", "top_p"],
        ["--body", "stop=[a"],
        ["--header", "api-key=in the clear"],
        ["--header", "x-any=Bearer in-the-clear"],
        ["--header", "=env:KEY"],
        ["--header", "x any=1"],
        ["--header", "Content-Length=env:KEY"],
        ["--header", "x-any=1\r\nx-other: 2"],
        ["--query", "key=in the clear"],
    ],
)
def test_wrong_arguments_are_status_2(wrong: list[str], tmp_path: Path, environment: dict[str, str]) -> None:
    done = load(environment, "http://127.0.0.1:9/v1", tmp_path / "out", *wrong)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert any(word in done.stderr for word in wrong if word.startswith("--"))
    assert "secret_headers" not in done.stderr  # a key of the config
    assert not (tmp_path / "out").exists()


# --- resuming -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGINT])
def test_the_same_command_goes_on_after_an_interruption(
    with_signal: signal.Signals, tmp_path: Path, environment: dict[str, str]
) -> None:
    out, asked = tmp_path / "out", ["--requests", "12", "--json"]
    with StandIn(lambda _: stream("a", "b", gap_s=0.05)) as server:
        process = subprocess.Popen(
            command(server.base_url, out, *asked), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert until(lambda: len(server.posts) >= 4, 30)
        process.send_signal(with_signal)
        said = process.communicate(timeout=20)[1].decode()
        assert process.returncode != 0
        assert "Traceback" not in said
        assert with_signal == signal.SIGKILL or "interrupted" in said
        before = len(server.posts)
        found = figures(load(environment, server.base_url, out, *asked))
        assert len(server.posts) - before in (12 - before, 12 - before + 1)  # the one in flight is sent again
        again = load(environment, server.base_url, out, *asked)
        assert figures(again) == found
        assert len(server.posts) <= 13
    assert (found["n"], found["by_class"], found["resumed"]) == (12, {"ok": 12}, True)


def test_the_gap_between_sessions_is_no_part_of_the_speed(tmp_path: Path, environment: dict[str, str]) -> None:
    out = tmp_path / "out"
    with StandIn(lambda _: stream()) as server:
        load(environment, server.base_url, out, "--requests", "3")
        lines = (out / "exchanges.jsonl").read_text().splitlines()
        header = json.loads(lines[0])
        header["started_unix_s"] -= 1000
        (out / "exchanges.jsonl").write_text("\n".join([json.dumps(header), *lines[1:3]]) + '\n{"torn')
        record = json.loads((out / "run.json").read_text())
        (out / "run.json").write_text(json.dumps({key: record[key] for key in ("spec", "seed")}))
        found = figures(load(environment, server.base_url, out, "--requests", "3", "--json"))
    assert (found["n"], found["resumed"]) == (3, True)
    assert found["wall_s"] < 10


def test_another_load_test_in_the_folder_is_left_alone(tmp_path: Path, environment: dict[str, str]) -> None:
    with StandIn(lambda _: stream()) as server:
        load(environment, server.base_url, tmp_path / "out", "--requests", "2")
        kept = (tmp_path / "out/exchanges.jsonl").read_bytes()
        done = load(environment, server.base_url, tmp_path / "out", "--requests", "2", "--max-tokens", "9")
    assert done.returncode == 1
    assert "holds another load test (other scenario). Name another folder with --out" in done.stderr
    assert (tmp_path / "out/exchanges.jsonl").read_bytes() == kept


FOREIGN = {  # file -> content, what the message says
    "the round of a workflow, interrupted": (
        {"exchanges.jsonl": '{"session": 1}\n{"key": "a"}\n'},
        "are not from a load test",
    ),
    "the record of a training run": ({"run.json": '{"spec": {"kind": "train"}}'}, "are not from a load test"),
    "imported requests": ({"requests.jsonl": '{"key": "a"}\n'}, "are not from a load test"),
    "a broken record": ({"run.json": '{"spe'}, "is broken"),
    "a record of another program": ({"run.json": "[]"}, "are not from a load test"),
}


@pytest.mark.parametrize("found", FOREIGN)
def test_what_is_no_load_test_is_left_alone(found: str, tmp_path: Path, environment: dict[str, str]) -> None:
    files, said = FOREIGN[found]
    out = tmp_path / "out"
    out.mkdir()
    for name, content in files.items():
        (out / name).write_text(content)
    done = load(environment, "http://127.0.0.1:9/v1", out)
    assert done.returncode == 1
    assert said in done.stderr.splitlines()[-1] and "--out" in done.stderr
    assert {path.name: path.read_text() for path in out.iterdir() if path.name != ".lock"} == files


def test_a_folder_holds_the_record_and_what_is_derived_from_it(tmp_path: Path, environment: dict[str, str]) -> None:
    canary = "sk-canary-0123456789"
    with StandIn(lambda _: stream()) as server:
        done = load(
            {**environment, "KEY": canary}, server.base_url, tmp_path / "out", "--requests", "2", "--token-env", "KEY"
        )
        assert server.posts[0].headers["authorization"] == f"Bearer {canary}"
    assert {"exchanges.jsonl", "requests.jsonl", "run.json"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert len((tmp_path / "out/requests.jsonl").read_text().splitlines()) == 2
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file())
    assert canary.encode() not in written + done.stdout.encode() + done.stderr.encode()


def test_no_heavy_package_is_imported_before_the_first_request() -> None:
    heavy = "print(*(n for n in ('torch', 'scipy', 'pandas') if n in sys.modules))"
    code = f"import sys, accelbench.compare.ab, accelbench.load.loadtest; {heavy}"
    environment = {**os.environ, "PYTHONPATH": PACKAGE_PARENT}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == ""
