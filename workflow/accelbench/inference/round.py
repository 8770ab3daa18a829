"""One round of one load against one endpoint: warm up, load, record.

Whatever the endpoint answers is data. The round ends without a result, its journal kept, only when there is
nothing to measure: the endpoint refuses the token, refuses the very first request as wrong, or is gone.
"""

import asyncio
import email.utils
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from accelbench.config import Endpoint
from accelbench.errors import UserError
from accelbench.inference.client import Connection, Exchange
from accelbench.inference.endpoints import Credentials, is_ready, refused
from accelbench.inference.journal import EXCHANGES, Journal
from accelbench.inference.load import Attempt, Pace, Request, Sender, closed_loop, gaps, open_loop, run_load
from accelbench.inference.prompts import Prompt
from accelbench.inference.request import body, nonce, request
from accelbench.inference.selfcheck import SelfCheck
from accelbench.specs import Cell

WRONG_REQUEST = {400, 403, 404, 422}
BUSY = {429, 503}
LONGEST_BUSY_WAIT_S = 30.0
GONE_AFTER = 5  # connection errors in a row


@dataclass(frozen=True, slots=True)
class Plan:
    """What one round asks of whom, and where it is recorded."""

    name: str
    endpoint: Endpoint
    cell: Cell
    round: int
    seed: int
    prompts: Sequence[Prompt]
    folder: Path
    spec_digest: str
    passages: Sequence[str] = field(default_factory=list)

    def requests(self) -> list[Request]:
        """Return the requests of the round, in order."""
        return [request(self.endpoint, self.cell, p, self.passages, self._nonce(p.id)) for p in self.prompts]

    def warm_up(self) -> list[Request]:
        """Return the requests before the round."""
        prompts = [self.prompts[n % len(self.prompts)] for n in range(self.cell.load.warm_up)]
        return [
            request(self.endpoint, self.cell, p, self.passages, self._nonce(f"warm-up-{n}"), warm_up=n)
            for n, p in enumerate(prompts, 1)
        ]

    def _nonce(self, key: str) -> str:
        return nonce(self.seed, self.cell.name, self.round, key)


class Round:
    """What is needed while one round runs."""

    def __init__(
        self,
        plan: Plan,
        base_url: str,
        credentials: Credentials,
        on_attempt: Callable[[Attempt], None] = lambda _: None,
    ) -> None:
        """Open the journal; `on_attempt` is told of each finished attempt."""
        self.plan, self.base_url, self.credentials, self.told = plan, base_url, credentials, on_attempt
        self.epoch_s = time.perf_counter()
        self.journal = Journal(plan.folder / EXCHANGES, plan.spec_digest, time.time())
        self.answered = bool(self.journal.done)
        self.check = SelfCheck()
        self.lost: list[str] = []  # requests whose attempts, the last in a row, found no endpoint
        self.gone = False
        self.waited_s: dict[str, float] = {}  # for a busy endpoint, by request
        self.refreshed_s: float | None = None

    def measure(self) -> dict[str, Any]:
        """Send what is still to be sent; return what the journal does not say. Raises UserError: nothing to measure."""
        requests = self.plan.requests()
        left = [(place, asked) for place, asked in enumerate(requests) if asked.key not in self.journal.done]
        if kept := len(requests) - len(left):
            print(f"{self.plan.folder}: resuming, {kept} of {len(requests)} requests are kept.", flush=True)
        try:
            run_load(self._load(left))
        finally:
            self.journal.close()
        return {
            "sessions": self.journal.sessions,
            "resumed": self.journal.sessions > 1,
            "request_example": {**body(self.plan.endpoint, self.plan.cell, "…"), "messages": "…"},
            "client": self.check.facts(),
        }

    async def _load(self, left: Sequence[tuple[int, Request]]) -> None:
        cell, load = self.plan.cell, self.plan.cell.load
        requests = [asked for _, asked in left]
        connections = [self._connection() for _ in range(max(1, min(cell.slots, len(requests))))]
        sender = Sender(
            connections, self.credentials.headers, self._on_attempt, Pace(self.plan.endpoint.requests_per_s)
        )
        try:
            for error in (await sender.open_all())[:1]:
                print(f"can't connect yet: {error}", file=sys.stderr)
            await closed_loop(self.plan.warm_up() if left else [], replace(sender, connections=connections[:1]))
            watching = asyncio.create_task(self.check.run())
            if cell.is_open:
                drawn = gaps(load.arrivals, cell.rate_per_s, load.requests, f"{self.plan.seed}/{self.plan.round}")
                await open_loop(requests, sender, [drawn[place] for place, _ in left], duration_s=load.duration_s)
            else:
                await closed_loop(requests, sender, ramp_up_s=load.ramp_up_s, duration_s=load.duration_s)
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        finally:
            for connection in connections:
                connection.close()

    def _connection(self) -> Connection:
        endpoint = self.plan.endpoint
        return Connection(
            self.base_url,
            connect_s=endpoint.timeout_connect_s,
            read_s=endpoint.timeout_read_s,
            total_s=endpoint.timeout_total_s,
            epoch_s=self.epoch_s,
        )

    async def _on_attempt(self, attempt: Attempt) -> float | None:
        """Record an attempt and decide how to go on. Raises UserError when there is nothing to measure."""
        attempt = replace(attempt, exchange=_without_secrets(attempt.exchange, self.credentials))
        exchange = attempt.exchange
        again_s = self._again_s(attempt)
        wrong = exchange.status in WRONG_REQUEST and not self.answered
        self.journal.add(attempt, final=again_s is None and exchange.status != 401 and not wrong)
        self.check.attempt(attempt)
        self.told(attempt)
        if exchange.status == 401:
            return await self._unauthorised(attempt)
        if wrong:
            raise UserError(
                f"{self.plan.name}: the first request was answered with {exchange.status}: {_excerpt(attempt)} "
                f"Check model, base_url and extra_body under inference.endpoints.{self.plan.name}."
            )
        self.answered = self.answered or exchange.error is None
        await self._notice_if_gone(attempt)
        return again_s

    def _again_s(self, attempt: Attempt) -> float | None:
        """Return after how many seconds the request is sent again; None: this was its last attempt."""
        exchange = attempt.exchange
        if exchange.found_closed and attempt.number == 1:
            return 0.0
        if exchange.status in BUSY and not self.plan.cell.is_open:
            wait_s = _retry_after_s(exchange) or min(LONGEST_BUSY_WAIT_S, 2.0 ** (attempt.number - 1))
            waited_s = self.waited_s.get(attempt.key, 0.0) + wait_s
            if waited_s <= self.plan.endpoint.busy_wait_s:
                self.waited_s[attempt.key] = waited_s
                return wait_s
        return None

    async def _unauthorised(self, attempt: Attempt) -> float:
        """Refresh the credentials once; a request that was sent with the old ones is sent again."""
        if self.refreshed_s is None:
            self.refreshed_s = float("inf")  # under way; what comes back meanwhile was sent before
            await asyncio.to_thread(self.credentials.refresh)
            self.refreshed_s = time.perf_counter() - self.epoch_s
        while self.refreshed_s == float("inf"):
            await asyncio.sleep(0.05)
        if attempt.dequeued_s < self.refreshed_s:
            return 0.0
        raise UserError(f"{refused(self.plan.name, self.plan.endpoint, 401)} {self._kept()}")

    async def _notice_if_gone(self, attempt: Attempt) -> None:
        if attempt.exchange.error not in ("connection", "timeout_connect"):
            self.lost = []
            return
        self.lost.append(attempt.key)
        if len(self.lost) >= GONE_AFTER and not self.gone:
            self.gone = not await asyncio.to_thread(is_ready, self.plan.endpoint, self.base_url, self.credentials)
        if self.gone:
            self.journal.reopen(self.lost)
            raise UserError(
                f"{self.plan.name}: {self.base_url} is gone (the last {len(self.lost)} attempts: "
                f"{attempt.exchange.error_text}). {self._kept()}"
            )

    def _kept(self) -> str:
        return (
            f"What was measured is kept in {self.plan.folder / EXCHANGES}; the same command again goes on from there."
        )


def _retry_after_s(exchange: Exchange) -> float | None:
    """Return what the answer asks to wait (RFC 9110, 10.2.3: seconds, or a date), if it does."""
    said = exchange.headers.get("retry-after", "")
    try:
        wait_s = float(said) if said.isdigit() else email.utils.parsedate_to_datetime(said).timestamp() - time.time()
    except (ValueError, TypeError):
        return None
    return max(0.0, wait_s)


def _without_secrets(exchange: Exchange, credentials: Credentials) -> Exchange:
    """Blot out what an endpoint echoes of the credentials, before anything is written."""
    content = b"".join(data for _, data in exchange.reads)
    said = [content, *(value.encode() for value in exchange.headers.values()), (exchange.error_text or "").encode()]
    if all(credentials.hide(text) == text for text in said):
        return exchange
    return replace(
        exchange,
        reads=[(exchange.reads[-1][0], credentials.hide(content))] if exchange.reads else [],
        headers={name: credentials.hide(value.encode()).decode() for name, value in exchange.headers.items()},
        error_text=credentials.hide((exchange.error_text or "").encode()).decode() or None,
    )


def _excerpt(attempt: Attempt) -> str:
    text = b"".join(data for _, data in attempt.exchange.reads)[:300].decode(errors="replace")
    return " ".join(text.split())
