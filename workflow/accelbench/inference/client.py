"""One HTTP exchange, timed: what was sent when, and every read with its moment.

`http.client` is used for timed requests because it does nothing behind one's back: no retry, no redirect, no
pool. The clock is monotonic (perf_counter); t0 is `sent_s`, the moment the request had been written. Nothing is
parsed here.
"""

import http.client
import os
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

READ_BYTES = 1 << 16
CREDENTIAL_HEADERS = {"authorization", "cookie", "set-cookie", "proxy-authorization", "www-authenticate"}


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

    @property
    def found_closed(self) -> bool:
        """Whether a kept-alive connection turned out to be closed before any answer.

        The server ended it while the request was on its way (RFC 9112, 9.5): that says nothing about the
        request, which may be sent again on a new connection.
        """
        return self.error == "connection" and self.reused and self.headers_s is None


class Connection:
    """A connection to one endpoint, kept alive until it is found closed once. Not shared between threads.

    A server that ends connections unannounced after some answers (llama.cpp after streams) gets a new one for
    each further request, opened before the request is timed.
    """

    def __init__(self, base_url: str, *, connect_s: float, read_s: float, total_s: float, epoch_s: float) -> None:
        """Remember where to connect; `epoch_s` is the perf_counter value that times are counted from."""
        self.url = urlsplit(base_url)
        self.proxy = proxy_of(base_url)
        self.connect_s, self.read_s, self.total_s, self.epoch_s = connect_s, read_s, total_s, epoch_s
        self._http: http.client.HTTPConnection | None = None
        self._keep = True

    def open(self) -> bool:
        """Connect unless a usable connection is open; return whether it is a new one.

        Raises OSError or http.client.HTTPException.
        """
        if self._http is not None and not self._is_stale():
            return False
        self.close()
        connection = self._new()
        connection.connect()
        self._http = connection
        return True

    def close(self) -> None:
        """Close the connection."""
        if self._http is not None:
            self._http.close()
            self._http = None

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Exchange:
        """Send one POST and read its answer to the end. Never raises for what the network does."""
        exchange = Exchange()
        stage, deadline = "timeout_connect", time.perf_counter() + self.total_s
        try:
            exchange.reused = not self.open()
            connection = self._http
            assert connection is not None
            exchange.connected_s = self._now()
            stage = "timeout_read"
            self._limit(connection, deadline)
            connection.request("POST", self._target(path), body, {**headers, **self._proxy_headers()})
            exchange.sent_s = self._now()
            response = connection.getresponse()
            exchange.headers_s = self._now()
            exchange.status = response.status
            exchange.headers = {k: v for k, v in response.getheaders() if k.lower() not in CREDENTIAL_HEADERS}
            while data := response.read1(READ_BYTES):
                exchange.reads.append((self._now(), data))
                self._limit(connection, deadline)
            exchange.end_s = self._now()
            if response.length:
                raise http.client.IncompleteRead(b"", response.length)
            if response.will_close or not self._keep:
                self.close()
            else:
                response.close()  # read1 doesn't end a body of known length by itself; the connection stays
        except TimeoutError as error:
            late = time.perf_counter() >= deadline
            self._failed(exchange, "timeout_total" if late else stage, error)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._failed(exchange, "connection", error)
        return exchange

    def _failed(self, exchange: Exchange, kind: str, error: Exception) -> None:
        exchange.end_s = self._now()
        exchange.error, exchange.error_text = kind, f"{type(error).__name__}: {error}"[:300]
        self._keep = self._keep and not exchange.found_closed
        self.close()

    def _now(self) -> float:
        return time.perf_counter() - self.epoch_s

    def _limit(self, connection: http.client.HTTPConnection, deadline: float) -> None:
        left = deadline - time.perf_counter()
        if left <= 0:
            raise TimeoutError("the attempt took longer than timeout_total_s")
        if connection.sock is not None:  # http.client lets go of it when the answer is the last one
            connection.sock.settimeout(min(self.read_s, left))

    def _is_stale(self) -> bool:
        """Tell whether the server closed the idle connection: then its end can be read (over TLS, not just tickets)."""
        sock = self._http.sock if self._http else None
        if sock is None:
            return True
        sock.settimeout(0)
        try:
            sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        return True

    def _new(self) -> http.client.HTTPConnection:
        host, port = str(self.url.hostname), self.url.port or (443 if self.url.scheme == "https" else 80)
        to = (self.proxy.hostname, self.proxy.port or 3128) if self.proxy else (host, port)
        if self.url.scheme == "https":
            context = ssl.create_default_context(cafile=os.environ.get("REQUESTS_CA_BUNDLE"))
            secure = http.client.HTTPSConnection(str(to[0]), to[1], timeout=self.connect_s, context=context)
            if self.proxy:
                secure.set_tunnel(host, port, headers=_proxy_credentials(self.proxy))
            return secure
        return http.client.HTTPConnection(str(to[0]), to[1], timeout=self.connect_s)

    def _target(self, path: str) -> str:
        own = f"{self.url.path}{path}"
        return f"{self.url.scheme}://{self.url.netloc}{own}" if self._asks_proxy() else own

    def _proxy_headers(self) -> dict[str, str]:
        return _proxy_credentials(self.proxy) if self._asks_proxy() else {}

    def _asks_proxy(self) -> bool:
        """Tell whether requests themselves go to a proxy (https only passes through one)."""
        return self.proxy is not None and self.url.scheme == "http"


def proxy_of(url: str) -> Any:
    """Return the proxy that the environment asks for this URL, split, or None."""
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if not proxy or proxy_bypass(parts.netloc):
        return None
    return urlsplit(proxy if "//" in proxy else f"http://{proxy}")


def _proxy_credentials(proxy: Any) -> dict[str, str]:
    if not proxy.username:
        return {}
    import base64

    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
