"""One round that goes well: what it sends, what it leaves, what it says of the way to its endpoint."""

import json
from pathlib import Path
from typing import Any

import pytest

from accelbench.config.inference import ClusterStatus
from accelbench.inference.api import CHARACTERS_PER_TOKEN
from accelbench.inference.client.journal import attempts
from accelbench.inference.infer import measure_endpoint
from accelbench.plan import specs
from accelbench.plan.measurement import check
from accelbench.store import paths
from accelbench.telemetry.summary import telemetry_of

from .endpoint_stand_in import (
    CLOSE,
    RESET,
    Script,
    Seen,
    StandIn,
    answer_document,
    chunked,
    document,
    error,
    stream,
    tokens,
)
from .rounds import always, config_for, from_nth, here, measure, record_of, requests_of  # noqa: F401


def test_a_round_leaves_its_exchanges_its_record_and_a_seal() -> None:
    with StandIn(always(stream("Par", "is"))) as server:
        config = config_for(server.base_url)
        folder = measure(config)
    assert sorted(path.name for path in folder.iterdir() if path.name != ".lock") == [
        "exchanges.jsonl",
        "measured.json",
        "run.json",
        "telemetry.jsonl",
    ]
    check(folder, specs.infer_spec(config, specs.InferRound("one", "load", 1)))
    record = record_of(folder)
    assert (record["sessions"], record["resumed"]) == (1, False)
    assert record["endpoint"]["base_url"] == server.base_url
    assert record["request_example"]["model"] == "m"
    assert record["host"]["name"]
    found = telemetry_of(folder)
    assert found and found.host_activity and found.host_activity["cores"]


def test_of_all_rounds_of_an_endpoint_only_the_missing_ones_are_measured() -> None:
    with StandIn(always(stream("Par", "is"))) as server:
        config = config_for(server.base_url, requests=1, warm_up=0)
        kept = (measure(config) / "measured.json").read_bytes()
        measure_endpoint(config, "one", specs.endpoint_spec(config, "one"), Path("measured.json"))
        assert [seen.method for seen in server.seen].count("POST") == 2
    assert (paths.infer_round("one", "load", 1) / "measured.json").read_bytes() == kept
    check(paths.infer_round("one", "load", 2), specs.infer_spec(config, specs.InferRound("one", "load", 2)))
    assert Path("measured.json").exists()


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


def test_a_fixed_length_is_asked_for_by_all_that_sets_it() -> None:
    with StandIn(always(stream())) as server:
        measure(config_for(server.base_url, max_tokens=None, output_tokens=2))
    expected = {"max_tokens": 2, "min_tokens": 2, "ignore_eos": True}
    assert all(seen.json.items() >= expected.items() for seen in server.posts)


def test_a_trace_is_replayed_with_its_times_and_lengths() -> None:
    times_s, lengths = (0.0, 0.05, 0.2), ((400, 9), (900, 30), (400, 7))
    rows = [
        {"timestamp": 1000 * at_s, "input_length": asked, "output_length": answered}
        for at_s, (asked, answered) in zip(times_s, lengths, strict=True)
    ]
    Path("t.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    with StandIn(always(stream())) as server:
        settings = {"arrivals": "trace", "trace": "t.jsonl", "time_scale": 2, "requests": 3, "context_tokens": 600}
        config = config_for(server.base_url, **settings)
        requests = requests_of(config, measure(config))[1:]
    due_s = sorted(r.scheduled_unix_s or 0.0 for r in requests)
    assert [at_s - due_s[0] for at_s in due_s] == pytest.approx([0.0, 0.1, 0.4], abs=1e-3)
    asked = [seen.json for seen in server.posts[1:]]
    assert [each["max_tokens"] for each in asked] == [each["min_tokens"] for each in asked] == [9, 16, 7]
    by_time = sorted(requests, key=lambda r: r.scheduled_unix_s or 0.0)
    assert [r.output_tokens_asked for r in by_time] == [9, 16, 7]
    size = [len(seen.content) for seen in server.posts[1:]]
    assert size[1] == pytest.approx(600 * CHARACTERS_PER_TOKEN, rel=0.3) and size[1] > 1.2 * max(size[0], size[2])


def test_another_trace_is_another_measurement() -> None:
    line = '{"at_s": 0, "input_tokens": 1, "output_tokens": %d}\n'
    config = config_for("http://a/v1", arrivals="trace", trace="t.jsonl", requests=1)
    found = []
    for answered in (1, 22):
        Path("t.jsonl").write_text(line % answered)
        found.append(specs.infer_spec(config, specs.InferRound("one", "load", 1)))
    Path("t.jsonl").unlink()
    assert found[0] != found[1]
    assert any("inference.scenarios.load.trace: t.jsonl can't be read" in line for line in specs.out_of_reach(config))


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
