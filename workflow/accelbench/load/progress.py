"""How far a load is, in one line on the terminal, or in a line now and then where stderr is none."""

import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from accelbench.foreign import message, one_line
from accelbench.inference.answers.events import classified_as, parse_answer
from accelbench.inference.api import CHAT_COMPLETIONS
from accelbench.inference.client.http import Exchange
from accelbench.inference.client.journal import WARM_UP
from accelbench.inference.client.load import Attempt
from accelbench.store.records import SUCCESS

TERMINAL_EVERY_S, LINE_EVERY_S = 1.0, 10.0
_TAIL = 2  # reads that usage stands in, at a stream's end
_USAGE = re.compile(rb'"completion_tokens":\s*(\d{1,12})(?!\d)')
SAYS_SOMETHING = re.compile(rb'"(?:content|text)"\s*:\s*"[^"]')
MAY_SAY_WHY = re.compile(
    rb'"error"|^ *error|event: *error|content_filter|abort|\[ERROR\]|api-error|\d{20}', re.MULTILINE
)
MOST_REASON, MOST_PARSED = 60, 4096


@dataclass
class Progress:
    """Told of each request's last attempt, it counts, and keeps the commonest reason of what failed.

    An answer that is plainly whole is not parsed; any other one is, so that failed means failed.
    """

    requests: int
    """That are still to be sent."""
    kept: int = 0
    """That an earlier session has measured."""
    head: str = ""
    """What stands before them: which round it is."""
    on_terminal: bool = field(default_factory=lambda: sys.stderr.isatty())
    show: Callable[[str], object] = lambda text: print(text, end="", file=sys.stderr, flush=True)
    clock: Callable[[], float] = time.perf_counter
    tokens: int = 0
    over: int = 0
    failed: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Begin to count."""
        self._begun_s = self._shown_s = self.clock()
        self._shown = 0

    def __call__(self, attempt: Attempt) -> None:
        """Count a request by its last attempt; show where things are, if that is due."""
        now_s = self.clock()
        if attempt.key.startswith(WARM_UP):
            self._begun_s = self._shown_s = now_s
            return
        exchange = attempt.exchange
        self.over += 1
        if why := why_failed(exchange):
            self.failed += 1
            self.reasons[why] += 1
        self.tokens += tokens_in(exchange)
        every_s = TERMINAL_EVERY_S if self.on_terminal else LINE_EVERY_S
        if now_s - self._shown_s >= every_s or self.over >= self.requests:
            self._shown_s = now_s
            self.show(self._framed(self.line(now_s - self._begun_s)))

    def line(self, passed_s: float) -> str:
        """Return "37 done, 1 failed of 100, 212 tok/s, 16 s to go"."""
        left_s = passed_s * (self.requests - self.over) / self.over if self.over else 0.0
        kept = f" ({self.kept} kept)" if self.kept else ""
        why = f" ({self.reasons.most_common(1)[0][0]})" if self.reasons else ""
        said = [
            f"{self.over - self.failed + self.kept}{kept} done",
            f"{self.failed} failed of {self.requests + self.kept}{why}",
        ]
        said += [f"{self.tokens / passed_s:,.0f} tok/s"] if self.tokens and passed_s > 0 else []
        return self.head + ", ".join([*said, f"{left_s:.0f} s to go"])

    def _framed(self, line: str) -> str:
        """Let a line take the place of the one before it, on a terminal."""
        if not self.on_terminal:
            return f"{line}\n"
        line = one_line(line, shutil.get_terminal_size().columns - 1)
        line, self._shown = line.ljust(self._shown), len(line)
        return f"\r{line}" + ("\n" if self.over >= self.requests else "")


def why_failed(exchange: Exchange) -> str | None:
    """Return why an attempt is no success, in a few words that are safe to print; None: it is one."""
    said = b"".join(data for _, data in exchange.reads)
    if exchange.error is None and exchange.status == 200:
        if CHAT_COMPLETIONS.finished.search(said) and SAYS_SOMETHING.search(said) and not MAY_SAY_WHY.search(said):
            return None
        answer = parse_answer(exchange.reads, streamed=True)
        kind = classified_as(None, 200, answer, streamed=True)
        why = answer.error or answer.malformed or ""
    else:
        kind = exchange.error or f"status {exchange.status}"
        why = exchange.error_text or exchange.headers.get("location") or said[:MOST_PARSED].decode(errors="replace")
    return None if kind in SUCCESS else one_line(f"{kind}: {message(why)}".removesuffix(": "), MOST_REASON)


def tokens_in(exchange: Exchange) -> int:
    """Return the completion tokens that an answer's end tells, else its events."""
    told = _USAGE.findall(b"".join(data for _, data in exchange.reads[-_TAIL:]))
    return int(told[-1]) if told else sum(data.count(b"data:") for _, data in exchange.reads)
