"""The way to an endpoint, as a round found it: what opening connections took, and what the answers' headers say."""

import statistics
from collections.abc import Sequence
from typing import Any

from accelbench.config.inference import CREDENTIAL
from accelbench.inference.client import Connection, Exchange, proxy_of

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

    def facts(self, base_url: str, connections: Sequence[Connection]) -> dict[str, Any]:
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
