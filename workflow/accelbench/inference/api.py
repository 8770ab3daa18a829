"""The API that endpoints speak: what is asked, where, and what tells that an answer is over.

Building requests, the client and classifying read it here, so that another API is another `Api`, and a parser beside
the one in `answers/events.py`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from accelbench.config import Endpoint
from accelbench.plan.specs import Cell


@dataclass(frozen=True, slots=True)
class Api:
    """One API of language models over HTTP, with server-sent events as streams."""

    path: str
    """Below an endpoint's base_url."""
    fields: Callable[[Endpoint, Cell, str], dict[str, object]]
    """From an endpoint, a cell and a prompt to the fields of a request."""
    token_limits: tuple[str, ...]
    """The fields that bound an answer's tokens."""
    other_names: Mapping[str, str | None]
    """Fields that some endpoints do not take, and what they are called there; None: they are left out."""
    done: bytes
    """The event that ends a stream."""
    done_line: re.Pattern[bytes]
    finish_key: bytes
    """What names the reason for an answer's end."""
    finished: re.Pattern[bytes]
    """Such a reason; `counted`: the token counts that may follow it."""
    counted: re.Pattern[bytes]


def _chat_fields(endpoint: Endpoint, cell: Cell, content: str) -> dict[str, object]:
    """Return the fields of a chat completion. Sampling parameters are always sent."""
    load = cell.load
    fields: dict[str, object] = {
        "model": endpoint.model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": cell.max_tokens,
        "temperature": load.temperature,
        "top_p": load.top_p,
        "stream": load.stream,
    }
    if load.stream:
        fields["stream_options"] = {"include_usage": True}
    if endpoint.reasoning_effort and load.reasoning_effort:
        fields["reasoning_effort"] = load.reasoning_effort
    return fields


CHAT_COMPLETIONS = Api(
    path="/chat/completions",
    fields=_chat_fields,
    token_limits=("max_completion_tokens", "max_tokens"),
    other_names={
        "max_tokens": "max_completion_tokens",
        "temperature": None,
        "top_p": None,
        "stream_options": None,
        "reasoning_effort": None,
    },
    done=b"[DONE]",
    done_line=re.compile(rb"(?:^|[\r\n])data:[ \t]*\[DONE\][ \t]*(?:[\r\n]|$)"),
    finish_key=b'"finish_reason"',
    finished=re.compile(rb'"finish_reason"\s*:\s*"(?!null")[^"]+"'),
    counted=re.compile(rb'"usage"\s*:\s*\{'),
)
