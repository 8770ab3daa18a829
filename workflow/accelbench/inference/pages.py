"""Pages that are asked before and after a load: plain GETs, never timed as measurements.

They take the same way as the load: the same proxy, the same authorities, and no credentials but the endpoint's own
(not those of ~/.netrc).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import requests

from accelbench.inference.client import proxy_of
from accelbench.inference.endpoints import Credentials

PAGE_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Page:
    """What came back: the HTTP status (None: no answer), in a few words what happened, and the JSON, if it is any."""

    status: int | None
    text: str
    document: Any = None

    @property
    def is_good(self) -> bool:
        """Whether it is the page that was asked for."""
        return self.status is not None and self.status < 400


def get_page(url: str, credentials: Credentials | None = None, query: Mapping[str, str] | None = None) -> Page:
    """Ask for a page once. Never raises for what the network does; no secret stands in what is returned."""
    proxy = proxy_of(url)
    with requests.Session() as session:
        session.trust_env = False
        try:
            answer = session.get(
                url,
                params=dict(query or {}),
                headers=credentials.headers() if credentials else {},
                timeout=PAGE_TIMEOUT_S,
                allow_redirects=False,
                proxies=dict.fromkeys(("http", "https"), proxy.geturl()) if proxy else None,
                verify=os.environ.get("REQUESTS_CA_BUNDLE") or True,
            )
        except requests.RequestException as error:
            return Page(None, type(error).__name__)
    content = credentials.hide(answer.content) if credentials else answer.content
    return Page(answer.status_code, f"status {answer.status_code}", _document(content))


def _document(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
