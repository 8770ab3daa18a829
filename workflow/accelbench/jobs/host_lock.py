"""The host lock: one measurement at a time on a machine, whoever started it and wherever it writes.

On Linux it is an abstract Unix socket: no file that could be planted or left behind. The kernel frees it when its
holder dies, and identifies the holder. Containers with their own network have their own lock. Elsewhere it is a file in
/tmp.
"""

import errno
import fcntl
import os
import pwd
import socket
import stat
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from accelbench.errors import UserError
from accelbench.foreign import one_line

LOCK_NAME = "ACCELBENCH_HOST_LOCK"  # for tests: those with other names don't wait for each other
DEFAULT_NAME = "accelbench-measurement"
LONGEST_WAIT_S = 24 * 3600.0
_FOLDER = Path("/tmp")  # the same for all users, whatever TMPDIR says
_ANSWER_S = 1.0  # a holder names its folder within this time
RETRY_S = 0.2
MOST_WAITING = 100  # connections kept open
CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


@contextmanager
def alone_on_host(folder: Path) -> Iterator[None]:
    """Lock the host; those who wait are told `folder`, on stderr.

    Raises UserError after a day of waiting.
    """
    name, end_s, told = os.environ.get(LOCK_NAME, DEFAULT_NAME), time.monotonic() + LONGEST_WAIT_S, ""
    taken, waited = (_bound, _waited_for_socket) if sys.platform == "linux" else (_flocked, _waited_for_file)
    while (lock := taken(name, str(folder.absolute()))) is None:
        for holder in waited(name, end_s):
            if holder != told:
                told = holder
                print(f"{holder} runs on this machine; waiting for it to end.", file=sys.stderr, flush=True)
        if time.monotonic() >= end_s:
            raise UserError(
                f"{told or 'another measurement'} still runs on this machine after {LONGEST_WAIT_S / 3600:.0f} h. "
                "End it, or run the same command again when it has ended."
            )
    with lock:
        yield


def _bound(name: str, folder: str) -> AbstractContextManager[object] | None:
    """Return the lock, taken; None: another has it."""
    lock = socket.socket(socket.AF_UNIX)
    try:
        lock.bind(f"\0{name}")
        lock.listen()
    except OSError as error:
        lock.close()
        if error.errno != errno.EADDRINUSE:
            raise
        return None
    return _answering(lock, folder)


@contextmanager
def _answering(lock: socket.socket, folder: str) -> Iterator[None]:
    answering = threading.Thread(target=_answer, args=(lock, folder), daemon=True)
    answering.start()
    try:
        yield
    finally:
        lock.shutdown(socket.SHUT_RDWR)  # wakes the thread
        answering.join()
        lock.close()


def _answer(lock: socket.socket, folder: str) -> None:
    """Tell each that asks who holds the lock, and keep it waiting until this process ends or releases it."""
    waiting: list[socket.socket] = []
    with suppress(OSError):  # the lock is released
        while True:
            other, _ = lock.accept()
            with suppress(OSError):
                other.setblocking(False)
                other.send(folder.encode(errors="replace"))
            waiting = [*waiting[-MOST_WAITING:], other]  # dropped connections are closed, and ask again


def _waited_for_socket(name: str, end_s: float) -> Iterator[str]:
    """Yield who holds the lock, and wait until it is released."""
    with socket.socket(socket.AF_UNIX) as other:
        other.settimeout(_ANSWER_S)
        try:
            other.connect(f"\0{name}")
            pid, uid, _ = CREDENTIALS.unpack(other.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
            where = b""
            with suppress(TimeoutError):
                where = other.recv(4096)
            yield f"another measurement (process {pid} of {_user(uid)}{_in(where)})"
            other.settimeout(max(RETRY_S, end_s - time.monotonic()))
            while other.recv(4096) and time.monotonic() < end_s:
                pass
        except OSError:  # it is being released, or the holder isn't ours and doesn't listen
            pass
    time.sleep(RETRY_S)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _in(where: bytes) -> str:
    return f", in {one_line(where.decode(errors='replace'), 200)}" if where else ""


def _flocked(name: str, _: str) -> AbstractContextManager[object] | None:
    """Return the lock, taken; None: another has it. Raises UserError when its path is not a regular file."""
    path = _FOLDER / f"{name}.lock"
    how = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        try:
            handle = os.open(path, how)
        except FileNotFoundError:
            handle = os.open(path, how | os.O_CREAT | os.O_EXCL, 0o644)
            os.fchmod(handle, 0o644)  # other users lock it, too, whatever the umask
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise OSError(errno.EINVAL, "it is not a regular file")
    except FileExistsError:
        return None
    except OSError as error:
        raise UserError(f"{path} can't be locked ({error.strerror}). Have its owner remove it.") from None
    lock = os.fdopen(handle, "rb")
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_nlink:
            return lock
    lock.close()
    return None


def _waited_for_file(name: str, end_s: float) -> Iterator[str]:
    """Yield what holds the lock, and wait a little."""
    yield f"another measurement (which one, `lsof {_FOLDER / name}.lock` says)"
    time.sleep(RETRY_S)
