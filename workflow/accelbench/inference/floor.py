"""The floor of network and gateway: timed GETs of the health page, without credentials, on a connection of their own.

What they take, a request takes at least, whatever the model does. They go through the client that the load goes
through, on a kept-alive connection, before and after the load and, where one request is in flight at a time, between
requests.
"""

from typing import Any

from accelbench.inference.client import Connection

PROBES = 3  # before the load, and again after it
TIMEOUT_S = 5.0


class Floor:
    """The probes of one round; without a health URL none is sent."""

    def __init__(self, health_url: str | None, epoch_s: float) -> None:
        """Remember whom to ask; times are counted from `epoch_s`, as those of the load are."""
        self._url = health_url
        self._connection = (
            Connection(health_url, connect_s=TIMEOUT_S, read_s=TIMEOUT_S, total_s=TIMEOUT_S, epoch_s=epoch_s)
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

    def facts(self) -> dict[str, Any] | None:
        """Return each probe's moment (seconds of the round's clock) and what it took; None: nobody was asked."""
        if self._connection is None:
            return None
        return {"url": self._url, "at_s": self._at_s, "floor_s": self._floor_s, "failed": self._failed}
