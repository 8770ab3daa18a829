"""Processes that end in time: guarded children end with their job, and this process ends with its workflow."""

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from accelbench.foreign import one_line
from accelbench.jobs.guard import MARK, adopt_orphans, end_descendants, identity, run_afterwards
from accelbench.store.files import read_record

WORKFLOW_PID = "ACCELBENCH_WORKFLOW_PID"  # set by the Snakefile for all its jobs
PACKAGE_PARENT = str(Path(__file__).parents[2])
KEPT = Path(".snakemake/accelbench.kept")  # a record per process that outlives its job, but not its workflow
KILLED_S = 5.0  # a killed process is gone by then, unless a disk or driver blocks it
GRACE_S = 30.0  # cszoo cancels its wafer job on SIGINT, which asks the cluster's server


def how_ended(status: int) -> str:
    """Say how a process ended: by a signal (-n in Python), or with a status (128 + n in a shell)."""
    if status < 0:
        return f"killed by signal {-status}"
    of_a_signal = f", as after signal {status - 128}" if 128 < status <= 128 + signal.SIGRTMAX else ""
    return f"exit status {status}{of_a_signal}"


CUDA_ORDER, PCI_ORDER = "CUDA_DEVICE_ORDER", "PCI_BUS_ID"  # NVML's order; CUDA's own puts the fastest card first


@contextmanager
def guarded(
    command: Sequence[str],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stop: signal.Signals = signal.SIGTERM,
    grace_s: float = GRACE_S,
    afterwards: Sequence[str] = (),
    append: bool = False,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command with its output going to `log`; when the block ends, the command and its children are gone.

    Its status is that of the yielded process (128 + n after signal n). It also ends when this process dies.
    When it was killed, so that it could not clean up after itself, `afterwards` is run with the log as its last
    word, and prints into the log. The log begins anew unless it is to `append`.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {CUDA_ORDER: PCI_ORDER, **os.environ, **(env or {})}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [PACKAGE_PARENT, os.environ.get("PYTHONPATH")]))
    then = [*afterwards, str(log.absolute())] if afterwards else []
    others = {child.pid for child in psutil.Process().children()}
    adopt_orphans()  # those of a guard that was killed
    if not append:
        log.unlink(missing_ok=True)  # a hard link in the archive keeps the old content
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "accelbench.jobs.guard", stop.name, str(grace_s), shlex.join(then), *command],
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
        status = process.wait()
        end_descendants(but=others)
        adopt_orphans(False)
        if status < 0 and then:  # the guard itself was killed, and its command with it
            run_afterwards(then, environment)


def interrupted_by_hangup() -> None:
    """Let a closed terminal end this process as Ctrl-C does, without errors from printing to it.

    Where hangups are ignored (nohup), they stay so.
    """
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        return
    terminals = [number for number in (1, 2) if os.isatty(number)]

    def interrupt(*_: object) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for number in terminals:
            os.dup2(nowhere, number)
        signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGHUP, interrupt)


def end_with_workflow() -> None:
    """End this process, cleaning up, on SIGTERM and when the Snakemake that started it is gone."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    pid = os.environ.get(WORKFLOW_PID)
    if pid:
        threading.Thread(target=_watch, args=(int(pid),), daemon=True).start()


def end_what_was_left() -> None:
    """Kill what a guarded command started if its guard and job are both dead (Linux)."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            mark = process.environ().get(MARK, "").split() if process.pid != os.getpid() else []
            if mark and not any(_may_live(guardian) for guardian in mark):
                what = f"process {process.pid} ({one_line(process.name())})"
                print(f"{what} was left by a killed measurement; killing it.", file=sys.stderr, flush=True)
                process.kill()
                process.wait(timeout=KILLED_S)


def workflow_identity() -> str | None:
    """Return what names the workflow that this job belongs to; None where there is none, or it is unknown."""
    pid = os.environ.get(WORKFLOW_PID, "")
    return identity(int(pid)) if pid.isdigit() else None


def kept_processes() -> list[int]:
    """Return the living processes that this workflow keeps from one job to the next."""
    records = [read_record(path) for path in sorted(KEPT.glob("*.json"))] if (ours := workflow_identity()) else []
    return [each["pid"] for each in records if each.get("workflow") == ours and is_alive(each)]


def is_alive(kept: Mapping[str, Any]) -> bool:
    """Tell whether the process of a record in KEPT is there: another one may have its id by now."""
    return "pid" in kept and identity(kept["pid"]) == kept.get("identity")


def _may_live(guardian: str) -> bool:
    """Tell whether a guard or job is alive, or can't be seen from here."""
    namespace, _, rest = guardian.partition("/")
    mine = identity(os.getpid()) or ""
    return namespace != mine.partition("/")[0] or identity(int(rest.partition("/")[0])) == guardian


def _watch(pid: int) -> None:
    try:
        workflow = psutil.Process(pid)
        while workflow.is_running() and workflow.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.5)
    except psutil.NoSuchProcess:
        pass
    os.kill(os.getpid(), signal.SIGTERM)
