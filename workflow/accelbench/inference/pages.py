"""Pages that are asked before and after a load: plain GETs, never timed as measurements.

They take the same way as the load, through the same client: the same proxy, authorities and bounds, no redirect, and
no credentials but the endpoint's own (not those of ~/.netrc).
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import orjson
import uvloop

from accelbench.inference.client import Connection, Exchange
from accelbench.inference.endpoints import Credentials

PAGE_TIMEOUT_S = 10.0
URL_CHARACTERS = "!#$%&'()*+,/:;=?@[]~"


@dataclass(frozen=True, slots=True)
class Page:
    """What came back: the HTTP status (None: no answer), in a few words what happened, and the JSON, if it is any."""

    status: int | None
    text: str
    document: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """Whether it is the page that was asked for."""
        return self.status is not None and self.status < 400


def get_page(
    url: str,
    credentials: Credentials | None = None,
    query: Mapping[str, str] | None = None,
    *,
    timeout_s: float = PAGE_TIMEOUT_S,
) -> Page:
    """Ask for a page once. Never raises for what the network does; no secret stands in what is returned."""
    asked = quote(url, safe=URL_CHARACTERS) + (f"?{urlencode(query)}" if query else "")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        exchange = runner.run(_get(asked, credentials.headers() if credentials else {}, timeout_s))
    hide = credentials.hide if credentials else bytes
    if exchange.error or exchange.status is None:
        return Page(None, hide((exchange.error_text or "no answer").encode()).decode())
    content = hide(b"".join(data for _, data in exchange.reads))
    return Page(exchange.status, f"status {exchange.status}", _document(content), exchange.headers)


async def _get(url: str, headers: Mapping[str, str], timeout_s: float) -> Exchange:
    limits = {"connect_s": timeout_s, "read_s": timeout_s, "total_s": timeout_s}
    connection = Connection(url, epoch_s=time.perf_counter(), **limits)
    try:
        return await connection.get(headers=headers)
    finally:
        connection.close()


def _document(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
