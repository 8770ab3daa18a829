"""One round as the workflow runs it, against the stand-in: what is kept, when it ends early, how it is resumed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from accelbench import paths, specs
from accelbench.config import Config, Endpoint, Inference, PromptSet, Scenario, SecretSource
from accelbench.errors import UserError
from accelbench.inference.classify import classify_rounds
from accelbench.inference.infer import infer
from accelbench.inference.journal import attempts, finished_keys, sessions
from accelbench.inference.prompts import make_prompts
from accelbench.measurement import check
from accelbench.records import RequestRecord

from .endpoint_stand_in import (
    CLOSE,
    GONE,
    HANG,
    RESET,
    Script,
    Seen,
    StandIn,
    answer_document,
    document,
    error,
    stream,
)

CANARY = "canary-6f1d9c0ab7"
Answers = Callable[[Seen], Script]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # the lock on the host
    monkeypatch.delenv("ACCELBENCH_WORKFLOW_PID", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def config_for(base_url: str, *names: str, endpoint: dict[str, Any] | None = None, **scenario: Any) -> Config:
    settings = {"requests": 4, "rounds": 2, "max_tokens": 16, **scenario}
    limits = {"timeout_connect_s": 2.0, "timeout_read_s": 2.0, "timeout_total_s": 4.0}
    limits |= {"busy_wait_s": 0.0, "ready_timeout_s": 0.2}
    endpoints = {
        name: Endpoint(base_url=base_url, model="m", **{**limits, **(endpoint or {})}) for name in names or ("one",)
    }
    return Config(
        seed=3,
        inference=Inference(
            run=list(endpoints),
            scenarios_run=["load"],
            endpoints=endpoints,
            scenarios={"load": Scenario(**settings)},
            prompts={"questions": PromptSet(source="bundled")},
        ),
    )


def measure(config: Config, name: str = "one", round_no: int = 1) -> Path:
    """Do what the rules `prompts` and `infer` do, and return the round's folder."""
    prompts = Path("results/prompts/questions.jsonl")
    make_prompts(config.inference.prompts["questions"], "questions", specs.prompts_needed(config, "questions"), prompts)
    item = specs.InferRound(name, "load", round_no)
    folder = paths.infer_round(name, "load", round_no)
    infer(config, item, specs.infer(config, item), prompts, folder)
    return folder


def requests_of(config: Config, folder: Path) -> list[RequestRecord]:
    classify_rounds(config, partial=True)
    return [RequestRecord(**json.loads(line)) for line in (folder / "requests.jsonl").read_text().splitlines()]


def record_of(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return loaded


def failure_of(folder: Path) -> str:
    assert not (folder / "measured.json").exists()
    return str(json.loads((folder / "failure.json").read_text())["text"])


ROUND = Path("results/inference/one/load/r1")


def always(script: Script) -> Answers:
    return lambda _: script


def from_nth(nth: int, then: Script, before: Script | None = None) -> Answers:
    """Answer well until the nth request (the first is the warm-up), then as said."""
    counted = iter(range(1, 1000))
    return lambda _: then if next(counted) >= nth else (before or stream())


# --- a round that goes well ---------------------------------------------------------------------------------


def test_a_round_leaves_its_exchanges_its_record_and_a_seal() -> None:
    with StandIn(always(stream("Par", "is"))) as server:
        config = config_for(server.base_url)
        folder = measure(config)
    assert sorted(path.name for path in folder.iterdir() if path.name != ".lock") == [
        "exchanges.jsonl",
        "measured.json",
        "run.json",
    ]
    check(folder, specs.infer(config, specs.InferRound("one", "load", 1)))
    record = record_of(folder)
    assert (record["sessions"], record["resumed"]) == (1, False)
    assert record["endpoint"]["base_url"] == server.base_url
    assert record["request_example"]["model"] == "m"
    assert record["host"]["name"]


def test_its_requests_are_classified_timed_and_scored() -> None:
    with StandIn(always(stream("Par", "is", gap_s=0.01))) as server:
        config = config_for(server.base_url)
        requests = requests_of(config, measure(config))
    assert [r.warm_up for r in requests] == [True, False, False, False, False]
    assert {r.class_ for r in requests} == {"ok"}
    assert {r.answer for r in requests} == {"Paris"}
    measured = requests[1:]
    assert all(r.golds and r.exact_match is False and r.f1 is not None for r in measured)
    assert all(r.ttft_s and r.e2e_s and r.e2e_s > r.ttft_s for r in measured)
    assert {(r.prompt_tokens, r.completion_tokens) for r in measured} == {(7, 2)}


def test_rounds_ask_different_prompts() -> None:
    with StandIn(always(stream())) as server:
        config = config_for(server.base_url)
        keys = [[a["key"] for a in attempts(measure(config, round_no=n) / "exchanges.jsonl")][1:] for n in (1, 2)]
    assert len({*keys[0], *keys[1]}) == 8


@pytest.mark.parametrize("streamed", [True, False])
def test_every_body_holds_the_sampling_parameters(streamed: bool) -> None:
    with StandIn(always(stream() if streamed else answer_document())) as server:
        settings = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 11, "reasoning_effort": "low"}
        endpoint = {"reasoning_effort": True, "extra_body": {"cache": False}}
        folder = measure(config_for(server.base_url, endpoint=endpoint, stream=streamed, **settings))
    expected = {"model": "m", **settings, "stream": streamed, "cache": False}
    for seen in server.posts:
        assert seen.json.items() >= expected.items()
        assert ("stream_options" in seen.json) is streamed
    assert record_of(folder)["request_example"].items() >= expected.items()


def test_reasoning_effort_is_sent_only_where_it_is_taken() -> None:
    with StandIn(always(stream())) as server:
        measure(config_for(server.base_url, reasoning_effort="low"))
    assert all("reasoning_effort" not in seen.json for seen in server.posts)


def test_defaults_of_the_sampling_parameters_are_sent_too() -> None:
    with StandIn(always(stream())) as server:
        measure(config_for(server.base_url))
    assert all(
        seen.json.items() >= {"temperature": 0.0, "top_p": 1.0, "max_tokens": 16}.items() for seen in server.posts
    )


def test_nonces_are_the_same_for_every_endpoint_and_new_in_every_round() -> None:
    with StandIn(always(stream())) as server:
        config = config_for(server.base_url, "one", "two")
        contents = []
        for name, round_no in (("one", 1), ("two", 1), ("one", 2)):
            before = len(server.posts)
            measure(config, name, round_no)
            contents.append([seen.content for seen in server.posts[before:]])
    assert contents[0] == contents[1]
    codes = [{content.split("\n")[0] for content in asked} for asked in contents]
    assert len(codes[0]) == 5
    assert not codes[0] & codes[2]


def test_without_nonces_prompts_are_sent_bare_and_the_warm_up_still_shares_no_prefix() -> None:
    with StandIn(always(stream())) as server:
        measure(config_for(server.base_url, nonce=False))
    warm_up, *asked = [seen.content for seen in server.posts]
    assert all(content.startswith("Context: ") for content in asked)
    assert not warm_up.startswith("Context: ")


def test_concurrency_is_kept_to() -> None:
    with StandIn(lambda _: [0.02, *stream()]) as server:
        measure(config_for(server.base_url, concurrency=2))
    assert server.most_in_flight == 2


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (error(429), "rate_limited"),
        (error(500), "http_5xx"),
        (error(503), "http_5xx"),
        (document(b""), "malformed"),
        (document({"object": "error", "message": "CUDA"}), "error_event"),
        ([CLOSE], "connection"),
        ([3.0], "timeout_read"),
    ],
)
def test_a_failing_request_is_data_and_the_round_is_complete(script: Script, kind: str) -> None:
    with StandIn(from_nth(5, script)) as server:
        config = config_for(server.base_url, endpoint={"timeout_read_s": 0.2})
        requests = requests_of(config, measure(config))
    assert [r.class_ for r in requests if r.last_attempt] == ["ok"] * 4 + [kind]


def test_a_wrong_request_later_on_is_data() -> None:
    with StandIn(from_nth(2, error(400))) as server:
        config = config_for(server.base_url)
        requests = requests_of(config, measure(config))
    assert [r.class_ for r in requests] == ["ok"] + ["http_4xx"] * 4


def test_a_request_lost_on_a_closed_kept_connection_is_sent_again() -> None:
    with StandIn([*[stream()] * 2, [RESET], *[stream()] * 3]) as server:
        config = config_for(server.base_url)
        requests = requests_of(config, measure(config))
    assert [(r.class_, r.last_attempt) for r in requests] == [
        ("ok", True), ("ok", True), ("connection", False), ("ok", True), ("ok", True), ("ok", True),
    ]  # fmt: skip


# --- a round that ends without a result ---------------------------------------------------------------------


def test_an_endpoint_that_never_becomes_ready_ends_the_round() -> None:
    with StandIn([], get=lambda _: error(503)) as server, pytest.raises(UserError, match=r"was not ready.*503"):
        measure(config_for(server.base_url))
    assert "base_url" in failure_of(ROUND)
    assert server.posts == []


@pytest.mark.parametrize("status", [400, 403, 404, 422])
def test_a_first_request_refused_as_wrong_ends_the_round(status: int) -> None:
    with (
        StandIn(always(error(status, "no such model"))) as server,
        pytest.raises(UserError, match=rf"{status}.*no such model.*extra_body under inference\.endpoints\.one"),
    ):
        measure(config_for(server.base_url))
    assert len(server.posts) == 1
    assert finished_keys(ROUND / "exchanges.jsonl") == set()
    assert str(status) in failure_of(ROUND)


def test_a_refused_token_is_refreshed_once_and_works() -> None:
    command = token_command("old-token-1", "new-token-2")
    with StandIn(lambda seen: error(401) if "old" in seen.headers["authorization"] else stream()) as server:
        config = config_for(server.base_url, endpoint={"token": SecretSource(command=command)})
        requests = requests_of(config, measure(config))
    assert [(r.class_, r.last_attempt) for r in requests] == [("auth", False)] + [("ok", True)] * 5


def test_a_token_that_ends_with_several_requests_in_flight_is_refreshed_once_for_all() -> None:
    command = token_command("old-token-1", "new-token-2")
    old_answers = iter([stream(), *[[0.05, *error(401)]] * 10])

    def answer(seen: Seen) -> Script:
        return next(old_answers) if "old" in seen.headers["authorization"] else stream()

    with StandIn(answer) as server:
        config = config_for(server.base_url, endpoint={"token": SecretSource(command=command)}, concurrency=4)
        requests = requests_of(config, measure(config))
    assert [r.class_ for r in requests if r.last_attempt] == ["ok"] * 5
    assert sum(r.class_ == "auth" for r in requests) == 4


def test_a_token_refused_after_the_refresh_ends_the_round_and_keeps_what_was_measured() -> None:
    command = token_command("old-token-1", "new-token-2")
    with (
        StandIn(from_nth(4, error(401))) as server,
        pytest.raises(UserError, match=r"(?s)refused \(401\).*Log in.*kept"),
    ):
        measure(config_for(server.base_url, endpoint={"token": SecretSource(command=command)}))
    assert len(finished_keys(ROUND / "exchanges.jsonl")) == 3
    assert "Log in" in failure_of(ROUND)


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_refused_before_the_first_request_ends_the_round_at_once(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OWN_TOKEN", CANARY)
    started_s = time.perf_counter()
    with (
        StandIn([], get=lambda _: error(status)) as server,
        pytest.raises(UserError, match=rf"refused \({status}\).*into OWN_TOKEN"),
    ):
        measure(config_for(server.base_url, endpoint={"token": SecretSource(env="OWN_TOKEN"), "ready_timeout_s": 60.0}))
    assert time.perf_counter() - started_s < 5


def test_an_endpoint_that_is_gone_ends_the_round_and_its_failures_are_reopened() -> None:
    with (
        StandIn(from_nth(4, [GONE])) as server,
        pytest.raises(UserError, match=r"is gone.*same command again"),
    ):
        measure(config_for(server.base_url, requests=10))
    assert len(finished_keys(ROUND / "exchanges.jsonl")) == 3
    assert "is gone" in failure_of(ROUND)


def test_connection_errors_of_an_endpoint_that_is_still_ready_are_data() -> None:
    with StandIn(from_nth(3, [CLOSE])) as server:
        config = config_for(server.base_url, requests=10)
        requests = requests_of(config, measure(config))
    assert [r.class_ for r in requests if r.last_attempt] == ["ok"] * 2 + ["connection"] * 9


def test_a_full_disk_ends_the_round(monkeypatch: pytest.MonkeyPatch) -> None:
    write, written = os.write, iter(range(100))

    def full(handle: int, data: bytes) -> int:
        if b'"key"' in data and next(written) >= 3:
            raise OSError(28, "No space left on device")
        return write(handle, data)

    monkeypatch.setattr(os, "write", full)
    with StandIn(always(stream())) as server, pytest.raises(OSError, match="No space left"):
        measure(config_for(server.base_url))
    assert len(finished_keys(ROUND / "exchanges.jsonl")) == 3
    assert not (ROUND / "measured.json").exists()


def test_a_server_of_ones_own_that_cant_start_is_named_once() -> None:
    endpoint = Endpoint.model_validate({"server": {"kind": "llama.cpp"}, "model": "unknown"})
    config = config_for("http://127.0.0.1:9/v1")
    inference = config.inference.model_copy(update={"endpoints": {"one": endpoint}})
    with pytest.raises(UserError, match="unknown"):
        measure(config.model_copy(update={"inference": inference}))


# --- a round that is taken up again -------------------------------------------------------------------------


def test_an_interrupted_round_sends_only_what_is_unfinished() -> None:
    with StandIn(from_nth(4, [GONE])) as first, pytest.raises(UserError):
        measure(config_for(first.base_url, requests=10))
    kept = finished_keys(ROUND / "exchanges.jsonl") - {"warm-up-1"}
    with StandIn(always(stream()), port=first.port) as again:
        config = config_for(again.base_url, requests=10)
        requests = requests_of(config, measure(config))
    asked = {r.key for r in requests if r.session == 2 and not r.warm_up}
    assert len(kept) == 2
    assert not asked & kept
    assert len(asked | kept) == 10
    assert {r.class_ for r in requests if r.last_attempt} == {"ok"}
    assert record_of(ROUND)["resumed"] is True
    assert not (ROUND / "failure.json").exists()


def test_kill_9_then_the_same_command_sends_no_finished_request_again() -> None:
    program = """
import sys
from tests.inference.test_round import config_for, measure
measure(config_for(sys.argv[1]))
"""
    python_path = os.pathsep.join([*sys.path, str(Path(__file__).parents[2])])
    fourth = threading.Event()
    counted = iter(range(1, 100))

    def answer(_: Seen) -> Script:
        if next(counted) < 4:
            return stream()
        fourth.set()
        return [HANG]

    with StandIn(answer) as server:
        environment = {**os.environ, "PYTHONPATH": python_path, "TMPDIR": str(Path.cwd())}
        killed = subprocess.Popen([sys.executable, "-c", program, server.base_url], env=environment)
        assert fourth.wait(20)
        killed.kill()
        killed.wait()
        answered = [seen.content for seen in server.posts[1:3]]
    with StandIn(always(stream()), port=server.port) as again:
        measure(config_for(again.base_url))
        _warm_up, *asked = [seen.content for seen in again.posts]
    assert len(asked) == 2
    assert not set(asked) & set(answered)


def test_a_torn_last_line_costs_that_request_only() -> None:
    with StandIn(always(stream())) as server:
        config = config_for(server.base_url)
        measure(config)
        journal = ROUND / "exchanges.jsonl"
        torn = journal.read_bytes()[:-40]
        journal.unlink()
        journal.write_bytes(torn)
        for path in Path("results/archive").rglob("*.json*"):
            path.unlink()
        before = len(server.posts)
        requests = requests_of(config, measure(config))
        assert len(server.posts) - before == 2  # the warm-up and the torn one
    assert [r.class_ for r in requests if r.last_attempt and not r.warm_up] == ["ok"] * 4


def test_a_round_killed_before_its_seal_sends_nothing_again() -> None:
    with StandIn(always(stream())) as server:
        config = config_for(server.base_url)
        journal = measure(config) / "exchanges.jsonl"
        kept = journal.read_bytes()
        for path in [*Path("results/archive").rglob("*.json*"), ROUND / "measured.json", journal]:
            path.unlink()
        journal.write_bytes(kept)
        before = len(server.posts)
        measure(config)
        assert len(server.posts) == before
    check(ROUND, specs.infer(config, specs.InferRound("one", "load", 1)))


def test_another_spec_starts_afresh_and_the_first_one_comes_back_from_the_archive() -> None:
    with StandIn(always(stream())) as server:
        first, second = config_for(server.base_url), config_for(server.base_url, max_tokens=17)
        original = (measure(first) / "exchanges.jsonl").read_bytes()
        measure(second)
        assert len(server.posts) == 10
        measure(first)
        assert len(server.posts) == 10
    assert (ROUND / "exchanges.jsonl").read_bytes() == original
    assert check(ROUND, specs.infer(first, specs.InferRound("one", "load", 1)))["restored_at"]


def test_undoing_an_edit_keeps_the_unfinished_journal_of_the_edit() -> None:
    with StandIn(from_nth(8, error(401))) as server:
        first, second = config_for(server.base_url), config_for(server.base_url, max_tokens=17)
        measure(first)
        with pytest.raises(UserError):
            measure(second)
        measure(first)
    (aside,) = Path("results/archive").glob("unfinished-*/exchanges.jsonl")
    assert len(finished_keys(aside)) == 2


@pytest.mark.parametrize("archived", [True, False])
def test_without_restoring_a_finished_round_is_measured_again(archived: bool) -> None:
    with StandIn(always(stream())) as server:
        config = config_for(server.base_url).model_copy(update={"restore": False})
        measure(config)
        if not archived:
            shutil.rmtree("results/archive")
        folder = measure(config)
        assert len(server.posts) == 10
    assert len(sessions(folder / "exchanges.jsonl")) == 1
    assert record_of(folder)["resumed"] is False


# --- secrets ------------------------------------------------------------------------------------------------


def token_command(*tokens: str) -> list[str]:
    """Return a command that prints the first token once and then the next."""
    memory = Path("asked").resolve()
    program = f"""
import pathlib
asked = pathlib.Path({str(memory)!r})
number = len(asked.read_text()) if asked.exists() else 0
asked.write_text("x" * (number + 1))
print({list(tokens)!r}[min(number, {len(tokens) - 1})])
"""
    return [sys.executable, "-c", program]


def files_with(text: str) -> list[Path]:
    return [path for path in Path().rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def echo(seen: Seen, status: int = 200) -> Script:
    """Answer as careless endpoints do: with the credentials that they were sent, in body and headers."""
    said = f"Incorrect API key: {seen.headers['authorization']} {seen.headers['x-api-key']}"
    return document({"error": {"message": said}}, status, X_Echo=seen.headers["authorization"], Set_Cookie=CANARY)


def secret_endpoint() -> dict[str, Any]:
    return {"token": SecretSource(env="OWN_TOKEN"), "secret_headers": {"X-Api-Key": SecretSource(env="OWN_KEY")}}


@pytest.mark.parametrize("status", [200, 400, 401, 500])
def test_secrets_reach_no_file_and_no_message(
    status: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OWN_TOKEN", f"{CANARY}-token")
    monkeypatch.setenv("OWN_KEY", f"{CANARY}-key")
    message = ""
    with StandIn(lambda seen: echo(seen, status)) as server:
        try:
            measure(config_for(server.base_url, endpoint=secret_endpoint()))
        except UserError as caught:
            message = str(caught)
    assert all(seen.headers["authorization"] == f"Bearer {CANARY}-token" for seen in server.seen)
    assert all(seen.headers["x-api-key"] == f"{CANARY}-key" for seen in server.seen)
    assert files_with(CANARY) == []
    assert CANARY not in message
    assert CANARY not in "".join(capfd.readouterr())


@pytest.mark.parametrize("secret", ["", " ", "two\nlines", "cut…", "nul\0"])
def test_a_secret_that_no_header_can_hold_is_refused_without_being_shown(
    secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = f"import sys; sys.stdout.buffer.write(({CANARY!r} + {secret!r}).encode())"
    source = SecretSource(command=[sys.executable, "-c", program if secret.strip() else ""])
    with pytest.raises(UserError, match=r"inference\.endpoints\.one\.token") as caught:
        measure(config_for("http://127.0.0.1:9/v1", endpoint={"token": source}))
    assert CANARY not in str(caught.value)


def test_a_token_commands_failure_names_the_command_and_not_its_words() -> None:
    source = SecretSource(command=[sys.executable, "-c", f"import sys; sys.exit({CANARY!r})"])
    with pytest.raises(UserError, match=r"failed with status 1") as caught:
        measure(config_for("http://127.0.0.1:9/v1", endpoint={"token": source}))
    assert CANARY not in str(caught.value)
