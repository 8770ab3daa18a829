"""A Llama of one layer on random tokens: trains by the torch backend in a fraction of a second."""

import copy
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).parents[2]
TOKENS, VOCABULARY = 16, 32
STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} "
RATE = r"Rate=\d+\.\d\d samples/sec, GlobalRate=\d+\.\d\d samples/sec"
LEFT = r"LoopTimeRemaining=\d+:\d\d:\d\d, TimeRemaining[=>]\d+:\d\d:\d\d"
TRAIN = re.compile(rf"{STAMP}INFO:   \| Train Device=cpu, Step=(\d+), Loss=(\d+\.\d{{5}}), {RATE}, {LEFT}")


@dataclass
class Ended:
    """A run that has ended."""

    status: int
    log: str
    stderr: str
    model_dir: Path

    @property
    def losses(self) -> dict[int, float]:
        return {int(step): float(loss) for step, loss in TRAIN.findall(self.log)}

    @property
    def facts(self) -> Any:
        return json.loads((self.model_dir / "trainer.json").read_text())


Train = Callable[..., Ended]


def write_data(folder: Path, n_samples: int, seed: int, *, mask: np.ndarray | int = 1, tokens: int = TOKENS) -> Path:
    import h5py

    text = np.random.default_rng(seed).integers(0, VOCABULARY, (n_samples, tokens + 1), np.int32)
    inputs, labels = text[:, :-1], text[:, 1:]
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "data-00000.h5", "w") as file:
        data = np.stack([inputs, np.broadcast_to(np.asarray(mask, np.int32), inputs.shape), labels], axis=1)
        file.create_dataset("data", data=data)
        file.attrs["n_examples"] = n_samples
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    ragged = np.arange(TOKENS)[None, :] < np.arange(20)[:, None] + 1
    write_data(folder / "train", 20, seed=1, mask=ragged)
    write_data(folder / "val", 8, seed=2)
    return folder


@pytest.fixture
def params(data: Path) -> dict[str, Any]:
    """The small Llama made tiny: 4 steps, no held-out loss."""
    tree = yaml.safe_load((ROOT / "config/models/llama_small.yaml").read_text())
    init, fit = tree["trainer"]["init"], tree["trainer"]["fit"]
    init["model"] |= {
        "vocab_size": VOCABULARY,
        "hidden_size": 16,
        "rotary_dim": 8,
        "num_heads": 2,
        "num_hidden_layers": 1,
        "filter_size": 24,
        "max_position_embeddings": TOKENS,
    }
    init["loop"] = {"max_steps": 4, "eval_frequency": None, "eval_steps": 2}
    init["logging"]["log_steps"] = 1
    fit["train_dataloader"] |= {"data_dir": str(data / "train"), "batch_size": 4}
    fit["val_dataloader"] |= {"data_dir": str(data / "val"), "batch_size": 4}
    return dict(tree)


@pytest.fixture
def train(params: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Train:
    """Train with keys set, e.g. train({"init.seed": 2})."""
    from accelbench.training.torch.trainer import main

    def run(
        changes: dict[str, Any] | None = None,
        *,
        device: str | None = None,
        model_dir: str = "model_dir",
        options: Sequence[str] = (),
    ) -> Ended:
        tree = copy.deepcopy(params)
        for path, value in (changes or {}).items():
            *parents, key = path.split(".")
            node = tree["trainer"]
            for parent in parents:
                node = node.setdefault(parent, {})
            node[key] = value
        file = tmp_path / "params.yaml"
        file.write_text(yaml.safe_dump(tree))
        folder = tmp_path / model_dir
        status = main([str(file), "--model_dir", str(folder), *(["--device", device] if device else []), *options])
        out, err = capsys.readouterr()
        return Ended(status, out, err, folder)

    return run
