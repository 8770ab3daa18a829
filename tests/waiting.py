"""Waiting for what another process does, with a bound."""

import time
from collections.abc import Callable
from typing import Any


def until(condition: Callable[[], Any], within_s: float = 10.0) -> bool:
    """Tell whether the condition holds within so many seconds."""
    end_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.02)
    return True
