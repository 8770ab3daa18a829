"""The two kinds of load: closed loop (a fixed number of slots) and open loop (arrivals at scheduled times).

Closed loop: a slot sends its next request when its last one has ended. Open loop: each request is sent at its
scheduled time, whatever became of those before. Waiting inside the client is logged (`scheduled_s`, `dequeued_s`
to `sent_s`), never sold as the server's. While a load runs nothing is parsed: a finished attempt goes to
`on_attempt` as raw bytes and leaves memory.

The client checks itself meanwhile: above the bounds stated here what it measured may be its own, and the cell is
flagged as limited by the client.
"""

import asyncio
import gc
import math
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import uvloop

from accelbench.config import Scenario
from accelbench.inference.api import CHAT_COMPLETIONS, Request, Turn
from accelbench.inference.client.http import Connection, Exchange
from accelbench.store.records import ClientFacts

CONNECTING_AT_A_TIME = 64


@dataclass(frozen=True, slots=True)
class Attempt:
    """One exchange of one request; `scheduled_s` (open loop) and `dequeued_s`: when it was its turn."""

    key: str
    number: int
    dequeued_s: float
    exchange: Exchange
    scheduled_s: float | None = None
    prefix: str | None = None
    """The code of the prefix of its prompt."""
    turn: Turn | None = None
    output_tokens: int | None = None
    """The tokens that its answer must have, if that is fixed."""


# None: the request is done; else it is sent again so many seconds later
RetryAfter = Callable[[Attempt], Awaitable[float | None]]
Headers = Callable[[], Mapping[str, str]]


class SendPace:
    """A shared limit of sends per second; None: no limit."""

    def __init__(self, per_s: float | None) -> None:
        """Start with the first send allowed at once."""
        self._gap_s = 1 / per_s if per_s else 0.0
        self._next_s = 0.0

    async def wait(self) -> None:
        """Sleep until the next send is allowed."""
        if self._gap_s:
            at_s = max(time.perf_counter(), self._next_s)
            self._next_s = at_s + self._gap_s
            await _until(at_s)


@dataclass(frozen=True, slots=True)
class Sender:
    """What all requests of a load share: connections, headers, the pace, and what is done with each attempt."""

    connections: Sequence[Connection]
    headers: Headers
    on_attempt: RetryAfter
    pace: SendPace
    shaped: Callable[[bytes], bytes] = bytes
    """What becomes of a request's body before it is sent."""

    async def open_all(self) -> list[OSError]:
        """Open all connections before anything is timed; return what went wrong (an attempt will record it)."""
        few = asyncio.Semaphore(CONNECTING_AT_A_TIME)
        errors: list[OSError] = []

        async def open_one(connection: Connection) -> None:
            async with few:
                try:
                    await connection.open()
                except OSError as error:
                    errors.append(error)

        await _all(open_one(connection) for connection in self.connections)
        return errors

    async def send(self, request: Request, connection: Connection, scheduled_s: float | None = None) -> bool:
        """Send one request until it is done with; return whether it was answered."""
        number, answered = 0, False
        wait_s: float | None = 0.0
        while wait_s is not None:
            await _until(time.perf_counter() + wait_s)
            await self.pace.wait()
            number += 1
            body = self.shaped(request.body)
            dequeued_s = time.perf_counter() - connection.epoch_s
            exchange = await connection.post(CHAT_COMPLETIONS.path, body, self.headers())
            attempt = Attempt(
                request.key,
                number,
                dequeued_s,
                exchange,
                scheduled_s,
                request.prefix,
                request.turn,
                request.output_tokens,
            )
            wait_s = await self.on_attempt(attempt)
            answered = exchange.status == 200 and exchange.error is None
        return answered


async def closed_loop(
    requests: Sequence[Request],
    sender: Sender,
    *,
    ramp_up_s: float = 0.0,
    think_time_s: float = 0.0,
    duration_s: float | None = None,
    ended: Callable[[], bool] = lambda: False,
) -> None:
    """Send all requests in order, one slot per connection.

    The slots begin evenly spread over `ramp_up_s`; after `duration_s`, or when it has `ended`, none begins another
    request. A slot has a conversation to its end, each turn `think_time_s` after the answer before, or until a turn
    fails. An exception of `on_attempt` ends the load.
    """
    waiting = iter(_conversations(requests))
    start_s = time.perf_counter()
    end_s = start_s + duration_s if duration_s else None

    def is_over() -> bool:
        return ended() or (end_s is not None and time.perf_counter() >= end_s)

    async def slot(number: int, connection: Connection) -> None:
        await _until(start_s + ramp_up_s * number / len(sender.connections))
        while not is_over() and (turns := next(waiting, None)) is not None:
            for place, request in enumerate(turns):
                await _until(time.perf_counter() + think_time_s * (place > 0))
                if is_over() or not await sender.send(request, connection):
                    break

    await _all(slot(number, connection) for number, connection in enumerate(sender.connections))


def _conversations(requests: Sequence[Request]) -> Iterator[list[Request]]:
    """Yield the requests of each conversation together, others alone."""
    turns: list[Request] = []
    for request in requests:
        follows = turns and request.turn and turns[-1].turn and request.turn.number == turns[-1].turn.number + 1
        if turns and not follows:
            yield turns
            turns = []
        turns.append(request)
    if turns:
        yield turns


async def open_loop(
    requests: Sequence[Request], sender: Sender, gaps_s: Sequence[float], *, duration_s: float | None = None
) -> None:
    """Send each request its gap after the one before, on any free connection.

    When none is free (the cap on requests in flight) or the pace forbids, it is sent late, and those after it are
    still sent at their own times.
    """
    free: asyncio.LifoQueue[Connection] = asyncio.LifoQueue()
    for connection in sender.connections:
        free.put_nowait(connection)
    start_s = due_s = time.perf_counter()

    async def arrival(request: Request, at_s: float) -> None:
        connection = await free.get()
        try:
            await sender.send(request, connection, at_s - connection.epoch_s)
        finally:
            free.put_nowait(connection)

    async with asyncio.TaskGroup() as arrivals:
        for request, gap_s in zip(requests, gaps_s, strict=True):
            due_s += gap_s
            if duration_s is not None and due_s > start_s + duration_s:
                break
            await _until(due_s)
            arrivals.create_task(arrival(request, due_s))


def waits_s(load: Scenario, seed: str) -> list[float]:
    """Return the seconds before each arrival of an open loop that has a rate, drawn from the seed."""
    draw, per_s, count = random.Random(f"arrivals {seed}"), float(cast(float, load.rate_per_s)), load.requests
    if load.arrivals == "constant":
        waits = [0.0] + [1 / per_s] * (count - 1)
    elif load.arrivals == "gamma":
        waits = [draw.gammavariate(load.burstiness, 1 / (load.burstiness * per_s)) for _ in range(count)]
    else:
        waits = [draw.expovariate(per_s) for _ in range(count)]
    return waits if load.ramp_to_per_s is None else _ramped(waits, per_s, load.ramp_to_per_s)


def _ramped(waits_s: Sequence[float], from_per_s: float, to_per_s: float) -> list[float]:
    """Return waits at a rate that changes evenly over the round, from such at the first rate.

    An arrival's place is the area under the rate until then: rate² grows evenly with it.
    """
    count, past, at_s = len(waits_s), 0.0, [0.0]
    for wait_s in waits_s:
        past += wait_s * from_per_s / count  # of the round's arrivals
        rate_per_s = math.sqrt(from_per_s**2 + (to_per_s**2 - from_per_s**2) * min(past, 1.0))
        beyond_s = count * max(past - 1.0, 0.0) / to_per_s
        at_s.append(2 * count * min(past, 1.0) / (from_per_s + rate_per_s) + beyond_s)
    return [later - earlier for earlier, later in pairwise(at_s)]


def run_load(load: Coroutine[Any, Any, None]) -> None:
    """Run a load to its end, undisturbed; an exception of `on_attempt` is raised here."""
    with undisturbed():
        try:
            uvloop.run(load)
        except ExceptionGroup as group:
            raise _first(group) from None


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep the garbage collector out of the timing; put it back afterwards."""
    collecting = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if collecting:
            gc.enable()


async def _all(coroutines: Iterator[Coroutine[Any, Any, None]]) -> None:
    async with asyncio.TaskGroup() as group:
        for coroutine in coroutines:
            group.create_task(coroutine)


async def _until(at_s: float) -> None:
    """Sleep until an instant, never less: a single sleep of uvloop's may end a millisecond early."""
    while (left_s := at_s - time.perf_counter()) > 0:
        await asyncio.sleep(left_s)


def _first(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


BEAT_S = 0.01
LAG_BOUND_S = 0.005  # p99; reads are stamped so late at worst, about 1 % of a gap between tokens of 0.5 s
CPU_BOUND = 0.9  # of one core: the loop has one
_LATE_S = 0.01
LATE_SHARE_BOUND = 0.01
CHANCE_SENDS = 1  # of a round: a single late send, whatever its share, tells nothing about the client


class SelfCheck:
    """Watches the loop while it runs; `attempt` is told of every attempt."""

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self._lags_s: list[float] = []
        self._attempts = self._late = self._own = 0
        self._wall_s = self._cpu_s = 0.0

    async def run(self) -> None:
        """Beat until cancelled: a beat comes late by as much as the loop was busy."""
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        try:
            while True:
                due_s = time.perf_counter() + BEAT_S
                await asyncio.sleep(BEAT_S)
                self._lags_s.append(max(0.0, time.perf_counter() - due_s))
        finally:
            self._wall_s += time.perf_counter() - wall_s
            self._cpu_s += time.process_time() - cpu_s

    def attempt(self, attempt: Attempt) -> None:
        """Count an attempt, and whether it was written late: after its time, or long after a connection was free."""
        sent_s, free_s = attempt.exchange.sent_s, attempt.exchange.connected_s or attempt.dequeued_s
        if sent_s is None:
            return
        waits_for_no_connection = attempt.scheduled_s is not None or attempt.exchange.reused
        due_s = free_s if attempt.scheduled_s is None or attempt.number > 1 else attempt.scheduled_s
        self._attempts += 1
        self._late += waits_for_no_connection and sent_s - due_s > _LATE_S
        self._own += attempt.exchange.reused and sent_s - free_s > _LATE_S  # nothing held it back any more

    def facts(self) -> ClientFacts:
        """Return lag in seconds (p50, p99), share of a core, late sends, and whether the client was the limit."""
        if not self._wall_s or len(self._lags_s) < 2:
            return ClientFacts(lag_p50_s=None, lag_p99_s=None, cpu_share=None, late_sends=self._late, limited=None)
        hundredths = statistics.quantiles(self._lags_s, n=100, method="inclusive")
        share = self._cpu_s / self._wall_s
        late = self._own > max(CHANCE_SENDS, LATE_SHARE_BOUND * self._attempts)
        return ClientFacts(
            lag_p50_s=round(hundredths[49], 6),
            lag_p99_s=round(hundredths[98], 6),
            cpu_share=round(share, 4),
            late_sends=self._late,
            limited=late or hundredths[98] > LAG_BOUND_S or share > CPU_BOUND,
        )
