"""Params files in ModelZoo's format: one per run, rendered from the sweep's base file.

What the sweep decides is set (train batch size, steps, seed, …, and learning rates and schedules where the config
scales them); all else, order and types included, stays as the base file has it. Keys and their meaning: ModelZoo
2.6.0, `trainer.init` and `trainer.fit`.

Scaled to another batch size, rates are multiplied, and a schedule is stretched: step t × factor has the rate that step
t had. The schedulers are those of ModelZoo's language models (cerebras-pytorch 2.6.0, optim/lr_scheduler.py,
weight_decay_scheduler.py). Any other is refused, never half scaled.
"""

import json
import math
import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Any

import yaml

from accelbench.config import Config
from accelbench.errors import UserError
from accelbench.foreign import Tree, read_yaml
from accelbench.plan import specs
from accelbench.plan.measurement import MEASURED
from accelbench.store import paths
from accelbench.store.files import write_atomically
from accelbench.training.backends import backend_of
from accelbench.training.params.check import MICRO_BATCH, NOT_HERE, check_params, trainers, undivided
from accelbench.training.torch.settings import SettingPath, name_of

ABSENT = object()


def changes(base: Any, rendered: Any) -> list[str]:
    """Return "trainer.init.seed 7 → 1" for each value that differs; – stands for one that is not there."""
    return [f"{name_of(key)} {_shown(old)} → {_shown(new)}" for key, old, new in _differing(base, rendered, ())]


def _differing(old: Any, new: Any, here: SettingPath) -> Iterator[tuple[SettingPath, Any, Any]]:
    added = (old is ABSENT or old is None) and bool(_parts(new))
    if added or (isinstance(new, dict | list) and type(old) is type(new)):
        before, after = _parts(old), _parts(new)
        for part in {**before, **after}:
            yield from _differing(before.get(part, ABSENT), after.get(part, ABSENT), (*here, part))
    elif (type(old), old) != (type(new), new):  # eval_frequency: 1 is every step, 1.0 after training
        yield here, old, new


def _parts(node: Any) -> dict[str | int, Any]:
    return dict(node) if isinstance(node, dict) else dict(enumerate(node)) if isinstance(node, list) else {}


def _shown(value: Any) -> str:
    return "–" if value is ABSENT else json.dumps(value, default=str, ensure_ascii=False)


def write_params(config: Config, run: specs.TrainRun, path: Path) -> list[str]:
    """Render the params file of one run; return what was set, and what deserves a look, as lines to print."""
    params = render(config, run)
    write_atomically(path, dump(params))
    warnings = [
        _line(path, sentence)
        for severity, sentence in check_params(params)
        if severity == "warning" and not (config.training.corpus and NOT_HERE in sentence)  # the workflow makes it
    ]
    need = backend_of(config, run.platform).memory(run, params)
    base = str(config.training.model)
    changed = ", ".join(changes(specs.base_params(base), params)) or "nothing"
    lost = " and ".join(_lost(paths.found(base).read_text(encoding="utf-8")))
    return [
        f"{path}: {_what_was_set(config, run)}",
        f"{path}: differs from {base} in: {changed}{f'; without its {lost}' if lost else ''}.",
        *warnings,
        *([_line(path, f"memory: {need.text}")] if need else []),
    ]


def _lost(text: str) -> list[str]:
    """Name what a base file has that is written for people only."""
    anchors = any(isinstance(token, yaml.AnchorToken) for token in yaml.scan(text))
    return [*(["comments"] if re.search(r"(?m)(^|\s)#", text) else []), *(["anchors"] if anchors else [])]


def read_params(path: Path) -> Tree:
    """Return a params file as it was rendered. Raises UserError where there is none."""
    try:
        params = read_yaml(path)
    except (OSError, ValueError, yaml.YAMLError):
        params = None
    if not isinstance(params, dict):
        raise UserError(
            f"{path} is not there, or is no longer a params file. Delete it and run the same `{paths.snakemake()}` "
            "again; without a workflow, `accelbench params` writes it."
        )
    return params


def remove_outdated(config: Config) -> None:
    """Remove the params files of runs without a result that are not what the config says now; rule params renders them.

    They hold what no spec does (job_time_sec, mount_dirs): a rule that compared it would measure finished runs again.
    """
    for run in specs.train_runs(config):
        path = run.folder / "params.yaml"
        if path.exists() and not (run.folder / MEASURED).exists() and not _is_current(config, run, path):
            path.unlink()


def _is_current(config: Config, run: specs.TrainRun, path: Path) -> bool:
    try:
        return path.read_text() == dump(render(config, run))
    except (UserError, UnicodeDecodeError):
        return False


def render(config: Config, run: specs.TrainRun) -> Tree:
    """Return the params of one run as data. Raises UserError, one line per mistake in them."""
    params: Tree = _unshared(specs.base_params(str(config.training.model)))
    if not isinstance(params.get("trainer"), list):
        _section(params, "trainer")
    for key, trainer in trainers(params):
        if not isinstance(trainer, dict):
            raise UserError(f"training.model: the base params file's {key} must be a mapping.")
        _set_trainer(trainer, config, run)
    wrong = [sentence for severity, sentence in check_params(params) if severity == "error"]
    errors = [_line(config.training.model, sentence) for sentence in [*wrong, *undivided(params, run.batch)]]
    if errors:
        raise UserError("\n".join(errors))
    return params


def _set_trainer(trainer: Tree, config: Config, run: specs.TrainRun) -> None:
    training = config.training
    settings = training.settings(run.batch, run.micro)
    init, fit = _section(trainer, "init"), _section(trainer, "fit")
    init["seed"] = training.seed_of(run.repeat)
    _section(init, "loop").update(max_steps=settings.max_steps, eval_frequency=training.eval_frequency)
    _section(init, "logging")["log_steps"] = settings.log_steps
    _section(init, "checkpoint")["steps"] = training.checkpoint_steps
    for loader in _loaders(fit, "train_dataloader"):
        loader["batch_size"] = run.batch
    if training.corpus:
        for loader in _loaders(fit, "train_dataloader"):
            loader["data_dir"] = str(paths.corpus_folder(run.length) / "train")
        for loader in _loaders(fit, "val_dataloader") if fit.get("val_dataloader") else []:
            loader["data_dir"] = str(paths.corpus_folder(run.length) / "val")
    if run.length:
        _section(init, "model")["max_position_embeddings"] = run.length
    if settings.micro_batch_size is not None:
        _set_flag(init, MICRO_BATCH, settings.micro_batch_size)
    scale(init, training.lr_factor(run.batch), training.schedule_factor(run.batch))
    _lay_over(init, backend_of(config, run.platform).params(init))


def _what_was_set(config: Config, run: specs.TrainRun) -> str:
    training = config.training
    steps = training.settings(run.batch).max_steps or training.max_steps
    return (
        f"{steps:,} steps of {run.batch:,} samples ({steps * run.batch:,}), seed {training.seed_of(run.repeat)}, "
        f"learning rates × {training.lr_factor(run.batch):.6g}, "
        f"iterations of their schedule × {training.schedule_factor(run.batch)}"
    )


def _line(file: object, sentence: str) -> str:
    return f"{file}: {sentence}{'' if sentence.endswith('?') else '.'}"


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


def _lay_over(tree: Tree, over: Tree) -> None:
    """Set what `over` has, section by section; None takes a key out."""
    for key, value in over.items():
        if isinstance(value, dict):
            _lay_over(_section(tree, key), value)
        elif value is None:
            tree.pop(key, None)
        else:
            tree[key] = value


def _set_flag(init: Tree, flag: str, value: Any) -> None:
    """Set a flag of the ScopedTrainFlags callback, which is added if it isn't there."""
    callbacks = init["callbacks"] = init.get("callbacks") or []
    if not isinstance(callbacks, list):
        raise UserError("training.model: the base params file's callbacks must be a list.")
    for callback in callbacks:
        if isinstance(callback, dict) and "ScopedTrainFlags" in callback:
            _section(callback, "ScopedTrainFlags")[flag] = value
            return
    callbacks.append({"ScopedTrainFlags": {flag: value}})


def _loaders(fit: Tree, key: str) -> list[Tree]:
    """Return a data loader, or all of a list of them."""
    found = fit.get(key)
    loaders: list[Any] = found if isinstance(found, list) else [found]
    if not loaders or not all(isinstance(loader, dict) for loader in loaders):
        raise UserError(f"training.model: the base params file must have trainer.fit.{key} as a mapping, or several.")
    return loaders


def _section(tree: Tree, key: str) -> Tree:
    """Return a section of the file, which is added where it is missing or empty."""
    section = tree[key] = tree.get(key) if tree.get(key) is not None else {}
    if not isinstance(section, dict):
        raise UserError(f"training.model: the base params file's {key} must be a mapping.")
    return section


def _unshared(node: Any) -> Any:
    """Copy so that what YAML anchors made one object (train and validation loaders) becomes two."""
    if isinstance(node, dict):
        return {key: _unshared(value) for key, value in node.items()}
    return [_unshared(value) for value in node] if isinstance(node, list) else node


RATES = ("learning_rate", "initial_learning_rate", "end_learning_rate")
KINDS = ("constant", "linear", "cosinedecay", "sequential")  # of learning rates (LR) and of weight decay (WD)
SCALED = "ConstantLR, LinearLR, CosineDecayLR and SequentialLR"


def scale(init: Tree, lr_factor: float, schedule_factor: Fraction) -> None:
    """Scale the rates and the schedules of one `trainer.init`, in place. With both factors 1, nothing is touched.

    `lr_factor` multiplies learning rates, `schedule_factor` the steps of a schedule. Raises UserError, with the key,
    for what can't be scaled.
    """
    if lr_factor == schedule_factor == 1:
        return
    own = _scale_optimizer(init.get("optimizer"), lr_factor)
    schedulers = init.get("schedulers") or []
    if not isinstance(schedulers, list):
        raise _refusal("trainer.init.schedulers", "must be a list, for its rates or iterations to be scaled")
    kinds = [
        _scale_scheduler(scheduler, f"trainer.init.schedulers[{n}]", lr_factor, schedule_factor)
        for n, scheduler in enumerate(schedulers)
    ]
    if lr_factor != 1 and not own and "lr" not in kinds:
        raise _refusal("trainer.init", "has no learning rate for training.lr_scaling to scale; add schedulers")


def _scale_optimizer(optimizer: Any, factor: float) -> bool:
    """Scale an optimizer's own rate and those of its parameter groups; tell whether it has one of its own."""
    found = False
    for name, settings in optimizer.items() if isinstance(optimizer, dict) else ():
        groups = settings.get("params") if isinstance(settings, dict) else None
        for holder in (settings, *(groups if isinstance(groups, list) else ())):
            for key in ("learning_rate", "lr") if isinstance(holder, dict) else ():
                if holder.get(key) is not None:
                    found = found or holder is settings
                    _change(holder, key, f"trainer.init.optimizer.{name}", factor)
    return found


def _scale_scheduler(scheduler: Any, here: str, lr_factor: float, stretch: Fraction) -> str:
    """Scale one scheduler and those inside it; return what it schedules: lr or wd (weight decay)."""
    if not (isinstance(scheduler, dict) and len(scheduler) == 1 and isinstance(next(iter(scheduler.values())), dict)):
        raise _refusal(here, "must be one scheduler and its settings, such as {LinearLR: {…}}")
    [(name, own)] = scheduler.items()
    kind, what = str(name).lower()[:-2], str(name).lower()[-2:]  # as ModelZoo compares names
    if kind not in KINDS or what not in ("lr", "wd"):
        raise _refusal(
            here, f"is {name}, but only {SCALED} can be scaled; set training.lr_scaling: none, schedule_unit: steps"
        )
    here = f"{here}.{name}"
    if kind == "sequential":
        _scale_sequential(own, here, lr_factor, stretch)
        return what
    for key in RATES if what == "lr" else ():
        _change(own, key, here, lr_factor)
    if stretch != 1 and own.get("total_iters") is not None:
        own["total_iters"] = _longer(own["total_iters"], stretch, f"{here}.total_iters")
    return what


def _scale_sequential(own: Tree, here: str, lr_factor: float, stretch: Fraction) -> None:
    stages = own.get("schedulers")
    if not isinstance(stages, list):
        raise _refusal(f"{here}.schedulers", "must be a list")
    for n, stage in enumerate(stages):
        _scale_scheduler(stage, f"{here}.schedulers[{n}]", lr_factor, stretch)
    if own.get("milestones") is not None and stretch != 1:
        lengths = [settings.get("total_iters") for stage in stages[:-1] for settings in stage.values()]
        if None in lengths:
            raise _refusal(f"{here}.schedulers", "must have total_iters, except for the last")
        own["milestones"] = list(accumulate(lengths))  # ModelZoo accepts no others


def _longer(count: Any, factor: Fraction, here: str) -> int:
    """Return a count of steps for the same samples: rounded up, as the steps of a run are."""
    return math.ceil(_integer(count, here) * factor)


def _change(holder: Tree, key: str, here: str, factor: float) -> None:
    """Multiply a rate where there is one; a factor of 1 leaves it as it is written."""
    if holder.get(key) is None or factor == 1:
        return
    rate = _number(holder[key], f"{here}.{key}")
    if rate < 0:
        raise _refusal(f"{here}.{key}", f"is {holder[key]}; it must not be negative")
    holder[key] = tidy(rate * factor)


def tidy(number: float) -> float:
    """Return a number without the last digits' noise: 0.3, not 0.30000000000000004."""
    return float(f"{number:.12g}")


def _integer(value: Any, here: str) -> int:
    """Return an integer, 0 or more; 2000.0 is one for ModelZoo, so here too."""
    number = _number(value, here)
    if number != int(number) or number < 0:
        raise _refusal(here, f"is {value}; it must be an integer")
    return int(number)


def _number(value: Any, here: str) -> float:
    """Return a number; 3e-4, a string for YAML 1.1, is one for ModelZoo, so here too."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise _refusal(here, f"is {value!r}; it must be a number")
    return number


def _refusal(here: str, wanted: str) -> UserError:
    return UserError(f"training.model: the base params file's {here} {wanted}.")
