"""The benchmark of the torch trainer runs and prints its table; what it measures, nobody checks here."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("h5py")

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_the_benchmark_of_the_trainer_prints_both_rates_and_their_ratio() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "trainer.py"), "--quick", "--threads", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow")}
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    rates = {side: float(rate) for side, rate in re.findall(r"^(trainer|bare loop) +([\d.]+)", printed, re.MULTILINE)}
    assert rates.keys() == {"trainer", "bare loop"}
    ratio = re.search(r"trainer / bare loop: ([\d.]+) \(.*n = 1 pairs\)", printed)
    assert ratio is not None
    assert float(ratio[1]) == pytest.approx(rates["trainer"] / rates["bare loop"], rel=0.01)
    assert "torch " in printed
    assert "1 threads of" in printed
