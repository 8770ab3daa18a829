"""Conversations: what each turn is asked after, when it is sent, and what becomes of those after a failed one."""

import json
from pathlib import Path
from typing import Any

import pytest

from accelbench.analysis.load import abandoned
from accelbench.config import Config, PromptSet
from accelbench.inference.prompts import all_prompts
from accelbench.store.requests import Requests

from .endpoint_stand_in import Seen, StandIn, error, stream
from .rounds import config_for, here, measure, requests_of  # noqa: F401


def talking(base_url: str, **scenario: Any) -> Config:
    return config_for(base_url, **{"requests": 6, "turns": 3, **scenario})


def messages(seen: Seen) -> list[str]:
    return [each["content"] for each in seen.json["messages"]]


def test_each_turn_is_asked_after_those_before_and_their_gold_answers() -> None:
    with StandIn(lambda _: stream()) as server:
        measure(talking(server.base_url))
    for conversation in (server.posts[1:4], server.posts[4:7]):
        assert [len(messages(seen)) for seen in conversation] == [1, 3, 5]
        first, second, third = map(messages, conversation)
        assert second[:1] == first and third[:3] == second
        assert first[0].startswith("Request ") and "Context: " in first[0]
        assert all("Context: " not in message for message in third[1:])
    roles = [message["role"] for message in server.posts[3].json["messages"]]
    assert roles == ["user", "assistant", "user", "assistant", "user"]
    assert messages(server.posts[3])[0] != messages(server.posts[6])[0]


def test_turns_are_numbered_and_a_slot_stays_with_its_conversation() -> None:
    with StandIn(lambda _: [0.01, *stream()]) as server:
        config = talking(server.base_url, concurrency=2)
        requests = requests_of(config, measure(config))[1:]
    assert sorted((r.turn, r.turns) for r in requests) == [(1, 3), (1, 3), (2, 3), (2, 3), (3, 3), (3, 3)]
    assert len({seen.connection for seen in server.posts[1:]}) == 2
    assert abandoned(Requests.of(requests)) is None


def test_a_user_thinks_before_the_next_turn_alone() -> None:
    with StandIn(lambda _: stream()) as server:
        config = talking(server.base_url, think_time_s=0.15)
        requests = requests_of(config, measure(config))[1:]
    ends = [r.end_unix_s or 0.0 for r in requests]
    waits = [(after.sent_unix_s or 0.0) - end for after, end in zip(requests[1:], ends, strict=False)]
    assert [wait > 0.14 for wait in waits] == [True, True, False, True, True]


def test_after_a_turn_that_failed_its_conversation_is_abandoned_and_told() -> None:
    with StandIn(lambda seen: error(500) if len(messages(seen)) == 3 else stream()) as server:
        config = talking(server.base_url)
        requests = requests_of(config, measure(config))[1:]
    assert [r.turn for r in requests] == [1, 2, 1, 2]
    told = abandoned(Requests.of(requests))
    assert told and told.startswith("abandoned conversations: 2 of 2, ") and told.endswith("; 2 turns were not sent")


@pytest.mark.parametrize("roles", [("human", "gpt"), ("user", "assistant")])
def test_conversations_in_sharegpts_shape_are_asked_turn_by_turn(roles: tuple[str, str], tmp_path: Path) -> None:
    words = [("a?", "A"), ("b?", "B")]
    talk = [{"from": role, "value": text} for pair in words for role, text in zip(roles, pair, strict=True)]
    (tmp_path / "s.json").write_text(json.dumps([{"id": "x", "conversations": talk}]))
    settings = PromptSet(source="path", path=str(tmp_path / "s.json"), template="{question}", select="first")
    _, prompts = all_prompts(settings, tmp_path / "unused")
    assert [(p.question, p.answers, p.conversation) for p in prompts] == [("a?", ["A"], "x"), ("b?", ["B"], "x")]
