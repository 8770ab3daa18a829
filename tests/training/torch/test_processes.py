"""Several processes that train one model: the losses of one process, one log, and no process left behind."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

pytest.importorskip("torch")
pytest.importorskip("h5py")
pytest.importorskip("transformers")

from accelbench.config import TorchPlatform
from accelbench.training.backends.torch import Torch
from tests.training.conftest import ROOT, TRAIN, Train
from tests.waiting import until

Params = dict[str, Any]


def command_of(params: Params, folder: Path) -> list[str]:
    file = folder / "params.yaml"
    file.write_text(yaml.safe_dump(params))
    platform = TorchPlatform(backend="torch", processes=2)
    return Torch("cpu", platform).launch(file, folder / "model_dir-2").command


@contextmanager
def started(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow")}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def trained(params: Params, folder: Path) -> tuple[int, str]:
    """Train with two processes."""
    with started(command_of(params, folder)) as process:
        log, _ = process.communicate(timeout=120)
    return process.returncode, log


def losses(log: str) -> dict[int, float]:
    return {int(step): float(loss) for step, loss in TRAIN.findall(log)}


@contextmanager
def training_for_long(params: Params, folder: Path) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """Two processes at work, and the one that started them."""
    params["trainer"]["init"]["loop"]["max_steps"] = 1_000_000
    with started(command_of(params, folder)) as parent:
        assert parent.stdout is not None
        next(line for line in parent.stdout if "Step=1," in line)
        ranks = [p for p in psutil.Process(parent.pid).children() if "torch.trainer" in " ".join(p.cmdline())]
        assert len(ranks) == 2
        yield parent, ranks


def test_two_processes_have_the_losses_of_one_and_write_one_log(params: Params, train: Train, tmp_path: Path) -> None:
    init, fit = params["trainer"]["init"], params["trainer"]["fit"]
    init["loop"] |= {"grad_accum_steps": 2, "eval_frequency": 2}
    init["callbacks"] = [{"ScopedTrainFlags": {"csx.performance.micro_batch_size": 1}}]
    fit["train_dataloader"]["batch_size"] = 5  # three samples for one process, two for the other
    fit["val_dataloader"]["batch_size"] = 1
    status, log_of_two = trained(params, tmp_path)
    one = train()
    log_of_one = one.log
    assert (one.status, status) == (0, 0)
    assert list(losses(log_of_one)) == [1, 2, 3, 4]
    assert losses(log_of_two) == pytest.approx(losses(log_of_one), abs=2e-4)
    held_out = [re.findall(r"Avg Eval Loss: ([\d.]+)", log) for log in (log_of_one, log_of_two)]
    assert [float(loss) for loss in held_out[1]] == pytest.approx([float(loss) for loss in held_out[0]], abs=2e-4)
    assert "Processed 40 training sample(s)" in log_of_two
    assert log_of_two.count("Trainer Fit Summary") == 1
    assert json.loads((tmp_path / "model_dir-2/trainer.json").read_text())["processes"] == 2


def test_two_processes_go_on_from_the_last_checkpoint(params: Params, train: Train, tmp_path: Path) -> None:
    loop, params["trainer"]["init"]["checkpoint"] = params["trainer"]["init"]["loop"], {"steps": 2}
    _, begun = trained(params, tmp_path)
    loop["max_steps"] = 6
    status, ended = trained(params, tmp_path)
    assert status == 0
    assert list(losses(ended)) == [5, 6]
    assert {**losses(begun), **losses(ended)} == pytest.approx(train().losses, abs=2e-4)


def test_all_end_when_one_dies(params: Params, tmp_path: Path) -> None:
    with training_for_long(params, tmp_path) as (parent, ranks):
        ranks[1].kill()
        parent.communicate(timeout=60)
        assert parent.returncode == 128 + signal.SIGKILL
        assert not any(rank.is_running() for rank in ranks)


def test_all_end_when_the_process_that_started_them_is_killed(params: Params, tmp_path: Path) -> None:
    with training_for_long(params, tmp_path) as (parent, ranks):
        parent.kill()
        assert until(lambda: all(not rank.is_running() or rank.status() == "zombie" for rank in ranks))


def test_a_params_file_is_refused_once(params: Params, tmp_path: Path) -> None:
    params["trainer"]["init"]["seed"] = "one"
    status, said = trained(params, tmp_path)
    assert status == 2
    assert said.splitlines() == [f"{tmp_path}/params.yaml: trainer.init.seed is one; it must be an integer, 0 or more."]


def test_a_batch_with_less_than_a_sample_for_each_process_is_refused(params: Params, tmp_path: Path) -> None:
    params["trainer"]["fit"]["train_dataloader"] |= {"batch_size": 19, "drop_last": False}  # of 20 samples
    status, said = trained(params, tmp_path)
    assert status == 2
    assert "batch_size makes a batch of 1 samples, and 2 processes train: each needs a sample of every batch" in said


def test_the_processes_share_the_cores() -> None:
    platform = TorchPlatform(backend="torch", processes=2)
    shared = Torch("cpu", platform).launch(Path("params.yaml"), Path("model_dir"))
    assert shared.env["OMP_NUM_THREADS"] == str(max(1, (os.cpu_count() or 1) // 2))
    assert shared.command[-2:] == ["--processes", "2"]
    assert shared.command[:2] == [sys.executable, "-m"]
