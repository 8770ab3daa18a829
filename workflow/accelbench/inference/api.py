"""The API that endpoints speak: what is asked, where, and what tells that an answer is over.

Building requests, the client and classifying read it here, so that another API is another `Api`, and a parser beside
the one in `answers/events.py`.
"""

import hashlib
import itertools
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from accelbench.config import Endpoint
from accelbench.errors import UserError
from accelbench.inference.client.journal import WARM_UP
from accelbench.inference.prompts import Prompt
from accelbench.plan.specs import Cell
from accelbench.store.records import JsonObject


@dataclass(frozen=True, slots=True)
class Api:
    """One API of language models over HTTP, with server-sent events as streams."""

    path: str
    """Below an endpoint's base_url."""
    fields: Callable[[Endpoint, Cell, Sequence[str]], dict[str, object]]
    """From an endpoint, a cell and messages, the user's and the assistant's in turn, to the fields of a request."""
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


def _chat_fields(endpoint: Endpoint, cell: Cell, messages: Sequence[str]) -> dict[str, object]:
    """Return the fields of a chat completion. Sampling parameters are always sent."""
    load = cell.load
    fields: dict[str, object] = {
        "model": endpoint.model,
        "messages": [
            {"role": role, "content": content}
            for role, content in zip(itertools.cycle(("user", "assistant")), messages, strict=False)
        ],
        "max_tokens": cell.max_tokens,
        "temperature": load.temperature,
        "top_p": load.top_p,
        "stream": load.stream,
    }
    if cell.output_tokens is not None:
        fields |= {"min_tokens": cell.output_tokens, "ignore_eos": True}
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
        "min_tokens": None,
        "ignore_eos": None,
    },
    done=b"[DONE]",
    done_line=re.compile(rb"(?:^|[\r\n])data:[ \t]*\[DONE\][ \t]*(?:[\r\n]|$)"),
    finish_key=b'"finish_reason"',
    finished=re.compile(rb'"finish_reason"\s*:\s*"(?!null")[^"]+"'),
    counted=re.compile(rb'"usage"\s*:\s*\{'),
)


NONCE = "Request {}.\n\n"  # worded so that small models don't take the code for the answer
_BLANK_LINE = "\n\n"
CHARACTERS_PER_TOKEN = 4.2  # English prose, byte-pair tokenizers of 32,000 words and more; usage tells the truth


@dataclass(frozen=True, slots=True)
class Turn:
    """A place in a conversation: a number from 1, of so many."""

    number: int
    of: int


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt to be asked once: `key` names it within the round."""

    key: str
    body: bytes
    prefix: str | None = None
    """The code of the prefix that its prompt begins with, which other requests may share."""
    turn: Turn | None = None
    """Its place in a conversation."""
    output_tokens: int | None = None
    """The tokens that its answer must have, if that is fixed."""


def body(endpoint: Endpoint, cell: Cell, messages: Sequence[str]) -> JsonObject:
    """Return the JSON body of one request, with what the config adds and leaves out."""
    fields = CHAT_COMPLETIONS.fields(endpoint, cell, messages)
    return {key: value for key, value in {**fields, **endpoint.extra_body}.items() if key not in endpoint.omit_body}


@dataclass(frozen=True, slots=True)
class Prefix:
    """What a prompt begins with; requests with the same code have the same."""

    code: str
    text: str


def request(
    endpoint: Endpoint,
    cell: Cell,
    prompt: Prompt,
    passages: Sequence[str],
    code: str,
    *,
    prefix: Prefix | None = None,
    warm_up: int | None = None,
    before: Sequence[Prompt] = (),
    turns: int = 1,
) -> Request:
    """Return one request; `code` is its nonce, `warm_up` its number before the round.

    `before`: the earlier turns of its conversation, which has so many `turns`. Only the first is asked with its
    passage, and each of them is answered by its gold answer, so that every endpoint reads the same.
    """
    key = prompt.id if warm_up is None else f"{WARM_UP}-{warm_up}"
    text = worded(cell, [*before, prompt][0], passages)
    if cell.load.nonce or warm_up is not None:  # a warm-up must not put the round's prompts into a prefix cache
        text = NONCE.format(code) + text
    if prefix is not None:
        text = NONCE.format(prefix.code) + prefix.text + _BLANK_LINE + text
    messages = [text]
    for asked, then in itertools.pairwise([*before, prompt]):
        messages += [next(iter(asked.answers), ""), then.question]
    return Request(
        key,
        orjson.dumps(body(endpoint, cell, messages)),
        prefix=prefix.code if prefix else None,
        turn=Turn(len(before) + 1, turns) if turns > 1 else None,
        output_tokens=cell.output_tokens,
    )


def worded(cell: Cell, prompt: Prompt, passages: Sequence[str]) -> str:
    """Return a prompt as the cell asks it, without prefix and nonce."""
    if cell.context_tokens is None:
        return prompt.prompt
    context = filled(prompt.context, passages, cell.context_tokens, prompt.id)
    return prompt.prompt.replace(prompt.context, context, 1)


def prefix_text(cell: Cell, prompts: Sequence[Prompt], passages: Sequence[str]) -> str:
    """Return a text that is the cell's prefix share of a prompt of typical length: passages, over and over.

    Raises UserError when the set has none.
    """
    if not any(passages):
        raise UserError(
            "prefix: the prompt set has no passages to make one of. Use a set with a context column, or no prefix."
        )
    own = sum(len(worded(cell, prompt, passages)) for prompt in prompts) / len(prompts)
    length = round(own * cell.prefix_share / (1 - cell.prefix_share))
    text = _BLANK_LINE.join(passages)
    return (text * (length // len(text) + 1))[:length]


def nonce(seed: int, cell: str, round_no: int, key: str) -> str:
    """Return the code that stands in front of a prompt: the same for every endpoint, new in every round."""
    return hashlib.sha256(f"{seed}/{cell}/{round_no}/{key}".encode()).hexdigest()[:8]


def filled(context: str, passages: Sequence[str], tokens: int, seed: str) -> str:
    """Return a context of about `tokens` tokens: other passages in a drawn order, the prompt's own at a drawn place.

    Raises UserError when the set's passages are too few for it.
    """
    draw = random.Random(f"context {seed}")
    chosen, left = [context], tokens * CHARACTERS_PER_TOKEN - len(context)
    others = [passage for passage in passages if passage != context]
    for passage in draw.sample(others, len(others)):
        if len(passage) > left:
            break
        chosen.append(passage)
        left -= len(passage) + len(_BLANK_LINE)
    else:
        there = len(_BLANK_LINE.join(passages)) / CHARACTERS_PER_TOKEN
        raise UserError(
            f"context_tokens: {tokens:,} is more than the passages of the prompt set give (about {there:,.0f} tokens). "
            "Ask for less, or name a larger data set under <prompts>.",
            prompts="inference.prompts",
        )
    place = draw.randrange(len(chosen))
    chosen[0], chosen[place] = chosen[place], chosen[0]
    return _BLANK_LINE.join(chosen)
