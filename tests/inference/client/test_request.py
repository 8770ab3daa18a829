"""What is asked: bodies, nonces, and contexts filled to a length."""

import orjson
import pytest

from accelbench.config import Endpoint, Scenario
from accelbench.errors import UserError
from accelbench.inference.api import CHARACTERS_PER_TOKEN, filled, nonce, request
from accelbench.inference.prompts import Prompt
from accelbench.plan.specs import Cell

ENDPOINT = Endpoint(base_url="http://127.0.0.1:1/v1", model="m")
PASSAGES = [f"Passage {number} " + "word " * 40 for number in range(50)]
PROMPT = Prompt("p", "article", "x", PASSAGES[7], "Which?", ["7"], f"Context: {PASSAGES[7]}\n\nQuestion: Which?")


def content_of(load: Scenario, **more: int) -> str:
    sent = request(ENDPOINT, Cell("cell", "cell", load), PROMPT, PASSAGES, "code", **more)
    return str(orjson.loads(sent.body)["messages"][0]["content"])


def test_a_nonce_depends_on_seed_cell_round_and_prompt_alone() -> None:
    codes = {nonce(1, "c", 1, "p"), nonce(2, "c", 1, "p"), nonce(1, "d", 1, "p"), nonce(1, "c", 2, "p")}
    assert len(codes | {nonce(1, "c", 1, "q")}) == 5
    assert nonce(1, "c", 1, "p") == nonce(1, "c", 1, "p")


def test_the_nonce_stands_in_front_only_where_it_is_asked_for() -> None:
    assert content_of(Scenario()).startswith("Request code.\n\nContext: ")
    assert content_of(Scenario(nonce=False)) == PROMPT.prompt


def test_a_warm_up_always_has_a_nonce_and_a_key_of_its_own() -> None:
    assert content_of(Scenario(nonce=False), warm_up=1).startswith("Request code.")
    assert request(ENDPOINT, Cell("c", "c", Scenario()), PROMPT, [], "code", warm_up=2).key == "warm-up-2"


@pytest.mark.parametrize("tokens", [100, 300, 1000])
def test_a_context_is_filled_to_about_the_length_and_keeps_its_own_passage(tokens: int) -> None:
    text = filled(PASSAGES[7], PASSAGES, tokens, "p")
    assert text.count(PASSAGES[7]) == 1
    assert tokens - len(PASSAGES[0]) / CHARACTERS_PER_TOKEN - 1 <= len(text) / CHARACTERS_PER_TOKEN <= tokens
    assert text == filled(PASSAGES[7], PASSAGES, tokens, "p")


def test_its_own_passage_stands_anywhere() -> None:
    places = {filled(PASSAGES[7], PASSAGES, 1000, str(seed)).index(PASSAGES[7]) for seed in range(20)}
    assert len(places) > 5


def test_a_context_shorter_than_its_own_passage_is_just_that() -> None:
    assert filled(PASSAGES[7], PASSAGES, 5, "p") == PASSAGES[7]


def test_too_few_passages_are_a_clear_error() -> None:
    with pytest.raises(UserError, match=r"100,000 is more than the passages .* give \(about 2,\d{3} tokens\)"):
        filled(PASSAGES[7], PASSAGES, 100_000, "p")


def test_the_question_stays_behind_the_filled_context() -> None:
    text = content_of(Scenario(context_tokens=500, nonce=False))
    assert text.startswith("Context: Passage") and text.endswith("Question: Which?")
    assert len(text) > 1500
