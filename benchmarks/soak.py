"""Whether the client stays the same under a long load: memory, open files, and its timing error, minute by minute.

    python benchmarks/soak.py [--minutes 30] [--streams 64]

A closed loop of `accelbench load` against the truth server. Memory and open files are the client process's own, seen
from outside; the error of the time to first token (p50 over all requests of a tenth of the load) is against what the
server wrote. Exits with 1 when the last tenth is worse than the second by more than the bounds below.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from accelbench.inference import calibration
from accelbench.inference.calibration import client_error

PARTS = 10
ANSWER_S = 1.5  # of the truth server: 200 ms, and 63 gaps of 20 ms
MORE_MEMORY, MORE_FILES, MORE_ERROR = 1.2, 4, 0.02


def main() -> None:
    """Load, watch, judge."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    count = max(PARTS * 4, int(options.streams * options.minutes * 60 / ANSWER_S))
    if options.measure:
        load = calibration.closed(options.streams)
        scenario = load.scenario.model_copy(update={"requests": count})
        calibration.record(replace(load, scenario=scenario), options.measure)
        return
    with tempfile.TemporaryDirectory() as folder:
        words = ["--minutes", str(options.minutes), "--streams", str(options.streams), "--measure", folder]
        seen = watched(subprocess.Popen([sys.executable, __file__, *words]))
        errors = [client_error(part)["ttft_s"]["p50"] for part in parts(calibration.recorded_requests(Path(folder)))]
    sys.exit(judged(seen, [error["error_share"] for error in errors if error]))


def watched(client: subprocess.Popen[bytes]) -> list[tuple[float, int]]:
    """Return memory in MB and open files, each half second, until the client has ended."""
    process, seen = psutil.Process(client.pid), []
    while client.poll() is None:
        try:
            seen.append((process.memory_info().rss / 2**20, process.num_fds()))
        except psutil.Error:
            break
        time.sleep(0.5)
    if client.wait():
        sys.exit("the load failed")
    return seen


def parts(recorded: list[Any]) -> list[list[Any]]:
    """Return the requests in tenths, in the order they ended."""
    size = max(1, len(recorded) // PARTS)
    return [recorded[place : place + size] for place in range(0, size * PARTS, size)]


def judged(seen: list[tuple[float, int]], errors: list[float]) -> int:
    """Print the course of the load, and return 1 when it got worse."""
    early, late = seen[len(seen) // 4], seen[-max(2, len(seen) // 20)]
    print(f"memory {early[0]:.0f} -> {late[0]:.0f} MB, open files {early[1]} -> {late[1]}")
    print("TTFT p50 error by tenth: " + " ".join(f"{error:.2%}" for error in errors))
    worse = late[0] > MORE_MEMORY * early[0] or late[1] > early[1] + MORE_FILES
    return int(worse or errors[-1] - errors[1] > MORE_ERROR)


if __name__ == "__main__":
    main()
