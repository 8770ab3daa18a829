"""One round as the workflow runs it, against the stand-in: what is kept, when it ends early, how it is resumed."""

import base64
import email.utils
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from accelbench.config import CommandServer, Config, Endpoint, Inference, PromptSet, Scenario, SecretSource
from accelbench.config.inference import ClusterStatus
from accelbench.errors import UserError
from accelbench.inference.answers.classify import classify_rounds
from accelbench.inference.client.journal import attempts, finished_keys, host_activities, sessions, spent_s
from accelbench.inference.endpoints import readiness
from accelbench.inference.infer import infer, waited_in_vain
from accelbench.inference.prompts import make_prompts
from accelbench.plan import specs
from accelbench.plan.last_try import reason
from accelbench.plan.measurement import check
from accelbench.store import paths
from accelbench.store.records import RequestRecord
from tests.waiting import until

from .endpoint_stand_in import (
    CLOSE,
    GONE,
    HANG,
    RESET,
    Script,
    Seen,
    StandIn,
    answer_document,
    chunked,
    delta,
    document,
    error,
    stream,
    tokens,
    usage,
)

CANARY = "canary-6f1d9c0ab7"
Answers = Callable[[Seen], Script]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
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
    infer(config, item, specs.infer_spec(config, item), prompts, folder)
    return folder


def requests_of(config: Config, folder: Path) -> list[RequestRecord]:
    classify_rounds(config, partial=True)
    return [RequestRecord(**json.loads(line)) for line in (folder / "requests.jsonl").read_bytes().splitlines()]


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
    check(folder, specs.infer_spec(config, specs.InferRound("one", "load", 1)))
    record = record_of(folder)
    assert (record["sessions"], record["resumed"]) == (1, False)
    assert record["endpoint"]["base_url"] == server.base_url
    assert record["request_example"]["model"] == "m"
    assert record["host"]["name"]
    assert record["host_activity"]["cores"] and record["host_activity"]["wall_s"] > 0


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


# --- what is said of the way to the endpoint ----------------------------------------------------------------


def test_facts_of_the_endpoint_and_of_the_way_to_it_are_in_the_record() -> None:
    models = document({"data": [{"id": "m", "max_model_len": 4096}]})
    said = chunked(*tokens("Par", "is"), Server="uvicorn", X_Engine="v1", X_Auth_Token="t", Date="today")
    with StandIn(always(said), get=lambda _: models) as server:
        endpoint = record_of(measure(config_for(server.base_url)))["endpoint"]
    assert (endpoint["served_as"], endpoint["max_context_tokens"]) == ("m", 4096)
    assert endpoint["headers"] == {"server": "uvicorn", "x-engine": "v1"}
    assert (endpoint["proxy"], endpoint["tls_version"]) == (None, None)
    assert (endpoint["connections_opened"], endpoint["reused_share"]) == (1, 1.0)
    assert 0 < endpoint["connect_s"]["min"] <= endpoint["connect_s"]["median"] <= endpoint["connect_s"]["max"]
    assert endpoint["cold_start_s"] is None


def test_the_share_of_reused_connections_is_what_it_was() -> None:
    closing = chunked(*tokens("Paris"), Connection="close")
    with StandIn([stream(), stream(), closing, stream(), stream()]) as server:
        endpoint = record_of(measure(config_for(server.base_url)))["endpoint"]
    assert endpoint["connections_opened"] == 2
    assert endpoint["reused_share"] == 0.8


def test_the_floor_is_probed_around_the_load_and_between_sequential_requests() -> None:
    with StandIn(always(stream()), get=lambda _: document({"ok": True})) as server:
        health = f"http://127.0.0.1:{server.port}/health"
        config = config_for(server.base_url, endpoint={"health_url": health}, requests=11)
        floor = record_of(measure(config))["floor"]
        order = [seen.target for seen in server.seen if seen.target != "/v1/models"]
        probes = [seen for seen in server.seen if seen.target == "/health"][1:]  # the first one asked for readiness
    posts = [place for place, target in enumerate(order) if target != "/health"]
    assert [posts.index(place - 1) for place, target in enumerate(order) if place - 1 in posts and target == "/health"]
    assert floor["url"] == health and floor["failed"] == 0
    assert len(floor["floor_s"]) == len(floor["at_s"]) == len(probes) == 3 + 2 + 3
    assert floor["at_s"] == sorted(floor["at_s"]) and all(0 < each < 1 for each in floor["floor_s"])
    assert len({seen.connection for seen in probes}) == 1
    assert all("authorization" not in seen.headers for seen in probes)


@pytest.mark.parametrize("load", [{"concurrency": 2}, {"arrivals": "constant", "rate_per_s": 200.0}])
def test_nothing_is_probed_while_requests_overlap(load: dict[str, Any]) -> None:
    with StandIn(always(stream())) as server:
        health = f"http://127.0.0.1:{server.port}/health"
        config = config_for(server.base_url, endpoint={"health_url": health}, requests=10, **load)
        assert len(record_of(measure(config))["floor"]["floor_s"]) == 6


def test_a_floor_that_fails_is_not_asked_again() -> None:
    healthy = iter([document({})])  # for readiness
    with StandIn(always(stream()), get=lambda _: next(healthy, error(500))) as server:
        health = f"http://127.0.0.1:{server.port}/health"
        config = config_for(server.base_url, endpoint={"health_url": health}, requests=10)
        floor = record_of(measure(config))["floor"]
    assert (floor["floor_s"], floor["failed"]) == ([], 1)


def test_without_a_health_page_there_is_no_floor() -> None:
    with StandIn(always(stream())) as server:
        assert record_of(measure(config_for(server.base_url)))["floor"] is None


def test_the_models_jobs_are_recorded_before_and_after_the_round() -> None:
    states = iter(["running", "stopping"])

    def get(seen: Seen) -> Script:
        if not seen.target.endswith("/jobs"):
            return document({"data": []})
        return document({"running": [{"Models": "m", "Model Status": next(states)}]})

    with StandIn(always(stream()), get=get) as server:
        endpoint = {"cluster": ClusterStatus(jobs=f"http://127.0.0.1:{server.port}/sophia/jobs")}
        jobs = record_of(measure(config_for(server.base_url, endpoint=endpoint)))["jobs"]
    assert (jobs["before"]["state"], jobs["after"]["state"]) == ("running", "stopping")
    assert jobs["before"]["entry"] == {"Models": "m", "Model Status": "running"}


# --- a busy endpoint, and one whose model is being loaded ----------------------------------------------------


def attempts_of(folder: Path, key: str | None = None) -> list[dict[str, Any]]:
    found = list(attempts(folder / "exchanges.jsonl"))
    return [a for a in found if a["key"] == key] if key else [a for a in found if not a["key"].startswith("warm-up")]


@pytest.mark.parametrize(("status", "shared"), [(429, True), (503, False)])
def test_a_busy_answer_is_an_attempt_of_its_own_and_its_wait_no_latency(status: int, shared: bool) -> None:
    busy = document({"error": "busy"}, status, Retry_After="1")
    with StandIn([stream(), stream(), busy, busy, *[stream()] * 3]) as server:
        config = config_for(server.base_url, endpoint={"busy_wait_s": 5.0, "shared": shared})
        folder = measure(config)
        requests = [r for r in requests_of(config, folder) if not r.warm_up]
    kind = "rate_limited" if status == 429 else "http_5xx"
    assert [(r.class_, r.attempt) for r in requests[:4]] == [("ok", 1), (kind, 1), (kind, 2), ("ok", 3)]
    again = requests[3]
    assert again.last_attempt and again.e2e_s is not None and again.e2e_s < 0.5
    tries = attempts_of(folder, again.key)
    waits = [late["dequeued_s"] - early["end_s"] for early, late in itertools.pairwise(tries)]
    assert all(1.0 <= wait < 1.5 for wait in waits)


RETRY_AFTER = {  # what is said: how often the request is sent, if it may wait for 1.5 s and gets 429, 429, 200
    "1": 2,  # and then another second would be too much
    "0": 2,  # no time to wait: the usual steps of 1, 2, 4 … s
    "": 2,
    "soon": 2,
    "-5": 2,
    "²": 2,
    "Mon, 99 Jan 99999 00:00:00 GMT": 2,
    "Thu, 01 Jan 1970 00:00:00 GMT": 2,
    "86400": 1,
    "9" * 400: 1,
    "Fri, 01 Jan 2100 00:00:00 GMT": 1,
}


def test_waits_are_bounded_whatever_retry_after_says() -> None:
    unsaid, said_to = iter(RETRY_AFTER), dict[str, str]()

    def answer(seen: Seen) -> Script:
        if seen.content not in said_to:
            said_to[seen.content] = next(unsaid)
        return document({"error": "busy"}, 429, Retry_After=said_to[seen.content])

    slots = len(RETRY_AFTER)
    with StandIn(answer) as server:
        load = {"requests": slots, "concurrency": slots, "rounds": 1, "warm_up": 0}
        config = config_for(server.base_url, endpoint={"busy_wait_s": 1.5}, **load)
        requests = requests_of(config, measure(config))
    sent = Counter(said_to[seen.content] for seen in server.posts)
    assert sent == RETRY_AFTER
    assert {r.class_ for r in requests} == {"rate_limited"}


def test_retry_after_as_a_date_is_honoured() -> None:
    date = email.utils.formatdate(time.time() + 2.5, usegmt=True)
    busy = document({"error": "busy"}, 429, Retry_After=date)
    with StandIn([stream(), busy, *[stream()] * 4]) as server:
        folder = measure(config_for(server.base_url, endpoint={"busy_wait_s": 5.0}))
    first, again = attempts_of(folder)[:2]
    assert 1.0 < again["dequeued_s"] - first["end_s"] < 3.0


def test_in_open_loop_a_busy_answer_is_a_failed_arrival_and_shifts_no_other() -> None:
    busy = document({"error": "busy"}, 429, Retry_After="1")
    with StandIn([stream(), stream(), busy, *[stream()] * 4]) as server:
        load = {"arrivals": "constant", "rate_per_s": 50.0, "requests": 6}
        config = config_for(server.base_url, endpoint={"busy_wait_s": 60.0}, **load)
        requests = [r for r in requests_of(config, measure(config)) if not r.warm_up]
    assert sorted(r.class_ for r in requests) == [*["ok"] * 5, "rate_limited"]
    scheduled = sorted(r.scheduled_unix_s or 0 for r in requests)
    assert [late - early for early, late in itertools.pairwise(scheduled)] == pytest.approx([0.02] * 5, abs=1e-3)
    assert all((r.sent_unix_s or 0) - (r.scheduled_unix_s or 0) < 0.02 for r in requests)


@pytest.mark.parametrize("load", [{}, {"arrivals": "constant", "rate_per_s": 200.0}])
def test_a_model_that_is_being_loaded_is_waited_for_before_the_load(load: dict[str, Any]) -> None:
    loading = document({"error": "loading"}, 503, Retry_After="1")
    with StandIn([error(408), loading, loading, *[stream()] * 8]) as server:
        config = config_for(server.base_url, endpoint={"ready_timeout_s": 30.0}, warm_up=2, **load)
        folder = measure(config)
        requests = requests_of(config, folder)
    measured = [r for r in requests if not r.warm_up]
    assert [r.class_ for r in measured] == ["ok"] * 4
    assert [r.http_status for r in requests if r.warm_up] == [408, 503, 503, 200]
    assert record_of(folder)["endpoint"]["cold_start_s"] == pytest.approx(2.0, abs=0.4)


def test_a_model_that_never_gets_up_ends_the_round_which_is_then_measured_whole() -> None:
    with StandIn(always(error(503))) as server:
        with pytest.raises(UserError, match=r"one: m still answered 503 after .*same command again"):
            measure(config_for(server.base_url))
        assert len(server.posts) <= 4
    assert json.loads((ROUND / "failure.json").read_text())["not_ready"] is True
    with StandIn(always(stream()), port=server.port) as again:
        config = config_for(again.base_url)
        requests = requests_of(config, measure(config))
    assert [r.class_ for r in requests if r.last_attempt] == ["ok"] * 5


@pytest.mark.parametrize("load", [{"concurrency": 3}, {"arrivals": "poisson", "rate_per_s": 500.0, "max_in_flight": 3}])
def test_never_more_requests_are_in_flight_than_configured_whatever_is_sent_again(load: dict[str, Any]) -> None:
    scripts = itertools.cycle([[0.01, *stream()], [0.01, CLOSE], [0.01, *error(500)], [0.01, *stream()]])
    with StandIn(lambda _: next(scripts)) as server:
        measure(config_for(server.base_url, requests=40, warm_up=0, **load))
    assert server.most_in_flight == 3


def test_requests_per_s_is_kept_to_across_warm_up_slots_and_retries() -> None:
    busy = document({}, 429, Retry_After="0")
    with StandIn([stream(), stream(), busy, *[stream()] * 12]) as server:
        endpoint = {"requests_per_s": 20.0, "busy_wait_s": 5.0}
        measure(config_for(server.base_url, endpoint=endpoint, requests=10, concurrency=4))
    moments = [seen.at_s for seen in server.posts]
    assert len(moments) == 12
    for first in range(len(moments) - 4):
        assert moments[first + 4] - moments[first] >= 4 / 20 - 0.03


# --- a round that ends without a result ---------------------------------------------------------------------


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
    assert str(caught.value).endswith("only briefly, because results/inference/one/load/r1 had just waited in vain.")


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
        pytest.raises(UserError, match=r"is gone.*same command again"),
    ):
        measure(config_for(server.base_url, requests=10))
    assert len(finished_keys(ROUND / "exchanges.jsonl")) == 3
    assert "is gone" in failure_of(ROUND)


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
    with pytest.raises(UserError, match=r"is gone \(the last .*same command again"):
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
    assert all(host_activities(ROUND / "exchanges.jsonl"))


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


def started(base_url: str, **scenario: Any) -> subprocess.Popen[str]:
    """Start a process that measures a round."""
    program = """
import json, sys
from tests.inference.test_round import config_for, measure
measure(config_for(sys.argv[1], **json.loads(sys.argv[2])))
"""
    python_path = os.pathsep.join([*sys.path, str(Path(__file__).parents[2])])
    environment = {**os.environ, "PYTHONPATH": python_path}
    command = [sys.executable, "-c", program, base_url, json.dumps(scenario)]
    return subprocess.Popen(command, env=environment, text=True, stderr=subprocess.PIPE)


def test_kill_9_then_the_same_command_sends_no_finished_request_again() -> None:
    fourth = threading.Event()
    counted = iter(range(1, 100))

    def answer(_: Seen) -> Script:
        if next(counted) < 4:
            return stream()
        fourth.set()
        return [HANG]

    with StandIn(answer) as server:
        killed = started(server.base_url)
        assert fourth.wait(20)
        killed.kill()
        killed.communicate()
        answered = [seen.content for seen in server.posts[1:3]]
    with StandIn(always(stream()), port=server.port) as again:
        measure(config_for(again.base_url))
        _warm_up, *asked = [seen.content for seen in again.posts]
    assert len(asked) == 2
    assert not set(asked) & set(answered)
    killed_session, last = host_activities(ROUND / "exchanges.jsonl")
    assert killed_session is None and last is not None


def killed_after(seconds: float, port: int, **load: Any) -> int:
    """Measure a round against a server of its own, kill it so long after its first request; return the port."""
    with StandIn(lambda _: [0.05, *stream("Par", "is")], port=port) as server:
        job = started(server.base_url, **load)
        assert until(lambda: server.posts, 20)
        time.sleep(seconds)
        job.kill()
        job.communicate()
    return server.port


@pytest.mark.parametrize("seed", range(3))
def test_kill_9_at_any_moment_loses_nothing_that_was_finished(seed: int) -> None:
    draw, port, finished = random.Random(seed), 0, set[str]()
    load = {"requests": 30, "concurrency": 3}
    for _ in range(2):
        port = killed_after(draw.uniform(0.0, 0.3), port, **load)
        kept = finished_keys(ROUND / "exchanges.jsonl")
        assert finished <= kept
        finished = kept
    with StandIn(always(stream("Par", "is")), port=port) as server:
        config = config_for(server.base_url, **load)
        requests = requests_of(config, measure(config))
        assert len(server.posts) == 1 + 30 - len(finished - {"warm-up-1"})
    done = [r for r in requests if r.last_attempt and not r.warm_up]
    assert len(done) == len({r.key for r in done}) == 30
    assert {r.class_ for r in done} == {"ok"}
    record = record_of(ROUND)
    assert record["resumed"] is True
    assert len(record["session_starts"]) == record["sessions"] == 3


def test_a_resumed_round_has_only_what_is_left_of_its_duration() -> None:
    load = {"requests": 70, "duration_s": 0.6}
    with StandIn(lambda _: [0.02, *stream()]) as server:
        job = started(server.base_url, **load)
        assert until(lambda: len(server.posts) >= 12, 20)
        job.kill()
        job.communicate()
    spent = spent_s(ROUND / "exchanges.jsonl")
    assert 0.1 < spent < 0.6
    with StandIn(lambda _: [0.02, *stream()], port=server.port) as again:
        measure(config_for(again.base_url, **load))
    assert 0.5 < spent_s(ROUND / "exchanges.jsonl") < 0.75


def test_a_round_whose_duration_was_over_sends_nothing_more() -> None:
    load = {"requests": 70, "duration_s": 0.1}
    with StandIn(lambda _: [0.02, *stream()]) as server:
        config = config_for(server.base_url, **load)
        journal = measure(config) / "exchanges.jsonl"
        unseal(journal)
        before = len(server.posts)
        measure(config)
        assert len(server.posts) == before


def unseal(journal: Path) -> None:
    """Undo the end of a round, as a kill before it would have left it."""
    kept = journal.read_bytes()
    for path in [*Path("results/archive").rglob("*.json*"), ROUND / "measured.json", journal]:
        path.unlink()
    journal.write_bytes(kept)


def test_an_open_loop_that_is_resumed_sends_what_is_left_at_its_own_gaps() -> None:
    load = {"arrivals": "constant", "rate_per_s": 50.0, "requests": 12, "warm_up": 0}
    with StandIn(from_nth(4, [HANG])) as server:
        job = started(server.base_url, **load)
        assert until(lambda: len(server.posts) >= 6, 20)
        job.kill()
        job.communicate()
    kept = finished_keys(ROUND / "exchanges.jsonl")
    with StandIn(always(stream()), port=server.port) as again:
        measure(config_for(again.base_url, **load))
    assert len(kept) == 3 and len(again.posts) == 9
    moments = [seen.at_s for seen in again.posts]
    assert moments[-1] - moments[0] == pytest.approx(8 / 50, abs=0.05)


def test_a_torn_last_line_costs_that_request_only() -> None:
    with StandIn(always(stream())) as server:
        config = config_for(server.base_url)
        measure(config)
        journal = ROUND / "exchanges.jsonl"
        *whole, last, _end_of_session = journal.read_bytes().splitlines(keepends=True)
        torn = b"".join(whole) + last[:-40]
        journal.unlink()
        journal.write_bytes(torn)
        for path in Path("results/archive").rglob("*.json*"):
            path.unlink()
        before = len(server.posts)
        requests = requests_of(config, measure(config))
        assert len(server.posts) - before == 2  # the warm-up and the torn one
    assert [r.class_ for r in requests if r.last_attempt and not r.warm_up] == ["ok"] * 4


@pytest.mark.parametrize("emptied", ["run.json", "measured.json", "*.json"])
def test_what_a_power_cut_emptied_costs_no_request(emptied: str) -> None:
    with StandIn(always(stream())) as server:
        config = config_for(server.base_url)
        folder, asked = measure(config), len(server.posts)
        for path in (*folder.glob(emptied), *paths.ARCHIVE.glob(f"*/{emptied}")):
            path.write_bytes(b"")
        measure(config)
        assert len(server.posts) == asked
    check(folder, specs.infer_spec(config, specs.InferRound("one", "load", 1)))


@pytest.mark.parametrize("content", ["", "{}", '{"not_ready": true}', "["])
def test_a_torn_failure_is_none(content: str) -> None:
    ROUND.mkdir(parents=True)
    (ROUND / "failure.json").write_text(content)
    assert waited_in_vain("one") is None
    assert reason(ROUND) is None


def test_a_round_killed_before_its_seal_sends_nothing_again() -> None:
    with StandIn(always(stream())) as server:
        config = config_for(server.base_url)
        unseal(measure(config) / "exchanges.jsonl")
        before = len(server.posts)
        measure(config)
        assert len(server.posts) == before
    check(ROUND, specs.infer_spec(config, specs.InferRound("one", "load", 1)))


def test_another_spec_starts_afresh_and_the_first_one_comes_back_from_the_archive() -> None:
    with StandIn(always(stream())) as server:
        first, second = config_for(server.base_url), config_for(server.base_url, max_tokens=17)
        original = (measure(first) / "exchanges.jsonl").read_bytes()
        measure(second)
        assert len(server.posts) == 10
        measure(first)
        assert len(server.posts) == 10
    assert (ROUND / "exchanges.jsonl").read_bytes() == original
    assert check(ROUND, specs.infer_spec(first, specs.InferRound("one", "load", 1)))["restored_at"]


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


def test_a_secret_that_is_split_over_reads_is_blotted_out_and_the_reads_keep_their_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OWN_TOKEN", CANARY)
    echo = delta(f"you are {CANARY}, aren't you")
    cut = echo.index(b"6f1d")
    said = chunked(delta("Hi "), 0.03, echo[:cut], 0.03, echo[cut:], 0.03, *tokens("Paris"))
    with StandIn(always(said)) as server:
        config = config_for(server.base_url, endpoint={"token": SecretSource(env="OWN_TOKEN")})
        requests = requests_of(config, measure(config))
    assert files_with(CANARY) == []
    assert {r.answer for r in requests} == {f"Hi you are {'*' * len(CANARY)}, aren't youParis"}
    assert all(r.e2e_s is not None and r.ttft_s is not None and r.e2e_s - r.ttft_s > 0.06 for r in requests)


def test_a_token_that_is_echoed_in_pieces_and_other_forms_is_in_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN_TOKEN", CANARY)
    encoded = base64.b64encode(f"Bearer {CANARY}".encode()).decode()
    pieces = [delta(letter) for letter in CANARY.upper()] + [
        delta(reasoning=encoded[at : at + 3]) for at in range(0, 40, 3)
    ]
    echo = chunked(*pieces, delta(finish_reason="stop"), usage(40), **{f"X-{CANARY}": f"a {encoded}"})
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in CANARY)
    refusal = document(f'{{"error": {{"message": "{escaped}"}}}}'.encode(), 500)
    scripts = iter([stream(), echo, refusal])
    with StandIn(lambda _: next(scripts)) as server:
        config = config_for(
            server.base_url, endpoint={"token": SecretSource(env="OWN_TOKEN")}, requests=2, rounds=1, stream=True
        )
        answered, refused = [r for r in requests_of(config, measure(config)) if not r.warm_up]
    assert (answered.class_, answered.answer) == ("ok", "*" * len(CANARY))
    assert (refused.class_, refused.error_text) == ("http_5xx", f'{{"error": {{"message": "{"*" * len(escaped)}"}}}}')
    for form in (CANARY, CANARY.upper(), encoded[-20:-4], escaped):
        assert files_with(form) == []


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


@pytest.mark.parametrize("how", ["written over", "replaced", "replaced, without an archive"])
def test_a_journal_that_lost_lines_after_its_end_is_refused_and_measured_again(how: str) -> None:
    """The archive gives them back; without one they are asked."""
    with StandIn(always(stream())) as server:
        config = config_for(server.base_url, warm_up=0, rounds=1)
        folder = measure(config)
        journal, asked = folder / "exchanges.jsonl", len(server.posts)
        kept = "".join(journal.read_text().splitlines(keepends=True)[:-3])  # two attempts, and the session's end
        if how.startswith("replaced"):
            journal.unlink()
        if how.endswith("archive"):
            shutil.rmtree(paths.ARCHIVE)
        journal.write_text(kept)
        (refused,) = classify_rounds(config, partial=True)
        assert refused.state == "refused" and "exchanges.jsonl is gone or was changed" in str(refused.why)
        requests = requests_of(config, measure(config))
    assert sorted(r.key for r in requests) == sorted({r.key for r in requests}) and len(requests) == 4
    assert len(server.posts) - asked == (2 if how.endswith("archive") else 0)
