"""One round of one cell against one endpoint: ready, warm, loaded, recorded.

Whatever the endpoint answers is data. The round ends without a result, its journal kept, only when there is
nothing to measure: the endpoint never became ready, refuses the token, refuses the very first request as wrong,
or is gone.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from accelbench import specs
from accelbench.config import Config, Endpoint, Scenario
from accelbench.errors import UserError
from accelbench.files import write_json
from accelbench.inference import servers
from accelbench.inference.client import Connection, Exchange, proxy_of
from accelbench.inference.endpoints import Credentials, is_ready, refused, wait_until_ready
from accelbench.inference.journal import EXCHANGES, WARM_UP, Journal, set_aside
from accelbench.inference.load import Attempt, Pace, Request, closed_loop
from accelbench.inference.prompts import Prompt, nonce, read_prompts
from accelbench.measurement import MEASURED, finish, host, measuring, now, restore

RECORD, FAILURE, SERVER_LOG = "run.json", "failure.json", "server.log"
WRONG_REQUEST = {400, 403, 404, 422}
NONCE = "Request {}.\n\n"  # worded so that small models don't take the code for the answer
GONE_AFTER = 5  # connection errors in a row


def infer(config: Config, item: specs.InferRound, spec: str, prompts: Path, folder: Path) -> None:
    """Measure one round, resume it, or restore the finished one of the same spec."""
    with measuring(folder):
        for left in (MEASURED, FAILURE):
            (folder / left).unlink(missing_ok=True)
        if not config.restore and (folder / RECORD).exists():  # a finished round, to be measured afresh
            (folder / EXCHANGES).unlink(missing_ok=True)
        set_aside(folder / EXCHANGES, specs.digest(spec))
        if config.restore and restore(folder, spec):
            return
        (folder / RECORD).unlink(missing_ok=True)
        try:
            record = _measure(config, item, spec, prompts, folder)
        except UserError as error:
            write_json(folder / FAILURE, {"spec_digest": specs.digest(spec), "at": now(), "text": str(error)})
            raise
        write_json(folder / RECORD, record)
        finish(folder, spec, [EXCHANGES, RECORD])


def _measure(config: Config, item: specs.InferRound, spec: str, prompts: Path, folder: Path) -> dict[str, Any]:
    endpoint = config.inference.endpoints[item.endpoint]
    machine, started_at = host(), now()
    credentials = Credentials(item.endpoint, endpoint)
    with _ready(item.endpoint, endpoint, credentials, folder) as (base_url, facts):
        measured = _Round(config, item, base_url, credentials, read_prompts(prompts), folder, spec)
        measured.measure()
    return {
        "spec": orjson.loads(spec),
        "started_at": started_at,
        "ended_at": now(),
        "sessions": measured.journal.sessions,
        "resumed": measured.journal.sessions > 1,
        "request_example": {**measured.body("…"), "messages": "…"},
        "endpoint": {"model": endpoint.model, "base_url": base_url, **facts},
        "cpu_share": measured.cpu_share,
        "host": machine,
    }


class _Round:
    """What is needed while one round runs."""

    def __init__(
        self,
        config: Config,
        item: specs.InferRound,
        base_url: str,
        credentials: Credentials,
        prompts: list[Prompt],
        folder: Path,
        spec: str,
    ) -> None:
        self.endpoint: Endpoint = config.inference.endpoints[item.endpoint]
        self.scenario: Scenario = specs.scenario_of(config, item.cell)
        self.slots = specs.cells(config)[item.cell].concurrency
        self.name, self.seed, self.cell, self.round = item.endpoint, config.seed, item.cell, item.round
        self.base_url, self.credentials, self.folder = base_url, credentials, folder
        first = (item.round - 1) * self.scenario.requests
        self.prompts = prompts[first : first + self.scenario.requests]
        self.epoch_s = time.perf_counter()
        self.journal = Journal(folder / EXCHANGES, specs.digest(spec), time.time())
        self.answered = bool(self.journal.done)
        self.lost: list[str] = []  # requests whose attempts, the last in a row, found no endpoint
        self.gone = False
        self.refreshed_s: float | None = None
        self.cpu_share: float | None = None

    def measure(self) -> None:
        """Warm up, then send what is still to be sent."""
        warm_up = [self._request(prompt, f"{WARM_UP}-{n}") for n, prompt in enumerate(self._warm_up_prompts(), 1)]
        measured = [self._request(p, p.id) for p in self.prompts if p.id not in self.journal.done]
        if kept := len(self.prompts) - len(measured):
            print(f"{self.folder}: resuming, {kept} of {len(self.prompts)} requests are kept.", flush=True)
        connections = [self._connection() for _ in range(self.slots)]
        try:
            for connection in connections:
                _open(connection)
            pace = Pace(self.endpoint.requests_per_s)
            closed_loop(warm_up if measured else [], connections[:1], self.credentials.headers, self._on_attempt, pace)
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            closed_loop(measured, connections, self.credentials.headers, self._on_attempt, pace)
            wall_s = time.perf_counter() - wall_s
            self.cpu_share = round((time.process_time() - cpu_s) / wall_s, 4) if wall_s > 0 else None
        finally:
            for connection in connections:
                connection.close()
            self.journal.close()

    def body(self, content: str) -> dict[str, Any]:
        """Return the JSON body of one request. Sampling parameters are always sent."""
        scenario = self.scenario
        body: dict[str, Any] = {
            "model": self.endpoint.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": scenario.max_tokens,
            "temperature": scenario.temperature,
            "top_p": scenario.top_p,
            "stream": scenario.stream,
        }
        if scenario.stream:
            body["stream_options"] = {"include_usage": True}
        if self.endpoint.reasoning_effort and scenario.reasoning_effort:
            body["reasoning_effort"] = scenario.reasoning_effort
        return {**body, **self.endpoint.extra_body}

    def _request(self, prompt: Prompt, key: str) -> Request:
        code = nonce(self.seed, self.cell, self.round, key)
        warm_up = key.startswith(WARM_UP)  # it must not put the prompts of the round into a prefix cache
        in_front = NONCE.format(code) if self.scenario.nonce or warm_up else ""
        return Request(key, orjson.dumps(self.body(in_front + prompt.prompt)))

    def _warm_up_prompts(self) -> list[Prompt]:
        return [self.prompts[n % len(self.prompts)] for n in range(self.scenario.warm_up)]

    def _connection(self) -> Connection:
        endpoint = self.endpoint
        return Connection(
            self.base_url,
            connect_s=endpoint.timeout_connect_s,
            read_s=endpoint.timeout_read_s,
            total_s=endpoint.timeout_total_s,
            epoch_s=self.epoch_s,
        )

    def _on_attempt(self, attempt: Attempt) -> str:
        """Record an attempt and decide how to go on. Raises UserError when there is nothing to measure."""
        attempt = replace(attempt, exchange=_without_secrets(attempt.exchange, self.credentials))
        status, error = attempt.exchange.status, attempt.exchange.error
        wrong = status in WRONG_REQUEST and not self.answered
        found_closed = attempt.exchange.found_closed and attempt.number == 1
        self.journal.add(attempt, final=not (status == 401 or wrong or found_closed))
        if found_closed:
            return "again"
        if status == 401 and self.refreshed_s is None:
            self.credentials.refresh()
            self.refreshed_s = time.perf_counter() - self.epoch_s
            return "again"
        if status == 401 and self.refreshed_s is not None and attempt.dequeued_s < self.refreshed_s:
            return "again"  # sent with the old token
        if status == 401:
            raise UserError(f"{refused(self.name, self.endpoint, 401)} {self._kept()}")
        if wrong:
            raise UserError(
                f"{self.name}: the first request was answered with {status}: {_excerpt(attempt)} "
                f"Check model, base_url and extra_body under inference.endpoints.{self.name}."
            )
        self.answered = self.answered or error is None
        self.lost = [*self.lost, attempt.key] if error in ("connection", "timeout_connect") else []
        if len(self.lost) >= GONE_AFTER and not self.gone:
            self.gone = not is_ready(self.endpoint, self.base_url, self.credentials)
        if self.gone:
            self.journal.reopen(self.lost)
            raise UserError(
                f"{self.name}: {self.base_url} is gone (the last {len(self.lost)} attempts: "
                f"{attempt.exchange.error_text}). {self._kept()}"
            )
        return "next"

    def _kept(self) -> str:
        return f"What was measured is kept in {self.folder / EXCHANGES}; the same command again goes on from there."


@contextmanager
def _ready(
    name: str, endpoint: Endpoint, credentials: Credentials, folder: Path
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield base URL and facts of an endpoint that answers."""
    if endpoint.server is not None:
        with servers.running(name, endpoint, folder / SERVER_LOG) as server:
            yield server.base_url, server.facts
        return
    base_url = str(endpoint.base_url)
    waited_s = wait_until_ready(name, endpoint, base_url, credentials)
    proxy = proxy_of(base_url)
    yield base_url, {"ready_after_s": round(waited_s, 2), "proxy": proxy.hostname if proxy else None}


def _without_secrets(exchange: Exchange, credentials: Credentials) -> Exchange:
    """Blot out what an endpoint echoes of the credentials, before anything is written."""
    body = b"".join(data for _, data in exchange.reads)
    said = [body, *(value.encode() for value in exchange.headers.values()), (exchange.error_text or "").encode()]
    if all(credentials.hide(text) == text for text in said):
        return exchange
    return replace(
        exchange,
        reads=[(exchange.reads[-1][0], credentials.hide(body))] if exchange.reads else [],
        headers={name: credentials.hide(value.encode()).decode() for name, value in exchange.headers.items()},
        error_text=credentials.hide((exchange.error_text or "").encode()).decode() or None,
    )


def _open(connection: Connection) -> None:
    try:
        connection.open()
    except OSError as error:  # the attempt itself will be recorded as a connection error
        print(f"can't connect yet: {error}", file=sys.stderr)


def _excerpt(attempt: Attempt) -> str:
    text = b"".join(data for _, data in attempt.exchange.reads)[:300].decode(errors="replace")
    return " ".join(text.split())
