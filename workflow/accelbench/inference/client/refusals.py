"""What an endpoint says when it refuses a request: which field it does not take, and what may mend the rest.

Its words are matched as OpenAI, Azure, vLLM, Mistral, Groq, LiteLLM, TGI, Google and pydantic's validation put them:
the field's name beside a word of refusal. A value that is out of bounds ("max_tokens is too large") is no such word.
"""

import re
from collections.abc import Collection, Sequence
from urllib.parse import urljoin, urlsplit

import orjson

from accelbench.foreign import message, one_line, parse_json
from accelbench.inference.api import CHAT_COMPLETIONS
from accelbench.inference.client.http import Exchange
from accelbench.inference.client.load import Attempt
from accelbench.inference.endpoints.served_model import first_of
from accelbench.store.records import JsonObject

UNFIT = {400, 422, 424, 500, 501}  # some frameworks answer 500 to a field that they do not know
REFUSING = re.compile(
    r"unsupported|n[o']t support|no longer support|unrecogni[sz]ed|unknown|unexpected|not (?:be )?(?:permitted|allowed)"
    r"|extra(?:neous)? (?:inputs?|fields?|keys?)|extra_forbidden|extraneous|forbidden|not a (?:valid|known)|not accept"
    r"|invalid (?:parameter|argument|field|key)|cannot find field|cannot both|deprecated|only the default"
    r"|use ['\"`]?max_completion_tokens",
    re.IGNORECASE,
)
OUT_OF_BOUNDS = re.compile(
    r"too (?:large|long|many)|exceed|context length|at most|maximum (?:allowed|value)", re.IGNORECASE
)
MUST_BE_POSITIVE = re.compile(r"strictly positive|greater than 0|must be positive|> ?0", re.IGNORECASE)
LISTING = re.compile(r"expected one of|supported (?:parameters|fields|values)|allowed_openai_params", re.IGNORECASE)
FAULTS = {400, 401, 403, 404, 405, 422}
REDIRECTS = range(300, 400)
MOST_SHOWN = 300


class Fitted:
    """The requests of a round as the endpoint takes them, which its first answers tell.

    A field that is refused is sent by its other name, or left out: said, and recorded by the round, never silent. What
    the config adds itself stays as it is.
    """

    def __init__(self, name: str, planned: JsonObject, own: Collection[str]) -> None:
        """Begin with what is planned; `own`: the fields that the config adds."""
        self.changes: dict[str, str | None] = {}
        self._name, self._planned, self._own = name, planned, own
        self._fields = [field for field in CHAT_COMPLETIONS.other_names if field in planned and field not in own]
        self._taken = False
        self._changed_s = 0.0

    @property
    def fields(self) -> JsonObject:
        """The fields of a request as they are sent."""
        return self._changed(self._planned)

    def content(self, planned: bytes) -> bytes:
        """Return the body of a request as it is sent."""
        return orjson.dumps(self._changed(orjson.loads(planned))) if self.changes else planned

    def asks_again(self, attempt: Attempt, now_s: float) -> bool:
        """Whether a request is sent again, because the endpoint refused a field of it; none once it took one."""
        field = refused_field(attempt.exchange, self._fields)
        if field in self.changes:
            return attempt.dequeued_s < self._changed_s
        self._taken = self._taken or attempt.exchange.status == 200
        if field is None or self._taken:
            return False
        other = CHAT_COMPLETIONS.other_names[field]
        self.changes[field] = None if other in self._own else other
        self._changed_s = now_s
        print(f"{self._name}: {in_words(attempt.exchange)} So it is asked {self._told(field)}.", flush=True)
        return True

    def __str__(self) -> str:
        """Say what is sent instead of what."""
        return "; ".join(map(self._told, self.changes))

    def _told(self, field: str) -> str:
        other = self.changes[field]
        return f"with {other} instead of {field}" if other else f"without {field}"

    def _changed(self, fields: JsonObject) -> JsonObject:
        kept = {key: value for key, value in fields.items() if key not in self.changes}
        renamed = {other: fields[key] for key, other in self.changes.items() if other and key in fields}
        return {**renamed, **kept}


def refused_field(exchange: Exchange, sent: Collection[str]) -> str | None:
    """Return the field, of those that were sent, that an answer refuses; the first one where it names several."""
    if exchange.status not in UNFIT:
        return None
    body = body_of(exchange)
    text = message(body)
    said = LISTING.split(text)[0]
    named = {found.start(): field for field in sent if (found := _named(field).search(said))}
    field = _parameter(body)
    if field not in sent:
        field = named[max(named) if "both" in said else min(named)] if named else None
    if field == "temperature" and MUST_BE_POSITIVE.search(said):
        return field
    if field == "max_tokens" and OUT_OF_BOUNDS.search(said):
        return None
    return field if REFUSING.search(said) else None


def is_at_fault(exchange: Exchange) -> bool:
    """Whether an answer says that it is the request that is wrong, or goes to the wrong place."""
    status = exchange.status
    if exchange.error or status is None:
        return False
    return status in FAULTS or status in REDIRECTS or (status == 200 and _is_html(exchange))


def in_words(exchange: Exchange) -> str:
    """Return an answer's status and what it says, in a line that is safe to print."""
    location = exchange.headers.get("location")
    away = f", a redirect to {location}" if location else ", an HTML page" if _is_html(exchange) else ""
    said = message(body_of(exchange))
    line = one_line(f"{exchange.status}{away}" + (f": {said}" if said else ""), MOST_SHOWN)
    return line if line.endswith((".", "!", "?", "…")) else f"{line}."


def remedy(exchange: Exchange, base_url: str, model: str, ids: Sequence[str], listed: bool) -> str:
    """Suggest what may mend a refusal, where it shows; "" where not.

    `ids`: those that `/models` lists; `listed`: whether there is such a page.
    <base_url>, <model> and <token> stand for the config's keys, or a command's options.
    """
    status, said, path = exchange.status, message(body_of(exchange)), CHAT_COMPLETIONS.path
    if status in REDIRECTS:
        away = urljoin(base_url + path, exchange.headers.get("location", "")).split("?")[0].removesuffix(path)
        return f"Redirects are not followed. Set <base_url> to {one_line(away, MOST_SHOWN)} if that is the endpoint."
    if base_url.endswith(path):
        return f"<base_url> must end before {path}: {base_url.removesuffix(path)}."
    if urlsplit(base_url).scheme == "http" and "https" in said.lower():
        return "It speaks https: write https:// in <base_url>."
    if status in (401, 403):
        return "Is the token right (<token>), and may it use this model?"
    if ids and model not in ids:
        return f"It serves {first_of(ids)}: set <model> to one of them."
    if status in (404, 405, 200) and not listed:
        missing = "" if re.search(r"/v\d", urlsplit(base_url).path) else f" Is /v1 missing: {base_url}/v1?"
        return f"There is no {base_url}/models either. Is <base_url> right?{missing}"
    return ""


def body_of(exchange: Exchange) -> bytes:
    """Return an answer's body."""
    return b"".join(data for _, data in exchange.reads)


def _named(field: str) -> re.Pattern[str]:
    """Return what finds a field's name in a text, in camel case too."""
    return re.compile(rf"(?<![a-z0-9_]){field.replace('_', '_?')}(?![a-z0-9_])", re.IGNORECASE)


def _parameter(body: bytes) -> str | None:
    """Return the field that an error names as its `param`."""
    try:
        document = parse_json(body)
    except ValueError:
        return None
    error = document.get("error", document) if isinstance(document, dict) else None
    name = error.get("param") if isinstance(error, dict) else None
    return name if isinstance(name, str) else None


def _is_html(exchange: Exchange) -> bool:
    kind = exchange.headers.get("content-type", "")
    return "html" in kind or body_of(exchange)[:1024].lstrip().lower().startswith((b"<!doctype html", b"<html"))
