"""A small config of both halves, and the folder it is read in."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from accelbench.config import Config
from accelbench.plan import specs

Tree = dict[str, Any]
PARAMS: Tree = {
    "trainer": {
        "init": {"model": {"max_position_embeddings": 8, "vocab_size": 16}},
        "fit": {"train_dataloader": {"batch_size": 1}},
    }
}
CONFIG: Tree = {
    "training": {
        "run": ["cpu", "wafer"],
        "platforms": {"cpu": {"backend": "torch"}, "wafer": {"backend": "cerebras"}},
        "model": "model.yaml",
        "batch_sizes": [4, 8],
        "repeats": 2,
    },
    "inference": {
        "run": ["a", "b"],
        "scenarios_run": ["one", "many"],
        "endpoints": {
            "a": {"base_url": "http://a/v1", "model": "m"},
            "b": {"server": {"kind": "llama.cpp"}, "model": "m"},
        },
        "scenarios": {"one": {"rounds": 2}, "many": {"concurrency": [2, 5]}},
        "prompts": {"questions": {"source": "bundled"}},
    },
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.yaml").write_text(yaml.safe_dump(PARAMS))
    Path("other.yaml").write_text(yaml.safe_dump({**PARAMS, "more": 1}))


def config_with(**changes: Any) -> Config:
    """Give the config above with values at dotted keys (`__` between their parts)."""
    tree: Tree = json.loads(json.dumps(CONFIG))
    for key, value in changes.items():
        *above, last = key.split("__")
        node = tree
        for part in above:
            node = node.setdefault(int(part) if part.isdigit() else part, {})
        node[last] = value
    return Config.model_validate(tree)


def all_specs(config: Config) -> dict[Any, str]:
    return {
        **{run: specs.train_spec(config, run) for run in specs.train_runs(config)},
        **{item: specs.infer_spec(config, item) for item in specs.infer_rounds(config)},
    }
