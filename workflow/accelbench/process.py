"""Processes that never outlive their purpose: guarded children, and this one when its workflow is gone."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

WORKFLOW_PID = "ACCELBENCH_WORKFLOW_PID"  # set by the Snakefile for all its jobs
PACKAGE_PARENT = str(Path(__file__).parents[1])


@contextmanager
def guarded(
    command: Sequence[str],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stop: signal.Signals = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command with its output going to `log` as it comes; it is gone when the block is left.

    Its status is that of the yielded process (128 + n after signal n). It also ends when this process dies.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, **(env or {})}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [PACKAGE_PARENT, os.environ.get("PYTHONPATH")]))
    log.unlink(missing_ok=True)  # a hard link in the archive keeps the old content
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "accelbench.guard", stop.name, *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=cwd,
        )
    try:
        yield process
    finally:
        if process.stdin:
            process.stdin.close()
        process.wait()


def end_with_workflow() -> None:
    """End this process, cleaning up, on SIGTERM and when the Snakemake that started it is gone."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    pid = os.environ.get(WORKFLOW_PID)
    if pid:
        threading.Thread(target=_watch, args=(int(pid),), daemon=True).start()


def _watch(pid: int) -> None:
    try:
        workflow = psutil.Process(pid)
        while workflow.is_running() and workflow.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.5)
    except psutil.NoSuchProcess:
        pass
    os.kill(os.getpid(), signal.SIGTERM)
