"""Learning rates and schedules for another batch size than the one they were written for.

Rates are multiplied; a schedule is stretched, so that step t × factor has the rate that step t had. The schedulers are
those of ModelZoo's language models (cerebras-pytorch 2.6.0, optim/lr_scheduler.py, weight_decay_scheduler.py). Any
other is refused, never half scaled.
"""

import math
from fractions import Fraction
from itertools import accumulate
from typing import Any

from accelbench.errors import UserError
from accelbench.foreign_yaml import Tree

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
