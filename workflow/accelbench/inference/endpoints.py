"""Endpoints before they are timed: their credentials and whether they are ready. Nothing here is timed."""

import os
import subprocess
import time

import requests

from accelbench.config import Endpoint, SecretSource
from accelbench.errors import UserError

POLL_S = 2.0
PROBE_TIMEOUT_S = 10.0
SECRET_CHARACTERS = 8  # anything shorter is a word ("none", "EMPTY") that may well stand in an answer


class Credentials:
    """The secret headers of an endpoint, in memory only; `repr` and errors never show them."""

    def __init__(self, name: str, endpoint: Endpoint) -> None:
        """Read all secrets from their sources. Raises UserError, naming the source, when one gives none."""
        self._name, self._endpoint = name, endpoint
        self._headers: dict[str, str] = {}
        self._secrets: set[bytes] = set()
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
        self._secrets |= {value.removeprefix("Bearer ").encode() for value in secrets.values()}

    def headers(self) -> dict[str, str]:
        """Return all headers of a request."""
        return {"Content-Type": "application/json", **self._endpoint.headers, **self._headers}

    def hide(self, text: bytes) -> bytes:
        """Return what an endpoint said with all secrets blotted out: some echo the token that they refuse."""
        for secret in self._secrets:
            text = text.replace(secret, b"(secret)") if len(secret) >= SECRET_CHARACTERS else text
        return text

    def __repr__(self) -> str:
        """Name the endpoint, not its secrets."""
        return f"Credentials({self._name!r})"


def read_secret(source: SecretSource, key: str) -> str:
    """Return a secret from its variable, else from its command."""
    secret = os.environ.get(source.env, "").strip() if source.env else ""
    if not secret and source.command:
        try:
            done = subprocess.run(source.command, capture_output=True, text=True, timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UserError(f"{key}: the command {source.command[0]} failed: {type(error).__name__}.") from None
        if done.returncode:
            raise UserError(f"{key}: the command {source.command[0]} failed with status {done.returncode}.")
        secret = done.stdout.strip()
    if not secret:
        where = f"the variable {source.env} is not set" if source.env else "the command printed nothing"
        raise UserError(f"{key}: {where}. Set it in the environment that starts snakemake.")
    if len(secret.splitlines()) > 1:
        raise UserError(f"{key}: the secret has more than one line; it must be one.")
    if not (secret.isascii() and secret.isprintable()):
        raise UserError(f"{key}: the secret holds characters that a header can't: was it copied whole?")
    return secret


def wait_until_ready(name: str, endpoint: Endpoint, base_url: str, credentials: Credentials) -> float:
    """Wait until the endpoint answers; return the seconds it took.

    Raises UserError when it refuses the token or isn't ready within `ready_timeout_s`.
    """
    url = endpoint.health_url or f"{base_url}/models"
    started_s = time.perf_counter()
    refreshed = False
    while True:
        status, text = _probe(url, credentials)
        if status is not None and status < 400:
            return time.perf_counter() - started_s
        if status in (401, 403):
            if refreshed:
                raise UserError(refused(name, endpoint, status))
            credentials.refresh()
            refreshed = True
            continue
        if status in (404, 405):  # it answers, but has no such page: ready as far as one can tell
            return time.perf_counter() - started_s
        if time.perf_counter() - started_s > endpoint.ready_timeout_s:
            raise UserError(
                f"{name}: {url} was not ready after {endpoint.ready_timeout_s:g} s ({text}). Is it up, and is "
                f"inference.endpoints.{name}.base_url right? Behind a proxy, are HTTPS_PROXY and no_proxy?"
            )
        time.sleep(min(POLL_S, endpoint.ready_timeout_s))


def is_ready(endpoint: Endpoint, base_url: str, credentials: Credentials) -> bool:
    """Ask once whether the endpoint answers."""
    status, _ = _probe(endpoint.health_url or f"{base_url}/models", credentials)
    return status is not None and (status < 400 or status in (404, 405))


def refused(name: str, endpoint: Endpoint, status: int) -> str:
    """Say that the token was refused, and how to get one."""
    token = endpoint.token
    if token is None:
        how = f"Name its source under inference.endpoints.{name}.token"
    elif token.env and (os.environ.get(token.env) or not token.command):
        how = f"Put a fresh token into {token.env}"
    else:
        how = f"Log in so that `{' '.join(token.command or [])}` prints a fresh token"
    return f"{name}: the token was refused ({status}). {how}, then run the same command again."


def _probe(url: str, credentials: Credentials) -> tuple[int | None, str]:
    try:
        answer = requests.get(url, headers=credentials.headers(), timeout=PROBE_TIMEOUT_S, allow_redirects=False)
    except requests.RequestException as error:
        return None, type(error).__name__
    return answer.status_code, f"status {answer.status_code}"
