"""The credentials of an endpoint: read outside of all timing, sent, and never shown."""

import json
import os
import subprocess
from urllib.parse import quote

from accelbench.config import Endpoint, SecretSource
from accelbench.errors import UserError
from accelbench.inference.client import proxy_secrets

SECRET_CHARACTERS = 8  # anything shorter is a word ("none", "EMPTY") that may well stand in an answer


class Credentials:
    """The secret headers of an endpoint, in memory only; `repr` and errors never show them."""

    def __init__(self, name: str, endpoint: Endpoint) -> None:
        """Read all secrets from their sources. Raises UserError, naming the source, when one gives none."""
        self._name, self._endpoint = name, endpoint
        self._headers: dict[str, str] = {}
        self._secrets: set[bytes] = set()
        for secret in proxy_secrets(str(endpoint.base_url)) if endpoint.base_url else ():
            self._secrets |= _written(secret)
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
            self._secrets |= _written(value.removeprefix("Bearer "))

    def headers(self) -> dict[str, str]:
        """Return all headers of a request."""
        return {"Content-Type": "application/json", **self._endpoint.headers, **self._headers}

    def hide(self, text: bytes) -> bytes:
        """Return what an endpoint said, as long as it was, with all secrets blotted out: some echo the token."""
        for secret in self._secrets:
            text = text.replace(secret, b"*" * len(secret)) if len(secret) >= SECRET_CHARACTERS else text
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
        except FileNotFoundError:
            raise UserError(
                f"{key}: {source.command[0]} can't be found. Install it, or give its whole path in {key}.command."
            ) from None
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


def _written(secret: str) -> set[bytes]:
    """Return the ways in which an answer may hold a secret: as it is, in JSON, in a URL."""
    in_json = json.dumps(secret)[1:-1]
    return {way.encode() for way in (secret, in_json, in_json.replace("/", "\\/"), quote(secret, safe=""))}


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
