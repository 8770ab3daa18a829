"""How much other work a measurement bears: latency and training rate beside hogs that take a share of all cores.

    python benchmarks/disturbance.py [--minutes 8] [--only llama.cpp transformers training] [--out DIR] [--quick]

A hog is a process per core that computes for a share of every 50 ms of its own CPU time. What they really got is
measured. Each block asks a server the same requests (or trains the same steps) at every share, in a drawn order, so
that a machine that changes favours none; a share's figure is divided by that of the quiet part of its block. The share
at which a program is 5 % slower is interpolated. The bounds in accelbench/analysis/disturbance.py are set by hand from
this table. Run it on a machine that does nothing else.
"""

import argparse
import contextlib
import itertools
import math
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import requests
from trainer import Size, trainer_rate, write_params

from accelbench.analysis.intervals import Estimate, Observations, geometric_mean
from accelbench.config import Endpoint, TorchPlatform
from accelbench.inference import servers
from accelbench.inference.servers.weights import convert
from accelbench.plan.measurement import host
from accelbench.report.plots.style import PALETTE, Panel, canvas, mark, save_figure
from accelbench.store import paths

SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5)
MODEL, PERIOD_S, MOVED = "SmolLM2-135M-Instruct", 0.05, 1.05
TRAINED = Size({}, batch_size=8, steps=40, log_steps=10, alternations=1)
ASKED, TOKENS, QUICK_TOKENS = 6, 32, 1

Slowness = Callable[[], float]
"""What is measured once: seconds per request, or per sample."""


@dataclass(slots=True)
class Beside:
    """A program beside a nominal share of other work: how much slower it was, and what the hogs really got."""

    slower: list[float] = field(default_factory=list)
    got: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> Estimate:
        """The typical ratio to the quiet part of the same block."""
        blocks = range(len(self.slower))
        found = geometric_mean(Observations(np.array(self.slower), blocks, blocks))
        assert found is not None
        return found

    @property
    def share(self) -> float:
        """The mean share of all CPU time that the hogs got."""
        return statistics.fmean(self.got)


def main() -> int:
    """Measure, print the table, draw the figure."""
    arguments = _parser().parse_args()
    shares = (0.0, 0.5) if arguments.quick else SHARES
    out, seconds = arguments.out.resolve(), 0.0 if arguments.quick else 60 * arguments.minutes / len(arguments.only)
    machine, found = host(), {}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for name in arguments.only:
            with PROGRAMS[name](QUICK_TOKENS if arguments.quick else TOKENS) as slowness:
                found[name] = measured(slowness, shares, time.monotonic() + seconds)
    print(f"{machine['cpu']}, {machine['cores']} cores, load average {machine['load_1min']} at the start\n")
    print(table(found))
    draw(found, out)
    return 0


def measured(slowness: Slowness, shares: tuple[float, ...], until_s: float) -> dict[float, Beside]:
    """Measure blocks until the time is over, one at least."""
    found: dict[float, Beside] = defaultdict(Beside)
    order, block = random.Random(1), 0
    slowness()  # warms up
    while block == 0 or time.monotonic() < until_s:
        block += 1
        figures = {}
        for share in order.sample(shares, len(shares)):
            with hogs(share) as got:
                figures[share] = slowness()
                found[share].got.append(got())
        for share, figure in figures.items():
            found[share].slower.append(figure / figures[0.0])
        print(f"block {block}", end="\r", file=sys.stderr, flush=True)
    return dict(sorted(found.items()))


@contextlib.contextmanager
def hogs(share: float) -> Iterator[Callable[[], float]]:
    """Let a process per core take a share of it; yield what tells which share of all CPU time they have got."""
    cores = psutil.cpu_count() or 1
    started = [multiprocessing.Process(target=_hog, args=(share,), daemon=True) for _ in range(cores if share else 0)]
    for process in started:
        process.start()
    watched = [psutil.Process(process.pid) for process in started]
    before_s, begun_s = sum(sum(each.cpu_times()[:2]) for each in watched), time.monotonic()
    try:
        yield (
            lambda: (
                (sum(sum(each.cpu_times()[:2]) for each in watched) - before_s) / (cores * (time.monotonic() - begun_s))
            )
        )
    finally:
        for process in started:
            process.kill()
            process.join()


def _hog(share: float) -> None:
    while True:
        begun_s, spent_s = time.monotonic(), time.process_time()
        while time.process_time() - spent_s < share * PERIOD_S:
            pass
        time.sleep(max(0.0, PERIOD_S - (time.monotonic() - begun_s)))


@contextlib.contextmanager
def _served(kind: str, tokens: int) -> Iterator[Slowness]:
    """Start a local server; what is measured is its typical latency."""
    weights = Path(paths.WEIGHTS.format(model=MODEL))
    if kind == "transformers":
        convert(MODEL, weights)
    with servers.running(kind, Endpoint(model=MODEL, server={"kind": kind}), Path("server.log")) as server:
        yield lambda: math.exp(statistics.fmean(math.log(_latency_s(server.base_url, n, tokens)) for n in range(ASKED)))


def _latency_s(base_url: str, number: int, tokens: int) -> float:
    question = {"role": "user", "content": f"{number}: name the planets, one per line, and say something about each."}
    body = {"model": MODEL, "messages": [question], "max_tokens": tokens, "temperature": 0.0}
    begun_s = time.perf_counter()
    requests.post(f"{base_url}/chat/completions", json=body, timeout=300).raise_for_status()
    return time.perf_counter() - begun_s


@contextlib.contextmanager
def _trained() -> Iterator[Slowness]:
    """Write the files of a training run; what is measured is the time per sample at its steady rate."""
    platform = TorchPlatform(backend="torch", device="cpu", threads=os.cpu_count())
    params = write_params(Path.cwd(), TRAINED, platform)
    yield lambda: 1 / trainer_rate(platform, params)


PROGRAMS: dict[str, Callable[[int], contextlib.AbstractContextManager[Slowness]]] = {
    "llama.cpp": partial(_served, "llama.cpp"),
    "transformers": partial(_served, "transformers"),
    "training": lambda _: _trained(),
}


def moved_at(beside: dict[float, Beside]) -> float | None:
    """Return the share of other work at which a program is 5 % slower, interpolated; None: at none that was tried."""
    points = [(each.share, each.ratio.value) for each in beside.values()]
    for (low, before), (high, after) in itertools.pairwise(points):
        if before < MOVED <= after:
            return low + (high - low) * (MOVED - before) / (after - before)
    return None


def table(found: dict[str, dict[float, Beside]]) -> str:
    """Return the Markdown of docs/benchmarks.md."""
    lines = [
        "| program | hogs asked for | they got | slower by a factor of (95 % interval) | blocks |",
        "|---|---|---|---|---|",
    ]
    for name, beside in found.items():
        for share, each in beside.items():
            ratio = each.ratio
            bounds = "" if ratio.low is None or ratio.high is None else f" ({ratio.low:.3f} to {ratio.high:.3f})"
            lines.append(
                f"| {name} | {100 * share:.0f} % | {100 * each.share:.1f} % | {ratio.value:.3f}{bounds} | {ratio.n} |"
            )
    lines += ["", "| program | 5 % slower beside other work of |", "|---|---|"]
    for name, beside in found.items():
        at = moved_at(beside)
        lines.append(f"| {name} | {'more than was tried' if at is None else f'{100 * at:.1f} % of all CPU time'} |")
    return "\n".join(lines)


def draw(found: dict[str, dict[float, Beside]], out: Path) -> None:
    """Write disturbance.svg and .png."""
    legend = [mark(name, color=colour, marker="o", linestyle="-") for name, colour in zip(found, PALETTE, strict=False)]
    notes = ["Bars: 95 % intervals over blocks. Dashed: 5 % slower."]
    figure, (axes,) = canvas("Slower beside other work on the machine", [Panel("", 2.6)], legend=legend, notes=notes)
    for (_, beside), colour in zip(found.items(), PALETTE, strict=False):
        places, ratios = [100 * each.share for each in beside.values()], [each.ratio for each in beside.values()]
        below = [ratio.value - (ratio.low or ratio.value) for ratio in ratios]
        above = [(ratio.high or ratio.value) - ratio.value for ratio in ratios]
        values = [ratio.value for ratio in ratios]
        axes.errorbar(places, values, yerr=[below, above], color=colour, marker="o", markersize=4, capsize=2.5)
    axes.axhline(MOVED, color="#57606a", linestyle="--", linewidth=1)
    axes.set_xlabel("CPU time of other programs (% of all cores)")
    axes.set_ylabel("time ÷ quiet time")
    out.mkdir(parents=True, exist_ok=True)
    save_figure(figure, out, "disturbance")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=8.0, help="how long, about, shared by all programs")
    parser.add_argument("--only", nargs="+", choices=PROGRAMS, default=list(PROGRAMS), help="programs to measure")
    parser.add_argument("--out", type=Path, default=Path("docs/images"), help="folder of the figure")
    parser.add_argument("--quick", action="store_true", help="one block of two shares: measures nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
