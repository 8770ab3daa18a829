"""The gates against real servers run and count their outcomes; how they end, nobody checks here: a host may be busy."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("xllamacpp")

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_it_counts_what_gates_say_of_a_slower_server_and_of_the_same(tmp_path: Path) -> None:
    few = ["--gates", "1", "--rounds", "1", "--requests", "2", "--max-tokens", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow"), "no_proxy": "*"}
    command = [sys.executable, str(ROOT / "benchmarks/gate.py"), *few]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    rows = [line for line in done.stdout.splitlines() if line.startswith(("| half its threads", "| itself"))]
    assert [row.count("1 of 1") for row in rows] == [1, 1]
