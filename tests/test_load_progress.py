"""The line that says how far a load is: each request counts once, by its last attempt."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from accelbench import specs
from accelbench.config import Endpoint, Scenario
from accelbench.inference.infer import measure
from accelbench.inference.prompts import Prompt
from accelbench.inference.round import Plan
from accelbench.load_progress import Progress

from .inference.endpoint_stand_in import CLOSE, Script, StandIn, error, stream

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
