"""A round that ends without a result: what it says, and what is kept."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from accelbench.config import CommandServer, Endpoint, SecretSource
from accelbench.errors import UserError
from accelbench.inference.client.journal import attempts, finished_keys
from accelbench.inference.endpoints import readiness
from accelbench.inference.infer import waited_in_vain
from accelbench.plan import specs
from accelbench.plan.measurement import check
from accelbench.telemetry.recorder import TELEMETRY, read_telemetry

from .endpoint_stand_in import CLOSE, GONE, HANG, Script, Seen, StandIn, error, stream
from .rounds import (  # noqa: F401
    CANARY,
    ROUND,
    Answers,
    always,
    config_for,
    failure_of,
    from_nth,
    here,
    measure,
    record_of,
    requests_of,
    started,
)


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


def test_an_endpoint_that_never_becomes_ready_ends_the_round() -> None:
    with StandIn([], get=lambda _: error(503)) as server, pytest.raises(UserError, match=r"was not ready.*503"):
        measure(config_for(server.base_url))
    assert "base_url" in failure_of(ROUND)
    assert server.posts == []


def test_a_dead_endpoint_costs_its_timeout_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "BRIEF_S", 0.05)
    monkeypatch.setattr(readiness, "_POLL_S", 0.02)
    config = config_for("http://127.0.0.1:9/v1", endpoint={"ready_timeout_s": 1.0})
    took_s = []
    for round_no in (1, 2):
        began_s = time.perf_counter()
        with pytest.raises(UserError, match="was not ready") as caught:
            measure(config, round_no=round_no)
        took_s.append(time.perf_counter() - began_s)
    assert took_s[0] > 1.0 > 0.7 > took_s[1]
    assert str(caught.value).endswith(
        "The wait was short because results/inference/one/load/r1 had just waited in vain."
    )


@pytest.mark.parametrize("change", [{"at": "2026-01-01T00:00:00+00:00"}, {"workflow": "77"}, {"not_ready": False}])
def test_another_runs_or_an_older_failure_shortens_no_wait(change: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        measure(config_for("http://127.0.0.1:9/v1"))
    assert waited_in_vain("one") == str(ROUND)
    assert waited_in_vain("two") is None
    failure = ROUND / "failure.json"
    failure.write_text(json.dumps({**json.loads(failure.read_text()), **change}))
    assert waited_in_vain("one") is None


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


def without(*refused: tuple[str, str]) -> Answers:
    """Answer well once none of some fields is sent; say of the first one why not."""

    def answer(seen: Seen) -> Script:
        return next((error(400, why) for field, why in refused if field in seen.json), stream())

    return answer


OLD_NAME = ("max_tokens", "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead.")
OWN_TEMPERATURE = ("temperature", "'temperature' does not support 0.0 with this model.")


@pytest.mark.parametrize("load", [{}, {"warm_up": 0, "concurrency": 4}, {"warm_up": 0, "arrivals": "constant",
                         "rate_per_s": 100.0}])  # fmt: skip
def test_fields_that_an_endpoint_refuses_are_sent_otherwise_and_it_is_recorded(
    load: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with StandIn(without(OLD_NAME, OWN_TEMPERATURE)) as server:
        config = config_for(server.base_url, **load)
        folder = measure(config)
        requests = requests_of(config, folder)
        assert [r.class_ for r in requests if r.last_attempt and not r.warm_up] == ["ok"] * 4
        last = server.posts[-1].json
    assert (last["max_completion_tokens"], {"max_tokens", "temperature"} & last.keys()) == (16, set())
    record = record_of(folder)
    changes = "with max_completion_tokens instead of max_tokens; without temperature"
    assert record["endpoint"]["request_changes"] == changes
    assert record["request_example"]["max_completion_tokens"] == 16
    said = capsys.readouterr().out
    assert "Use 'max_completion_tokens' instead. So it is asked with max_completion_tokens" in said
    check(folder, specs.infer_spec(config, specs.InferRound("one", "load", 1)))


def test_a_field_that_the_config_adds_is_never_left_out() -> None:
    with StandIn(without(OWN_TEMPERATURE)) as server, pytest.raises(UserError, match="'temperature' does not support"):
        measure(config_for(server.base_url, endpoint={"extra_body": {"temperature": 0.5}}))


def test_a_field_that_is_refused_later_on_is_data() -> None:
    with StandIn(from_nth(3, error(400, OLD_NAME[1]))) as server:
        config = config_for(server.base_url)
        requests = [r for r in requests_of(config, measure(config)) if not r.warm_up]
    assert [r.class_ for r in requests] == ["ok", *["http_4xx"] * 3]


def test_fields_are_left_out_and_the_query_is_added() -> None:
    with StandIn(always(stream())) as server:
        config = config_for(server.base_url, endpoint={"omit_body": ["top_p"], "query": {"api-version": "1 a"}})
        folder = measure(config)
    assert all("top_p" not in seen.json for seen in server.posts)
    assert {seen.target.partition("?")[2] for seen in server.seen} == {"api-version=1+a"}
    assert "top_p" not in record_of(folder)["request_example"]


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
        pytest.raises(UserError, match=r"no longer answers.*same command continues"),
    ):
        measure(config_for(server.base_url, requests=10))
    assert len(finished_keys(ROUND / "exchanges.jsonl")) == 3
    assert "no longer answers" in failure_of(ROUND)


DYING_SERVER = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from tests.inference.endpoint_stand_in import StandIn, stream
def answer(_):
    if len(server.posts) >= int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return stream()
with StandIn(answer, port=int(sys.argv[2])) as server:
    signal.pause()
"""


@pytest.mark.parametrize("nth", [9, 11])
def test_a_local_server_that_dies_leaves_no_finished_round_however_few_requests_are_left(nth: int) -> None:
    """Of 11 requests, one of which is a warm-up; those that it did not answer are to be asked by the next run."""
    command = [sys.executable, "-c", DYING_SERVER, str(Path(__file__).parents[2]), "{port}", str(nth)]
    endpoint = Endpoint(model="m", server=CommandServer(kind="command", command=command), ready_timeout_s=20.0)
    config = config_for("http://127.0.0.1:9/v1", requests=10, rounds=1)
    inference = config.inference.model_copy(update={"endpoints": {"one": endpoint}})
    config = config.model_copy(update={"inference": inference})
    with pytest.raises(UserError, match=r"no longer answers \(the last .*same command continues"):
        measure(config)
    assert len(finished_keys(ROUND / "exchanges.jsonl")) == nth - 1


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
    with StandIn(always(stream())) as server:
        with pytest.raises(UserError, match=r"exchanges\.jsonl: No space left on device\. What was .* kept"):
            measure(config_for(server.base_url))
        assert len(finished_keys(ROUND / "exchanges.jsonl")) == 3
        assert "No space left" in failure_of(ROUND)
        monkeypatch.setattr(os, "write", write)
        before = len(server.posts)
        measure(config_for(server.base_url))
    assert len(server.posts) - before == 3  # the warm-up, the lost one, and the last


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a tiny file system")
def test_a_disk_that_is_really_full_ends_the_round_and_room_goes_on_with_it(tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(results)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        with StandIn(always(stream("x" * 30_000))) as server:
            with pytest.raises(UserError, match="No space left on device"):
                measure(config_for(server.base_url, requests=20))
            kept = finished_keys(ROUND / "exchanges.jsonl")
            assert 2 < len(kept) < 20
            assert all("end_s" in attempt for attempt in attempts(ROUND / "exchanges.jsonl"))
            subprocess.run(["mount", "-o", "remount,size=8m", str(results)], check=True)
            before = len(server.posts)
            measure(config_for(server.base_url, requests=20))
            assert len(server.posts) - before == 1 + 21 - len(kept)
    finally:
        subprocess.run(["umount", "-l", str(results)], check=True)


def test_a_folder_that_vanishes_ends_the_round_and_the_next_one_measures() -> None:
    counted = iter(range(1, 100))

    def answer(_: Seen) -> Script:
        if next(counted) == 3:
            shutil.rmtree(ROUND)
        return stream()

    with StandIn(answer) as server:
        with pytest.raises(UserError, match=r"exchanges\.jsonl was deleted while it was written"):
            measure(config_for(server.base_url))
        measure(config_for(server.base_url))
    assert (ROUND / "measured.json").exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_round_says_what_is_kept_and_goes_on(how: signal.Signals) -> None:
    third, counted = threading.Event(), iter(range(1, 100))

    def answer(_: Seen) -> Script:
        if next(counted) < 4:
            return stream()
        third.set()
        return [HANG]

    with StandIn(answer) as server:
        job = started(server.base_url)
        assert third.wait(20)
        job.send_signal(how)
        _, said = job.communicate(timeout=20)
    assert job.returncode
    assert "one: interrupted. What was measured is kept in" in said
    assert len(finished_keys(ROUND / "exchanges.jsonl")) == 3
    with StandIn(always(stream()), port=server.port) as again:
        measure(config_for(again.base_url))
        assert len(again.posts) == 3
    assert len(read_telemetry(ROUND / TELEMETRY)) == 2


def test_a_server_of_ones_own_that_cant_start_is_named_once() -> None:
    endpoint = Endpoint.model_validate({"server": {"kind": "llama.cpp"}, "model": "unknown"})
    config = config_for("http://127.0.0.1:9/v1")
    inference = config.inference.model_copy(update={"endpoints": {"one": endpoint}})
    with pytest.raises(UserError, match="unknown"):
        measure(config.model_copy(update={"inference": inference}))
