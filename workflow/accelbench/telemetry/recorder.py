"""Recording beside a measurement: a process of its own, begun before and ended after it, that can't spoil it."""

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import orjson

from accelbench.jobs.process import PACKAGE_PARENT
from accelbench.telemetry.sources.source import Watched

TELEMETRY = "telemetry.jsonl"
IDLE_WAIT_S = 2.0  # before and after the measurement, where power is read
_BEGINS_S, _ENDS_S = 20.0, 5.0  # within which a recorder has begun and ended, or is done without


def recorded(folder: Path) -> list[str]:
    """Return the recorder's raw file by its name, if there is one."""
    return [TELEMETRY] if (folder / TELEMETRY).exists() else []


@contextmanager
def recording(folder: Path, what: Watched) -> Iterator[None]:
    """Record into the folder's telemetry.jsonl, after what earlier sessions wrote, until the block is left."""
    process, power = _begun(folder / TELEMETRY, what)
    try:
        if power:
            time.sleep(IDLE_WAIT_S)
        yield
        if power:
            time.sleep(IDLE_WAIT_S)
    finally:
        if process:
            _end(process)


def _begun(path: Path, what: Watched) -> tuple[subprocess.Popen[bytes] | None, bool]:
    """Start a recorder and wait for its first reading; return it, and whether it reads power."""
    path.parent.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [PACKAGE_PARENT, os.environ.get("PYTHONPATH")]))}
    command = [sys.executable, "-m", "accelbench.telemetry.record", str(path)]
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
    except OSError as error:
        print(f"{path}: the recorder can't be started: {error.strerror}", file=sys.stderr, flush=True)
        return None, False
    assert process.stdin and process.stdout
    with suppress(OSError):
        process.stdin.write(orjson.dumps(asdict(what), option=orjson.OPT_APPEND_NEWLINE))
        process.stdin.flush()
    readable, _, _ = select.select([process.stdout], [], [], _BEGINS_S)
    return process, bool(readable) and process.stdout.readline() == b"power\n"


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin and process.stdout
    with suppress(OSError):
        process.stdin.close()
    try:
        process.wait(_ENDS_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
