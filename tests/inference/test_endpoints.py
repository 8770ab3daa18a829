"""Credentials: sent, refreshed, and blotted out of whatever comes back; what a guest of a shared endpoint may ask."""

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import ValidationError

from accelbench.config import Endpoint, Inference, SecretSource
from accelbench.inference.endpoints import Credentials

CANARY = 'canary-6f1d/9c"0ab7'


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("OWN_TOKEN", CANARY)


def endpoint(**settings: Any) -> Endpoint:
    token = SecretSource(env="OWN_TOKEN")
    return Endpoint(**{"base_url": "http://endpoint.invalid/v1", "model": "m", "token": token, **settings})


@pytest.mark.parametrize(
    "written",
    [CANARY, f"Bearer {CANARY}", json.dumps(CANARY), json.dumps(CANARY).replace("/", "\\/"), quote(CANARY, safe="")],
)
def test_a_token_is_hidden_however_an_answer_writes_it(written: str) -> None:
    said = f"You sent {written}, which is wrong".encode()
    hidden = Credentials("one", endpoint()).hide(said)
    assert b"canary" not in hidden
    assert len(hidden) == len(said)
    assert hidden.startswith(b"You sent ") and hidden.endswith(b", which is wrong")


def test_a_token_that_was_replaced_stays_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = Credentials("one", endpoint())
    monkeypatch.setenv("OWN_TOKEN", "another-token")
    credentials.refresh()
    assert credentials.hide(f"{CANARY} another-token".encode()) == b"*" * len(CANARY) + b" " + b"*" * 13


@pytest.mark.parametrize("password", ["canary-p%40ss", "canary-plain"])
def test_the_proxys_password_is_hidden_too(password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://me:{password}@proxy.invalid:3128")
    credentials = Credentials("one", endpoint())
    plain = password.replace("%40", "@")
    basic = base64.b64encode(f"me:{plain}".encode()).decode()
    for written in (password, plain, basic):
        assert written.encode() not in credentials.hide(f"407 for {written}".encode())


def test_short_words_are_not_blotted_out_of_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN_TOKEN", "none")
    assert Credentials("one", endpoint()).hide(b"none of them") == b"none of them"


def test_its_repr_shows_no_secret() -> None:
    assert CANARY not in repr(Credentials("one", endpoint()))


# --- shared endpoints ---------------------------------------------------------------------------------------------


def plan(endpoint_settings: dict[str, Any], **scenario: Any) -> Inference:
    shared = {"base_url": "http://endpoint.invalid/v1", "model": "m", "shared": True, **endpoint_settings}
    return Inference.model_validate(
        {
            "run": ["one"],
            "scenarios_run": ["load"],
            "endpoints": {"one": shared},
            "scenarios": {"load": scenario},
            "prompts": {"questions": {"source": "bundled"}},
        }
    )


TOO_MUCH = [
    ({"concurrency": [1, 9]}, "up to 9 requests in flight"),
    ({"arrivals": "poisson", "rate_per_s": 1.0}, "up to 64 requests in flight"),
    ({"requests": 400, "rounds": 5, "max_tokens": 1}, "up to 2,005 requests"),
    ({"requests": 100, "rounds": 5, "max_tokens": 1001}, "up to 500,500 answer tokens"),
]


@pytest.mark.parametrize(("scenario", "what"), TOO_MUCH)
def test_a_shared_endpoint_is_asked_no_more_than_a_guest_may(scenario: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError, match=rf"{what}; .* say under permission who granted more"):
        plan({}, **scenario)


@pytest.mark.parametrize(("scenario", "_what"), TOO_MUCH)
def test_permission_lifts_the_bounds_and_so_does_an_endpoint_of_ones_own(scenario: dict[str, Any], _what: str) -> None:
    plan({"permission": "the operators, 2026-11-02"}, **scenario)
    plan({"shared": False}, **scenario)


def test_what_a_guest_may_ask_is_not_refused() -> None:
    plan({}, concurrency=[1, 8], requests=100, rounds=5, max_tokens=500)
