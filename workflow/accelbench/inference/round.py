"""One round of one load against one endpoint: warm up, load, record.

Whatever the endpoint answers is data. The round ends without a result, its journal kept, only when there is
nothing to measure: the endpoint refuses the token, refuses the very first request as wrong, or is gone.
"""

import asyncio
import email.utils
import itertools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from urllib.parse import urlencode

from accelbench.config import Endpoint
from accelbench.errors import UserError
from accelbench.inference.api import Prefix, Request, body, nonce, prefix_text, request
from accelbench.inference.client.http import Connection, Exchange
from accelbench.inference.client.journal import EXCHANGES, WARM_UP, Journal, session_starts, spent_s
from accelbench.inference.client.load import (
    Attempt,
    SelfCheck,
    Sender,
    SendPace,
    closed_loop,
    open_loop,
    run_load,
    waits_s,
)
from accelbench.inference.client.network import PROBES, Floor, Network
from accelbench.inference.client.refusals import Fitted, in_words, is_at_fault, remedy
from accelbench.inference.endpoints.credentials import Credentials, refused
from accelbench.inference.endpoints.pages import get_page
from accelbench.inference.endpoints.readiness import LOADING, NotReadyError, Patience, briefly, is_ready, longest_s
from accelbench.inference.endpoints.served_model import served_ids
from accelbench.inference.prompts import Prompt
from accelbench.plan.specs import Cell
from accelbench.store.records import JsonObject, LoadRun

WRONG_REQUEST = {400, 403, 404, 405, 422}
FIRST_REFUSED = 3  # answers of a load test that are all refusals: more of them say nothing more
_BUSY = {429, 503}
LONGEST_BUSY_WAIT_S = 30.0
GONE_AFTER = 5  # connection errors in a row
FLOOR_EVERY = 5  # requests of a sequential load


@dataclass(frozen=True)
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
    kept_for: Mapping[str, str] = field(default_factory=dict)
    """The results of all rounds that one server serves, and the digests of their specs; none: a server per round."""
    in_vain: str | None = None
    """A round that just waited in vain for the endpoint."""
    all_is_data: bool = False
    """Whether a load test is wanted: then even a refusal, or a model that never gets up, is a result."""
    waits: bool = False
    """Whether the load waits for a quiet host."""
    ends_when_busy: bool = False
    """Whether the first 429, or 503 of a loaded model, ends a closed loop: a sweep has then found its limit."""

    def requests(self) -> list[Request]:
        """Return the requests of the round, in order."""
        cells = [self.cell.replaying(each) for each in self.cell.trace] or [self.cell] * len(self.prompts)
        return [
            self._request(cell, prompt, (before or [prompt])[0].id, self._prefix_of(place), before=before, turns=turns)
            for place, (cell, prompt, (before, turns)) in enumerate(
                zip(cells, self.prompts, self._turns(), strict=True)
            )
        ]

    def _turns(self) -> list[tuple[list[Prompt], int]]:
        """Return, for each prompt, the earlier turns of its conversation, and how many that has."""
        conversations: list[list[Prompt]] = []
        for prompt in self.prompts:
            last = conversations[-1] if conversations else []
            if last and len(last) < self.cell.load.turns and last[0].conversation == prompt.conversation:
                last.append(prompt)
            else:
                conversations.append([prompt])
        return [(turns[:number], len(turns)) for turns in conversations for number in range(len(turns))]

    def waits_s(self) -> list[float]:
        """Return the seconds before each arrival of an open loop."""
        if trace := self.cell.trace:
            return [0.0, *(later.at_s - earlier.at_s for earlier, later in itertools.pairwise(trace))]
        return waits_s(self.cell.load, f"{self.seed}/{self.round}")

    def warm_up(self) -> list[Request]:
        """Return the requests before the round."""
        prompts = [self.prompts[n % len(self.prompts)] for n in range(self.cell.load.warm_up)]
        return [
            self._request(self.cell, p, f"warm-up-{n}", f"warm-up-{n}", warm_up=n) for n, p in enumerate(prompts, 1)
        ]

    def _request(
        self,
        cell: Cell,
        prompt: Prompt,
        key: str,
        prefix: str,
        *,
        warm_up: int | None = None,
        before: Sequence[Prompt] = (),
        turns: int = 1,
    ) -> Request:
        own = Prefix(self._nonce(f"prefix {prefix}"), self._prefix_text) if self.cell.load.prefix else None
        code = self._nonce(key)
        return request(
            self.endpoint, cell, prompt, self.passages, code, prefix=own, warm_up=warm_up, before=before, turns=turns
        )

    @cached_property
    def _prefix_text(self) -> str:
        return prefix_text(self.cell, self.prompts, self.passages)

    def _prefix_of(self, place: int) -> str:
        """Name the prefix of a request of the round."""
        halves = -(-len(self.prompts) // 2)
        kind = self.cell.load.prefix
        return "" if kind == "shared" else str(place % halves if kind == "cold-then-warm" else place)

    def _nonce(self, key: str) -> str:
        own = f"{key}/{self.name}" if self.endpoint.control_of else key  # else a prefix cache knows the twin's prompts
        return nonce(self.seed, self.cell.name, self.round, own)


class Round:
    """What is needed while one round runs."""

    def __init__(
        self,
        plan: Plan,
        base_url: str,
        credentials: Credentials,
        on_attempt: Callable[[Attempt], None] = lambda _: None,
        *,
        health_url: str | None = None,
    ) -> None:
        """Open the journal; `on_attempt` is told of each request's last attempt; `health_url` gives the floor."""
        self.plan, self.base_url, self.credentials, self.told = plan, base_url, credentials, on_attempt
        self.epoch_s = time.perf_counter()
        self.journal = Journal(plan.folder / EXCHANGES, plan.spec_digest, time.time())
        self.spent_s = spent_s(plan.folder / EXCHANGES)
        self.answered = bool(self.journal.done)
        self.refused: list[str] | None = None if self.answered else []  # the first requests, while all were refused
        self.fitted = Fitted(plan.name, body(plan.endpoint, plan.cell, ["…"]), plan.endpoint.extra_body)
        self.check = SelfCheck()
        self.floor = Floor(health_url, self.epoch_s)
        self.network = Network()
        self.connections: list[Connection] = []
        self.cold = Patience(plan.name, longest_s(plan.endpoint, plan.in_vain))  # with a model that is being loaded
        self.cold_start_s = 0.0
        self.loaded = self.given_up = self.found_busy = False
        self.over = 0  # requests of the load that are done
        self.lost: list[tuple[str, str | None]] = []  # requests, the last in a row, that found no endpoint, and why
        self.gone = False
        self.waited_s: dict[str, float] = {}  # for a busy endpoint, by request
        self.refreshed_s: float | None = None

    def measure(self) -> LoadRun:
        """Send what is still to be sent; return what the journal does not say. Raises UserError: nothing to measure."""
        requests = self.plan.requests()
        left = [(place, asked) for place, asked in enumerate(requests) if asked.key not in self.journal.done]
        if kept := len(requests) - len(left):
            print(f"{self.plan.folder}: resuming, {kept} of {len(requests)} requests are kept.", flush=True)
        if self._seconds_left() == 0:
            left = []
        try:
            run_load(self._load(left))
        except (KeyboardInterrupt, SystemExit):
            print(f"{self.plan.name}: interrupted. {self._kept()}", file=sys.stderr, flush=True)
            raise
        finally:
            self.journal.close()
        return {
            "sessions": self.journal.sessions,
            "session_starts": session_starts(self.plan.folder / EXCHANGES),
            "resumed": self.journal.sessions > 1,
            "request_example": {**self.fitted.fields, "messages": "…"},
            "client": self.check.facts(),
            "floor": self.floor.facts(),
        }

    def facts(self) -> JsonObject:
        """Return what is known of the endpoint, and of the way to it, after the load."""
        said = {"request_changes": str(self.fitted)} if self.fitted.changes else {}
        return {**said, **self.network.facts(self.base_url, self.connections)}

    async def _load(self, left: Sequence[tuple[int, Request]]) -> None:
        cell, load, left_s = self.plan.cell, self.plan.cell.load, self._seconds_left()
        requests = [asked for _, asked in left]
        self.connections = connections = [self._connection() for _ in range(max(1, min(cell.slots, len(requests))))]
        sender = Sender(
            connections,
            self.credentials.headers,
            self._on_attempt,
            SendPace(self.plan.endpoint.requests_per_s),
            self.fitted.content,
        )
        try:
            for error in (await sender.open_all())[:1]:
                print(f"can't connect yet: {error}", file=sys.stderr)
            await closed_loop(self.plan.warm_up() if left else [], replace(sender, connections=connections[:1]))
            await self.floor.probe(PROBES)
            watching = asyncio.create_task(self.check.run())
            if cell.is_open:
                drawn = self.plan.waits_s()
                await open_loop(requests, sender, [drawn[place] for place, _ in left], duration_s=left_s)
            else:
                await closed_loop(
                    requests,
                    sender,
                    ramp_up_s=load.ramp_up_s,
                    think_time_s=load.think_time_s,
                    duration_s=left_s,
                    ended=lambda: self.found_busy,
                )
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            if self.lost and (self.plan.endpoint.server is not None or self.plan.all_is_data):
                await self._end_if_gone()
            await self.floor.probe(PROBES)
        finally:
            self.floor.close()
            for connection in connections:
                connection.close()

    def _seconds_left(self) -> float | None:
        """Return what is left of the load's duration after earlier sessions; None: it has none."""
        duration_s = self.plan.cell.load.duration_s
        return duration_s and max(0.0, duration_s - self.spent_s)

    def _connection(self) -> Connection:
        endpoint = self.plan.endpoint
        query = f"?{urlencode(endpoint.query)}" if endpoint.query else ""
        return Connection(
            self.base_url + query,
            connect_s=endpoint.timeout_connect_s,
            read_s=endpoint.timeout_read_s,
            total_s=endpoint.timeout_total_s,
            epoch_s=self.epoch_s,
        )

    async def _on_attempt(self, attempt: Attempt) -> float | None:
        """Record an attempt and decide how to go on. Raises UserError when there is nothing to measure."""
        attempt = replace(attempt, exchange=_without_secrets(attempt.exchange, self.credentials))
        exchange = attempt.exchange
        self._notice_if_loaded(exchange)
        if self.fitted.asks_again(attempt, time.perf_counter() - self.epoch_s):
            self.journal.add(attempt, final=False)
            return 0.0
        again_s = self._again_s(attempt)
        wrong = exchange.status in WRONG_REQUEST and not self.answered and not self.plan.all_is_data
        offline = self.given_up and not self.plan.all_is_data
        unauthorised = exchange.status == 401 and not (self.plan.all_is_data and self._sent_afresh(attempt))
        says_nothing = wrong or offline or unauthorised  # of the request
        final = again_s is None and not says_nothing
        self.journal.add(attempt, final=final)
        self.check.attempt(attempt)
        self.network.exchange(exchange)
        if final:
            self.told(attempt)
        if unauthorised:
            return await self._unauthorised(attempt)
        if wrong:
            raise await self._refusal("the first request was", exchange)
        if offline:
            raise NotReadyError(
                f"{self.plan.name}: {self.plan.endpoint.model} still answered 503 after "
                f"{self.cold.waited_s:.0f} s (<ready_timeout_s>): {in_words(exchange)} {self._kept()}"
                + briefly(self.plan.in_vain),
                ready_timeout_s="ready_timeout_s",
            )
        if final and self.plan.all_is_data:
            await self._end_if_all_refused(attempt)
        self.answered = self.answered or (exchange.error is None and exchange.status not in LOADING)
        await self._notice_if_gone(attempt)
        await self._probe_between(attempt, again_s)
        return again_s

    async def _end_if_all_refused(self, attempt: Attempt) -> None:
        """Raise UserError when the first answers are all refusals that are the requests' own fault."""
        if self.refused is None or not is_at_fault(attempt.exchange):
            self.refused = None
            return
        self.refused.append(attempt.key)
        planned = len(self.plan.prompts) + self.plan.cell.load.warm_up
        if len(self.refused) >= min(FIRST_REFUSED, planned):
            self.journal.reopen(self.refused)
            first = f"the first {len(self.refused)} requests were all" if planned > 1 else "the request was"
            raise await self._refusal(first, attempt.exchange)

    async def _refusal(self, first: str, exchange: Exchange) -> UserError:
        """Say what an endpoint answered, and what may mend it."""
        endpoint, key = self.plan.endpoint, f"inference.endpoints.{self.plan.name}"
        if exchange.status == 401:
            return refused(self.plan.name, endpoint, 401, f" It said {in_words(exchange)}")
        page = await asyncio.to_thread(get_page, f"{self.base_url}/models", self.credentials, endpoint.query)
        mends = remedy(exchange, self.base_url, endpoint.model, served_ids(page.document), listed=page.is_good)
        check = f"Check model, base_url and extra_body under {key}."
        if self.plan.all_is_data:
            check = "" if mends else "Check <model>, <base_url> and <extra_body>."
        return UserError(
            " ".join(filter(None, [f"{self.plan.name}: {first} answered with {in_words(exchange)}", mends, check])),
            **{field: f"{key}.{field}" for field in ("base_url", "model", "token", "extra_body")},
        )

    def _again_s(self, attempt: Attempt) -> float | None:
        """Return after how many seconds the request is sent again; None: this was its last attempt."""
        exchange = attempt.exchange
        if exchange.found_closed and attempt.number == 1:
            return 0.0
        if self.plan.cell.is_open and not attempt.key.startswith(WARM_UP):
            return None  # a failed arrival; those after it come at their own times
        wait_s = _retry_after_s(exchange) or min(LONGEST_BUSY_WAIT_S, 2.0 ** min(attempt.number - 1, 10))
        if exchange.status == 503 and not self.loaded and not self.given_up:
            return self._until_loaded_s(wait_s)
        if exchange.status in _BUSY and self.plan.ends_when_busy:
            self.found_busy = True
            return None
        if exchange.status in _BUSY and not self.given_up:
            waited_s = self.waited_s.get(attempt.key, 0.0) + wait_s
            if waited_s <= self.plan.endpoint.busy_wait_s:
                self.waited_s[attempt.key] = waited_s
                return wait_s
        return None

    def _until_loaded_s(self, wait_s: float) -> float | None:
        """Return after how many seconds a model that is being loaded is asked again; None: it is given up."""
        if self.cold.lasts("status 503"):
            return min(wait_s, longest_s(self.plan.endpoint, self.plan.in_vain))
        self.given_up = True
        return None

    def _notice_if_loaded(self, exchange: Exchange) -> None:
        """Note how long the model was being loaded, at the first answer that is none of a gateway in front of it."""
        if not self.loaded and exchange.status is not None and exchange.status not in LOADING:
            self.loaded, self.cold_start_s = True, self.cold.waited_s

    async def _probe_between(self, attempt: Attempt, again_s: float | None) -> None:
        """Probe the floor after every few requests, if no other is in flight meanwhile."""
        if again_s is not None or self.plan.cell.slots > 1 or attempt.key.startswith(WARM_UP):
            return
        self.over += 1
        if self.over % FLOOR_EVERY == 0 and not self.plan.cell.is_open:
            await self.floor.probe()

    async def _unauthorised(self, attempt: Attempt) -> float:
        """Refresh the credentials once; a request that was sent with the old ones is sent again."""
        if self.refreshed_s is None:
            self.refreshed_s = float("inf")  # under way; what comes back meanwhile was sent before
            await asyncio.to_thread(self.credentials.refresh)
            self.refreshed_s = time.perf_counter() - self.epoch_s
        while self.refreshed_s == float("inf"):
            await asyncio.sleep(0.05)
        if not self._sent_afresh(attempt):
            return 0.0
        raise refused(self.plan.name, self.plan.endpoint, 401, f" {self._kept()}")

    def _sent_afresh(self, attempt: Attempt) -> bool:
        """Whether an attempt was sent with credentials that had been refreshed."""
        return self.refreshed_s is not None and attempt.dequeued_s >= self.refreshed_s

    async def _notice_if_gone(self, attempt: Attempt) -> None:
        if attempt.exchange.error not in ("connection", "timeout_connect"):
            self.lost = []
            return
        self.lost.append((attempt.key, attempt.exchange.error_text))
        if len(self.lost) >= GONE_AFTER:
            await self._end_if_gone()

    async def _end_if_gone(self) -> None:
        """Raise UserError when there is no endpoint any more: those it did not answer remain to be asked."""
        if not self.gone:
            self.gone = not await asyncio.to_thread(is_ready, self.plan.endpoint, self.base_url, self.credentials)
        if self.gone:
            self.journal.reopen([key for key, _ in self.lost])
            lost = "attempt" if len(self.lost) == 1 else f"{len(self.lost)} attempts"
            raise UserError(
                f"{self.plan.name}: {self.base_url} no longer answers (the last {lost}: {self.lost[-1][1]}). "
                f"{self._kept()}"
            )

    def _kept(self) -> str:
        return f"What was measured is kept in {self.plan.folder / EXCHANGES}; the same command continues from there."


def _retry_after_s(exchange: Exchange) -> float | None:
    """Return what the answer asks to wait (RFC 9110, 10.2.3: seconds, or a date), if it does."""
    said = exchange.headers.get("retry-after", "")
    try:
        wait_s = float(said) if said.isdigit() else email.utils.parsedate_to_datetime(said).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, wait_s)


def _without_secrets(exchange: Exchange, credentials: Credentials) -> Exchange:
    """Blot out what an endpoint echoes of the credentials, before anything is written."""
    content = b"".join(data for _, data in exchange.reads)
    hidden = credentials.hide(content)
    head = "\n".join([*exchange.headers, *exchange.headers.values(), exchange.error_text or ""])
    exchange = replace(exchange, reads=exchange.reads if hidden == content else _split(hidden, exchange.reads))
    if credentials.hide_text(head) == head:
        return exchange
    hide = credentials.hide_text
    return replace(
        exchange,
        headers={hide(name): hide(value) for name, value in exchange.headers.items()},
        error_text=hide(exchange.error_text or "") or None,
    )


def _split(content: bytes, reads: Sequence[tuple[float, bytes]]) -> list[tuple[float, bytes]]:
    """Return content of the same length as the reads together, as it was read."""
    ends = list(itertools.accumulate(len(data) for _, data in reads))
    return [(at_s, content[end - len(data) : end]) for (at_s, data), end in zip(reads, ends, strict=True)]
