"""The gaps between tokens, by hand and without a Python number for each."""

import tracemalloc
from pathlib import Path

import pytest

from accelbench.analysis.percentiles import gaps
from accelbench.store.requests import Requests, writing_requests

from .records import request


def test_gaps_run_from_event_to_event_and_never_from_one_stream_to_the_next() -> None:
    found = gaps(Requests.of([request(event_times_s=[0.5, 0.6, 0.9]), request(event_times_s=[7.0, 7.2]), request()]))
    assert found.n == 3
    assert (found.min, found.median, found.max) == pytest.approx((0.1, 0.2, 0.3))
    assert found.mean == pytest.approx(0.2)


def test_percentiles_reach_as_far_as_one_gap_beyond_them() -> None:
    steady = [n * 0.01 for n in range(20)]  # 19 gaps of 10 ms, then one of a second
    found = gaps(Requests.of([request(event_times_s=[*steady, steady[-1] + 1])]))
    assert (found.n, found.p50, found.p90) == (20, pytest.approx(0.01), pytest.approx(0.01))
    assert found.p95 == pytest.approx(0.01 + 0.05 * 0.99)  # place 18.05 of 0 to 19
    assert found.p99 is None


def test_a_stream_in_batches_a_single_event_and_no_stream_have_no_gaps() -> None:
    batched = request(event_times_s=[0.1, 0.2, 0.3], streaming="batched")
    assert gaps(Requests.of([batched, request(event_times_s=[0.1]), request()])).n == 0
    assert gaps(Requests.of([])).median is None


def test_streams_are_read_piece_by_piece_without_mixing_them(tmp_path: Path) -> None:
    count = 40_000
    with writing_requests(tmp_path / "requests.parquet") as keep:
        keep(request(event_times_s=[5.0, 5.25, 5.75]) for _ in range(count))
    found = gaps(Requests.read(tmp_path / "requests.parquet"))
    assert (found.n, found.min, found.max) == (2 * count, 0.25, 0.5)


def test_a_gap_takes_a_few_bytes() -> None:
    requests = Requests.of([request(event_times_s=[float(n) for n in range(61)])] * 20_000)
    tracemalloc.start()
    try:
        found = gaps(requests)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.n == 1_200_000
    assert peak < 24 * found.n  # a Python number and its place in a list take 32
