"""The parser's benchmark, on a log of 1 MB: it writes what it says, and reads what it wrote."""

import re
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks/parser.py"


def test_it_reports_both_kinds_and_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARK), "--gb", "0.001", "--runs", "2", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures = (
        r"\d+ MB/s \(median; \d+ to \d+; goal \d+\), \d+ MB per second of CPU time, peak memory \d+ MB \(goal 300\)"
    )
    assert re.search(rf"few progress lines: {figures}\n +all progress lines: {figures}\n$", done.stdout)
    assert list(tmp_path.iterdir()) == []
