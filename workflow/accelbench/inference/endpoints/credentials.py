"""The credentials of an endpoint: read outside of all timing, sent, and never shown.

What an endpoint says is searched for them before anything is written: as they are, in other case, in JSON's and URLs'
escapes, in base64 and hexadecimal, and spread over the deltas of a stream. What is found is blotted out in the raw
bytes, so that nothing that is derived from them later, without the credentials, can hold one.
"""

import base64
import binascii
import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterable, Iterator

from accelbench import foreign
from accelbench.config import Endpoint, SecretSource
from accelbench.errors import UserError
from accelbench.inference.answers.events import parse_answer, split_thinking
from accelbench.inference.client.http import proxy_secrets

SECRET_CHARACTERS = 8  # anything shorter is a word ("none", "EMPTY") that may well stand in an answer
SEARCHED_BYTES = 2**20  # of a text, in which a secret's place is looked for; a larger one that holds any is blotted out
COMMAND_S = 60.0
ESCAPE = re.compile(rb"\\\\*(?:(?:u00|x)([0-9a-f]{2}))?|%(?:25)*([2-7][0-9a-f])")
NO_ENVIRONMENT = (
    "PBS jobs are told nothing of the environment that they were submitted from: name a command that prints it on the "
    "node, such as {command: [cat, /home/you/token]} with a file of mode 0600"
)
SEPARATORS = re.compile(r"""[\s;,=:"']+""")
DELTA = re.compile(
    rb'"(content|text|reasoning\w*|thinking|summary|refusal|message|arguments)"\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)"',
    re.DOTALL,
)
CHOICES = re.compile(rb'"index"\s*:\s*[1-9]')
LETTERS = re.compile(rb"\\u00(?:2[dDeE]|3[0-9]|[46][1-9a-fA-F]|[57][0-9aA]|5[fF])")
"""What makes it worth parsing an answer to look for secrets: several choices, letters in needless escapes."""


class Secrets:
    """What must not be repeated of an endpoint's credentials and its proxy's, in whatever form it comes back."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        """Take the first of them."""
        self._written: set[bytes] = set()
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str) -> None:
        """Take another one."""
        self._written |= _written(secret)

    def hide(self, text: bytes) -> bytes:
        """Return what an endpoint said, as long as it was, with all secrets blotted out: some echo the token."""
        if not self._written:
            return text
        hidden = bytearray(text)
        for begin, end in self._places(text):
            hidden[begin:end] = b"*" * (end - begin)
        deltas = [(found[1], *found.span(2)) for found in DELTA.finditer(hidden)]
        names = {name for name, _, _ in deltas}
        for name in {None, *names} if len(names) > 1 else names:
            self._hide_spread(hidden, [(begin, end) for own, begin, end in deltas if name in (None, own)])
        content = b"".join(hidden[begin:end] for name, begin, end in deltas if name in (b"content", b"text"))
        unusual = CHOICES.search(text) or LETTERS.search(text) or self._is_around_thinking(content)
        if (unusual or hidden != text) and self._is_told(bytes(hidden)):
            return b"*" * len(text)
        return bytes(hidden)

    def hide_text(self, text: str) -> str:
        """Do the same for a text."""
        return self.hide(text.encode(errors="replace")).decode(errors="replace")

    def _is_around_thinking(self, content: bytes) -> bool:
        """Tell whether a secret is whole once thinking is taken out of the middle; also where that can't be told."""
        try:
            text = foreign.parse_json(b'"%s"' % content)
        except ValueError:
            return True
        said, thought = split_thinking(text)
        return said != text and any(any(self._places(part.encode())) for part in (said, thought))

    def _hide_spread(self, hidden: bytearray, pieces: list[tuple[int, int]]) -> None:
        """Blot out what the pieces of a text hold together."""
        joined = b"".join(hidden[begin:end] for begin, end in pieces)
        for first, last in list(self._places(joined)):
            at = 0
            for begin, end in pieces:
                low, high = max(first, at), min(last, at + end - begin)
                if low < high:
                    hidden[begin + low - at : begin + high - at] = b"*" * (high - low)
                at += end - begin

    def _is_told(self, text: bytes) -> bool:
        """Tell whether what is derived from an answer's bytes still holds a secret."""
        answer = parse_answer([(0.0, text)], streamed=True)
        told = (answer.answer, answer.reasoning, answer.error, answer.malformed, answer.finish_reason, answer.note)
        return any(any(self._places(said.encode(errors="replace"))) for said in told if said)

    def _places(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Yield from where to where a secret stands in a text, as it is or in escapes."""
        plain = _normal(text)
        there = [secret for secret in self._written if secret in plain]
        if there and len(text) > SEARCHED_BYTES:
            yield 0, len(text)
        if not there or len(text) > SEARCHED_BYTES:
            return
        begins, ends = _positions(text)
        for secret in there:
            at = plain.find(secret)
            while at >= 0:
                yield begins[at], ends[at + len(secret) - 1]
                at = plain.find(secret, at + len(secret))

    def __repr__(self) -> str:
        """Tell how many there are, not what they are."""
        return f"Secrets({len(self._written)})"


class Credentials:
    """The secret headers of an endpoint, in memory only; `repr` and errors never show them."""

    def __init__(self, name: str, endpoint: Endpoint) -> None:
        """Read all secrets from their sources. Raises UserError, naming the source, when one gives none."""
        self._name, self._endpoint = name, endpoint
        self._headers: dict[str, str] = {}
        self._secrets = Secrets(proxy_secrets(str(endpoint.base_url)) if endpoint.base_url else ())
        self.refresh()

    def refresh(self) -> None:
        """Read the secrets again (a token command may have a new one)."""
        key = f"inference.endpoints.{self._name}"
        secrets = {
            header: read_secret(source, f"{key}.secret_headers.{header}")
            for header, source in self._endpoint.secret_headers.items()
        }
        if self._endpoint.token is not None:
            secrets["Authorization"] = f"Bearer {read_secret(self._endpoint.token, f'{key}.token')}"
        self._headers = secrets
        for value in secrets.values():
            for part in _parts(value):
                self._secrets.add(part)

    def headers(self) -> dict[str, str]:
        """Return all headers of a request."""
        return {"Content-Type": "application/json", **self._endpoint.headers, **self._headers}

    def hide(self, text: bytes) -> bytes:
        """Return what an endpoint said, as long as it was, with all secrets blotted out."""
        return self._secrets.hide(text)

    def hide_text(self, text: str) -> str:
        """Do the same for a text."""
        return self._secrets.hide_text(text)

    def __repr__(self) -> str:
        """Name the endpoint, not its secrets."""
        return f"Credentials({self._name!r})"


def read_secret(source: SecretSource, key: str) -> str:
    """Return a secret from its variable, else from its command.

    Raises UserError, naming `key` and never the secret, where there is none or it can't stand in a header.
    """
    secret = os.environ.get(source.env, "").strip() if source.env else ""
    if not secret and source.command:
        secret = _printed(source.command, key)
    if not secret:
        where = f"the variable {source.env} is not set" if source.env else "the command printed nothing"
        how = NO_ENVIRONMENT if "PBS_JOBID" in os.environ else "Set it in the environment"
        raise UserError(f"<key>: {where}. {how}, or leave it out where none is needed.", key=key)
    if len(secret.splitlines()) > 1:
        raise UserError("<key>: the secret has more than one line; it must be one.", key=key)
    if not (secret.isascii() and secret.isprintable()):
        raise UserError("<key>: the secret holds characters that a header can't: was it copied whole?", key=key)
    return secret


def _printed(command: list[str], key: str) -> str:
    """Return what a command prints. Raises UserError when it fails; nothing that it started stays."""
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    except FileNotFoundError:
        raise UserError(
            f"<key>: {command[0]} can't be found. Install it, or give its whole path in <key>.command.", key=key
        ) from None
    except OSError as error:
        raise UserError(f"<key>: the command {command[0]} failed: {type(error).__name__}.", key=key) from None
    try:
        printed, _ = process.communicate(timeout=COMMAND_S)
    except BaseException as error:  # an interrupt, too
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            raise UserError(f"<key>: the command {command[0]} did not end within {COMMAND_S:g} s.", key=key) from None
        raise
    if process.returncode:
        raise UserError(f"<key>: the command {command[0]} failed with status {process.returncode}.", key=key)
    return printed.decode(errors="replace").strip()


def _parts(header: str) -> set[str]:
    """Return a secret header's value, its parts (a scheme's word is too short to count), and what Basic encodes."""
    parts = {header, *SEPARATORS.split(header), *header.split()}
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() == "basic":
        with contextlib.suppress(binascii.Error, ValueError):
            pair = base64.b64decode(encoded).decode()
            parts |= {pair, pair.partition(":")[2]}
    return {part for part in parts if len(part) >= SECRET_CHARACTERS}


def _written(secret: str) -> set[bytes]:
    """Return how a secret looks in normal form: as it is, in hexadecimal, and in base64, whatever stands before it."""
    if len(secret) < SECRET_CHARACTERS:
        return set()
    plain = secret.encode()
    ways = {plain, plain.hex().encode()}
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + plain)
        own = whole[-(-before * 8 // 6) : (before + len(plain)) * 8 // 6]
        ways |= {own, own.translate(bytes.maketrans(b"+/", b"-_"))}
    return {_normal(way) for way in ways}


def _normal(text: bytes) -> bytes:
    """Return a text in lower case, with the characters that escapes of JSON and URLs stand for."""
    return ESCAPE.sub(_unescaped, text.lower())


def _unescaped(escape: re.Match[bytes]) -> bytes:
    code = escape[1] or escape[2]
    return bytes([int(code, 16)]).lower() if code else b""


def _positions(text: bytes) -> tuple[list[int], list[int]]:
    """Return where each byte of the normal form begins and ends in the text; backslashes belong to what follows."""
    begins: list[int] = []
    ends: list[int] = []
    at, escaped = 0, None
    for found in [*ESCAPE.finditer(text.lower()), None]:
        begin = found.start() if found else len(text)
        if begin > at:
            begins += [at if escaped is None else escaped, *range(at + 1, begin)]
            ends += range(at + 1, begin + 1)
            escaped = None
        if found is None:
            break
        if found[1] or found[2]:
            begins.append(begin if escaped is None else escaped)
            ends.append(found.end())
            escaped = None
        elif escaped is None:
            escaped = begin
        at = found.end()
    return begins, ends


def refused(name: str, endpoint: Endpoint, status: int, more: str = "") -> UserError:
    """Say that the token was refused, and how to get one."""
    token = endpoint.token
    variables = [source.env for source in endpoint.secret_headers.values() if source.env]
    if token is None and variables:
        how = f"Put fresh values into {', '.join(variables)}"
    elif token is None:
        return UserError(
            f"{name}: it refuses a request without a token ({status}). Give it one with <key>, then run the same "
            f"command again.{more}",
            key=f"inference.endpoints.{name}.token",
        )
    elif token.env and (os.environ.get(token.env) or not token.command):
        how = f"Put a fresh token into {token.env}"
    else:
        how = f"Log in so that `{' '.join(token.command or [])}` prints a fresh token"
    text = f"{name}: the token was refused ({status}). {how}, then run the same command again.{more}"
    return UserError(text, key=f"inference.endpoints.{name}.token")
