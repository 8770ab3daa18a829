"""One timed exchange against the stand-in."""

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from accelbench.errors import UserError
from accelbench.inference.client import Connection, Exchange, proxy_of

from .endpoint_stand_in import (
    CLOSE,
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
    head,
    stream,
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
        client = connection_to(f"http://127.0.0.1:{server.port}/health")
        exchanges = [client.get() for _ in range(2)]
        client.connection.close()
        root = connection_to(f"http://127.0.0.1:{server.port}")
        exchanges.append(root.get())
        root.connection.close()
    assert [(e.status, e.reused) for e in exchanges] == [(200, False), (200, True), (200, False)]
    assert [seen.target for seen in server.seen] == ["/health", "/health", "/"]
    assert all(set(seen.headers) == {"host", "accept-encoding"} for seen in server.seen)


def test_what_opening_a_connection_took_is_kept() -> None:
    with StandIn([stream()]) as server:
        client = connection_to(server.base_url)
        post(client)
        client.connection.close()
    (opening,) = client.connection.openings
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
            super()._serve(self._context.wrap_socket(connection, server_side=True), number)


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
