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
from accelbench.errors import UserError
from accelbench.training.backends.torch import Torch
from accelbench.training.log.reader import read_log
from tests.training.conftest import ROOT, TRAIN, Train
from tests.waiting import until

Params = dict[str, Any]


def command_of(params: Params, folder: Path, **how: int) -> list[str]:
    file = folder / "params.yaml"
    file.write_text(yaml.safe_dump(params))
    platform = TorchPlatform.model_validate({"backend": "torch", "own_node": True, "processes": 2, **how})
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


def trained(params: Params, folder: Path, **how: int) -> tuple[int, str]:
    """Train with two processes, or otherwise."""
    with started(command_of(params, folder, **how)) as process:
        log, _ = process.communicate(timeout=120)
    return process.returncode, log


@pytest.fixture
def job_of_two_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put this process into a PBS job of two nodes, both of them this host."""
    (tmp_path / "nodes").write_text("node-1\nnode-2\n")
    monkeypatch.setenv("PBS_NODEFILE", str(tmp_path / "nodes"))
    monkeypatch.setenv("PATH", f"{ROOT / 'tests/standins/mpi'}:{os.environ['PATH']}")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


def losses(log: str) -> dict[int, float]:
    return {int(step): float(loss) for step, loss in TRAIN.findall(log)}


@contextmanager
def training_for_long(
    params: Params, folder: Path, **how: int
) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """Two processes at work, and the one that started them."""
    params["trainer"]["init"]["loop"]["max_steps"] = 1_000_000
    with started(command_of(params, folder, **how)) as parent:
        assert parent.stdout is not None
        next(line for line in parent.stdout if "Step=1," in line)
        below = psutil.Process(parent.pid).children(recursive=True)
        ranks = [process for process in below if "RANK" in process.environ()]
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


@pytest.mark.long
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


@pytest.mark.long
@pytest.mark.usefixtures("job_of_two_nodes")
def test_two_nodes_have_the_losses_of_one_process_and_end_together_with_the_reason(
    params: Params, train: Train, tmp_path: Path
) -> None:
    alone = train().losses
    with training_for_long(params, tmp_path, processes=1, nodes=2) as (parent, ranks):
        assert parent.stdout is not None
        log = "".join(line for line, _ in zip(parent.stdout, range(3), strict=False))
        ranks[1].kill()
        log += parent.communicate(timeout=60)[0]
        assert not any(rank.is_running() for rank in ranks)
    together = losses(log)
    assert [together[step] for step in (2, 3, 4)] == pytest.approx([alone[step] for step in (2, 3, 4)], rel=1e-5)
    facts = json.loads((tmp_path / "model_dir-2/trainer.json").read_text())
    assert (facts["processes"], facts["nodes"]) == (2, 2)
    assert parent.returncode == 128 + signal.SIGKILL
    (tmp_path / "run.log").write_text(log)
    failure = read_log(tmp_path / "run.log").failure
    assert failure is not None and re.search(r"process \d, on .+, was killed by SIGKILL", failure["text"]), log


@pytest.mark.usefixtures("job_of_two_nodes")
def test_a_params_file_is_refused_before_any_node_reads_it(params: Params, tmp_path: Path) -> None:
    params["trainer"]["init"]["seed"] = "one"
    status, said = trained(params, tmp_path, processes=1, nodes=2)
    assert status == 2
    assert said.splitlines() == [f"{tmp_path}/params.yaml: trainer.init.seed is one; it must be an integer, 0 or more."]


@pytest.mark.usefixtures("job_of_two_nodes")
def test_a_job_without_what_starts_the_nodes_says_so(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    status, said = trained(params, tmp_path, processes=1, nodes=2)
    assert (status, said.strip()) == (
        2, "mpiexec, which starts the trainer on each node, can't be run: No such file or directory."
    )  # fmt: skip


def test_a_params_file_is_refused_once(params: Params, tmp_path: Path) -> None:
    params["trainer"]["init"]["seed"] = "one"
    status, said = trained(params, tmp_path)
    assert status == 2
    assert said.splitlines() == [f"{tmp_path}/params.yaml: trainer.init.seed is one; it must be an integer, 0 or more."]


def test_a_batch_with_less_than_a_sample_for_each_process_is_refused(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelbench.training.torch import loop
    from accelbench.training.torch.run import read_run

    monkeypatch.setenv("WORLD_SIZE", "2")
    params["trainer"]["fit"]["train_dataloader"] |= {"batch_size": 19, "drop_last": False}  # of 20 samples
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    said = "batch_size makes a batch of 1 samples, and 2 processes train: each needs a sample of every batch"
    with pytest.raises(UserError, match=said):
        loop.available(read_run(tmp_path / "params.yaml", "cpu"))


def test_the_processes_share_the_cores() -> None:
    platform = TorchPlatform(backend="torch", processes=2)
    shared = Torch("cpu", platform).launch(Path("params.yaml"), Path("model_dir"))
    assert shared.env["OMP_NUM_THREADS"] == str(max(1, (os.cpu_count() or 1) // 2))
    assert shared.command[-2:] == ["--processes", "2"]
    assert shared.command[:2] == [sys.executable, "-m"]
