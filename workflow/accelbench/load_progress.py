"""How far a load is, in one line on the terminal, or in a line now and then where stderr is none."""

import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from accelbench.inference.client import Exchange
from accelbench.inference.journal import WARM_UP
from accelbench.inference.load import Attempt

TERMINAL_EVERY_S, LINE_EVERY_S = 1.0, 10.0
TAIL = 2  # reads that usage stands in, at a stream's end
USAGE = re.compile(rb'"completion_tokens":\s*(\d+)')


@dataclass
class Progress:
    """Told of each request's last attempt, it counts; it parses nothing but the count of tokens at an answer's end."""

    requests: int
    """That are still to be sent."""
    kept: int = 0
    """That an earlier session has measured."""
    on_terminal: bool = field(default_factory=lambda: sys.stderr.isatty())
    show: Callable[[str], object] = lambda text: print(text, end="", file=sys.stderr, flush=True)
    clock: Callable[[], float] = time.perf_counter
    tokens: int = 0
    over: int = 0
    failed: int = 0

    def __post_init__(self) -> None:
        """Begin to count."""
        self._begun_s = self._shown_s = self.clock()

    def __call__(self, attempt: Attempt) -> None:
        """Count a request by its last attempt; show where things are, if that is due."""
        now_s = self.clock()
        if attempt.key.startswith(WARM_UP):
            self._begun_s = self._shown_s = now_s
            return
        exchange = attempt.exchange
        self.over += 1
        self.failed += exchange.error is not None or exchange.status != 200
        self.tokens += tokens_of(exchange)
        every_s = TERMINAL_EVERY_S if self.on_terminal else LINE_EVERY_S
        if now_s - self._shown_s >= every_s or self.over >= self.requests:
            self._shown_s = now_s
            self.show(self._framed(self.line(now_s - self._begun_s)))

    def line(self, passed_s: float) -> str:
        """Return "37 done, 1 failed of 100, 212 tok/s, 16 s to go"."""
        left_s = passed_s * (self.requests - self.over) / self.over if self.over else 0.0
        kept = f" ({self.kept} kept)" if self.kept else ""
        said = [
            f"{self.over - self.failed + self.kept}{kept} done",
            f"{self.failed} failed of {self.requests + self.kept}",
        ]
        said += [f"{self.tokens / passed_s:,.0f} tok/s"] if self.tokens and passed_s > 0 else []
        return ", ".join([*said, f"{left_s:.0f} s to go"])

    def _framed(self, line: str) -> str:
        """Let a line take the place of the one before it, on a terminal."""
        if not self.on_terminal:
            return f"{line}\n"
        return f"\r{line:<72}" + ("\n" if self.over >= self.requests else "")


def tokens_of(exchange: Exchange) -> int:
    """Return the completion tokens that an answer's end tells, else its events."""
    told = USAGE.findall(b"".join(data for _, data in exchange.reads[-TAIL:]))
    return int(told[-1]) if told else sum(data.count(b"data:") for _, data in exchange.reads)
