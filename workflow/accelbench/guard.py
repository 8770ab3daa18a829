"""Run a command that ends when its parent does, however the parent ends.

    python -m accelbench.guard SIGNAL COMMAND…

The parent holds the other end of this process's standard input. The kernel closes it when the parent dies, even
by `kill -9`; the guard then sends SIGNAL to the command's process group and, 30 s later, SIGKILL. It exits with
the command's own status (128 + n when signal n ended it).
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading

GRACE_S = 30.0  # cszoo cancels its wafer job on SIGINT, which asks the cluster's server
PR_SET_PDEATHSIG = 1  # linux/prctl.h
NOT_STARTED = 127  # as shells say it


def main(arguments: list[str]) -> int:
    """Run the command under guard and return its status."""
    stop = signal.Signals[arguments[0]]
    die_with_guard = _kill_when_parent_dies if sys.platform == "linux" else None
    try:
        child = subprocess.Popen(
            arguments[1:], stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=die_with_guard
        )
    except OSError as error:
        print(f"{arguments[1]} can't be started: {error.strerror}", flush=True)
        return NOT_STARTED
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # Ctrl-C or a lost terminal reach the parent too, and it decides
    signal.signal(signal.SIGTERM, lambda *_: _end(child, stop))
    threading.Thread(target=_end_at_eof, args=(child, stop), daemon=True).start()
    status = child.wait()
    _signal_group(child, signal.SIGKILL)
    return status if status >= 0 else 128 - status


def _end_at_eof(child: subprocess.Popen[bytes], stop: signal.Signals) -> None:
    os.read(0, 1)
    _end(child, stop)


def _end(child: subprocess.Popen[bytes], stop: signal.Signals) -> None:
    _signal_group(child, stop)
    threading.Timer(GRACE_S, _signal_group, (child, signal.SIGKILL)).start()


def _signal_group(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def _kill_when_parent_dies() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        code = main(sys.argv[1:])
        sys.stdout.flush()
        os._exit(code)  # the timer and reader threads have nothing left to do
