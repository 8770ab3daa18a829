"""The client's check on itself: was it late, and was it busy, while a load ran?

Above the bounds stated here what it measured may be its own: the cell is flagged as limited by the client.
"""

import asyncio
import statistics
import time

from accelbench.inference.client.load import Attempt
from accelbench.store.records import ClientFacts

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
