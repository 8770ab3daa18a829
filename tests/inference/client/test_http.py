"""One timed exchange against the stand-in."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from accelbench.errors import UserError
from accelbench.inference.client import http
from accelbench.inference.client.http import Connection, Exchange, proxy_of
from accelbench.jobs.process import PACKAGE_PARENT

from ..endpoint_stand_in import (
    CLOSE,
    DONE,
    GONE,
    HANG,
    RESET,
    Script,
    StandIn,
    answer_document,
    chunked,
    delta,
    document,
    error,
    event,
    head,
    stream,
    tokens,
    usage,
)

LIMITS = {"connect_s": 2.0, "read_s": 2.0, "total_s": 5.0}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class Client:
    """A connection, and the loop that it lives in, for tests that wait for each exchange."""

    def __init__(self, base_url: str, **limits: float) -> None:
        self.connection = Connection(base_url, epoch_s=time.perf_counter(), **{**LIMITS, **limits})
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)

    def open(self) -> bool:
        return self._runner.run(self.connection.open())

    def get(self) -> Exchange:
        return self._runner.run(self.connection.get())

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> Exchange:
        return self._runner.run(self.connection.post(path, body, headers))

    def rest(self, seconds: float) -> None:
        self._runner.run(asyncio.sleep(seconds))

    def close(self) -> None:
        self.connection.close()
        self._runner.close()


def connection_to(base_url: str, **limits: float) -> Client:
    return Client(base_url, **limits)


def post(connection: Client, headers: dict[str, str] | None = None) -> Exchange:
    return connection.post("/chat/completions", b"{}", {"Content-Type": "application/json", **(headers or {})})


def exchange_with(*scripts: Script, **limits: float) -> Exchange:
    """Return the last of as many exchanges as there are scripts, on one connection."""
    with StandIn(list(scripts)) as server:
        connection = connection_to(server.base_url, **limits)
        exchanges = [post(connection) for _ in scripts]
        connection.close()
    return exchanges[-1]


def body_of(exchange: Exchange) -> bytes:
    return b"".join(data for _, data in exchange.reads)


def test_the_request_is_sent_as_given() -> None:
    with StandIn([answer_document()]) as server:
        connection = connection_to(server.base_url)
        connection.post("/chat/completions", b'{"a": 1}', {"X-Own": "yes"})
        connection.close()
    (seen,) = server.seen
    assert (seen.method, seen.target, seen.body) == ("POST", "/v1/chat/completions", b'{"a": 1}')
    assert seen.headers["x-own"] == "yes"
    assert seen.headers["host"] == f"127.0.0.1:{server.port}"


def test_times_follow_one_another() -> None:
    exchange = exchange_with(stream("a", "b", gap_s=0.02))
    moments = [exchange.connected_s, exchange.sent_s, exchange.headers_s, *(at for at, _ in exchange.reads)]
    assert None not in moments
    assert moments == sorted(moments)  # type: ignore[type-var]
    assert exchange.end_s is not None
    assert exchange.end_s >= exchange.reads[-1][0]


def test_time_before_the_first_byte_is_not_counted_as_sending() -> None:
    exchange = exchange_with([0.2, *stream("a")])
    assert exchange.sent_s is not None and exchange.headers_s is not None
    assert exchange.headers_s - exchange.sent_s >= 0.19


def test_each_read_keeps_its_moment() -> None:
    exchange = exchange_with(chunked(b"one", 0.1, b"two"))
    assert [data for _, data in exchange.reads] == [b"one", b"two"]
    assert exchange.reads[1][0] - exchange.reads[0][0] >= 0.09


@pytest.mark.parametrize(
    "script", [stream("a"), answer_document(), error(500)], ids=["chunked", "known length", "error"]
)
def test_a_kept_connection_serves_the_next_request(script: Script) -> None:
    with StandIn([script, script, script]) as server:
        connection = connection_to(server.base_url)
        exchanges = [post(connection) for _ in range(3)]
        connection.close()
    assert [(e.error, e.reused) for e in exchanges] == [(None, False), (None, True), (None, True)]
    assert {seen.connection for seen in server.seen} == {1}
    assert len(server.seen) == 3


def test_a_body_without_length_ends_with_the_connection() -> None:
    exchange = exchange_with([head(), b"one", b"two", CLOSE])
    assert (body_of(exchange), exchange.error) == (b"onetwo", None)


def test_a_closed_idle_connection_is_noticed_before_sending() -> None:
    with StandIn([[*answer_document(), CLOSE], answer_document()]) as server:
        connection = connection_to(server.base_url)
        post(connection)
        connection.rest(0.05)
        exchange = post(connection)
        connection.close()
    assert (exchange.error, exchange.reused) == (None, False)


def test_a_connection_closed_under_the_request_is_found_closed() -> None:
    exchange = exchange_with(answer_document(), [RESET])
    assert (exchange.error, exchange.found_closed) == ("connection", True)


def test_a_fresh_connection_closed_before_the_answer_is_not_found_closed() -> None:
    exchange = exchange_with([CLOSE])
    assert (exchange.error, exchange.found_closed) == ("connection", False)


def test_a_cut_stream_keeps_what_came() -> None:
    exchange = exchange_with(chunked(delta("a"), CLOSE, last=False))
    assert (exchange.error, exchange.status, body_of(exchange)) == ("connection", 200, delta("a"))


def test_a_body_shorter_than_announced_is_a_connection_error() -> None:
    exchange = exchange_with([head(Content_Length="10") + b"four", CLOSE])
    assert (exchange.error, body_of(exchange)) == ("connection", b"four")


@pytest.mark.parametrize(
    "written", [b"garbage\r\n\r\n", b"HTTP/1.1 abc OK\r\n\r\n", head(Transfer_Encoding="chunked") + b"zz\r\n"]
)
def test_what_is_no_http_is_a_connection_error(written: bytes) -> None:
    assert exchange_with([written, CLOSE]).error == "connection"


# --- the moment of sending -----------------------------------------------------------------------------------


def test_a_request_is_stamped_before_and_after_the_write_of_its_last_byte() -> None:
    exchange = exchange_with(stream("a"))
    assert exchange.sent_s is not None and exchange.written_s is not None and exchange.connected_s is not None
    assert exchange.connected_s <= exchange.sent_s < exchange.written_s < exchange.reads[0][0]


def test_a_long_request_counts_from_the_write_of_its_last_byte() -> None:
    """The endpoint reads nothing for a while, so that no socket's buffer takes the whole request."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as lines:
                time.sleep(0.2)
                while lines.readline() != b"\r\n":
                    pass
                lines.read(2**23)
                connection.sendall(b"".join(step for step in answer_document() if isinstance(step, bytes)))

        server = threading.Thread(target=serve)
        server.start()
        connection = connection_to(f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
        exchange = connection.post("/chat/completions", bytes(2**23), {})
        connection.close()
        server.join()
    assert exchange.sent_s is not None and exchange.connected_s is not None and exchange.written_s is not None
    assert 0.15 < exchange.sent_s - exchange.connected_s < 2
    assert exchange.written_s - exchange.sent_s < 0.1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs one core for all")
def test_no_latency_is_below_the_truth_where_the_processor_is_contended() -> None:
    """Client, truth server and others share one core: the server may well answer before the write's call returns."""
    cores, one = os.sched_getaffinity(0), {min(os.sched_getaffinity(0))}
    spin = [sys.executable, "-c", "while True: pass"]
    serve = [sys.executable, "-m", "accelbench.inference.truth_server", "--ttft-s", "0", "--gap-s", "0.001"]
    environment = {**os.environ, "PYTHONPATH": PACKAGE_PARENT}
    body = json.dumps({"model": "truth", "messages": [], "max_tokens": 1}).encode()
    os.sched_setaffinity(0, one)
    try:
        with (
            subprocess.Popen(serve, stdout=subprocess.PIPE, text=True, env=environment) as server,
            subprocess.Popen(spin) as other,
        ):
            try:
                assert server.stdout
                connection = connection_to(f"http://127.0.0.1:{int(server.stdout.readline())}/v1")
                exchanges = [connection.post("/chat/completions", body, {}) for _ in range(60)]
                connection.close()
            finally:
                server.kill()
                other.kill()
    finally:
        os.sched_setaffinity(0, cores)
    for exchange in exchanges:
        told = re.search(rb'"content":"([\d.]+):([\d.]+) "', body_of(exchange))
        assert told and exchange.sent_s is not None
        assert exchange.reads[0][0] - exchange.sent_s >= float(told[2]) - float(told[1])


# --- the end of a stream ---------------------------------------------------------------------------------------

WHOLE = b"".join(step for step in tokens("Par", "is") if isinstance(step, bytes))
FINISHED = delta("a") + delta(finish_reason="stop")
ENDS = {
    "in one read": [WHOLE],
    "cut in [DONE]": [WHOLE[:-5], 0.01, WHOLE[-5:]],
    "cut after each byte": [step for place in range(len(WHOLE)) for step in (WHOLE[place : place + 1], 0.0002)],
    "followed by a comment": [WHOLE + b": bye\n\n"],
    "followed by an event": [WHOLE + b"event: ping\ndata: alive\n\n"],
    "without a space": [WHOLE.replace(b"data: ", b"data:")],
    "CR LF": [WHOLE.replace(b"\n", b"\r\n")],
    "CR": [WHOLE.replace(b"\n", b"\r")],
    "[DONE] without a line's end": [WHOLE.rstrip()],
    "[DONE] without finish_reason": [delta("a") + DONE],
    "finish_reason and usage": [FINISHED + usage(1)],
    "finish_reason and usage in one event": [
        event({"choices": [{"delta": {"content": "a"}, "finish_reason": "eos"}], "usage": {"completion_tokens": 1}})
    ],
    "finish_reason and usage, cut": [*[step for n in range(0, 999, 7) for step in ((FINISHED + usage(1))[n : n + 7],)]],
}


@pytest.mark.parametrize("framed", [True, False], ids=["chunked", "unframed"])
@pytest.mark.parametrize("name", ENDS)
def test_a_slot_is_free_when_a_stream_is_over_though_its_socket_stays_open(name: str, framed: bool) -> None:
    steps = [step for step in ENDS[name] if step]
    script = [*chunked(*steps, last=False), HANG] if framed else [head(), *steps, HANG]
    with StandIn(lambda _: script) as server:
        connection = connection_to(server.base_url, read_s=20.0)
        begun_s = time.perf_counter()
        exchanges = [post(connection) for _ in range(4)]
        lasted_s = time.perf_counter() - begun_s
        connection.close()
    assert lasted_s < 1.5
    assert len(server.seen) == 4
    for exchange in exchanges:
        assert (exchange.error, exchange.error_text, exchange.end_s) == (None, None, exchange.reads[-1][0])


@pytest.mark.parametrize(
    "said",
    [
        delta("data: [DONE]") + delta('"finish_reason": "stop", "usage": {"completion_tokens": 1}'),
        event({"choices": [{"delta": {"content": "a"}, "finish_reason": "null"}], "usage": {"completion_tokens": 1}}),
        event({"choices": [{"delta": {"content": "a"}, "finish_reason": ""}], "usage": {"completion_tokens": 1}}),
        delta("a") + usage(1),
    ],
    ids=["in the answer's text", 'finish_reason "null"', "finish_reason empty", "usage alone"],
)
def test_what_only_looks_like_the_end_of_a_stream_is_none(said: bytes) -> None:
    exchange = exchange_with(chunked(said, 0.3, WHOLE))
    assert (exchange.error, body_of(exchange)) == (None, said + WHOLE)


def test_usage_that_comes_after_finish_reason_and_usage_is_kept() -> None:
    both = event({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": {"completion_tokens": 1}})
    exchange = exchange_with(chunked(delta("a"), both, 0.03, usage(1), 0.03, DONE))
    assert body_of(exchange) == delta("a") + both + usage(1) + DONE


def test_the_end_of_http_is_waited_for_so_that_the_connection_serves_the_next_request() -> None:
    script = [*chunked(WHOLE, last=False), 0.03, b"0\r\n\r\n"]
    with StandIn([script, script, script]) as server:
        connection = connection_to(server.base_url)
        exchanges = [post(connection) for _ in range(3)]
        connection.close()
    assert {seen.connection for seen in server.seen} == {1}
    assert all(exchange.end_s == exchange.reads[-1][0] for exchange in exchanges)


@pytest.mark.parametrize("rest", [b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad", b"zz\r\n", b"x" * 100_000])
def test_what_follows_a_stream_never_becomes_the_next_answer(rest: bytes) -> None:
    script = [*chunked(WHOLE, last=False), 0.02, b"0\r\n\r\n" + rest]
    with StandIn([script, answer_document()]) as server:
        connection = connection_to(server.base_url)
        exchanges = [post(connection) for _ in range(2)]
        connection.close()
    assert body_of(exchanges[1]).startswith(b'{"id"')


# --- reads -----------------------------------------------------------------------------------------------------


def test_a_byte_at_a_time_is_kept_in_few_reads_and_no_event_moves() -> None:
    body = delta("a" * 3000)
    exchange = exchange_with(chunked(*[body[n : n + 1] for n in range(len(body))], 0.05, delta("b"), DONE))
    assert body_of(exchange) == body + delta("b") + DONE
    assert len(exchange.reads) < 300
    first_s = next(at_s for at_s, data in exchange.reads if b"\n\n" in data)
    assert next(at_s for at_s, data in exchange.reads if b'"b"' in data) - first_s > 0.045


def test_an_answer_in_too_many_reads_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MOST_READS", 20)
    exchange = exchange_with(chunked(*[b"\n", 0.002] * 100))
    assert (exchange.error, exchange.error_text) == (
        "malformed",
        "the answer came in more than 20 reads: the rest was not read",
    )
    assert len(exchange.reads) <= 21


def test_a_refused_connection_is_a_connection_error() -> None:
    with StandIn([]) as server:
        server.stop()
        exchange = post(connection_to(server.base_url))
    assert (exchange.error, exchange.connected_s, exchange.sent_s) == ("connection", None, None)


def test_a_silent_endpoint_is_a_read_timeout() -> None:
    exchange = exchange_with([HANG], read_s=0.1)
    assert (exchange.error, exchange.status) == ("timeout_read", None)


def test_a_stream_that_falls_silent_is_a_read_timeout_and_keeps_what_came() -> None:
    exchange = exchange_with(chunked(delta("a"), HANG), read_s=0.1)
    assert (exchange.error, exchange.status, body_of(exchange)) == ("timeout_read", 200, delta("a"))


def test_a_stream_that_drips_for_ever_is_a_total_timeout() -> None:
    exchange = exchange_with(chunked(*[delta("a"), 0.03] * 100), total_s=0.3)
    assert exchange.error == "timeout_total"
    assert exchange.end_s is not None
    assert exchange.end_s < 1


def test_an_endpoint_that_accepts_nothing_is_a_connect_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        fillers = []
        for _ in range(3):  # the queue of a listener that accepts nothing
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
            fillers.append(filler)
        exchange = post(connection_to(f"http://127.0.0.1:{full.getsockname()[1]}/v1", connect_s=0.1))
        for filler in fillers:
            filler.close()
    assert exchange.error == "timeout_connect"


def test_an_endpoint_that_goes_away_for_good_fails_this_and_the_next() -> None:
    with StandIn([answer_document(), [GONE]]) as server:
        connection = connection_to(server.base_url)
        errors = [post(connection).error for _ in range(3)]
    assert errors == [None, "connection", "connection"]


def test_headers_that_hold_credentials_are_not_kept() -> None:
    secrets = {"Set_Cookie": "canary", "WWW_Authenticate": "canary", "Authorization": "canary"}
    exchange = exchange_with(document({}, X_Request_Id="7", **secrets))
    assert "canary" not in str(exchange)
    assert exchange.headers["x-request-id"] == "7"


def test_errors_never_show_the_token() -> None:
    with StandIn([[RESET]]) as server:
        exchange = post(connection_to(server.base_url), {"Authorization": "Bearer canary"})
    assert exchange.error == "connection"
    assert "canary" not in str(exchange)


def test_plain_http_goes_through_the_proxy_with_its_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    with StandIn([answer_document(), answer_document()]) as proxy:
        monkeypatch.setenv("http_proxy", f"http://user:p%40ss@127.0.0.1:{proxy.port}")
        connection = connection_to("http://endpoint.invalid:8000/v1")
        errors = [post(connection).error for _ in range(2)]
        connection.close()
    assert errors == [None, None]
    assert proxy.seen[0].target == "http://endpoint.invalid:8000/v1/chat/completions"
    assert proxy.seen[0].headers["host"] == "endpoint.invalid:8000"
    assert proxy.seen[0].headers["proxy-authorization"] == "Basic dXNlcjpwQHNz"


def test_no_proxy_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "near.invalid")
    assert proxy_of("http://near.invalid/v1") is None
    assert proxy_of("http://far.invalid/v1") is not None


def test_no_proxy_stands_before_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert exchange_with(answer_document()).error is None


@pytest.mark.parametrize("proxy", ["http://me:canary/1@proxy:3128", "http://me:p@[canary", "http://me:canary@:80"])
def test_a_proxy_that_is_no_url_is_refused_without_showing_it(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    with pytest.raises(UserError, match=r"^HTTPS_PROXY .* %XX") as caught:
        connection_to("https://endpoint.invalid/v1")
    assert "canary" not in str(caught.value)


def test_a_get_asks_for_the_page_itself_without_credentials() -> None:
    with StandIn([], get=lambda _: document({})) as server:
        http = connection_to(f"http://127.0.0.1:{server.port}/health")
        exchanges = [http.get() for _ in range(2)]
        http.connection.close()
        root = connection_to(f"http://127.0.0.1:{server.port}")
        exchanges.append(root.get())
        root.connection.close()
    assert [(e.status, e.reused) for e in exchanges] == [(200, False), (200, True), (200, False)]
    assert [seen.target for seen in server.seen] == ["/health", "/health", "/"]
    assert all(set(seen.headers) == {"host", "accept-encoding"} for seen in server.seen)


def test_what_opening_a_connection_took_is_kept() -> None:
    with StandIn([stream()]) as server:
        http = connection_to(server.base_url)
        post(http)
        http.connection.close()
    (opening,) = http.connection.openings
    assert 0 <= opening.lookup_s < 1 and 0 < opening.connect_s < 1
    assert opening.tls_s is opening.tls_version is opening.cipher is None


def test_https_asks_the_proxy_for_a_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    with StandIn(lambda _: error(403)) as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        exchange = post(connection_to("https://endpoint.invalid/v1"), {"Authorization": "Bearer canary"})
    assert exchange.error == "connection"
    assert [(seen.method, seen.target) for seen in proxy.seen] == [("CONNECT", "endpoint.invalid:443")]
    assert "authorization" not in proxy.seen[0].headers


@pytest.fixture
def tls_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Yield the port of a TLS 1.3 front (it sends session tickets) of a stand-in."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    command += " -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
    command += f" -keyout {key} -out {certificate}"
    subprocess.run(command.split(), check=True, capture_output=True)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    with TlsStandIn(context) as server:
        yield server.port


class TlsStandIn(StandIn):
    """The stand-in over TLS; answers each POST with a document."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(lambda _: answer_document())
        self._context = context

    def _serve(self, connection: Any, number: int) -> None:
        with contextlib.suppress(ssl.SSLError):  # the client may refuse the certificate
            secured = self._context.wrap_socket(connection, server_side=True)
            self._connections.append(secured)
            super()._serve(secured, number)


def test_a_connection_opened_ahead_over_tls_is_the_one_that_is_used(tls_port: int) -> None:
    connection = connection_to(f"https://localhost:{tls_port}/v1")
    assert connection.open()
    time.sleep(0.1)  # the server's session tickets arrive
    exchange = post(connection)
    again = post(connection)
    connection.close()
    assert [(e.error, e.reused) for e in (exchange, again)] == [(None, True), (None, True)]
    (opening,) = connection.connection.openings
    assert opening.tls_version == "TLSv1.3" and opening.cipher
    assert opening.tls_s is not None and 0 < opening.tls_s < 1


def test_a_certificate_that_nobody_vouches_for_is_a_connection_error(
    tls_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    exchange = post(connection_to(f"https://localhost:{tls_port}/v1"))
    assert exchange.error == "connection"
    assert "certificate" in str(exchange.error_text)
