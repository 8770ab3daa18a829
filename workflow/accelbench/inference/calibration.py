"""The client on the test bench: its loads against a server that knows when it wrote each token.

Its error is what it reports minus what the truth server says, over what the server says. That is all that stands
between the server's write and the client's record of it: the wire of this machine, and the moments at which the server
reads, too. So it is an upper bound of the client's own error. The tokens of a truth server are the instants at which
they were written; the first also says when the request had arrived (arrival:write).
"""

import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import orjson
from typing_extensions import TypedDict

from accelbench.analysis.percentiles import Times, times
from accelbench.config import Config, Endpoint, Scenario
from accelbench.errors import UserError
from accelbench.inference.answers.classify import classify_round
from accelbench.inference.infer import measure
from accelbench.inference.prompts import Prompt
from accelbench.inference.round import Plan
from accelbench.jobs.process import guarded
from accelbench.plan import specs
from accelbench.plan.measurement import host, measuring, now
from accelbench.store.files import write_json
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


TTFT_S, GAP_S, TOKENS = 0.2, 0.02, 64
_ANSWER_S = TTFT_S + GAP_S * (TOKENS - 1)
REQUESTS_PER_SLOT, FEWEST_REQUESTS, OPEN_LOOP_S = 5, 10, 5.0
CLIENT = (
    "inference/client/load.py",
    "inference/client/journal.py",
    "inference/truth_server.py",
)
NAME, SERVER_LOG = "truth", "server.log"
START_S = 10.0


@dataclass(frozen=True, slots=True)
class BenchLoad:
    """One load to put the client under, and the planned cells that it stands for."""

    scenario: Scenario
    https: bool = False
    cells: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """How the load is called in tables."""
        scenario = self.scenario
        if scenario.arrivals == "closed":
            load = f"{scenario.concurrency} at a time"
        else:
            load = f"{scenario.rate_per_s:g} a second ({scenario.arrivals}, {scenario.max_in_flight} at most)"
        return f"{load}, https" if self.https else load


def closed(slots: int, *, https: bool = False) -> BenchLoad:
    """Return a closed loop whose streams begin evenly spread over one answer's time."""
    return _load({"concurrency": slots, "ramp_up_s": _ANSWER_S if slots > 1 else 0.0}, REQUESTS_PER_SLOT * slots, https)


def bench_loads(config: Config) -> list[BenchLoad]:
    """Return the loads of all planned cells, each once, over https where the endpoint is."""
    found: dict[str, BenchLoad] = {}
    for endpoint in config.inference.run:
        https = str(config.inference.endpoints[endpoint].base_url).startswith("https:")
        for cell in specs.cells(config).values():
            load = _opened(cell, https) if cell.is_open else closed(cell.slots, https=https)
            cells = dict.fromkeys([*found.get(load.name, load).cells, cell.name])
            found[load.name] = replace(load, cells=tuple(cells))
    return list(found.values())


def spec(loads: Sequence[BenchLoad]) -> str:
    """Return the spec of a calibration: its loads, the server's schedule, and the client's code."""
    measured = [{"https": load.https, **specs.measured_fields(load.scenario)} for load in loads]
    schedule = {"ttft_s": TTFT_S, "gap_s": GAP_S}
    return specs.canonical(
        {"kind": "calibrate", "loads": measured, "schedule": schedule, "client": specs.code(*CLIENT)}
    )


def record(load: BenchLoad, folder: Path, *, core: int | None = None) -> ClientFacts:
    """Put the client under a load as a measuring job does, its journal in `folder`; return what it says of itself.

    `core`: the one that the server runs on. Raises UserError when there is no server to be had.
    """
    prompts = [Prompt(str(n), "", "", "", "", [], f"Question {n}.") for n in range(load.scenario.requests)]
    certificate = make_certificate(folder / "certificate.pem") if load.https else None
    with serving_truth(folder / SERVER_LOG, certificate=certificate, core=core) as base_url, reached(certificate):
        endpoint = Endpoint(base_url=base_url, model=NAME)
        cell = specs.Cell(NAME, NAME, load.scenario)
        plan = Plan(NAME, endpoint, cell, 1, 1, prompts, folder, specs.digest(spec([load])))
        return measure(plan)["client"]


def recorded_requests(folder: Path) -> list[RequestRecord]:
    """Return the requests that a journal holds, classified as always; the token texts tell the truth."""
    requests = classify_round(specs.InferRound(NAME, NAME, 1), folder, {}, streamed=True)
    return [request for request in requests if not request.warm_up]


@contextmanager
def serving_truth(log: Path, *, certificate: Path | None = None, core: int | None = None) -> Iterator[str]:
    """Run a truth server as long as the block; yield its base URL. Raises UserError when it does not start."""
    command = [
        sys.executable,
        "-m",
        "accelbench.inference.truth_server",
        "--ttft-s",
        str(TTFT_S),
        "--gap-s",
        str(GAP_S),
    ]
    command += ["--certificate", str(certificate.absolute())] if certificate else []
    command += ["--core", str(core)] if core is not None else []
    end_s = time.perf_counter() + START_S
    with guarded(command, log) as process:
        while not (port := re.fullmatch(r"(\d+)\n", log.read_text())):
            if process.poll() is not None or time.perf_counter() > end_s:
                raise UserError(f"the truth server did not start; see {log}.")
            time.sleep(0.02)
        yield f"{'https' if certificate else 'http'}://127.0.0.1:{port[1]}/v1"


def can_make_certificates() -> bool:
    """Tell whether https can be calibrated here."""
    return shutil.which("openssl") is not None


def make_certificate(path: Path) -> Path:
    """Write a certificate for 127.0.0.1, signed by itself, and its key into one file; return it.

    It is valid for two days. Raises UserError if openssl fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=accelbench", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", "-", "-out", "-"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise UserError(f"openssl could not make a certificate for 127.0.0.1: {made.stderr.strip()[-300:]}")
    path.write_text(made.stdout)
    return path


@contextmanager
def reached(certificate: Path | None) -> Iterator[None]:
    """Let the client reach a server on this machine: by no proxy, and trusting its certificate."""
    there = {"no_proxy": "127.0.0.1"}
    if certificate is not None:
        there["REQUESTS_CA_BUNDLE"] = str(certificate.absolute())
    before = {name: os.environ.get(name) for name in there}
    os.environ.update(there)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def workbench(folder: Path) -> Iterator[Path]:
    """Yield a folder on the disk of the measurements, gone afterwards: the journal is written as it always is."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as temporary:
        yield Path(temporary)


def _opened(cell: specs.Cell, https: bool) -> BenchLoad:
    load = cell.load
    arrivals = load.arrivals if load.arrivals == "constant" else "poisson"
    keys = {"arrivals": arrivals, "rate_per_s": cell.rate_per_s, "max_in_flight": load.max_in_flight}
    return _load(keys, math.ceil(cell.rate_per_s * OPEN_LOOP_S), https)


def _load(keys: JsonObject, requests: int, https: bool) -> BenchLoad:
    fixed = {"requests": max(FEWEST_REQUESTS, requests), "max_tokens": TOKENS, "nonce": False}
    return BenchLoad(Scenario.model_validate({**keys, **fixed}), https)


_RECORD = "calibration.json"


def calibrate(loads: Sequence[BenchLoad], folder: Path) -> CalibrationFile:
    """Put the client under each load against a truth server; write calibration.json and return it.

    https is skipped, and said to be, where openssl can't make a certificate. Raises UserError: nothing to calibrate.
    """
    if not loads:
        raise UserError(
            "no endpoint is measured under any load (inference.run); give --concurrency, or a config with one."
        )
    with measuring(folder):
        record = CalibrationFile(spec=orjson.loads(spec(loads)), measured_at=now(), host=host(), loads=[], skipped=[])
        for load in loads:
            if load.https and not can_make_certificates():
                record["skipped"].append({"load": load.name, "why": "openssl is not installed"})
                continue
            print(f"calibrating: {load.name}", file=sys.stderr, flush=True)
            record["loads"].append(_calibrated(load, folder))
    write_json(folder / _RECORD, record)
    return record


def _calibrated(load: BenchLoad, folder: Path) -> LoadCalibration:
    with workbench(folder) as bench:
        client = record(load, bench)
        error = client_error(recorded_requests(bench))
    return {"load": load.name, "cells": load.cells, **error, "client": client}


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
