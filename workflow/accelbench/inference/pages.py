"""Pages that are asked before and after a load: plain GETs, never timed as measurements.

They take the same way as the load: the same proxy, the same authorities, no redirect, and no credentials but the
endpoint's own (not those of ~/.netrc). What a page may send, and how long it may take, is bounded.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import requests

from accelbench.errors import UserError
from accelbench.inference.client import proxy_of
from accelbench.inference.endpoints import Credentials

PAGE_TIMEOUT_S = 10.0
PAGE_BYTES, CHUNK_BYTES = 1 << 24, 1 << 16


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
    hide = credentials.hide if credentials else bytes
    try:
        proxy = proxy_of(url)
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(
                url,
                params=dict(query or {}),
                headers={"Accept-Encoding": "identity", **(credentials.headers() if credentials else {})},
                timeout=timeout_s,
                allow_redirects=False,
                stream=True,
                proxies=dict.fromkeys(("http", "https"), proxy.geturl()) if proxy else None,
                verify=os.environ.get("REQUESTS_CA_BUNDLE") or True,
            )
            content = hide(_content(answer, time.perf_counter() + timeout_s))
    except (requests.RequestException, UserError, OSError, ValueError) as error:
        return Page(None, hide(_reason(error).encode()).decode())
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Page(answer.status_code, f"status {answer.status_code}", _document(content), headers)


def _content(answer: requests.Response, deadline_s: float) -> bytes:
    """Read an answer as it came, never decompressed, within the bounds. Raises ValueError beyond them."""
    content = bytearray()
    while data := answer.raw.read1(CHUNK_BYTES):
        content += data
        if len(content) > PAGE_BYTES:
            raise ValueError(f"the page is longer than {PAGE_BYTES >> 20} MiB")
        if time.perf_counter() > deadline_s:
            raise ValueError("the page took too long")
    return bytes(content)


def _reason(error: Exception) -> str:
    """Return what happened in a few words: the innermost cause, which says why TLS or a connection failed."""
    cause: BaseException = error
    while cause.__cause__ is not None or cause.__context__ is not None:
        cause = cause.__cause__ or cause.__context__ or cause
    return f"{type(error).__name__}: {cause}"[:300]


def _document(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
