"""Benchmarks of growth, in small: they run, and say what they say."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(name: str, *arguments: str) -> str:
    command = [sys.executable, str(BENCHMARKS / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def test_the_analysis_says_seconds_and_memory_of_each_stage() -> None:
    said = run("analysis.py", "--runs", "10", "--requests", "200")
    stages = ("analyse", "tables", "plots", "page")
    for stage in stages:
        assert f"{stage}: " in said
    assert said.count("peak memory") == len(stages)


@pytest.mark.long
def test_a_short_soak_is_flat() -> None:
    """20 seconds at 8 streams: neither memory nor open files grow."""
    said = run("soak.py", "--minutes", "0.33", "--streams", "8")
    assert "open files" in said
    assert "TTFT p50 error by tenth: " in said
