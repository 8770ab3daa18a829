"""How long the analysis takes, and how much memory: many training runs and request records to all tables and plots.

    OPENBLAS_NUM_THREADS=1 python benchmarks/analysis.py [--runs 1000] [--requests 100000] [--profile]

The records are made up, in the form that parsing and classifying leave; each stage is what one command of the workflow
does with them, without the start of its process. Everything is written below a temporary folder.
"""

import argparse
import cProfile
import os
import pstats
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from numpy.typing import NDArray
from pyarrow import parquet

from accelbench.config import configfile
from accelbench.report.page.document import write_page
from accelbench.report.plots import write_plots
from accelbench.report.summary import read_records, read_summary, summarise, write_summary
from accelbench.report.tables import write_tables
from accelbench.store import paths
from accelbench.store.files import jsonable, write_jsonl
from accelbench.store.records import InferRoundRecord, RequestRecord, TrainRunRecord
from accelbench.store.requests import SCHEMA, Requests
from accelbench.training.log.reader import read_log

BASE = Path(__file__).parents[1] / "config/config.yaml"
ENDPOINTS, ROUNDS, REPEATS = ("one", "two"), 5, 5
PIECE = 1 << 14  # requests in memory at once
LOG = """2026-01-31 23:59:00,000 INFO:   Effective batch size is 8.
2026-01-31 23:59:01,000 INFO:   Starting train loop 1 of 1, from global step 1 to 20 (20 steps)
{steps}
2026-01-31 23:59:22,000 INFO:   Training completed successfully!
2026-01-31 23:59:23,000 INFO:   Processed 160 training sample(s) in 22.000000001 seconds.
"""
STEP = (
    "2026-01-31 23:59:{at:02d},000 INFO:   | Train Device=cpu, Step={at}, Loss=6.50000, Rate=8.00 samples/sec, "
    "GlobalRate=8.00 samples/sec, LoopTimeRemaining=0:00:06, TimeRemaining=0:00:06"
)


def main() -> None:
    """Make the records, analyse them, and print seconds and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--profile", action="store_true", help="show where the time goes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        make(max(1, options.runs // REPEATS), max(1, options.requests // len(ENDPOINTS) // ROUNDS))
        counts = f"{options.runs:,} training runs, {options.requests:,} requests"
        print(f"{counts}; load average {os.getloadavg()[0]:.1f}", flush=True)
        profile = cProfile.Profile() if options.profile else None
        if profile:
            profile.enable()
        analyse()
        if profile:
            profile.disable()
            pstats.Stats(profile).sort_stats("cumulative").print_stats(40)


def analyse() -> None:
    """Do what the rules `analyse`, `tables`, `plots` and `page` do."""
    config = configfile.load_config(BASE, [Path("bench.yaml")])
    results = Path(paths.RESULTS)
    analysis = results / "analysis.json"
    timed("analyse", lambda: write_summary(analysis, summarise(config, *read_records())))
    timed("tables", lambda: write_tables(results / "tables", read_summary(analysis)))
    timed("plots", lambda: write_plots(results / "plots", read_summary(analysis)))
    timed("page", lambda: write_page(results, read_summary(analysis)))


def timed(stage: str, work: Callable[[], Any]) -> Any:
    """Do it, and print the seconds it took, on the wall and of the CPU, and the peak memory up to its end."""
    begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
    done = work()
    took_s, cpu_s = time.perf_counter() - begun_s, time.process_time() - begun_cpu_s
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    print(f"{stage:>24}: {took_s:7.1f} s ({cpu_s:.1f} s of CPU), peak memory {peak:6.0f} MB", flush=True)
    return done


def make(sizes: int, requests: int) -> None:
    """Write config, runs and rounds: so many batch sizes, and so many requests in a round of an endpoint."""
    endpoints = {name: {"model": "m", "base_url": "http://127.0.0.1:9/v1"} for name in ENDPOINTS}
    inference = {
        "run": list(ENDPOINTS), "baseline": "one", "endpoints": endpoints, "scenarios_run": ["bench"],
        "prompts": {"questions": {"source": "bundled"}},
        "scenarios": {"bench": {"requests": requests, "rounds": ROUNDS}},
    }  # fmt: skip
    training = {"batch_sizes": list(range(1, sizes + 1)), "repeats": REPEATS}
    Path("bench.yaml").write_text(yaml.safe_dump({"training": training, "inference": inference}))
    Path("run.log").write_text(LOG.format(steps="\n".join(STEP.format(at=at) for at in range(2, 22))))
    log = read_log(Path("run.log"))
    results = Path(paths.RESULTS)
    pairs = ((size, repeat) for size in range(1, sizes + 1) for repeat in range(1, REPEATS + 1))
    runs = [TrainRunRecord("this-machine", size, repeat, "measured", None, log=log) for size, repeat in pairs]
    write_jsonl(results / "training/runs.jsonl", map(jsonable, runs))
    rounds = [
        InferRoundRecord(name, "bench", number, "measured", None)
        for name in ENDPOINTS
        for number in range(1, ROUNDS + 1)
    ]
    write_jsonl(results / "inference/rounds.jsonl", rounds)
    draw = np.random.default_rng(1)
    with parquet.ParquetWriter(paths.REQUESTS, SCHEMA) as writer:
        for found in rounds:
            for first in range(0, requests, PIECE):
                writer.write_table(successes(found, np.arange(first, min(first + PIECE, requests)), draw))


def successes(found: InferRoundRecord, numbers: NDArray[np.intp], draw: np.random.Generator) -> pa.Table:
    """Return made-up successes of a round, as columns."""
    count = len(numbers)
    tokens, ttft_s = draw.integers(5, 61, count), draw.lognormal(-1, 0.3, count)
    tpot_s = draw.lognormal(-3.5, 0.2, count)
    sent_s, e2e_s = 1e9 + found.round * 1e6 + numbers, ttft_s + tokens * tpot_s
    starts = np.concatenate([[0], np.cumsum(tokens)])
    place = np.arange(starts[-1]) - np.repeat(starts[:-1], tokens)
    event_times_s = np.round(np.repeat(ttft_s, tokens) + place * np.repeat(tpot_s, tokens), 6)
    own = {
        "key": [f"r{found.round}q{number}" for number in numbers], "passage": [f"P{number % 50}" for number in numbers],
        "dequeued_unix_s": sent_s, "sent_unix_s": sent_s, "end_unix_s": sent_s + e2e_s,
        "ttft_s": ttft_s, "ttfat_s": ttft_s, "tpot_s": tpot_s, "e2e_s": e2e_s, "events": tokens,
        "prompt_tokens": draw.integers(80, 401, count), "completion_tokens": tokens,
        "exact_match": draw.random(count) < 0.7, "f1": draw.random(count),
        "event_times_s": pa.ListArray.from_arrays(starts.astype(np.int32), event_times_s),
    }  # fmt: skip
    [table] = Requests.of([success(found)]).tables()
    table = table.take(np.zeros(count, np.intp))
    for name, values in own.items():
        table = table.set_column(table.schema.get_field_index(name), SCHEMA.field(name), pa.array(values))
    return table.cast(SCHEMA)


def success(found: InferRoundRecord) -> RequestRecord:
    """Return what all successes of a round have in common."""
    return RequestRecord(
        endpoint=found.endpoint, cell=found.cell, round=found.round, key="", attempt=1, last_attempt=True, session=1,
        warm_up=False, article="A", passage=None, class_="ok", http_status=200, error_text=None, dequeued_unix_s=None,
        sent_unix_s=None, end_unix_s=None, ttft_s=None, ttfat_s=None, tpot_s=None, e2e_s=None, events=None,
        prompt_tokens=None, completion_tokens=None, finish_reason="stop", answer="an answer", reasoning="",
        golds=["an answer"], exact_match=None, f1=None, contains_gold=True, server_timings={},
    )  # fmt: skip


if __name__ == "__main__":
    main()
