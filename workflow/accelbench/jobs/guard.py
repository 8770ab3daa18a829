"""Run a command that ends when its parent does, however the parent ends.

    python -m accelbench.jobs.guard SIGNAL GRACE_S AFTERWARDS COMMAND…

The parent holds the other end of this process's standard input. The kernel closes it when the parent dies, even by
`kill -9`; the guard then sends SIGNAL to the command's process group and, GRACE_S seconds later, SIGKILL. It exits with
the command's own status (128 + n when signal n ended it). Whatever the command left running is killed: on Linux all its
descendants, also those in sessions of their own; elsewhere its process group.

AFTERWARDS is one argument, quoted as for a shell, and empty for nothing: a command to run if COMMAND was killed and
could not clean up after itself. If it stopped on SIGNAL, it could.
"""

import contextlib
import ctypes
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Collection, Mapping
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
MARK = "ACCELBENCH_GUARDED_BY"  # guard and job, in the environment of all that the command starts
PASSES = 10  # at most; a process may start others while it is killed
_NOT_STARTED = 127  # as shells say it


def main(arguments: list[str]) -> int:
    """Run the command under guard and return its status."""
    adopt_orphans()
    stop, grace_s, afterwards = signal.Signals[arguments[0]], float(arguments[1]), shlex.split(arguments[2])
    try:
        child = subprocess.Popen(
            arguments[3:],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent,
            env={**os.environ, MARK: f"{identity(os.getpid())} {identity(os.getppid())}"},
        )
    except OSError as error:
        print(f"{arguments[3]} can't be started: {error.strerror}", flush=True)
        return _NOT_STARTED
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # Ctrl-C or a lost terminal reach the parent too, and it decides
    signal.signal(signal.SIGTERM, lambda *_: _end(child, stop, grace_s))
    threading.Thread(target=_end_at_eof, args=(child, stop, grace_s), daemon=True).start()
    status = _status_of(child)
    _signal_group(child, signal.SIGKILL)
    end_descendants()
    if afterwards and _was_killed(status, stop):
        run_afterwards(afterwards)
    return status if status >= 0 else 128 - status


def run_afterwards(command: list[str], env: Mapping[str, str] | None = None) -> None:
    """Run the command for after a kill, out of reach of signals to the group; its failure is ignored."""
    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, start_new_session=True, env=env, check=False)
    except OSError as error:
        print(f"{command[0]} can't be started: {error.strerror}", flush=True)


def adopt_orphans(adopts: bool = True) -> None:
    """Let descendants whose parents die become children of this process (where they can: Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(adopts), 0, 0, 0)


def end_descendants(but: Collection[int] = ()) -> None:
    """Kill the children of this process, except some, and all their descendants."""
    import psutil  # not before the command was started

    for _ in range(PASSES):
        left: list[psutil.Process] = []
        for child in psutil.Process().children():
            if child.pid not in but:
                with contextlib.suppress(psutil.Error):
                    left += [child, *child.children(recursive=True)]
        if not left:
            return
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=1)


def identity(pid: int) -> str | None:
    """Return a process's unique identity: namespace, id and start; None if it has ended or is unknown."""
    try:
        namespace = Path("/proc/self/ns/pid").readlink()
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # proc_pid_stat(5)
    except OSError:
        return None
    return None if state in "ZX" else f"{namespace}/{pid}/{fields[18]}"


def _status_of(child: subprocess.Popen[bytes]) -> int:
    """Wait for the command to end, and for orphans that end before."""
    while True:
        pid, status = os.wait()
        if pid == child.pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return child.returncode


def _was_killed(status: int, stop: signal.Signals) -> bool:
    """Tell whether a signal ended the command, or one of its own that it reports as shells do (128 + n)."""
    return status < 0 or (status > 128 and status != 128 + stop)


def _end_at_eof(child: subprocess.Popen[bytes], stop: signal.Signals, grace_s: float) -> None:
    os.read(0, 1)
    _end(child, stop, grace_s)


def _end(child: subprocess.Popen[bytes], stop: signal.Signals, grace_s: float) -> None:
    _signal_group(child, stop)
    threading.Timer(grace_s, _signal_group, (child, signal.SIGKILL)).start()


def _signal_group(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def die_with_parent() -> None:
    """Let the kernel kill this process when its parent dies (where it can: Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        code = main(sys.argv[1:])
        sys.stdout.flush()
        os._exit(code)  # the timer and reader threads have nothing left to do
