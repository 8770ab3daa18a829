"""One HTTP exchange, timed: what was sent when, and every read with its moment.

Connections are asyncio protocols over llhttp (httptools): one loop serves all streams, and does nothing behind
one's back: no retry, no redirect, no pool, no decompression. An answer beyond `MOST_BYTES` or `MOST_READS`, or a head
beyond `MOST_HEAD_BYTES` or `MOST_HEADERS`, is not read to its end (`malformed`). The clock is monotonic
(perf_counter); t0 is `sent_s`, the moment before the write that hands over the request's last byte, so that no
latency is understated; `written_s` is the moment after it.

What the reads hold is not looked at here, but for the end of a stream. After `[DONE]` the exchange is over, and
HTTP's own end is read in the background. After finish_reason and usage it is over when nothing more comes for
`AFTER_END_S`; each wait in vain halves the next one on this connection.
"""

import asyncio
import base64
import functools
import os
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import httptools
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from accelbench.errors import UserError
from accelbench.inference.api import CHAT_COMPLETIONS

CREDENTIAL_HEADERS = {"authorization", "cookie", "set-cookie", "proxy-authorization", "www-authenticate"}
PORTS = {"http": 80, "https": 443}
PROXY_PORT = 3128
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
MOST_BYTES = 64 * 2**20  # of one answer, as it comes over the wire: some 300,000 tokens, each in an event of its own
MOST_HEAD_BYTES = 256 * 2**10
MOST_HEADERS = 1000
KEPT_BYTES = 64 * 2**10  # of an answer that is too large, to see what it was
MOST_READS = 2**18  # of one answer: some 200 bytes of memory each, whatever they hold
SHORT_READ_BYTES, SOON_S = 1024, 0.001  # a read so short that ends no line is one with the next, when that comes soon
AFTER_END_S = 0.1  # for what else belongs to an answer that is whole: [DONE], HTTP's own end
_DONE, _DONE_LINE = CHAT_COMPLETIONS.done, CHAT_COMPLETIONS.done_line
_FINISH_KEY, _FINISHED = CHAT_COMPLETIONS.finish_key, CHAT_COMPLETIONS.finished
LINE_END = (b"\n", b"\r")
TORN_BYTES = 64  # of a line that was cut: more than what marks an end
WHOLE_WRITE_BYTES, LAST_WRITE_BYTES = 16 * 2**10, 1024  # what any socket takes at once; of a longer request, its end


@dataclass(slots=True)
class Exchange:
    """One attempt. Times in seconds of the round's clock; null where the attempt did not get that far."""

    connected_s: float | None = None
    sent_s: float | None = None
    headers_s: float | None = None
    end_s: float | None = None
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    reads: list[tuple[float, bytes]] = field(default_factory=list)
    error: str | None = None
    error_text: str | None = None
    reused: bool = False
    first_byte_s: float | None = None
    written_s: float | None = None

    @property
    def found_closed(self) -> bool:
        """Whether a kept-alive connection turned out to be closed before any answer.

        The server ended it while the request was on its way (RFC 9112, 9.5): that says nothing about the
        request, which may be sent again on a new connection.
        """
        return self.error == "connection" and self.reused and self.first_byte_s is None


@dataclass(frozen=True, slots=True)
class Opening:
    """What it took to open one connection, in seconds: looking the name up, TCP's handshake (about one round trip
    to the endpoint, or to the proxy in front of it), and TLS's, with what it agreed on."""

    lookup_s: float
    connect_s: float
    tls_s: float | None = None
    tls_version: str | None = None
    cipher: str | None = None


class Connection:
    """A connection to one endpoint, kept alive until it is found closed once. One exchange at a time.

    A server that ends connections unannounced after some answers (llama.cpp after streams) gets a new one for
    each further request, opened before the request is timed.
    """

    def __init__(self, base_url: str, *, connect_s: float, read_s: float, total_s: float, epoch_s: float) -> None:
        """Remember where to connect; `epoch_s` is the perf_counter value that times are counted from."""
        self.url = urlsplit(base_url)
        self.proxy = proxy_of(base_url)
        self.connect_s, self.read_s, self.total_s, self.epoch_s = connect_s, read_s, total_s, epoch_s
        self.openings: list[Opening] = []
        self._wire: _Wire | None = None
        self._keep = True
        self._after_end_s = AFTER_END_S

    async def open(self) -> bool:
        """Connect unless a usable connection is open; return whether it is a new one.

        Raises OSError (TimeoutError after `connect_s`).
        """
        if self._wire is not None and await self._wire.is_free(self._after_end_s):
            return False
        self.close()
        async with asyncio.timeout(self.connect_s):
            self._wire = await self._connect()
        return True

    def close(self) -> None:
        """Close the connection."""
        if self._wire is not None:
            if self._wire.waited_in_vain:
                self._after_end_s /= 2
            self._wire.transport.abort()
            self._wire = None

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Exchange:
        """Send one POST and read its answer to the end. Never raises for what the network does."""
        return await self._ask("POST", path, body, {"Content-Length": str(len(body)), **headers})

    async def get(self, path: str = "", headers: Mapping[str, str] | None = None) -> Exchange:
        """Send one GET and read its answer to the end. Never raises either."""
        return await self._ask("GET", path, b"", headers or {})

    async def _ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Exchange:
        exchange = Exchange()
        deadline_s = time.perf_counter() + self.total_s
        try:
            message = self._message(method, path, body, headers)
            exchange.reused = not await self.open()
        except TimeoutError:
            self._fail(exchange, "timeout_connect", f"no connection within {self.connect_s:g} s")
        except (OSError, ValueError) as error:
            self._fail(exchange, "connection", f"{type(error).__name__}: {error}"[:300])
        else:
            assert self._wire is not None
            exchange.connected_s = self._now()
            keep = await self._wire.exchange(message, exchange, self.read_s, deadline_s, after_end_s=self._after_end_s)
            self._keep = self._keep and not exchange.found_closed
            if not (keep and self._keep):
                self.close()
        return exchange

    def _fail(self, exchange: Exchange, kind: str, text: str) -> None:
        exchange.end_s, exchange.error, exchange.error_text = self._now(), kind, text

    def _now(self) -> float:
        return time.perf_counter() - self.epoch_s

    async def _connect(self) -> "_Wire":
        host, port = str(self.url.hostname), self.url.port or PORTS[self.url.scheme]
        if self.proxy is not None and self.proxy.scheme != "http":
            raise OSError(f"a proxy must be an http:// URL, and this one is {self.proxy.scheme}://")
        at = (str(self.proxy.hostname), self.proxy.port or PROXY_PORT) if self.proxy else (host, port)
        begun_s = time.perf_counter()
        addresses = await asyncio.get_running_loop().getaddrinfo(*at, type=socket.SOCK_STREAM)
        found_s = time.perf_counter()
        wire = await self._reach([str(address[0]) for *_, address in addresses], at[1])
        opening = Opening(found_s - begun_s, time.perf_counter() - found_s)
        if self.url.scheme == "https":
            if self.proxy is not None:
                await self._tunnel(wire, f"{host}:{port}")
            opening = await self._secure(wire, host, opening)
        self.openings.append(opening)
        return wire

    async def _reach(self, addresses: Sequence[str], port: int) -> "_Wire":
        """Connect to the first address that answers. Raises the last one's OSError when none does."""
        for place, address in enumerate(addresses, 1):
            try:
                _, wire = await asyncio.get_running_loop().create_connection(lambda: _Wire(self.epoch_s), address, port)
                return wire
            except OSError:
                if place == len(addresses):
                    raise
        raise OSError("the name has no address")

    async def _secure(self, wire: "_Wire", host: str, opening: Opening) -> Opening:
        """Put TLS over a connection; return its opening with what the handshake took."""
        begun_s = time.perf_counter()
        inner = await asyncio.get_running_loop().start_tls(
            wire.transport, wire, _authorities(ca_bundle()), server_hostname=host
        )
        assert inner is not None
        wire.connection_made(inner)
        tls = inner.get_extra_info("ssl_object")
        return replace(opening, tls_s=time.perf_counter() - begun_s, tls_version=tls.version(), cipher=tls.cipher()[0])

    async def _tunnel(self, wire: "_Wire", target: str) -> None:
        """Ask the proxy to pass bytes through to the endpoint. Raises OSError when it won't."""
        headers = "".join(f"{name}: {value}\r\n" for name, value in _proxy_credentials(self.proxy).items())
        asked = Exchange()
        message = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{headers}\r\n".encode()
        await wire.exchange(message, asked, self.connect_s, time.perf_counter() + self.connect_s, tunnel=True)
        if asked.status != 200:
            wire.transport.abort()
            raise OSError(f"the proxy refused to connect to {target} ({asked.status or asked.error_text})")

    def _message(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        """Return the request's bytes. Raises ValueError for a header that would break out of its line."""
        target = (f"{self.url.path}{path}" or "/") + (f"?{self.url.query}" if self.url.query else "")
        proxied = self.proxy is not None and self.url.scheme == "http"  # https passes through it unseen
        fields = {
            "Host": self.url.netloc,
            "Accept-Encoding": "identity",
            **headers,
            **(_proxy_credentials(self.proxy) if proxied else {}),
        }
        for name, value in fields.items():
            if not (name.isascii() and name.isprintable() and value.isprintable()) or ":" in name:
                raise ValueError(f"the header {name!r} holds characters that a header can't")
        where = f"http://{self.url.netloc}{target}" if proxied else target
        lines = [f"{method} {where} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


class _Wire(asyncio.Protocol):
    """The bytes of one connection, and the exchange that is under way on it."""

    transport: asyncio.Transport

    def __init__(self, epoch_s: float) -> None:
        self.epoch_s = epoch_s
        self.is_closed = False
        self.waited_in_vain = False
        """Whether an answer was whole, and nothing that ends it came within the time it was given."""
        self._exchange: Exchange | None = None
        self._parser: Any = None
        self._last_write = b""
        self._rest: asyncio.Future[None] | None = None  # HTTP's own end of an answer that is over

    async def exchange(
        self,
        message: bytes,
        exchange: Exchange,
        read_s: float,
        deadline_s: float,
        *,
        after_end_s: float = AFTER_END_S,
        tunnel: bool = False,
    ) -> bool:
        """Send a message and wait for the end of its answer; return whether the connection can be kept."""
        loop = asyncio.get_running_loop()
        self._exchange, self._tunnel, self._keep = exchange, tunnel, False
        self._parser, self._framed = httptools.HttpResponseParser(self), False
        self._bodies: list[bytes] = []
        self._text, self._torn, self._finished, self._after_end_s = b"", b"", False, after_end_s
        self._headers: dict[str, str] = {}
        self._received_bytes = self._head_bytes = self._headers_seen = 0
        self._whole = False
        self._read_s, self._deadline_s, self._heard_s = read_s, deadline_s, time.perf_counter()
        self._ended: asyncio.Future[None] = loop.create_future()
        self._watch: asyncio.TimerHandle | None = None
        try:
            if self.is_closed:
                self._fail("connection", "the server closed the connection")
            else:
                self._write(message)
                self._look()
            await self._ended
        finally:  # also when the load is cancelled
            self._exchange = None
            if self._watch is not None:
                self._watch.cancel()
        return self._keep and not self.is_closed

    async def is_free(self, within_s: float) -> bool:
        """Whether a request can be sent: at once, or after HTTP's own end of the last answer, waited for so long."""
        if self._rest is not None and not self._rest.done():
            left_s = self._heard_s + within_s - time.perf_counter()
            await asyncio.wait([self._rest], timeout=max(0.0, left_s))
            self.waited_in_vain = not self._rest.done()
        return not (self.is_closed or self.waited_in_vain)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(high=0)  # so that resume_writing tells when all was written

    def _write(self, message: bytes) -> None:
        """Hand over a request; its end apart where it may not fit at once, so that t0 is not before the rest."""
        end = len(message) - LAST_WRITE_BYTES if len(message) > WHOLE_WRITE_BYTES else 0
        self._last_write = message[end:]
        assert self._exchange is not None
        self._exchange.sent_s = self._now()
        if end:
            self.transport.write(message[:end])
        if self.transport.get_write_buffer_size() == 0:
            self.resume_writing()

    def resume_writing(self) -> None:
        exchange, last, self._last_write = self._exchange, self._last_write, b""
        if exchange is None or exchange.written_s is not None:
            return
        if last:
            exchange.sent_s = self._now()
            self.transport.write(last)
        if self.transport.get_write_buffer_size() == 0:
            exchange.written_s = self._now()

    def data_received(self, data: bytes) -> None:
        self._at_s = at_s = self._now()
        exchange = self._exchange
        if exchange is None:
            self._drain(data)
            return
        self._heard_s = at_s + self.epoch_s
        if exchange.first_byte_s is None:
            exchange.first_byte_s = at_s
        self._received_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if not self._tunnel:
                self._fail("connection", "the server answered with another protocol")
        except httptools.HttpParserError as error:
            self._fail("connection", f"not valid HTTP: {error}")
        if self._exchange is None:
            return
        if self._bodies:
            self._keep_read(exchange)
            self._notice_end()
        if self._received_bytes > MOST_BYTES:
            self._refuse_rest(f"is larger than {MOST_BYTES >> 20} MiB")
        elif len(exchange.reads) > MOST_READS:
            self._refuse_rest(f"came in more than {MOST_READS:,} reads")
        elif exchange.headers_s is None and self._received_bytes > MOST_HEAD_BYTES:
            self._refuse_head()

    def _keep_read(self, exchange: Exchange) -> None:
        """Keep what one read brought of the body.

        A short read that ends no line completes no event, and is one with the next if that comes soon: this changes
        no event's moment, and a byte at a time does not take 200 bytes of memory each.
        """
        if not self._bodies:
            return
        body = self._bodies[0] if len(self._bodies) == 1 else b"".join(self._bodies)
        self._bodies.clear()
        reads = exchange.reads
        before_s, before = reads[-1] if reads else (0.0, b"\n")
        if self._at_s - before_s < SOON_S and _is_torn(before):
            reads[-1] = (self._at_s, before + body)
        else:
            reads.append((self._at_s, body))
        self._text = self._torn + body if self._torn else body

    def _notice_end(self) -> None:
        """End the exchange with its stream; HTTP's own end, which is still to come, is read in the background."""
        text, self._text = self._text, b""
        if text.rfind(_DONE) >= 0 and _DONE_LINE.search(text):  # a sixth of what `in` takes
            self._keep = self._framed and self._parser.should_keep_alive()
            self._rest = asyncio.get_running_loop().create_future()
            self._received_bytes = 0
            self._end()
            return
        self._torn = b"" if text.endswith(LINE_END) else _torn_line(text)
        if not self._finished:
            at = text.rfind(_FINISH_KEY)
            self._finished = at >= 0 and _FINISHED.match(text, at) is not None
        if self._finished and not self._whole and CHAT_COMPLETIONS.counted.search(text):
            self._whole, self._read_s = True, min(self._after_end_s, self._read_s)
            self._look()

    def _drain(self, data: bytes) -> None:
        """Read on to HTTP's own end of an answer that is over. Anything else must not become the next answer."""
        self._received_bytes += len(data)
        try:
            if self._rest is None or self._rest.done() or self._received_bytes > KEPT_BYTES:
                raise ValueError
            self._parser.feed_data(data)
        except (ValueError, httptools.HttpParserError):
            self._cut_off()

    def _cut_off(self) -> None:
        self.is_closed = True
        self.transport.abort()
        self._free()

    def _free(self) -> None:
        """Let the next request go on: HTTP's own end has come, or the connection's."""
        if self._rest is not None and not self._rest.done():
            self._rest.set_result(None)

    def eof_received(self) -> None:
        self.is_closed = True
        self._free()
        exchange = self._exchange
        if exchange is None:
            return
        if exchange.headers_s is not None and not self._framed:  # its length is told by the connection's end
            self._end()
        else:
            self._fail("connection", "the connection was closed before the answer's end")

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closed = True
        self._free()
        text = f"{type(error).__name__}: {error}" if error else "the connection was closed before the answer's end"
        self._fail("connection", text[:300])

    # --- llhttp's callbacks -----------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers_seen += 1
        self._head_bytes += len(name) + len(value)
        if self._headers_seen > MOST_HEADERS:
            return
        key = name.decode("latin-1").lower()
        self._framed = self._framed or key in ("content-length", "transfer-encoding")
        if key not in CREDENTIAL_HEADERS:
            self._headers[key] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # an interim answer; the real one follows
            self._headers, self._framed = {}, False
            return
        if self._headers_seen > MOST_HEADERS or self._head_bytes > MOST_HEAD_BYTES:
            self._refuse_head()
            return
        assert self._exchange is not None
        self._exchange.status, self._exchange.headers, self._exchange.headers_s = status, self._headers, self._at_s
        if self._tunnel:
            self._end()

    def on_body(self, body: bytes) -> None:
        if self._exchange is not None:
            self._bodies.append(body)

    def on_message_complete(self) -> None:
        if self._exchange is None:
            if not self._parser.should_keep_alive():
                self._cut_off()
            self._free()
        elif self._exchange.headers_s is not None:
            self._keep = self._parser.should_keep_alive()
            self._end()

    # --- how it ends ------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """End the exchange when it is late, else look again when it would be."""
        now_s = time.perf_counter()
        silent_s = self._heard_s + self._read_s
        if now_s >= self._deadline_s:
            self._fail("timeout_total", "the attempt reached its total time limit")
        elif now_s >= silent_s:
            self.waited_in_vain = self._whole
            self._fail("timeout_read", f"no byte for {self._read_s:g} s")
        else:
            wait_s = min(self._deadline_s, silent_s) - now_s
            if self._watch is not None:
                self._watch.cancel()
            self._watch = asyncio.get_running_loop().call_later(wait_s, self._look)

    def _refuse_head(self) -> None:
        self._fail("malformed", f"the head is larger than {MOST_HEAD_BYTES >> 10} KiB or {MOST_HEADERS:,} headers")

    def _refuse_rest(self, why: str) -> None:
        if self._exchange is not None:
            self._exchange.reads = _beginning(self._exchange.reads)
            self._fail("malformed", f"the answer {why}: the rest was not read")

    def _fail(self, kind: str, text: str) -> None:
        """End the exchange with an error, unless its answer is whole: then it ended with the last read."""
        if self._exchange is None:
            return
        if self._whole and kind != "malformed":
            self._end()
        else:
            self._exchange.error, self._exchange.error_text = kind, text
            self._end(self._now())

    def _end(self, at_s: float | None = None) -> None:
        exchange, self._exchange = self._exchange, None
        assert exchange is not None
        self._keep_read(exchange)
        exchange.end_s = self._at_s if at_s is None else at_s
        if not self._ended.done():
            self._ended.set_result(None)

    def _now(self) -> float:
        return time.perf_counter() - self.epoch_s


def _torn_line(text: bytes) -> bytes:
    """Return the end of a line that was cut, so that no part of a longer line looks like its beginning."""
    line = text[max(text.rfind(b"\n"), text.rfind(b"\r")) + 1 :]
    return line if len(line) <= TORN_BYTES else b" " + line[-TORN_BYTES:]


def _is_torn(read: bytes) -> bool:
    """Whether a read is short and ends no line."""
    return len(read) < SHORT_READ_BYTES and b"\n" not in read and b"\r" not in read


def _beginning(reads: Sequence[tuple[float, bytes]]) -> list[tuple[float, bytes]]:
    """Return the reads of the first `KEPT_BYTES`."""
    kept, left = [], KEPT_BYTES
    for at_s, data in reads:
        if left <= 0:
            break
        kept.append((at_s, data[:left]))
        left -= len(data)
    return kept


def proxy_of(url: str) -> SplitResult | None:
    """Return the proxy that the environment asks for this URL, split, or None. None stands before this machine.

    Raises UserError, without repeating it, when it is no URL: what looks like a port may be part of a password.
    """
    parts, proxies = urlsplit(url), getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or parts.hostname in LOOPBACK or proxy_bypass(parts.netloc):
        return None
    try:
        split = urlsplit(proxy if "//" in proxy else f"http://{proxy}")
        usable = bool(split.hostname) and (split.port is None or split.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise UserError(
            f"{parts.scheme.upper()}_PROXY (or ALL_PROXY) is not http://[user:password@]host:port. "
            "Write special characters of the password as %XX (/ is %2F, @ is %40)."
        )
    return split


def proxy_secrets(url: str) -> set[str]:
    """Return what must not be repeated of the credentials for the proxy in front of a URL."""
    proxy = proxy_of(url)
    if proxy is None or not proxy.password:
        return set()
    return {proxy.password, unquote(proxy.password), _proxy_credentials(proxy)["Proxy-Authorization"].split()[1]}


def ca_bundle() -> str | None:
    """Return the file or folder of the authorities that the environment names: they alone are trusted then."""
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or None


@functools.lru_cache
def _authorities(bundle: str | None) -> ssl.SSLContext:
    """Trust a bundle's authorities; without one the system's and those that `requests` comes with."""
    if bundle is not None:
        is_folder = Path(bundle).is_dir()
        return ssl.create_default_context(cafile=None if is_folder else bundle, capath=bundle if is_folder else None)
    context = ssl.create_default_context()
    context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
    return context


def _proxy_credentials(proxy: SplitResult | None) -> dict[str, str]:
    if proxy is None or not proxy.username:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
