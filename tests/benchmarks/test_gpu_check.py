"""The GPU check runs on a CPU with tiny models and writes all its parts; what it measures, nobody checks here."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("h5py")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def gpu_check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_check", ROOT / "benchmarks" / "gpu_check.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_check"] = module
    spec.loader.exec_module(module)
    return module


def checked(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu_check.py"), "--device", "cpu", "--tiny", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow")}
    return subprocess.run(
        [*command, "--out", str(out)], env=environment, capture_output=True, text=True, check=False, timeout=570
    )


def test_the_recorder_says_what_it_read_of_the_cards_or_why_it_read_nothing(tmp_path: Path) -> None:
    done = checked(tmp_path / "gpu.json", "--only", "recorder")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())["recorder"]
    assert bool(found["readings"]) != bool(found["facts"]["why"])
    assert 0 <= found["recorder_share"] < 1  # CPU time is counted in hundredths of a second
    assert f"The recorder: {found['readings']} readings of GPUs" in done.stdout


@pytest.mark.long
def test_all_parts_come_to_figures(tmp_path: Path) -> None:
    done = checked(tmp_path / "gpu.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert "these figures show that the script works, and nothing else" in done.stdout
    assert found["card"]["bf16_matrix_tflop_per_s"] > 0
    assert found["agreement"]["float32"]["largest_difference"] < 1e-4
    assert 0 < found["7b"]["mfu_of_measured_product"] < 1
    assert found["7b"]["power_w"] is None
    assert 0 < found["1.1b"]["mfu_of_measured_product"] < 1
    assert found["server"]["loads"]["1"]["attempts_by_class"] == {"truncated_length": 2}


def test_a_part_whose_time_is_over_says_so_and_spoils_no_other(tmp_path: Path) -> None:
    done = checked(tmp_path / "gpu.json", "--minutes", "0", "--only", "card")
    assert done.returncode == 1
    assert "card: failed: the check's time was over" in done.stdout


@pytest.mark.parametrize(("memory_gib", "at_least", "at_most"), [(79.2, 13, 16), (139.8, 24, 32), (39.4, 5, 8)])
def test_the_layers_that_fit_grow_with_the_memory(
    gpu_check: ModuleType, memory_gib: float, at_least: int, at_most: int
) -> None:
    layers = gpu_check.layers_that_fit(gpu_check.TRAININGS["7b"], int(memory_gib * 2**30))
    assert at_least <= layers <= at_most


def test_the_steady_rate_is_taken_between_the_first_and_the_last_progress_line(gpu_check: ModuleType) -> None:
    line = "2026-11-27 10:00:{},000 INFO:   | Train Device=cuda, Step={}, Loss=2.50000, Rate=1 samples/sec"
    log = "\n".join(line.format(second, step) for second, step in (("10", 5), ("12", 10), ("20", 25)))
    rate, begun_s, ended_s = gpu_check.steady(log, 8)
    assert rate == pytest.approx(20 * 8 / 10)
    assert ended_s - begun_s == pytest.approx(10)


def test_power_and_energy_of_a_span_are_those_of_its_readings(gpu_check: ModuleType) -> None:
    power = gpu_check.Power(None)
    for tenth in range(101):  # 400 W for 5 s, then 700 W
        watts = 400.0 if tenth < 50 else 700.0
        power.at_s.append(1000 + tenth / 10)
        power.samples.append((watts, 400 * tenth * 100 if tenth < 50 else 400 * 5000 + 700 * (tenth - 50) * 100, 2**30))
    used = power.between(1005.0, 1010.0)
    assert used.watts == pytest.approx(700)
    assert used.joules == pytest.approx(3500)
    assert power.between(2000, 2001).watts is None
    assert power.memory_bytes(1000, 1010) == 2**30
