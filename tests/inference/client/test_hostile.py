"""Endpoints that mean harm, or are broken beyond a plain fault: bounded, refused or quoted, never followed."""

import gzip
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accelbench.config import Endpoint, SecretSource
from accelbench.inference.client import http
from accelbench.inference.client.journal import EXCHANGES, attempts
from accelbench.inference.endpoints import pages
from accelbench.inference.endpoints.credentials import Credentials
from accelbench.inference.endpoints.pages import get_page

from ..answers.test_fault_matrix import Fault
from ..endpoint_stand_in import (
    CLOSE,
    HANG,
    RESET,
    Script,
    Seen,
    StandIn,
    Step,
    chunk,
    chunked,
    delta,
    document,
    event,
    head,
    stream,
)
from ..rounds import CANARY, config_for, here, measure, requests_of  # noqa: F401
from .test_http import TlsStandIn, body_of, connection_to, exchange_with, no_proxy, post, tls_port  # noqa: F401

MIB = 2**20
REPOSITORY = Path(__file__).parents[3]
ENDLESS_HEAD = [b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n", 0.02] * 200]
TOO_LARGE = "the answer is larger than 1 MiB: the rest was not read"
HEAD_TOO_LARGE = "the head is larger than 256 KiB or 1,000 headers"
BOMB = gzip.compress(bytes(50 * MIB), mtime=0)
NASTY = 'it\'s "m"; $(touch pwned) `touch pwned` ../../pwned\n\r\tpwned %s {x} \u2028 \u0000 </script>'


@pytest.fixture
def one_mib(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the bound of an answer, so that tests need not send 64 MiB."""
    monkeypatch.setattr(http, "MOST_BYTES", MIB)


def endless(first: list[Step], step: bytes) -> Iterator[Step]:
    yield from first
    while True:
        yield step


# --- too much ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "step"),
    [
        ([head(Content_Length=str(10**9))], b"x" * 65536),
        (chunked(last=False), chunk(delta("a") * 300)),
        (chunked(last=False), chunk(b"data: " + b"x" * 65536)),
        ([head(Connection="close")], b": wait\n\n" * 8192),
    ],
    ids=["a stated gigabyte", "tokens without end", "a line without end", "keep-alives without end"],
)
@pytest.mark.usefixtures("one_mib")
def test_an_answer_without_end_is_left_at_the_bound(first: list[Step], step: bytes) -> None:
    exchange = exchange_with(endless(first, step))  # type: ignore[arg-type]
    assert (exchange.error, exchange.status, exchange.error_text) == ("malformed", 200, TOO_LARGE)
    assert len(body_of(exchange)) == http.KEPT_BYTES


@pytest.mark.usefixtures("one_mib")
def test_an_answer_below_the_bound_is_read_whole() -> None:
    body = b"x" * (MIB - 4096)
    assert body_of(exchange_with(document(body))) == body


def test_a_gigabyte_costs_no_more_memory_than_the_bound() -> None:
    """The client in a process that may hold 64 MiB of answer, what it starts with, and no gigabyte."""
    with StandIn(lambda _: endless([head(Content_Length=str(10**9))], b"x" * MIB)) as server:  # type: ignore[arg-type]
        done = subprocess.run(
            [sys.executable, "-m", "tests.inference.client.test_hostile", server.base_url],
            capture_output=True,
            text=True,
            check=True,
            cwd=REPOSITORY,
            timeout=60,
        )
    kind, grown_mib = done.stdout.split()
    assert kind == "malformed"
    assert float(grown_mib) < 200


@pytest.mark.parametrize(
    "script",
    [
        [head(X_Long="x" * 300_000), CLOSE],
        [b"HTTP/1.1 200 " + b"x" * 600_000, CLOSE],
        [b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 600_000, CLOSE],
        [head(**{f"X{n}": "y" for n in range(10_000)}) + b"x", CLOSE],
        [b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000, CLOSE],
    ],
    ids=["a header of 300 kB", "a reason of 600 kB", "a header without end", "10,000 headers", "20,000 interim heads"],
)
def test_a_head_that_is_too_large_is_refused(script: Script) -> None:
    exchange = exchange_with(script)
    assert (exchange.error, exchange.error_text, exchange.headers) == ("malformed", HEAD_TOO_LARGE, {})


def test_ten_thousand_trailers_are_not_kept() -> None:
    trailers = b"".join(b"X%d: y\r\n" % n for n in range(10_000))
    exchange = exchange_with([*chunked(b"one", last=False), b"0\r\n" + trailers + b"\r\n"])
    assert body_of(exchange) == b"one"
    assert len(exchange.headers) <= http.MOST_HEADERS


def test_a_head_that_drips_ends_at_the_total_limit() -> None:
    exchange = exchange_with(ENDLESS_HEAD, read_s=0.2, total_s=0.4)
    assert exchange.error == "timeout_total"
    assert exchange.end_s is not None and exchange.end_s < 2


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_a_compressed_answer_is_never_decompressed(encoding: str) -> None:
    exchange = exchange_with(document(BOMB, Content_Encoding=encoding))
    assert body_of(exchange) == BOMB


@pytest.mark.usefixtures("one_mib")
def test_too_large_an_answer_is_malformed_and_its_beginning_is_recorded() -> None:
    script = [*chunked(last=False), *[chunk(delta("a") * 1000)] * 40]
    (request,) = Fault("", script, "malformed", 200).requests()
    assert (request.class_, request.error_text) == ("malformed", TOO_LARGE)
    (journal,) = Path("results/inference").rglob(EXCHANGES)
    assert journal.stat().st_size < 4 * http.KEPT_BYTES


# --- elsewhere --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed_and_the_token_stays(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by the load nor by the pages asked around it."""
    monkeypatch.setenv("OWN_TOKEN", CANARY)
    with StandIn(lambda _: stream(), lambda _: document({"data": []})) as elsewhere:
        away = f"http://localhost:{elsewhere.port}/v1/x"
        answers = iter([document({"data": []}), stream()])  # readiness, and the first request: it may not be wrong

        def sent_away(_: Seen) -> Script:
            return next(answers, document(b"", status, Location=away))

        with StandIn(sent_away, sent_away) as server:
            config = config_for(
                server.base_url, endpoint={"token": SecretSource(env="OWN_TOKEN")}, requests=2, rounds=1, warm_up=0
            )
            requests = requests_of(config, measure(config))
            page = get_page(f"{server.base_url}/models", Credentials("one", config.inference.endpoints["one"]))
    assert elsewhere.seen == []
    assert page.status == status
    assert [request.class_ for request in requests] == ["ok", "http_4xx"]


# --- pages ------------------------------------------------------------------------------------------------------


def page_of(script: Any) -> pages.Page:
    with StandIn([], get=lambda _: script) as server:
        return get_page(f"{server.base_url}/models", timeout_s=0.5)


def test_a_page_without_end_is_no_page() -> None:
    page = page_of(endless([head(Content_Length=str(10**9))], b"x" * 65536))
    assert page.status is None and "longer than 16 MiB" in page.text


@pytest.mark.parametrize(
    "script",
    [
        [head(Content_Length="1000"), *[b"x", 0.05] * 100],
        [b"HTTP/1.1 200 OK\r\nX-Long: ", *[b"x", 0.05] * 100],
        [b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n", 0.05] * 100],
        [b"HTTP/1.1 100 Continue\r\n\r\n", 0.05] * 100,
    ],
    ids=["a body", "a header", "headers", "interim heads"],
)
def test_a_page_that_drips_has_a_limit(script: Script) -> None:
    begun_s = time.perf_counter()
    page = page_of(script)
    assert page.status is None and "took too long" in page.text
    assert time.perf_counter() - begun_s < 3


@pytest.mark.parametrize(
    "script",
    [
        [head(**{f"X{n}": "y" for n in range(10_000)}) + b"x", CLOSE],
        [head(X_Long="x" * 300_000), CLOSE],
        [b"HTTP/1.1 200 " + b"x" * 600_000, CLOSE],
    ],
    ids=["10,000 headers", "a header of 300 kB", "a reason of 600 kB"],
)
def test_a_page_with_too_large_a_head_is_no_page(script: Script) -> None:
    page = page_of(script)
    assert page.status is None and ("got more than" in page.text or "status line" in page.text)


@pytest.mark.parametrize(
    "script",
    [
        [head(Content_Length="1000") + b"x", CLOSE],
        [head(Content_Length="1000") + b"x", RESET],
        [head(Content_Length="1000") + b"x", HANG],
        [head(Transfer_Encoding="chunked") + b"zz\r\n", CLOSE],
    ],
    ids=["closed", "reset", "stalled", "wrongly chunked"],
)
def test_a_page_that_breaks_off_is_no_page(script: Script) -> None:
    page = page_of(script)
    assert page.status is None and page.text


def test_a_page_is_never_decompressed() -> None:
    page = page_of(document(BOMB, Content_Encoding="gzip"))
    assert (page.status, page.document) == (200, None)


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"data": ' * 50_000, b"\xff\xfe", b"NaN", b'"\\ud800"'])
def test_a_page_that_is_no_json_is_no_document(content: bytes) -> None:
    assert page_of(document(content)).document is None


# --- TLS --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("tls_port")
def test_a_certificate_for_another_host_is_one_clear_error(tls_port: int) -> None:  # noqa: F811
    where = f"https://127.1:{tls_port}/v1"
    exchange, page = post(connection_to(where)), get_page(where)
    assert exchange.error == "connection"
    for text in (str(exchange.error_text), page.text):
        assert "127.1" in text and "certificate" in text and "\n" not in text


def test_a_certificate_that_nobody_vouches_for_is_no_page(
    tls_port: int,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    page = get_page(f"https://localhost:{tls_port}/v1/models")
    assert page.status is None and "certificate" in page.text


@pytest.mark.parametrize("named_by", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "a folder"])
def test_page_and_load_trust_the_same_authorities(
    named_by: str,
    tls_port: int,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    certificate = os.environ["REQUESTS_CA_BUNDLE"]
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    if named_by == "a folder":
        (tmp_path / "authorities").mkdir()
        shutil.copy(certificate, tmp_path / "authorities/own.pem")
        subprocess.run(["openssl", "rehash", str(tmp_path / "authorities")], check=True, capture_output=True)
        named_by, certificate = "REQUESTS_CA_BUNDLE", str(tmp_path / "authorities")
    monkeypatch.setenv(named_by, certificate)
    base_url = f"https://localhost:{tls_port}/v1"
    assert get_page(f"{base_url}/models").status == 200
    exchange = post(connection_to(base_url))
    assert (exchange.error, exchange.status) == (None, 200)


def test_a_server_that_speaks_no_tls_is_a_connection_error() -> None:
    with StandIn([], get=lambda _: document({})) as server:
        exchange = post(connection_to(f"https://127.0.0.1:{server.port}/v1", connect_s=1.0))
    assert exchange.error in ("connection", "timeout_connect") and exchange.sent_s is None


# --- names and prompts ------------------------------------------------------------------------------------------


def test_a_nasty_prompt_and_model_name_travel_as_json_only(tmp_path: Path) -> None:
    """They reach the endpoint as they are, and neither a shell nor a path."""
    questions = tmp_path / "q.jsonl"
    row = {"id": NASTY, "context": NASTY, "question": NASTY, "answers": {"text": ["a"], "answer_start": [0]}}
    questions.write_text(json.dumps(row) + "\n")
    with StandIn(lambda _: stream()) as server:
        config = config_for(server.base_url, endpoint={}, requests=1, rounds=1, warm_up=0)
        endpoint = Endpoint(**{**config.inference.endpoints["one"].model_dump(mode="json"), "model": NASTY})
        prompts = config.inference.prompts["questions"].model_copy(update={"source": "path", "path": str(questions)})
        inference = config.inference.model_copy(
            update={"endpoints": {"one": endpoint}, "prompts": {"questions": prompts}}
        )
        config = config.model_copy(update={"inference": inference})
        folder = measure(config)
        (request,) = requests_of(config, folder)
    (seen,) = server.posts
    assert seen.json["model"] == NASTY
    assert "$(touch pwned)" in seen.content
    assert request.class_ == "ok"
    assert not list(Path().rglob("*pwned*")) and not list(tmp_path.parent.glob("pwned*"))


def test_a_nasty_answer_is_data() -> None:
    (request,) = Fault("", chunked(delta(NASTY), delta(finish_reason="stop"), event(b"[DONE]")), "ok", 200).requests()
    assert request.answer == NASTY
    (journal,) = Path("results/inference").rglob(EXCHANGES)
    assert all(record["status"] == 200 for record in attempts(journal))


if __name__ == "__main__":
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome = post(connection_to(sys.argv[1], total_s=50.0))
    print(outcome.error, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1024)
