"""The truth server: it writes when it is due, and says when that was."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
import requests
import uvloop

from accelbench.inference.answers.events import parse_answer
from accelbench.inference.calibration import (
    GAP_S,
    TTFT_S,
    can_make_certificates,
    make_certificate,
    reached,
    serving_truth,
    truth,
)
from accelbench.inference.client.http import Connection, Exchange
from accelbench.inference.truth_server import Stream, TokenSchedule, TruthServer

from ..waiting import until

LATE_S = 0.02  # of a median, on a machine that others use too


@pytest.fixture
def base_url(tmp_path: Path) -> Iterator[str]:
    with serving_truth(tmp_path / "server.log") as base_url, reached(None):
        yield base_url


def ask(base_url: str, *tokens: int) -> list[Exchange]:
    """Ask for so many tokens each, one after the other on one connection."""

    async def exchanges() -> list[Exchange]:
        connection = Connection(base_url, connect_s=5, read_s=5, total_s=10, epoch_s=time.perf_counter())
        bodies = [orjson.dumps({"max_tokens": count}) for count in tokens]
        return [await connection.post("/chat/completions", body, {}) for body in bodies]

    return uvloop.run(exchanges())


def written(exchange: Exchange) -> tuple[float, list[float]]:
    return truth(parse_answer(exchange.reads, streamed=True).answer)


def test_each_token_is_written_when_it_is_due(base_url: str) -> None:
    (exchange,) = ask(base_url, 8)
    arrived_s, written_s = written(exchange)
    late_s = sorted(at_s - (arrived_s + TTFT_S + number * GAP_S) for number, at_s in enumerate(written_s))
    assert len(late_s) == 8
    assert late_s[0] >= -1e-6
    assert late_s[4] < LATE_S


def test_the_client_on_this_machine_reads_the_same_clock(base_url: str) -> None:
    before_s = time.perf_counter()
    (exchange,) = ask(base_url, 1)
    arrived_s, (written_s,) = written(exchange)
    assert before_s < arrived_s < written_s < time.perf_counter()


def test_a_stream_ends_as_one_of_openai_does(base_url: str) -> None:
    (exchange,) = ask(base_url, 2)
    answer = parse_answer(exchange.reads, streamed=True)
    assert (answer.finish_reason, answer.done, answer.malformed, answer.error) == ("length", True, None, None)
    assert answer.usage["completion_tokens"] == 2


def test_a_token_is_written_at_the_instant_that_it_tells_not_after_others_that_are_due() -> None:
    async def limits() -> tuple[int, int]:
        loop, server = asyncio.get_running_loop(), TruthServer(TokenSchedule(0, 0))
        async with await loop.create_server(lambda: server, "127.0.0.1", 0) as listener:
            _, client = await asyncio.open_connection(*listener.sockets[0].getsockname())
            client.write(b"GET / HTTP/1.1\r\n\r\n")
            while not hasattr(server, "transport"):
                await asyncio.sleep(0)
            client.close()
            return server.transport.get_write_buffer_limits()

    assert uvloop.run(limits()) == (0, 0)


def test_more_streams_than_slots_wait_for_one_to_end() -> None:
    schedule, begun = TokenSchedule(0.0, 0.0, slots=1), []

    class Recorded(Stream):
        def send(self) -> bool:
            begun.append(self)
            return begun.count(self) < 3

    async def served() -> None:
        serving = asyncio.create_task(schedule.run())
        while len(begun) < 6:
            await asyncio.sleep(0)
        serving.cancel()

    first, second = (Recorded(None, 3, 0.0) for _ in range(2))  # type: ignore[arg-type]
    for stream in (first, second):
        schedule.begin(0.0, stream)
    asyncio.run(served())
    assert begun == [first] * 3 + [second] * 3


def test_requests_follow_each_other_on_one_connection(base_url: str) -> None:
    exchanges = ask(base_url, *[1, 2, 3] * 3)
    assert [len(written(exchange)[1]) for exchange in exchanges] == [1, 2, 3] * 3
    assert [exchange.reused for exchange in exchanges] == [False] + [True] * 8


def test_a_get_is_answered_with_the_models(base_url: str) -> None:
    with requests.Session() as session:
        for _ in range(2):
            assert session.get(f"{base_url}/models").json()["data"][0]["id"] == "truth"


@pytest.mark.skipif(not can_make_certificates(), reason="needs openssl")
def test_over_tls_it_is_trusted_by_its_certificate_only(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path / "certificate.pem")
    with serving_truth(tmp_path / "server.log", certificate=certificate) as base_url:
        with reached(certificate):
            (trusted,) = ask(base_url, 3)
        with reached(make_certificate(tmp_path / "another.pem")):
            (refused,) = ask(base_url, 3)
    assert base_url.startswith("https:")
    assert len(written(trusted)[1]) == 3
    assert "certificate" in str(refused.error_text).lower()


def test_it_ends_with_the_process_that_started_it_even_a_killed_one(tmp_path: Path) -> None:
    program = f"""
import time
from pathlib import Path
from accelbench.inference.calibration import serving_truth
with serving_truth(Path({str(tmp_path)!r}) / "server.log") as base_url:
    print(base_url, flush=True)
    time.sleep(60)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        base_url = parent.stdout.readline().strip()
        assert answers(base_url)
        parent.send_signal(signal.SIGKILL)
    assert until(lambda: not answers(base_url))


def answers(base_url: str) -> bool:
    with requests.Session() as session:
        session.trust_env = False
        try:
            return session.get(f"{base_url}/models", timeout=5).ok
        except requests.ConnectionError:
            return False
