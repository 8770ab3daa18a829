"""How fast the log parser is, and how much memory it takes: on logs that it writes first, and deletes afterwards.

    python benchmarks/parser.py [--gb 0.1] [--runs 5] [--folder /tmp]

Two kinds of logs in the documented grammar, alike for one seed: `few` progress lines (4 % of all lines, the rest are
the trainer's other messages and other programs' lines) and `all` (every line between start and end is one). Each
run parses in a fresh process, from the page cache: a first run that warms it isn't counted. The time is the parser's
own, without the start of Python; the memory is the process's peak, Python included. Where other programs want the
cores too, the rate per second of CPU time is the parser's own.
"""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

PACKAGE_PARENT = str(Path(__file__).parents[1] / "workflow")
GOALS_MB_PER_S = {"few": 150, "all": 50}
GOAL_MB = 300
FEW = 0.04
BATCH_SIZE = 1024
OTHERS = (
    "INFO:   Finalizing appliance staging for the run",
    "INFO:   Monitoring returned",
    "WARNING:   Event 2025-10-13 14:47:50 +0000 UTC reason=InconsistentVersion wsjob=wsjob-kgqvqqxnp9zvpmwulcbxuj "
    "message='Warning: job image version 2.6.0 is inconsistent with cluster server version 3.0.1'",
    "DEBUG:   Sending tensor embedding_layer.word_embeddings.weight of 262144000 bytes to weight server 12",
)
FOREIGN = (
    "I0711 18:04:02.654321 609793 hpack_parser.cc:1234] Error parsing metadata: error=invalid value key=content-type",
    "/home/user/venv/lib/python3.11/site-packages/pydantic/_internal/_generate_schema.py:404: UserWarning: ignored",
    "    return self._call_impl(*args, **kwargs)",
)
MEASURE = """
import json, sys, time
from pathlib import Path
from accelbench.training.log.reader import read_log
start_s, cpu_start_s = time.perf_counter(), time.process_time()
log = read_log(Path(sys.argv[1]))
seconds, cpu_seconds = time.perf_counter() - start_s, time.process_time() - cpu_start_s
peak_kb = next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith("VmHWM"))
print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": peak_kb / 1e3, "outcome": log.outcome,
    "last_step": log.last_step}))
"""


def main() -> None:
    """Write, parse and report both kinds."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gb", type=float, default=0.1, help="size of each log (10^9 bytes)")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the logs are written, one at a time; needs --gb of space")
    options = parser.parse_args()
    print(f"{machine()}; {options.gb:g} GB a log, {options.runs} runs after one that warms the page cache")
    for kind in GOALS_MB_PER_S:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            path = Path(folder) / f"{kind}.log"
            steps = write_log(path, kind, round(options.gb * 1e9))
            print(report(kind, path.stat().st_size, measure(path, steps, options.runs)), flush=True)


def machine() -> str:
    """Say what the figures were measured on."""
    try:
        models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    except OSError:
        models = []
    name = models[0].partition(":")[2].strip() if models else platform.machine()
    return f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}"


def write_log(path: Path, kind: str, size: int, seed: int = 1) -> int:
    """Write a log of about `size` bytes; return the number of its last step."""
    draw, at, step = random.Random(seed), datetime(2025, 11, 25, 15, 39, 45, 243000), 0
    with path.open("w") as log:
        for message in beginning():
            log.write(f"{stamp(at)} INFO:   {message}\n")
            at += timedelta(seconds=5)
        while log.tell() < size:
            lines = []
            for _ in range(2000):
                at += timedelta(milliseconds=31)
                if kind == "all" or draw.random() < FEW:
                    step += 1
                    lines.append(f"{stamp(at)} INFO:   {progress(step, draw)}\n")
                elif draw.random() < 0.5:
                    lines.append(f"{stamp(at)} {draw.choice(OTHERS)}\n")
                else:
                    lines.append(f"{draw.choice(FOREIGN)}\n")
            log.write("".join(lines))
        for message in ending(step):
            log.write(f"{stamp(at)} INFO:   {message}\n")
    return step


def beginning() -> Iterator[str]:
    """Yield what ModelZoo 2.6 prints before it trains, shortened."""
    yield "Current Working Directory: /home/user/run"
    yield "Compiling the model. This may take a few minutes."
    yield "Initiating a new compile wsjob against the cluster server."
    yield "Job id: wsjob-aaaaaaaaaaaaaaaaaaaaaa, workflow id: wflow-a, namespace: job-operator, remote log path: /n1"
    yield 'Found existing cached compile with hash: "cs_16053036657376785725"'
    yield "Compile was successful!"
    yield "Beginning appliance run"


def progress(step: int, draw: random.Random) -> str:
    """Return a progress line."""
    rate = 33 + draw.random()
    return (
        f"| Train Device=CSX, Step={step}, Loss={6 + draw.random():.5f}, Rate={rate:.2f} samples/sec, "
        f"GlobalRate={rate:.2f} samples/sec, LoopTimeRemaining=1 day, 3:04:05, TimeRemaining=1 day, 3:04:05"
    )


def ending(steps: int) -> Iterator[str]:
    """Yield what ModelZoo 2.6 prints when it has trained."""
    yield "Training completed successfully!"
    yield f"Processed {steps * BATCH_SIZE} training sample(s) in 7279.638811971 seconds."


def stamp(at: datetime) -> str:
    """Return a timestamp as the log has it."""
    return f"{at:%Y-%m-%d %H:%M:%S},{at.microsecond // 1000:03d}"


def measure(path: Path, steps: int, runs: int) -> list[dict[str, float]]:
    """Parse a log in fresh processes; raises RuntimeError when it isn't read as it was written."""
    command = [sys.executable, "-c", MEASURE, str(path)]
    environment = {**os.environ, "PYTHONPATH": PACKAGE_PARENT}
    found = []
    for _ in range(1 + runs):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout))
        if (found[-1]["outcome"], found[-1]["last_step"]) != ("completed", steps):
            raise RuntimeError(f"{path} was misread: {found[-1]}, of {steps} steps")
    return found[1:]


def report(kind: str, size: int, found: list[dict[str, float]]) -> str:
    """Return one kind's figures beside its goals."""
    rates = [size / 1e6 / run["seconds"] for run in found]
    per_cpu_second = statistics.median(size / 1e6 / run["cpu_seconds"] for run in found)
    peak_mb = max(run["peak_mb"] for run in found)
    return (
        f"{kind:>4} progress lines: {statistics.median(rates):.0f} MB/s (median; {min(rates):.0f} to {max(rates):.0f}; "
        f"goal {GOALS_MB_PER_S[kind]}), {per_cpu_second:.0f} MB per second of CPU time, "
        f"peak memory {peak_mb:.0f} MB (goal {GOAL_MB})"
    )


if __name__ == "__main__":
    main()
