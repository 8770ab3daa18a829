"""The line that says how far a load is: each request counts once, by its last attempt."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from accelbench.config import Endpoint, Scenario
from accelbench.inference.client.http import Exchange
from accelbench.inference.client.load import Attempt
from accelbench.inference.infer import measure
from accelbench.inference.prompts import Prompt
from accelbench.inference.round import Plan
from accelbench.load.progress import Progress, tokens_in
from accelbench.plan import specs

from ..inference.client.test_http import Client, post
from ..inference.endpoint_stand_in import (
    CLOSE,
    DONE,
    Script,
    StandIn,
    chunked,
    delta,
    document,
    error,
    event,
    stream,
    usage,
)

SHOWN_AT_EVERY_REQUEST_S = 100.0


def lines_of(scripts: Sequence[Script], folder: Path, *, requests: int, busy_wait_s: float = 0.0) -> list[str]:
    """Ask one request after the other, and return what was shown after each."""
    lines: list[str] = []
    clock = iter(range(0, 10**6, round(SHOWN_AT_EVERY_REQUEST_S)))
    progress = Progress(requests, on_terminal=False, show=lines.append, clock=lambda: float(next(clock)))
    with StandIn(scripts) as server:
        endpoint = Endpoint(base_url=server.base_url, model="m", busy_wait_s=busy_wait_s)
        cell = specs.Cell("load", "load", Scenario(requests=requests, warm_up=0, max_tokens=8))
        prompts = [Prompt(str(n), "", "", "", "", [], f"Question {n}.") for n in range(requests)]
        measure(Plan("one", endpoint, cell, 1, 1, prompts, folder, "0" * 16, all_is_data=True), progress)
    return [line.split(" of ")[0] for line in lines]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_a_connection_that_was_found_closed_is_no_failed_request(tmp_path: Path) -> None:
    assert lines_of([stream(), [CLOSE], stream()], tmp_path, requests=2) == ["1 done, 0 failed", "2 done, 0 failed"]


def test_a_busy_endpoint_that_is_waited_for_is_no_failed_request(tmp_path: Path) -> None:
    scripts = [stream(), error(429), stream()]
    assert lines_of(scripts, tmp_path, requests=2, busy_wait_s=5.0) == ["1 done, 0 failed", "2 done, 0 failed"]


def test_a_request_whose_last_attempt_failed_is_a_failed_one(tmp_path: Path) -> None:
    assert lines_of([stream(), error(500), stream()], tmp_path, requests=3) == [
        "1 done, 0 failed",
        "1 done, 1 failed",
        "2 done, 1 failed",
    ]


def test_an_answer_that_came_and_is_none_is_a_failed_one_and_the_reason_is_shown(tmp_path: Path) -> None:
    """By its class, whatever its status; the commonest reason stands in the line, safe to print."""
    lines: list[str] = []
    scripts = [
        stream(),
        chunked(delta("a"), event({"error": {"message": "worker \x1b[2Jlost"}}), DONE),
        chunked(delta("a"), event({"error": {"message": "worker \x1b[2Jlost"}}), DONE),
        chunked(delta("a"), DONE),
        chunked(delta(reasoning="hm"), delta(finish_reason="length"), usage(4), DONE),
        document(b"<html>Sign in</html>"),
    ]
    exchanges = []
    for script in scripts:
        with StandIn([script]) as server:
            client = Client(server.base_url)
            exchanges.append(post(client))
            client.close()
    progress = Progress(len(scripts), on_terminal=False, show=lines.append, clock=lambda: 0.0)
    for number, exchange in enumerate(exchanges):
        progress(Attempt(str(number), 1, 0.0, exchange))
    assert lines[-1].startswith("1 done, 5 failed of 6 (error_event: worker \\x1b[2Jlost), ")


def test_on_a_terminal_a_line_takes_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((40, 20)))
    lines: list[str] = []
    clock = iter(range(0, 100, 10))
    progress = Progress(2, on_terminal=True, show=lines.append, clock=lambda: float(next(clock)))
    for kind in ("x" * 100, "y"):
        progress(Attempt(kind, 1, 0.0, Exchange(status=500, error_text=kind, error="connection")))
    assert [len(line.strip("\r\n")) <= 39 for line in lines] == [True, True]


def test_a_count_that_none_can_be_is_no_count() -> None:
    said = b'"usage": {"completion_tokens": ' + b"9" * 100_000 + b"}"
    assert tokens_in(Exchange(reads=[(0.0, b'data: {"a": 1}\n\n'), (0.1, said)])) == 1
