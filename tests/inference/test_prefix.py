"""Prompts with a prefix: who shares one, how long it is, and which requests reused one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from accelbench.config import Endpoint, PromptSet, Scenario
from accelbench.errors import UserError
from accelbench.inference.api import NONCE, Request
from accelbench.inference.prompts import all_prompts, passages_of
from accelbench.inference.round import Plan
from accelbench.plan.specs import Cell

from .endpoint_stand_in import StandIn, stream
from .rounds import config_for, here, measure, requests_of  # noqa: F401

WORDS = NONCE.partition(" ")[0]
_, QUESTIONS = all_prompts(PromptSet(source="bundled"), Path("unused"))
ENDPOINT = Endpoint(base_url="http://127.0.0.1:9/v1", model="m")


def plan(requests: int = 4, **scenario: Any) -> Plan:
    cell = Cell("load", "load", Scenario(requests=requests, **scenario))
    return Plan("one", ENDPOINT, cell, 1, 3, QUESTIONS[:requests], Path(), "", passages_of(QUESTIONS))


def content(request: Request) -> str:
    return str(orjson.loads(request.body)["messages"][0]["content"])


def prefixes(of: Plan) -> list[str]:
    return [content(each).rpartition(f"\n\n{WORDS} ")[0] for each in of.requests()]


@pytest.mark.parametrize(
    ("kind", "expected"), [("unique", [0, 1, 2, 3]), ("shared", [0, 0, 0, 0]), ("cold-then-warm", [0, 1, 0, 1])]
)
def test_requests_share_a_prefix_as_the_scenario_says(kind: str, expected: list[int]) -> None:
    found = prefixes(plan(prefix=kind))
    assert [found.index(each) for each in found] == expected


@pytest.mark.parametrize("share", [0.2, 0.8])
def test_a_prefix_is_about_its_share_of_all_prompts(share: float) -> None:
    asked = plan(prefix="shared", prefix_share=share, requests=10)
    whole = sum(len(content(each)) for each in asked.requests())
    assert sum(map(len, prefixes(asked))) / whole == pytest.approx(share, abs=0.04)


def test_prefixes_are_equally_long_however_they_are_shared() -> None:
    assert len({len(each) for kind in ("unique", "shared") for each in prefixes(plan(prefix=kind))}) == 1


def test_what_follows_a_shared_prefix_and_the_warm_up_are_in_no_cache() -> None:
    asked = plan(prefix="shared")
    (prefix,) = set(prefixes(asked))
    (warm_up,) = asked.warm_up()
    assert content(warm_up)[:20] != prefix[:20]
    assert len({content(each).removeprefix(prefix)[:20] for each in asked.requests()}) == 4


def test_a_set_without_passages_gives_no_prefix() -> None:
    with pytest.raises(UserError, match="prefix: the prompt set has no passages"):
        replace(plan(prefix="shared"), passages=[]).requests()


def test_a_request_reuses_a_prefix_once_an_answer_to_it_had_begun() -> None:
    with StandIn(lambda _: [0.02, *stream()]) as server:
        config = config_for(server.base_url, prefix="shared", concurrency=2)
        requests = requests_of(config, measure(config))
    by_start = sorted((r for r in requests if not r.warm_up), key=lambda r: r.sent_unix_s or 0.0)
    assert [r.prefix_reused for r in by_start] == [False, False, True, True]


def test_a_request_without_a_prefix_reuses_none() -> None:
    with StandIn(lambda _: stream()) as server:
        config = config_for(server.base_url)
        assert {r.prefix_reused for r in requests_of(config, measure(config))} == {None}
