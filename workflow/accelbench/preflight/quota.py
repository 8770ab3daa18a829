"""The user's quota, as the site's own program tells it: shown, since no two sites print the same.

One thing is read in it: `quota` and `lfs quota` put a `*` behind a figure that is over its limit (their manuals).
"""

import getpass
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

TIMEOUT_S = 10.0  # `quota` asks file servers, which may be away
LINES_SHOWN = 8
OVER = re.compile(r"\d[\w.]*\*")


def quota(folder: Path) -> list[str] | None:
    """Return the lines of the first program here that tells of a quota; None where none does."""
    for command in _commands(folder):
        if shutil.which(command[0]) is not None and (lines := _printed(command)):
            return [f"`{' '.join(command)}` says:", *lines[:LINES_SHOWN]]
    return None


def is_exceeded(lines: list[str]) -> bool:
    """Whether a figure is marked as over its limit."""
    return any(OVER.search(line) for line in lines[1:])


def _commands(folder: Path) -> Iterator[list[str]]:
    yield ["myquota"]  # ALCF
    yield ["lfs", "quota", "-h", "-u", getpass.getuser(), str(folder)]  # fails where the folder is not on Lustre
    yield ["quota", "-w"]


def _printed(command: list[str]) -> list[str]:
    """Return what a command prints; nothing where it has nothing to say. Its status tells of a limit, or nothing."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.rstrip() for line in done.stdout.splitlines() if line.strip()]
