"""Waiting for an endpoint: what ends it, what it costs, and what is learnt meanwhile."""

import time
from typing import Any

import pytest

from accelbench.config import Endpoint, SecretSource
from accelbench.config.inference import ClusterStatus
from accelbench.errors import UserError
from accelbench.inference.endpoints import readiness
from accelbench.inference.endpoints.credentials import Credentials
from accelbench.inference.endpoints.pages import Page
from accelbench.inference.endpoints.readiness import NotReadyError, Patience, wait_until_ready
from accelbench.inference.endpoints.served_model import Gateway

from ..endpoint_stand_in import Script, Seen, StandIn, document, error


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN_TOKEN", "canary-token")
    monkeypatch.setattr(readiness, "_POLL_S", 0.02)
    monkeypatch.setattr(readiness, "JOBS_POLL_S", 0.02)


def ready(server: StandIn, in_vain: str | None = None, **settings: Any) -> dict[str, Any]:
    own = {"base_url": server.base_url, "model": "m", "ready_timeout_s": 0.3, **settings}
    endpoint = Endpoint(**own)
    credentials = Credentials("one", endpoint)
    cluster = Gateway(endpoint, credentials)
    return wait_until_ready("one", endpoint, server.base_url, credentials, cluster, in_vain=in_vain)


def pages(**scripts: Script | list[Script]) -> Any:
    """Answer GETs by the last part of their path; a list of scripts is played once, its last one for ever."""
    turns: dict[str, int] = {}

    def get(seen: Seen) -> Script:
        page = seen.target.split("?")[0].rsplit("/", 1)[-1]
        script = scripts.get(page, error(404))
        if not isinstance(script[0], list):
            return script  # type: ignore[return-value]
        turns[page] = turns.get(page, -1) + 1
        return script[min(turns[page], len(script) - 1)]  # type: ignore[return-value]

    return get


LISTED = document({"data": [{"id": "m", "max_model_len": 4096}]})


def test_a_ready_endpoint_is_asked_once_and_says_what_it_serves() -> None:
    with StandIn([], get=pages(models=LISTED)) as server:
        facts = ready(server)
    assert [seen.target for seen in server.seen] == ["/v1/models"]
    assert facts["served_as"] == "m"
    assert facts["max_context_tokens"] == 4096
    assert facts["cold_start_s"] is None
    assert facts["ready_after_s"] < 0.2


@pytest.mark.parametrize("page", [document({"data": []}), document(b"<html>"), error(404)])
def test_an_endpoint_that_lists_nothing_is_no_refusal(page: Script, capsys: pytest.CaptureFixture[str]) -> None:
    with StandIn([], get=pages(models=page)) as server:
        ready(server)
    assert capsys.readouterr().out == ""


def test_an_endpoint_that_serves_other_models_is_warned_about(capsys: pytest.CaptureFixture[str]) -> None:
    with StandIn([], get=pages(models=document({"data": [{"id": "a"}, {"id": "b"}]}))) as server:
        ready(server)
    said = capsys.readouterr().out
    assert "does not list m; it lists a, b. Is inference.endpoints.one.model right?" in said


@pytest.mark.parametrize(
    ("why", "asked"),
    [("SSLError: [SSL: CERTIFICATE_VERIFY_FAILED] self-signed", "REQUESTS_CA_BUNDLE"), ("refused", "HTTPS_PROXY")],
)
def test_the_message_asks_for_what_may_mend_it(why: str, asked: str) -> None:
    assert asked in readiness._way(Page(None, why))


def test_a_model_that_is_being_loaded_is_waited_for_and_its_cold_start_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with StandIn([], get=pages(models=[error(503), error(503), LISTED])) as server:
        facts = ready(server)
    assert 0.03 < facts["cold_start_s"] <= facts["ready_after_s"]
    assert capsys.readouterr().out.count("is not ready (status 503): waiting") == 1


def test_a_health_page_is_asked_without_the_token_and_the_models_with_it() -> None:
    with StandIn([], get=pages(health=document({}), models=LISTED)) as server:
        health = f"http://127.0.0.1:{server.port}/resource_server/health"
        ready(server, health_url=health, token=SecretSource(env="OWN_TOKEN"))
    asked = {seen.target: seen.headers.get("authorization") for seen in server.seen}
    assert asked == {"/resource_server/health": None, "/v1/models": "Bearer canary-token"}


def test_a_token_refused_beside_a_healthy_gateway_is_said_at_once() -> None:
    with StandIn([], get=pages(health=document({}), models=error(401))) as server:
        health = f"http://127.0.0.1:{server.port}/health"
        with pytest.raises(UserError, match=r"refused \(401\).*into OWN_TOKEN"):
            ready(server, health_url=health, token=SecretSource(env="OWN_TOKEN"), ready_timeout_s=60.0)


def cluster_of(server: StandIn) -> ClusterStatus:
    root = f"http://127.0.0.1:{server.port}/resource_server"
    return ClusterStatus(endpoints=f"{root}/list-endpoints", jobs=f"{root}/v1/jobs", models=f"{root}/v1/models-of")


def jobs(state: str) -> Script:
    return document({"running": [{"Models": "m,n", "Model Status": state}]})


def test_a_job_that_is_starting_is_waited_for_and_its_cold_start_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with StandIn([], get=pages(models=LISTED, jobs=[jobs("queued"), jobs("starting"), jobs("running")])) as server:
        facts = ready(server, cluster=cluster_of(server))
    assert facts["cold_start_s"] > 0.03
    assert "its job is queued" in capsys.readouterr().out


def test_a_job_that_never_runs_ends_the_wait() -> None:
    with (
        StandIn([], get=pages(models=LISTED, jobs=jobs("starting"))) as server,
        pytest.raises(NotReadyError, match=r"m was still starting after 0\.3 s \(ready_timeout_s\)"),
    ):
        ready(server, cluster=cluster_of(server))


def test_a_gateway_without_such_pages_is_ready() -> None:
    with StandIn([], get=pages(models=LISTED)) as server:
        assert ready(server, cluster=cluster_of(server))["served_as"] == "m"


def test_the_gateways_pages_are_facts_and_a_missing_model_is_warned_about(capsys: pytest.CaptureFixture[str]) -> None:
    listing = document({"clusters": {"v1": {"frameworks": {"vllm": {"models": ["other"]}}}}})
    limits = document({"m": {"max_num_seqs": 32, "context_window": 131072}})
    with StandIn([], get=pages(**{"list-endpoints": listing, "models-of": limits})) as server:
        facts = ready(server, cluster=cluster_of(server))
    assert (facts["max_num_seqs"], facts["max_context_tokens"]) == (32, 131072)
    assert "the gateway does not list m; it lists other" in capsys.readouterr().out
    assert any(seen.target.endswith("models-of?model_id=m") for seen in server.seen)


def test_an_endpoint_that_was_waited_for_in_vain_is_waited_for_only_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "BRIEF_S", 0.1)
    started_s = time.perf_counter()
    with (
        StandIn([], get=pages(models=error(502))) as server,
        pytest.raises(NotReadyError, match=r"after 0\.1 s .*The wait was short because results/r1 had just waited"),
    ):
        ready(server, in_vain="results/r1", ready_timeout_s=60.0)
    assert time.perf_counter() - started_s < 5
    assert len(server.seen) > 1


def test_patience_says_at_most_once_a_minute_that_it_lasts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    patience = Patience("sophia", 150)
    assert patience.waited_s == 0
    lasted = []
    for _ in range(8):
        lasted.append(patience.lasts("its job is queued"))
        clock[0] += 25
    assert lasted == [True] * 7 + [False]
    assert capsys.readouterr().out.splitlines() == [
        f"sophia is not ready (its job is queued): waiting, {waited} of at most 150 s." for waited in (0, 75, 150)
    ]
