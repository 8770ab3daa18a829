"""The client's error: what it reports minus what the truth server says, over what the server says.

The tokens of a truth server are the instants at which they were written; the first also says when the request had
arrived (arrival:write).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from typing_extensions import TypedDict

from accelbench.analysis.percentiles import Times, times
from accelbench.store.records import ClientFacts, HostFacts, JsonObject, RequestRecord

ClientMetric = Literal["ttft_s", "itl_s", "e2e_s"]
CLIENT_METRICS: dict[ClientMetric, str] = {"ttft_s": "TTFT", "itl_s": "ITL", "e2e_s": "E2E"}
PERCENTILES: tuple[Literal["p50"], Literal["p99"]] = ("p50", "p99")

ReportedAndTrue = tuple[float, float]
"""What the client reports, and the truth."""


class PercentileError(TypedDict):
    """The error at one percentile."""

    truth_ms: float
    client_ms: float
    error_ms: float
    error_share: float


class MetricError(TypedDict):
    """The error of one metric."""

    n: int
    p50: PercentileError | None
    p99: PercentileError | None
    worst_ms: float | None
    """The largest error of a single observation, its sign kept."""


class ClientError(TypedDict):
    """The client's error under one load; requests that failed stand in `failed`."""

    requests: int
    failed: int
    ttft_s: MetricError
    itl_s: MetricError
    e2e_s: MetricError


class LoadCalibration(ClientError):
    """One load of a calibration, the planned cells that it stands for, and what the client said of itself."""

    load: str
    cells: Sequence[str]
    client: ClientFacts


class SkippedLoad(TypedDict):
    """A load that could not be put on the client, and why."""

    load: str
    why: str


class CalibrationFile(TypedDict):
    """The client's error under all planned loads (calibration.json)."""

    spec: JsonObject
    measured_at: str
    host: HostFacts
    loads: list[LoadCalibration]
    skipped: list[SkippedLoad]


def client_error(requests: Sequence[RequestRecord]) -> ClientError:
    """Return the error of each metric at each percentile; null where n does not support the percentile."""
    pairs: dict[ClientMetric, list[ReportedAndTrue]] = {metric: [] for metric in CLIENT_METRICS}
    for request in (r for r in requests if r.is_success):
        arrived_s, written_s = truth(request.answer)
        times_s = request.event_times_s
        pairs["ttft_s"].append((times_s[0], written_s[0] - arrived_s))
        pairs["itl_s"] += zip(_gaps(times_s), _gaps(written_s), strict=True)
        pairs["e2e_s"].append((times_s[-1], written_s[-1] - arrived_s))
    failed = sum(not request.is_success for request in requests)
    ttft, itl, e2e = map(_errors, pairs.values())
    return ClientError(requests=len(requests), failed=failed, ttft_s=ttft, itl_s=itl, e2e_s=e2e)


def truth(text: str) -> tuple[float, list[float]]:
    """Return when a request arrived and when each of its tokens was written, in seconds of one clock."""
    arrived, _, written = text.partition(":")
    return float(arrived), [float(instant) for instant in written.split()]


def _gaps(times_s: Sequence[float]) -> list[float]:
    return [late - early for early, late in pairwise(times_s)]


def _errors(pairs: Sequence[ReportedAndTrue]) -> MetricError:
    client, true = (times(side) for side in zip(*pairs, strict=True)) if pairs else (Times(0), Times(0))
    worst_s = max((reported - was for reported, was in pairs), key=abs, default=None)
    return MetricError(
        n=len(pairs),
        p50=_error(client.p50, true.p50),
        p99=_error(client.p99, true.p99),
        worst_ms=None if worst_s is None else round(1000 * worst_s, 4),
    )


def _error(client_s: float | None, truth_s: float | None) -> PercentileError | None:
    if client_s is None or truth_s is None:
        return None
    error_s = client_s - truth_s
    return {
        "truth_ms": round(1000 * truth_s, 4),
        "client_ms": round(1000 * client_s, 4),
        "error_ms": round(1000 * error_s, 4),
        "error_share": round(error_s / truth_s, 6),
    }
