"""A model divided over processes trains like a whole one, and so it does on from its checkpoints."""

import copy
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch")
pytest.importorskip("h5py")
pytest.importorskip("transformers")

from accelbench.config import TorchPlatform  # noqa: E402
from accelbench.training.backends.torch import Torch  # noqa: E402
from accelbench.training.log.reader import read_log  # noqa: E402
from tests.training.conftest import ROOT, Train, write_data  # noqa: E402
from tests.training.torch.ranks_cases import Case, Losses, train  # noqa: E402

FULL, CHECKPOINTED = {"sharding": "full"}, {"activation_checkpointing": "full"}
BFLOAT16 = {"dtype": "bfloat16"}


def trained_by_two(folder: Path, cases: dict[str, Case]) -> Losses:
    """Train all cases in two processes, started once."""
    (folder / "cases.json").write_text(json.dumps(cases))
    command = [sys.executable, "-m", "tests.training.torch.ranks_cases", str(folder)]
    both = [
        subprocess.Popen(command, cwd=ROOT, env=os.environ | {"WORLD_SIZE": "2", "RANK": rank}, stderr=subprocess.PIPE)
        for rank in ("0", "1")
    ]
    try:
        ended = [(rank.communicate(timeout=120)[1], rank.returncode) for rank in both]
    finally:
        for rank in both:
            rank.kill()
    assert not any(status for _, status in ended), ended
    found: Losses = json.loads((folder / "losses.json").read_text())
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sharding")


@pytest.fixture(scope="module")
def losses(folder: Path) -> Losses:
    """Of 20 steps each: of one process and of two, also of runs that go on."""
    base = yaml.safe_load((ROOT / "config/models/llama_small.yaml").read_text())
    init, fit = base["trainer"]["init"], base["trainer"]["fit"]
    init["model"] |= {"vocab_size": 32, "hidden_size": 16, "rotary_dim": 8, "num_heads": 2, "num_hidden_layers": 2,
                      "filter_size": 24, "max_position_embeddings": 16}  # fmt: skip
    init |= {"loop": {"max_steps": 20, "eval_frequency": None}, "logging": {"log_steps": 1}}
    init["callbacks"] = [{"ScopedTrainFlags": {"csx.performance.micro_batch_size": 2}}]
    mask = np.arange(16)[None, :] < np.arange(28)[:, None] % 16 + 1
    data = {"data_dir": str(write_data(folder / "train", 28, seed=1, mask=mask)), "batch_size": 6}  # shares of 3
    fit["train_dataloader"] |= data
    fit["val_dataloader"] |= {**data, "batch_size": 1}

    def params(name: str, change: Callable[[dict[str, Any]], None]) -> str:
        tree = copy.deepcopy(base)
        change(tree["trainer"]["init"])
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(tree))
        return str(folder / f"{name}.yaml")

    def in_odd_shares(init: dict[str, Any]) -> None:
        init["loop"] |= {"eval_frequency": 10, "eval_steps": 3}
        init["model"]["share_embedding_weights"] = True
        init["callbacks"] = [{"ScopedTrainFlags": {"csx.performance.micro_batch_size": 1}}]

    def to_step_10(init: dict[str, Any]) -> None:
        init |= {"checkpoint": {"steps": 5}, "loop": {"max_steps": 10, "eval_frequency": None}}

    plain = params("plain", lambda init: init.update(checkpoint={"steps": 10, "save_initial_checkpoint": True}))
    unsaved = params("unsaved", lambda init: None)
    half = params("half", to_step_10)
    base["trainer"]["fit"]["train_dataloader"]["batch_size"] = 5
    odd = params("odd", in_odd_shares)
    of_two = trained_by_two(
        folder,
        {
            "two": (plain, str(folder / "two"), FULL),
            "two in bfloat16": (unsaved, str(folder / "two-half"), {**FULL, **BFLOAT16}),
            "two, odd": (odd, str(folder / "two-odd"), {**FULL, **CHECKPOINTED}),
            "two to step 10": (half, str(folder / "going-on"), FULL),
            "two from step 10": (plain, str(folder / "going-on"), FULL),
        },
    )
    assert list(Torch("cpu", TorchPlatform(backend="torch")).checkpoints(folder / "two").values()) == [10, 20]
    shutil.copytree(folder / "two/checkpoint_10.dcp", folder / "by-one/checkpoint_10.dcp")
    of_one = train(
        {
            "one": (plain, str(folder / "one"), {}),
            "one in bfloat16": (unsaved, str(folder / "one-half"), BFLOAT16),
            "one, checkpointed": (unsaved, str(folder / "one-checkpointed"), CHECKPOINTED),
            "one, odd": (odd, str(folder / "one-odd"), {}),
            "one from step 10 of two": (plain, str(folder / "by-one"), {}),
        }
    )
    return {**of_one, **of_two}


def test_a_sharded_model_has_the_losses_of_a_whole_one(losses: Losses) -> None:
    assert len(losses["one"]) == 20
    assert losses["two"] == pytest.approx(losses["one"], rel=1e-5)


@pytest.mark.usefixtures("losses")
@pytest.mark.parametrize("file", ["held", "peaks"])
def test_a_rank_holds_what_was_estimated_between_steps_and_at_the_peak_of_one(folder: Path, file: str) -> None:
    held = json.loads((folder / f"{file}.json").read_text())
    assert {name: there for name, (_, there) in held.items()} == {
        name: pytest.approx(estimated, rel=0.15) for name, (estimated, _) in held.items()
    }


def test_so_it_has_in_odd_shares_with_tied_weights_and_evaluations(losses: Losses) -> None:
    assert len(losses["one, odd"]) == 20 + 2 * 3
    assert losses["two, odd"] == pytest.approx(losses["one, odd"], rel=1e-5)


def test_so_it_has_in_bfloat16(losses: Losses) -> None:
    assert losses["two in bfloat16"] == pytest.approx(losses["one in bfloat16"], rel=2e-3)


def test_activation_checkpointing_changes_no_loss(losses: Losses) -> None:
    assert losses["one, checkpointed"] == losses["one"]


def test_a_sharded_run_that_goes_on_ends_like_one_that_was_never_stopped(losses: Losses) -> None:
    assert losses["two from step 10"] == losses["two"][10:]


def test_a_sharded_run_goes_on_in_another_number_of_processes(losses: Losses) -> None:
    assert losses["one from step 10 of two"] == pytest.approx(losses["two"][10:], rel=1e-5)


@pytest.mark.long  # the compiler takes its time
def test_layers_are_compiled_in_a_phase_of_their_own_and_change_no_loss(train: Train, tmp_path: Path) -> None:
    ended = train(options=["--compile", "--activation_checkpointing", "full"])
    assert ended.status == 0
    assert ended.losses == pytest.approx(train(model_dir="other").losses, abs=2e-5)
    (tmp_path / "run.log").write_text(ended.log)
    phases_s = read_log(tmp_path / "run.log").phases_s
    assert (phases_s["compile"] or 0) > 5 * (phases_s["train"] or 0)
