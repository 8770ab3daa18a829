"""How long a token is valid, where it says so itself (a JSON Web Token). The token is never shown."""

import base64
import binascii
import time

import orjson


def left_s(token: str) -> float | None:
    """Return for how many seconds a token is still valid, below 0 when it is not; None when it does not say."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = orjson.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return float(claims["exp"]) - time.time()
    except (binascii.Error, ValueError, KeyError, TypeError):
        return None
