"""Secrets of a round reach no file and no message."""

import base64
import sys
from pathlib import Path
from typing import Any

import pytest

from accelbench.config import SecretSource
from accelbench.errors import UserError

from .endpoint_stand_in import Script, Seen, StandIn, chunked, delta, document, stream, tokens, usage
from .rounds import CANARY, always, config_for, here, measure, requests_of  # noqa: F401


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
