"""Params files in ModelZoo's format: one per run, rendered from the sweep's base file.

What the sweep decides is set (train batch size, steps, seed, …); all else, order and types included, stays as
the base file has it. Keys and their meaning: ModelZoo 2.6.0, `trainer.init` and `trainer.fit`.
"""

from pathlib import Path
from typing import Any

import yaml

from accelbench import paths, specs
from accelbench.config import CerebrasPlatform, Config, Platform
from accelbench.errors import UserError
from accelbench.files import write_atomically

Tree = dict[str, Any]
MICRO_BATCH = "csx.performance.micro_batch_size"


def write_params(config: Config, run: specs.TrainRun, path: Path) -> None:
    """Render the params file of one run."""
    write_atomically(path, dump(render(config, run)))


def render(config: Config, run: specs.TrainRun) -> Tree:
    """Return the params of one run as data."""
    training = config.training
    settings = training.settings(run.batch)
    params: Tree = _unshared(specs.base_params(str(training.model)))
    init, fit = _section(params, "trainer", "init"), _section(params, "trainer", "fit")

    init["seed"] = training.seed + run.repeat - 1
    init.setdefault("loop", {}).update(max_steps=settings.max_steps, eval_frequency=training.eval_frequency)
    init.setdefault("logging", {})["log_steps"] = settings.log_steps
    init.setdefault("checkpoint", {})["steps"] = training.checkpoint_steps
    for loader in _loaders(fit):
        loader["batch_size"] = run.batch
    if training.corpus:
        for loader in _loaders(fit):
            loader["data_dir"] = str(Path(paths.CORPUS) / "train")
        _section(fit, "val_dataloader")["data_dir"] = str(Path(paths.CORPUS) / "val")
    if settings.micro_batch_size is not None:
        _set_flag(init, MICRO_BATCH, settings.micro_batch_size)
    _set_platform(init, training.platforms[run.platform])
    return params


def dump(params: Tree) -> str:
    """Return params as YAML that readers of YAML 1.1 and 1.2 take for the same numbers."""
    return yaml.dump(params, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """SafeDumper that writes 3e-05 as 3.0e-05 (YAML 1.1 takes the first for a string), and no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _write_float(dumper: _Dumper, value: float) -> yaml.ScalarNode:
    text = repr(value)
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e")
    special = {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}
    return dumper.represent_scalar("tag:yaml.org,2002:float", special.get(text, text))


_Dumper.add_representer(float, _write_float)


def _set_platform(init: Tree, platform: Platform) -> None:
    backend = init.setdefault("backend", {})
    if isinstance(platform, CerebrasPlatform):
        backend["backend_type"] = "CSX"
        cluster = backend.setdefault("cluster_config", {})
        cluster["num_csx"] = platform.num_csx
        for key in ("job_time_sec", "mount_dirs", "python_paths"):
            if getattr(platform, key):
                cluster[key] = getattr(platform, key)
        if platform.job_labels:
            cluster["job_labels"] = [f"{key}={value}" for key, value in platform.job_labels.items()]
        return
    backend.pop("cluster_config", None)
    backend["backend_type"] = "CPU" if platform.device == "cpu" else "GPU"
    precision = init.setdefault("precision", {})
    precision["enabled"] = platform.dtype != "float32"
    if precision["enabled"]:
        precision["fp16_type"] = platform.dtype


def _set_flag(init: Tree, flag: str, value: Any) -> None:
    """Set a flag of the ScopedTrainFlags callback, which is added if it isn't there."""
    callbacks = init.setdefault("callbacks", [])
    for callback in callbacks:
        if "ScopedTrainFlags" in callback:
            callback["ScopedTrainFlags"][flag] = value
            return
    callbacks.append({"ScopedTrainFlags": {flag: value}})


def _loaders(fit: Tree) -> list[Tree]:
    train = fit.get("train_dataloader")
    if train is None:
        raise UserError("training.model: the base params file has no trainer.fit.train_dataloader.")
    return train if isinstance(train, list) else [train]


def _section(tree: Tree, *keys: str) -> Tree:
    for key in keys:
        tree = tree.get(key, {})
        if not isinstance(tree, dict):
            raise UserError(f"training.model: the base params file's {'.'.join(keys)} must be a mapping.")
    return tree


def _unshared(node: Any) -> Any:
    """Copy so that what YAML anchors made one object (train and validation loaders) becomes two."""
    if isinstance(node, dict):
        return {key: _unshared(value) for key, value in node.items()}
    return [_unshared(value) for value in node] if isinstance(node, list) else node
