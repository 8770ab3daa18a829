"""What is read of another tool's result file: the requests of each load, the file's own figures, and what was left out.

Times are in seconds. What a file does not say stays unknown (null); what can't be true is left out, and counted.
"""

import re
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from itertools import accumulate
from typing import Any

from accelbench.foreign import LARGEST_COUNT, as_count, as_number
from accelbench.store.records import RequestRecord

UNNAMED = "imported"  # load, and endpoint before its side has a name
CLOCK_S = 0.001  # by which a first token may seem to come after the end
JsonDocument = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Distribution:
    """One kind of time as a file sums it up."""

    mean: float | None = None
    median: float | None = None
    min: float | None = None
    max: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class ToolSummary:
    """A file's own figures of one load."""

    requests: int | None = None
    ok: int | None = None
    wall_s: float | None = None
    requests_per_s: float | None = None
    output_tok_per_s: float | None = None
    total_tok_per_s: float | None = None
    latency_s: Distribution = Distribution()
    ttft_s: Distribution = Distribution()
    tpot_s: Distribution = Distribution()
    prompt_tokens: float | None = None
    """Means over requests, as the next."""
    completion_tokens: float | None = None

    @property
    def is_there(self) -> bool:
        """Whether the file holds any figure of its own."""
        return self.requests != 0 and self != ToolSummary(requests=self.requests, ok=self.ok)


@dataclass(frozen=True, slots=True)
class Imported:
    """One load on one endpoint. Without requests, the summary is all that is known."""

    requests: list[RequestRecord]
    summary: ToolSummary = field(default_factory=ToolSummary)
    endpoint: str | None = None
    """As the file names it; null where it is named by its file."""
    model: str | None = None
    """As the file names it. Loads of several models are on as many endpoints."""
    cell: str | None = None
    concurrency: int | None = None
    """Requests in flight, where the file says how many."""
    rate_per_s: float | None = None
    """Arrivals per second; null: closed loop, all at once, or unknown."""
    notes: list[str] = field(default_factory=list)

    @property
    def load(self) -> str:
        """What the load is called: c8, r2p5."""
        if self.cell is not None:
            return self.cell
        if self.rate_per_s is not None:
            return f"r{self.rate_per_s:g}".replace(".", "p")
        return UNNAMED if self.concurrency is None else f"c{self.concurrency}"


@dataclass(frozen=True, slots=True)
class Importer:
    """How the result files of one tool are read."""

    name: str
    read: Callable[[Sequence[JsonDocument]], list[Imported] | None]
    """From the JSON objects of a file to its loads; None: the file is not this tool's."""
    keeps_requests: str | None = None
    """How files with single requests are made; null where they always hold them."""


@dataclass(frozen=True, slots=True)
class ImportedRequests:
    """The requests of one load, as a reader adds them one by one."""

    _kept: list[RequestRecord] = field(default_factory=list)
    _said: Counter[str] = field(default_factory=Counter)
    _seen: set[tuple[str, float, float | None]] = field(default_factory=set)

    def add(
        self,
        key: str,
        *,
        failure: str | None = None,
        http_status: int | None = None,
        finish_reason: Any = None,
        begun_s: Any = None,
        ended_s: Any = None,
        e2e_s: Any = None,
        ttft_s: Any = None,
        ttfat_s: Any = None,
        tpot_s: Any = None,
        gaps_s: Sequence[Any] = (),
        answer: Any = None,
        prompt_tokens: Any = None,
        completion_tokens: Any = None,
        reasoning_tokens: Any = None,
        warm_up: bool = False,
    ) -> None:
        """Keep a request, unless it is there already or its times can't be true.

        `gaps_s`: between its tokens. A failed one has no latency.
        """
        begun_s, ended_s, e2e_s = as_number(begun_s), as_number(ended_s), as_number(e2e_s)
        if e2e_s is None and begun_s is not None and ended_s is not None:
            e2e_s = ended_s - begun_s
        if begun_s is not None:
            if (key, begun_s, e2e_s) in self._seen:
                self.leave_out("the same request again")
                return
            self._seen.add((key, begun_s, e2e_s))
        ok = failure is None
        http_status = http_status or _status(failure or "")
        times_s = [as_number(gap) for gap in gaps_s] if ok else []
        ttft_s, ttfat_s, tpot_s = ((as_number(s) or None) if ok else None for s in (ttft_s, ttfat_s, tpot_s))
        if ok and (why := _impossible(e2e_s, ttft_s, times_s)):
            self.leave_out(why)
            return
        prompt_tokens, completion_tokens, reasoning_tokens = (
            self._tokens(given) for given in (prompt_tokens, completion_tokens, reasoning_tokens)
        )
        if tpot_s is None and ttft_s is not None and e2e_s is not None and (completion_tokens or 0) > 1:
            tpot_s = (e2e_s - ttft_s) / (completion_tokens - 1)
        if ended_s is None and begun_s is not None and e2e_s is not None:
            ended_s = begun_s + e2e_s
        events_s = list(accumulate(times_s, initial=ttft_s)) if times_s and ttft_s is not None else []
        reason = str(finish_reason) if finish_reason is not None else None
        self._kept.append(
            RequestRecord(
                endpoint=UNNAMED,
                cell=UNNAMED,
                round=1,
                key=key,
                attempt=1,
                last_attempt=True,
                session=1,
                warm_up=warm_up,
                article=None,
                passage=None,
                class_=_class(failure, http_status, reason),
                http_status=http_status,
                error_text=failure,
                dequeued_unix_s=begun_s,
                sent_unix_s=begun_s,
                end_unix_s=ended_s,
                ttft_s=ttft_s,
                ttfat_s=ttfat_s,
                tpot_s=tpot_s if tpot_s and tpot_s > 0 else None,
                e2e_s=e2e_s if ok else None,
                events=len(events_s) or None,
                prompt_tokens=prompt_tokens,
                completion_tokens=completion_tokens,
                finish_reason=reason,
                answer=str(answer or ""),
                reasoning="",
                golds=[],
                exact_match=None,
                f1=None,
                contains_gold=None,
                server_timings={},
                event_times_s=[at for at in events_s if at is not None],
                reasoning_tokens=reasoning_tokens,
            )
        )

    def leave_out(self, why: str) -> None:
        """Count a request that is not kept."""
        self._said[f"left out: {why}"] += 1

    def kept(self) -> list[RequestRecord]:
        """Return the requests that were kept, their clock moved to where no moment is 0: 0 means that none is known."""
        begins = [r.sent_unix_s for r in self._kept if r.sent_unix_s is not None]
        if not begins or min(begins) > 0:
            return self._kept
        by_s = 1.0 - min(begins)
        return [
            replace(
                r,
                dequeued_unix_s=_later(r.dequeued_unix_s, by_s),
                sent_unix_s=_later(r.sent_unix_s, by_s),
                end_unix_s=_later(r.end_unix_s, by_s),
            )
            for r in self._kept
        ]

    def notes(self) -> list[str]:
        """Return what was left out, and how often."""
        return [f"{times:,} {'request' if times == 1 else 'requests'} {why}" for why, times in self._said.items()]

    def _tokens(self, given: Any) -> int | None:
        found = as_count(given)
        if isinstance(given, int | float) and given > LARGEST_COUNT:
            raise ValueError(f"{given:g} is not a number of tokens")
        if found is None and given is not None:
            self._said["with an impossible token count, taken as unknown"] += 1
        return found


def distribution(figures: Any, unit_s: float = 1.0, names: Mapping[str, str] | None = None) -> Distribution:
    """Return what an object says of one kind of time; `names`: how it calls what is called otherwise here."""
    if not isinstance(figures, Mapping):
        return Distribution()
    given = {name: as_number(figures.get((names or {}).get(name, name))) for name in Distribution.__slots__}
    return Distribution(**{name: None if value is None else value * unit_s for name, value in given.items()})


def mean_of(runs: Sequence[ToolSummary]) -> ToolSummary:
    """Return the figures of several runs as one: sums and means, of what all of them have."""
    return ToolSummary(
        requests=_sum([run.requests for run in runs]),
        ok=_sum([run.ok for run in runs]),
        wall_s=None if (mean_s := _mean([run.wall_s for run in runs])) is None else mean_s * len(runs),
        requests_per_s=_mean([run.requests_per_s for run in runs]),
        output_tok_per_s=_mean([run.output_tok_per_s for run in runs]),
        total_tok_per_s=_mean([run.total_tok_per_s for run in runs]),
        latency_s=_mean_times([run.latency_s for run in runs]),
        ttft_s=_mean_times([run.ttft_s for run in runs]),
        tpot_s=_mean_times([run.tpot_s for run in runs]),
        prompt_tokens=_mean([run.prompt_tokens for run in runs]),
        completion_tokens=_mean([run.completion_tokens for run in runs]),
    )


def _sum(counts: Sequence[int | None]) -> int | None:
    there = [each for each in counts if each is not None]
    return sum(there) if len(there) == len(counts) else None


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return statistics.fmean(there) if len(there) == len(values) else None


def _mean_times(runs: Sequence[Distribution]) -> Distribution:
    """Return the mean of the means and the extremes; percentiles of several runs can't be had from those of each."""
    lows, highs = ([getattr(run, name) for run in runs] for name in ("min", "max"))
    return Distribution(
        mean=_mean([run.mean for run in runs]),
        min=None if None in lows else min(lows),
        max=None if None in highs else max(highs),
    )


def _later(moment_s: float | None, by_s: float) -> float | None:
    return None if moment_s is None else moment_s + by_s


def _impossible(e2e_s: float | None, ttft_s: float | None, gaps_s: Sequence[float | None]) -> str | None:
    """Return why the times of a request that succeeded can't be true."""
    if e2e_s is None:
        return "no latency is recorded"
    if e2e_s < 0 or (ttft_s is not None and ttft_s < 0) or any(gap is not None and gap < 0 for gap in gaps_s):
        return "a negative time"
    if e2e_s == 0 or None in gaps_s:
        return "an impossible time"
    return "the first token after the end" if ttft_s is not None and ttft_s > e2e_s + CLOCK_S else None


_REASONS = {status.phrase: status.value for status in HTTPStatus if status >= HTTPStatus.BAD_REQUEST}
_NUMBERED = re.compile(r"\b([45]\d\d) (?=[A-Z])")
_BEGINNING = 60  # characters


def _status(failure: str) -> int | None:
    """Return the HTTP status with which an HTTP client begins to say that a request was refused."""
    numbered = _NUMBERED.search(failure[:_BEGINNING])
    return int(numbered[1]) if numbered else _REASONS.get(failure.partition(":")[0])


def _class(failure: str | None, http_status: int | None, finish_reason: str | None) -> str:
    if failure is None:
        return "truncated_length" if finish_reason == "length" else "ok"
    return f"http_{http_status // 100}xx" if http_status is not None and 400 <= http_status < 600 else "connection"
