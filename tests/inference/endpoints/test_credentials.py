"""Credentials: sent, refreshed, and blotted out of whatever comes back; what a guest of a shared endpoint may ask."""

import base64
import contextlib
import json
import re
from pathlib import Path
from time import process_time
from typing import Any
from urllib.parse import quote, unquote

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from accelbench.config import Endpoint, Inference, SecretSource
from accelbench.errors import UserError
from accelbench.inference.answers.events import parse_answer
from accelbench.inference.endpoints.credentials import Credentials, read_secret
from accelbench.inference.endpoints.pages import get_page

from ..endpoint_stand_in import StandIn, delta, error, event

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


def escaped(text: str) -> str:
    return "".join(f"\\u{ord(letter):04x}" for letter in text)


def spread(text: str, length: int, key: str = "content") -> bytes:
    return b"".join(delta(**{key: text[at : at + length]}) for at in range(0, len(text), length))


ECHOES = {
    "upper case": CANARY.upper().encode(),
    "JSON escapes": f'{{"error": {{"message": "{escaped(CANARY)}"}}}}'.encode(),
    "JSON escapes in capitals": f'"{escaped(CANARY).upper().replace("U", "u")}"'.encode(),
    "JSON in JSON": json.dumps(json.dumps({"sent": CANARY})).encode(),
    "URL in small letters": quote(CANARY, safe="").lower().encode(),
    "URL, all of it": "".join(f"%{ord(letter):02X}" for letter in CANARY).encode(),
    "URL in a URL": quote(quote(CANARY, safe=""), safe="").encode(),
    "base64": base64.b64encode(CANARY.encode()),
    "base64 of the header": base64.b64encode(f"Bearer {CANARY}".encode()),
    "base64 for URLs": base64.urlsafe_b64encode(f"a{CANARY}".encode()),
    "hexadecimal": CANARY.encode().hex().upper().encode(),
    "deltas": spread(CANARY, 3),
    "deltas of a letter": spread(f"So: {CANARY}, right?", 1),
    "deltas of reasoning": spread(CANARY, 2, "reasoning_content"),
    "deltas of a call": b"".join(
        event({"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": part}}]}}]})
        for part in (CANARY[:7], CANARY[7:])
    ),
    "deltas in base64": spread(base64.b64encode(CANARY.encode()).decode(), 4),
    "deltas in escapes": spread(CANARY, 2).replace(b"an", b"\\u0061n"),
    "deltas in parts": b"".join(delta(content=[{"type": "text", "text": letter}]) for letter in CANARY),
    "deltas, some in parts": delta(CANARY[:5]) + delta(content=[{"type": "text", "text": CANARY[5:]}]),
    "deltas around thinking": delta(CANARY[:5]) + delta("<think>hm</think>") + delta(CANARY[5:]),
    "deltas around empty thinking": delta(CANARY[:5]) + delta("<think></think>") + delta(CANARY[5:]),
    "deltas beside another choice": b"".join(
        delta(letter) + event({"choices": [{"index": 1, "delta": {"content": "x"}}]}) for letter in CANARY
    ),
    "deltas under an escaped name": spread(CANARY, 2).replace(b'"content"', b'"c\\u006fntent"'),
    "a document": json.dumps({"choices": [{"message": {"content": f"<{CANARY}>"}, "finish_reason": "stop"}]}).encode(),
}


@pytest.mark.parametrize("name", ECHOES)
def test_nothing_that_is_derived_from_an_echo_holds_the_token(name: str) -> None:
    hidden = Credentials("one", endpoint()).hide(ECHOES[name])
    assert len(hidden) == len(ECHOES[name])
    answer = parse_answer([(0.0, hidden)], streamed=True)
    told = f"{answer} {unquote(unquote(hidden.decode()))}".lower()
    for part in (CANARY[:8], CANARY[-8:], CANARY[3:11]):
        for written in (part, base64.b64encode(part.encode()).decode()[:8], part.encode().hex(), escaped(part)):
            assert written.lower() not in told


@pytest.mark.parametrize("name", [n for n in ECHOES if re.match("deltas(?! around| beside| of a call| under)", n)])
def test_a_stream_with_an_echo_stays_one(name: str) -> None:
    body = delta("Rome ") + ECHOES[name] + delta(" Paris") + delta(finish_reason="stop")
    answer = parse_answer([(0.0, Credentials("one", endpoint()).hide(body))], streamed=True)
    assert answer.answer.startswith("Rome ") and answer.answer.endswith(" Paris")
    assert (answer.malformed, answer.error, answer.finish_reason) == (None, None, "stop")
    assert "*" in answer.answer + answer.reasoning


@pytest.mark.parametrize(
    ("header", "parts"),
    [
        ("Basic " + base64.b64encode(b"me:canary-password").decode(), ["canary-password", "me:canary-password"]),
        ("bearer canary-token", ["canary-token"]),
        ("Api-Key canary-token", ["canary-token"]),
        ("session=canary-session; theme=dark; id=canary-2nd", ["canary-session", "canary-2nd"]),
        ('Token token="canary-token"', ["canary-token"]),
    ],
)
def test_each_part_of_a_secret_header_is_hidden(header: str, parts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN_HEADER", header)
    credentials = Credentials("one", endpoint(token=None, secret_headers={"X-Any": {"env": "OWN_HEADER"}}))
    for part in [header, *header.split()[1:], *parts]:
        said = f"You sent {part}.".encode()
        hidden = credentials.hide(said)
        assert (len(hidden), b"canary" in hidden) == (len(said), False)
        assert hidden.startswith(b"You sent *")
    assert credentials.hide(b"a bearer of a basic theme") == b"a bearer of a basic theme"


@given(st.text(st.characters(codec="utf-8")), st.booleans())
def test_what_holds_no_secret_comes_back_as_it_is(text: str, ascii_only: bool) -> None:
    said = json.dumps({"choices": [{"delta": {"content": text}}]}, ensure_ascii=ascii_only).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OWN_TOKEN", CANARY)
        assert Credentials("one", endpoint()).hide(said) == said


@given(
    st.lists(st.sampled_from(["canary-", "6f1d/9", "\\", 'c"0ab7', "%2F", "/", "\\u0063", "\\u002", "x"]), max_size=12)
)
def test_what_is_hidden_keeps_its_length_and_hiding_again_changes_nothing(parts: list[str]) -> None:
    said = "".join(parts).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OWN_TOKEN", CANARY)
        hide = Credentials("one", endpoint()).hide
        assert len(hide(said)) == len(said)
        assert hide(hide(said)) == hide(said)
        assert CANARY.encode() not in hide(said)


def test_to_hide_takes_milliseconds_for_a_usual_answer_and_linear_time_for_any() -> None:
    hide = Credentials("one", endpoint()).hide
    usual = delta("word ") * 500
    begun_s = process_time()
    for _ in range(10):
        hide(usual)
    assert process_time() - begun_s < 0.5
    for piece in (b"\\", b"%25", b'"content": "', b"%2", CANARY[:-1].encode(), CANARY.encode(), b'"content":"\\"'):
        begun_s = process_time()
        hide(piece * (10**6 // len(piece)))
        assert process_time() - begun_s < 20, piece


def test_a_huge_text_that_holds_a_secret_is_blotted_out_as_a_whole() -> None:
    hide = Credentials("one", endpoint()).hide
    huge = b"x" * 2**20 + CANARY.encode()
    assert hide(huge) == b"*" * len(huge)
    assert hide(b"x" * 2**21) == b"x" * 2**21


# --- token commands -----------------------------------------------------------------------------------------------


def printed(script: str) -> str:
    return read_secret(SecretSource(command=["sh", "-c", script]), "inference.endpoints.one.token")


@pytest.mark.parametrize("script", ["sleep 300 & echo $! > child; wait", "sleep 300 & echo $! > child"])
def test_a_token_command_that_hangs_leaves_no_child(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("accelbench.inference.endpoints.credentials.COMMAND_S", 0.5)
    with pytest.raises(
        UserError, match=r"^inference\.endpoints\.one\.token: the command sh did not end within 0\.5 s\.$"
    ):
        printed(script)
    with contextlib.suppress(psutil.NoSuchProcess):
        assert psutil.wait_procs([psutil.Process(int(Path("child").read_text()))], timeout=5)[1] == []


def test_a_token_command_that_prints_no_text_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^inference\.endpoints\.one\.token: the secret holds characters .*\?$"):
        printed("printf '\\377\\376abcdefgh'")


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


def test_in_a_job_of_pbs_a_source_is_named_that_works_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAR_TOKEN", raising=False)
    monkeypatch.setenv("PBS_JOBID", "7.pbs-01")
    with pytest.raises(UserError, match=r"FAR_TOKEN is not set\. PBS jobs are told nothing .* \{command: \[cat, "):
        read_secret(SecretSource(env="FAR_TOKEN"), "inference.endpoints.far.token")


def test_a_page_that_is_asked_without_credentials_hides_the_proxys_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with StandIn([], get=lambda seen: error(401, seen.headers["proxy-authorization"])) as proxy:
        monkeypatch.setenv("http_proxy", f"http://someone:a-password-of-the-proxy@127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        page = get_page("http://somewhere.invalid/health")
    assert page.status == 401
    secret = base64.b64encode(b"someone:a-password-of-the-proxy").decode()
    assert secret not in f"{page}"
    assert "Basic *" in f"{page}"
