"""The floor of network and gateway: timed GETs of the health page, without credentials, on a connection of their own.

What they take, a request takes at least, whatever the model does. They go through the client that the load goes
through, on a kept-alive connection, before and after the load and, where one request is in flight at a time, between
requests.

The way to an endpoint, as a round found it: what opening connections took, and what the answers' headers say.
"""

import statistics
from collections.abc import Sequence

from accelbench.config.inference import CREDENTIAL
from accelbench.inference.client.http import Connection, Exchange, proxy_of
from accelbench.store.records import FloorFacts, JsonObject

PROBES = 3  # before the load, and again after it
_TIMEOUT_S = 5.0


class Floor:
    """The probes of one round; without a health URL none is sent."""

    def __init__(self, health_url: str | None, epoch_s: float) -> None:
        """Remember whom to ask; times are counted from `epoch_s`, as those of the load are."""
        self._url = health_url
        self._connection = (
            Connection(health_url, connect_s=_TIMEOUT_S, read_s=_TIMEOUT_S, total_s=_TIMEOUT_S, epoch_s=epoch_s)
            if health_url
            else None
        )
        self._at_s: list[float] = []
        self._floor_s: list[float] = []
        self._failed = 0

    async def probe(self, times: int = 1) -> None:
        """Ask so many times, one after the other; never again once it failed, which might take its whole timeout."""
        for _ in range(times):
            if self._connection is None or self._failed:
                return
            exchange = await self._connection.get()
            if exchange.status == 200 and exchange.sent_s is not None and exchange.end_s is not None:
                self._at_s.append(exchange.sent_s)
                self._floor_s.append(exchange.end_s - exchange.sent_s)
            else:
                self._failed += 1

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    def facts(self) -> FloorFacts | None:
        """Return each probe's moment (seconds of the round's clock) and what it took; None: nobody was asked."""
        if self._connection is None:
            return None
        return FloorFacts(url=self._url, at_s=self._at_s, floor_s=self._floor_s, failed=self._failed)


KEPT_HEADERS = ("server", "via", "x-")


class Network:
    """What is learnt of the way while a round runs; `exchange` is told of every attempt."""

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self._sent = self._reused = 0
        self._headers: dict[str, str] = {}

    def exchange(self, exchange: Exchange) -> None:
        """Count an attempt, and keep the headers of the first one that was answered."""
        self._sent += exchange.sent_s is not None
        self._reused += exchange.sent_s is not None and exchange.reused
        if exchange.status == 200 and not self._headers:
            self._headers = server_headers(exchange.headers)

    def facts(self, base_url: str, connections: Sequence[Connection]) -> JsonObject:
        """Return the proxy's host, the share of requests on a connection that was open, openings, and headers."""
        openings = [opening for connection in connections for opening in connection.openings]
        proxy = proxy_of(base_url)
        first = openings[0] if openings else None
        return {
            "proxy": proxy.hostname if proxy else None,
            "connections_opened": len(openings),
            "reused_share": round(self._reused / self._sent, 4) if self._sent else None,
            "lookup_s": _spread([opening.lookup_s for opening in openings]),
            "connect_s": _spread([opening.connect_s for opening in openings]),
            "tls_s": _spread([opening.tls_s for opening in openings if opening.tls_s is not None]),
            "tls_version": first.tls_version if first else None,
            "cipher": first.cipher if first else None,
            "headers": self._headers,
        }


def server_headers(headers: dict[str, str]) -> dict[str, str]:
    """Return the headers that tell of server and gateway; none whose name speaks of a credential."""
    return {
        name: value
        for name, value in headers.items()
        if name.lower().startswith(KEPT_HEADERS) and not CREDENTIAL.search(name)
    }


def _spread(seconds: Sequence[float]) -> dict[str, float] | None:
    if not seconds:
        return None
    return {
        "min": round(min(seconds), 6),
        "median": round(statistics.median(seconds), 6),
        "max": round(max(seconds), 6),
    }
