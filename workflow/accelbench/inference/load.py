"""Closed-loop load: a fixed number of slots, each with a connection and one request in flight.

A slot sends its next request when its last one has ended. Waiting inside the client is logged (`dequeued_s`
to `sent_s`), never sold as the server's. While the load runs nothing is parsed: a finished attempt goes to
`on_attempt` as raw bytes and leaves memory.
"""

import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from accelbench.inference.client import Connection, Exchange

SWITCH_INTERVAL_S = 0.0005  # up to 512 streams of 50 chunks/s stay within 1 % with it (default: 0.005)


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt to be asked once: `key` names it within the round."""

    key: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Attempt:
    """One exchange of one request, and when its slot turned to it."""

    key: str
    number: int
    dequeued_s: float
    exchange: Exchange


Verdict = Callable[[Attempt], str]  # "next", "again" (the same request), or "stop" (the whole load)


class Pace:
    """A shared limit of sends per second; None: no limit."""

    def __init__(self, per_s: float | None) -> None:
        """Start with the first send allowed at once."""
        self._gap_s = 1 / per_s if per_s else 0.0
        self._next_s = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Sleep until the next send is allowed."""
        if not self._gap_s:
            return
        with self._lock:
            at_s = max(time.perf_counter(), self._next_s)
            self._next_s = at_s + self._gap_s
        time.sleep(max(0.0, at_s - time.perf_counter()))


def closed_loop(
    requests: Sequence[Request],
    connections: Sequence[Connection],
    headers: Callable[[], Mapping[str, str]],
    on_attempt: Verdict,
    pace: Pace,
    path: str = "/chat/completions",
) -> None:
    """Send all requests, one slot per connection, in order.

    `on_attempt` is called with every finished attempt (one at a time) and says how to go on. An exception it
    raises ends the load and is raised here.
    """
    waiting = iter(requests)
    lock, stopped = threading.Lock(), threading.Event()
    failures: list[BaseException] = []

    def slot(connection: Connection) -> None:
        try:
            while not stopped.is_set():
                with lock:
                    request = next(waiting, None)
                if request is None:
                    return
                _ask(request, connection)
        except BaseException as error:
            failures.append(error)
            stopped.set()

    def _ask(request: Request, connection: Connection) -> None:
        number, verdict = 0, "again"
        while verdict == "again" and not stopped.is_set():
            number += 1
            pace.wait()
            dequeued_s = time.perf_counter() - connection.epoch_s
            exchange = connection.post(path, request.body, headers())
            with lock:
                verdict = on_attempt(Attempt(request.key, number, dequeued_s, exchange))
        if verdict == "stop":
            stopped.set()

    threads = [threading.Thread(target=slot, args=(connection,), daemon=True) for connection in connections]
    with undisturbed():
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except BaseException:
            stopped.set()
            raise
    if failures:
        raise failures[0]


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep the garbage collector and long thread slices out of the timing; put both back afterwards."""
    interval, collecting = sys.getswitchinterval(), gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        gc.unfreeze()
        if collecting:
            gc.enable()
