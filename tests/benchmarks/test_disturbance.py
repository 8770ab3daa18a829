"""The experiment behind the bounds runs and prints its tables; what it measures, nobody checks here."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("xllamacpp")

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_it_prints_how_much_slower_a_server_is_beside_each_share_and_draws_it(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks/disturbance.py"), "--quick", "--only", "llama.cpp"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow")}
    done = subprocess.run([*command, "--out", tmp_path], env=environment, capture_output=True, text=True, check=True)
    assert re.search(r"^\| llama.cpp \| 0 % \| 0.0 % \| 1.000 \| 1 \|$", done.stdout, re.MULTILINE)
    assert re.search(r"^\| llama.cpp \| 50 % \| [\d.]+ % \| [\d.]+ \| 1 \|$", done.stdout, re.MULTILINE)
    assert (tmp_path / "disturbance.svg").exists()
