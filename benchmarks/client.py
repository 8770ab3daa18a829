"""How far the client's figures are from the truth, beside those of a thread per stream over `requests`.

    python benchmarks/client.py [--streams 1 8 64 256 512 1024] [--runs 3] [--burst] [--quick]

Both face the truth server (time to first token 200 ms, 20 ms between tokens, 64 tokens), which writes into each token
when it wrote it. The server has one core for itself and the client another, where the system lets one choose. Each
run is a process of its own; clients take turns. Streams begin evenly spread over the time of one answer or, in a
burst, all at once. Errors are (reported - true) / true of the percentile over all
requests of a run. CPU time and memory are the client process's own, reading the record afterwards left out; the time
includes setting up, which is most of it below 64 streams.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import requests

from accelbench.inference import calibration
from accelbench.inference.calibration import client_error
from accelbench.inference.client.http import Exchange
from accelbench.inference.client.journal import EXCHANGES, Journal, attempts, sessions
from accelbench.inference.client.load import Attempt, undisturbed

PACKAGE_PARENT = str(Path(__file__).parents[1] / "workflow")
STREAMS = (1, 8, 64, 256, 512, 1024)
SHOWN = (("ttft_s", "p50"), ("ttft_s", "p99"), ("itl_s", "p50"), ("itl_s", "p99"), ("e2e_s", "p50"))
HEADER = (
    "client", "streams", "requests a run", "TTFT p50", "TTFT p99", "ITL p50", "ITL p99", "E2E p50",
    "CPU µs per chunk", "peak memory MB",
)  # fmt: skip
SWITCH_INTERVAL_S = 0.0005  # lets threads come sooner to their turn

Load = calibration.BenchLoad


def main() -> None:
    """Measure everything, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--streams", type=int, nargs="+", default=STREAMS)
    parser.add_argument("--runs", type=int, default=3, help="of each client at each number of streams")
    parser.add_argument("--burst", action="store_true", help="start all streams at once")
    parser.add_argument("--quick", action="store_true", help="4 streams, one run, a few requests: does it work?")
    parser.add_argument("--measure", nargs=3, metavar=("CLIENT", "STREAMS", "REQUESTS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        client, streams, count = options.measure
        print(json.dumps(measure(client, load_of(int(streams), int(count), burst=options.burst))))
        return
    streams, runs = ((4,), 1) if options.quick else (options.streams, options.runs)
    print(f"{machine()}\n", flush=True)
    per_stream = 2 if options.quick else 5
    print(table(compare(streams, runs, per_stream, burst=options.burst)), flush=True)
    print(start_up(runs=1 if options.quick else 5))


def machine() -> str:
    """Say when and on what the figures are measured."""
    cpu = next((line for line in _lines("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    now = datetime.now().astimezone()
    load = " ".join(f"{average:.2f}" for average in os.getloadavg())
    return (
        f"{now:%Y-%m-%d %H:%M}, {cpu.partition(':')[2].strip() or cpu}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}; load average before the first run: {load}"
    )


def compare(
    streams: Sequence[int], runs: int, requests_per_stream: int, *, burst: bool
) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """Run both clients in turn, in fresh processes."""
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    environment = {**os.environ, "PYTHONPATH": PACKAGE_PARENT, "no_proxy": "127.0.0.1"}
    for _ in range(runs):
        for count in streams:
            for client in CLIENTS:
                asked = max(requests_per_stream * count, 2 * requests_per_stream)
                command = [sys.executable, __file__, "--measure", client, str(count), str(asked)]
                command += ["--burst"] if burst else []
                done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
                if done.returncode:
                    sys.exit(f"{client} at {count} streams: {done.stderr[-2000:]}")
                found.setdefault((client, count), []).append(json.loads(done.stdout.splitlines()[-1]))
    return found


def table(found: dict[tuple[str, int], list[dict[str, Any]]]) -> str:
    """Return the median of the runs, and their range."""
    from accelbench.report.text import markdown  # and with it scipy, which is no part of the client's memory

    body = []
    for (client, streams), runs in sorted(found.items(), key=lambda item: (item[0][1], item[0][0])):
        errors = [
            spread([100 * run[metric][percent]["error_share"] for run in runs], "z.2f") + " %"
            if all(run[metric][percent] for run in runs)
            else "–"
            for metric, percent in SHOWN
        ]
        failed = sum(run["failed"] for run in runs)
        asked = f"{runs[0]['requests']:,}" + (f" ({failed} failed in all)" if failed else "")
        rest = [spread([run[key] for run in runs], ".0f") for key in ("cpu_us_per_chunk", "peak_mb")]
        body.append([client, f"{streams:,}", asked, *errors, *rest])
    runs_each = len(next(iter(found.values())))
    return f"Median of {runs_each} runs, in brackets the smallest and the largest.\n\n{markdown(HEADER, body)}"


def spread(values: Sequence[float], form: str) -> str:
    """Return the median and, of several values, the range."""
    middle = f"{statistics.median(values):{form}}"
    return f"{middle} ({min(values):{form}} to {max(values):{form}})" if len(values) > 1 else middle


def start_up(runs: int) -> str:
    """Return the seconds from the start of `accelbench load` to its first request written."""
    environment = {**os.environ, "PYTHONPATH": PACKAGE_PARENT, "no_proxy": "127.0.0.1"}
    found_s = []
    with tempfile.TemporaryDirectory() as folder, calibration.serving_truth(Path(folder) / "server.log") as base_url:
        for run in range(runs):
            out = Path(folder) / str(run)
            command = [sys.executable, "-m", "accelbench", "load", "--base-url", base_url, "--model", "truth"]
            command += ["--requests", "1", "--out", str(out), "--json"]
            started_s = time.time()
            subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
            first = next(iter(attempts(out / EXCHANGES)))
            found_s.append(sessions(out / EXCHANGES)[0]["started_unix_s"] + first["sent_s"] - started_s)
    return f"`accelbench load`: first request written after {spread(found_s, '.2f')} s (n = {runs}; goal 1.5)"


# --- one run, in a process of its own -------------------------------------------------------------------------


def load_of(streams: int, count: int, *, burst: bool) -> Load:
    """Return a closed loop of so many streams and requests."""
    load = calibration.closed(streams)
    changed = {"requests": count, **({"ramp_up_s": 0.0} if burst else {})}
    return replace(load, scenario=load.scenario.model_copy(update=changed))


def measure(client: str, load: Load) -> dict[str, Any]:
    """Put one client under a load; return its errors, CPU time and memory."""
    server_core = _take_a_core()
    with tempfile.TemporaryDirectory() as folder:
        before_s = time.process_time()
        CLIENTS[client](load, Path(folder), server_core)
        cpu_s, peak_mb = time.process_time() - before_s, _peak_mb()
        recorded = calibration.recorded_requests(Path(folder))
        chunks = len(recorded) * calibration.TOKENS
        return {**client_error(recorded), "cpu_us_per_chunk": 1e6 * cpu_s / chunks, "peak_mb": peak_mb}


def accelbench(load: Load, folder: Path, core: int | None) -> None:
    """Load the server as a measuring job does."""
    calibration.record(load, folder, core=core)


def threads(load: Load, folder: Path, core: int | None) -> None:
    """Load the server with a thread per stream; t0 is the call, for `requests` does not say when it wrote."""
    streams = load.scenario.most_in_flight
    waiting = iter(range(load.scenario.requests))
    taking, ready = threading.Lock(), threading.Barrier(streams)
    journal = Journal(folder / EXCHANGES, "threads", time.time())
    epoch_s = time.perf_counter()

    def stream(number: int) -> None:
        with requests.Session() as session:
            session.get(f"{base_url}/models")  # opens the connection
            ready.wait()
            time.sleep(load.scenario.ramp_up_s * number / streams)
            while (asked := _next(waiting, taking)) is not None:
                attempt = Attempt(str(asked), 1, time.perf_counter() - epoch_s, _ask(session, base_url, epoch_s))
                with taking:
                    journal.add(attempt, final=True)

    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with calibration.serving_truth(folder / "server.log", core=core) as base_url, undisturbed():
        workers = [threading.Thread(target=stream, args=(number,)) for number in range(streams)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    journal.close()


CLIENTS: dict[str, Callable[[Load, Path, int | None], None]] = {"accelbench": accelbench, "threads": threads}


def _next(waiting: Any, taking: threading.Lock) -> int | None:
    with taking:
        return next(waiting, None)


def _ask(session: requests.Session, base_url: str, epoch_s: float) -> Exchange:
    body = {"model": "truth", "messages": [{"role": "user", "content": "Question."}], "stream": True}
    exchange = Exchange(sent_s=time.perf_counter() - epoch_s, reused=True)
    answer = session.post(f"{base_url}/chat/completions", json={**body, "max_tokens": calibration.TOKENS}, stream=True)
    exchange.status = answer.status_code
    for data in answer.iter_content(None):
        exchange.reads.append((time.perf_counter() - epoch_s, data))
    exchange.end_s = time.perf_counter() - epoch_s
    return exchange


def _take_a_core() -> int | None:
    """Confine this process to its last core; return the first one, for the server, where there are two."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    first, *others = sorted(os.sched_getaffinity(0))
    if not others:
        return None
    os.sched_setaffinity(0, {others[-1]})
    return first


def _peak_mb() -> float:
    """Return the process's peak resident memory; 0 where the system does not tell."""
    return next((int(line.split()[1]) / 1e3 for line in _lines("/proc/self/status") if line.startswith("VmHWM")), 0.0)


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


if __name__ == "__main__":
    main()
