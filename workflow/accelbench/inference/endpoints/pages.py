"""Pages that are asked before and after a load: plain GETs, never timed as measurements.

They take the same way as the load: the same proxy, the same authorities, no redirect, and no credentials but the
endpoint's own (not those of ~/.netrc). What a page may send, and how long it may take, is bounded.
"""

import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import requests
import urllib3

from accelbench.errors import UserError
from accelbench.foreign import message, one_line, parse_json
from accelbench.inference.client.http import ca_bundle, proxy_of, proxy_secrets
from accelbench.inference.endpoints.credentials import Credentials, Secrets

PAGE_TIMEOUT_S = 10.0
PAGE_BYTES, CHUNK_BYTES = 1 << 24, 1 << 16
MOST_WORDS = 300


@dataclass(frozen=True, slots=True)
class Page:
    """What came back: the HTTP status (None: no answer), in a few words what happened, and the JSON, if it is any."""

    status: int | None
    text: str
    document: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    words: str = ""
    """What an error says, in a line that can be printed."""

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
    """Ask for a page once, for `timeout_s` at most. Never raises for what the network does.

    No secret stands in what is returned, and its text can be printed.
    """
    hide = (credentials or Secrets(proxy_secrets(url))).hide
    try:
        headers = credentials.headers() if credentials else {}
        return _within(timeout_s, lambda: _asked(url, headers, query, timeout_s, hide))
    except (requests.RequestException, urllib3.exceptions.HTTPError, UserError, OSError, ValueError) as error:
        return Page(None, one_line(_told(hide, _reason(error))))


def _asked(
    url: str,
    headers: Mapping[str, str],
    query: Mapping[str, str] | None,
    timeout_s: float,
    hide: Callable[[bytes], bytes],
) -> Page:
    """Ask for a page; `timeout_s` bounds connecting, and each wait for a byte, by themselves."""
    proxy = proxy_of(url)
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(
            url,
            params=dict(query or {}),
            headers={"Accept-Encoding": "identity", **headers},
            timeout=timeout_s,
            allow_redirects=False,
            stream=True,
            proxies=dict.fromkeys(("http", "https"), proxy.geturl()) if proxy else None,
            verify=ca_bundle() or True,
        )
        content = hide(_content(answer))
    said = {_told(hide, name.lower()): _told(hide, value) for name, value in answer.headers.items()}
    words = one_line(message(content), MOST_WORDS) if answer.status_code >= 400 else ""
    return Page(answer.status_code, f"status {answer.status_code}", _document(content), said, words)


def _within(limit_s: float, ask: Callable[[], Page]) -> Page:
    """Return what `ask` returns, or raise what it raises, ValueError after `limit_s`.

    It runs in a thread: what sends a byte now and then, of a head as of a body, never trips a timeout of its own. One
    that was given up on ends with its connection, or with this process.
    """
    ended: queue.SimpleQueue[Page | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            ended.put(ask())
        except Exception as error:
            ended.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        got = ended.get(timeout=limit_s)
    except queue.Empty:
        got = ValueError("the page took too long")
    if isinstance(got, Exception):
        raise got
    return got


def _content(answer: requests.Response) -> bytes:
    """Read an answer as it came, never decompressed. Raises ValueError when it is too long."""
    content = bytearray()
    while data := answer.raw.read1(CHUNK_BYTES):
        content += data
        if len(content) > PAGE_BYTES:
            raise ValueError(f"the page is longer than {PAGE_BYTES >> 20} MiB")
    return bytes(content)


def _told(hide: Callable[[bytes], bytes], text: str) -> str:
    return hide(text.encode(errors="replace")).decode(errors="replace")


def _reason(error: Exception) -> str:
    """Return what happened in a few words: the innermost cause, which says why TLS or a connection failed."""
    cause: BaseException = error
    while cause.__cause__ is not None or cause.__context__ is not None:
        cause = cause.__cause__ or cause.__context__ or cause
    kind = "" if type(error) is ValueError else f"{type(error).__name__}: "  # our own words
    return f"{kind}{cause}"[:300]


def _document(content: bytes) -> Any:
    try:
        return parse_json(content)
    except ValueError:
        return None
