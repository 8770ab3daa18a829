"""Learning rates and schedules for another batch size than the one they were written for.

Rates are multiplied; a schedule is stretched, so that step t × factor has the rate that step t had. Which keys of
which scheduler are rates, counts of steps, or per-step factors: cerebras-pytorch 2.6.0, optim/lr_scheduler.py,
weight_decay_scheduler.py and scheduler.py (`_get_closed_form`). What isn't known there is refused, never half scaled.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import accumulate
from typing import Any

from accelbench.errors import UserError

_Tree = dict[str, Any]
RATES = (
    "learning_rate", "initial_learning_rate", "end_learning_rate", "learning_rates", "eta_min", "base_lr", "max_lr",
)  # fmt: skip
COUNTS = (
    "total_iters", "T_max", "T_0", "step_size", "step_size_up", "step_size_down", "total_steps", "warmup_steps",
)  # fmt: skip
PER_STEP = {"multiplicative": "coefficient", "cyclic": "gamma"}  # value(t) has them to the power of t
_DEFAULTS: dict[str, _Tree] = {  # of keys that may be left out, and must be scaled even so
    "inversesquarerootdecay": {"scale": 1.0, "warmup_steps": 1},
    "cyclic": {"step_size_up": 2000},
    "onecycle": {"total_steps": 1000},
}
NESTED = ("sequential", "chained", "scaleperparam")
_KINDS = {
    "constant", "polynomial", "linear", "exponential", "inverseexponentialtimedecay", "inversesquarerootdecay",
    "cosinedecay", "piecewiseconstant", "multistep", "step", "cosineannealing", "lambda",
    "cosineannealingwarmrestarts", "multiplicative", "cyclic", "onecycle", *NESTED,
}  # fmt: skip
ALIASES = {"chainedscheduler": "chainedlr", "cosineannealingwarmrestarts": "cosineannealingwarmrestartslr"}


def scale(init: _Tree, lr_factor: float, schedule_factor: Fraction) -> None:
    """Scale the rates and the schedules of one `trainer.init`, in place. With both factors 1, nothing is touched."""
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
        raise _refusal("trainer.init", "has no learning rate that training.lr_scaling could scale; write schedulers")


def _scale_optimizer(optimizer: Any, factor: float) -> bool:
    """Scale an optimizer's own rate and those of its parameter groups; tell whether it has one of its own."""
    found = False
    for name, settings in optimizer.items() if isinstance(optimizer, dict) else ():
        groups = settings.get("params") if isinstance(settings, dict) else None
        for holder in (settings, *(groups if isinstance(groups, list) else ())):
            for key in ("learning_rate", "lr") if isinstance(holder, dict) else ():
                if holder.get(key) is not None:
                    found = found or holder is settings
                    _change(holder, key, f"trainer.init.optimizer.{name}", lambda rate: tidy(rate * factor), factor)
    return found


def _scale_scheduler(scheduler: Any, here: str, lr_factor: float, stretch: Fraction) -> str:
    """Scale one scheduler and those inside it; return what it schedules: lr or wd (weight decay)."""
    if not (isinstance(scheduler, dict) and len(scheduler) == 1 and isinstance(next(iter(scheduler.values())), dict)):
        raise _refusal(here, "must be one scheduler and its settings, such as {LinearLR: {…}}")
    [(name, own)] = scheduler.items()
    lowered = str(name).lower()  # as ModelZoo compares names
    kind, what = (full := ALIASES.get(lowered, lowered))[:-2], full[-2:]
    if kind not in _KINDS or what not in ("lr", "wd"):
        raise _refusal(here, f"is {name}, which can't be scaled; set training.lr_scaling: none, schedule_unit: steps")
    here = f"{here}.{name}"
    if kind in NESTED:
        _scale_nested(own, here, lr_factor, stretch)
        return what
    if what == "lr" and lr_factor != 1:
        if kind == "inversesquarerootdecay":
            own.setdefault("initial_learning_rate", 1.0)
        for key in RATES:
            _change(own, key, here, lambda rate: tidy(rate * lr_factor), lr_factor)
    if stretch != 1:
        _stretch(own, kind, here, stretch)
    return what


def _scale_nested(own: _Tree, here: str, lr_factor: float, stretch: Fraction) -> None:
    several = own.get("schedulers")
    inner: list[Any] = several if isinstance(several, list) else [own.get("scheduler")]
    for n, scheduler in enumerate(inner):
        place = f"schedulers[{n}]" if isinstance(several, list) else "scheduler"
        _scale_scheduler(scheduler, f"{here}.{place}", lr_factor, stretch)
    if own.get("milestones") is not None and stretch != 1:
        lengths = [settings.get("total_iters") for scheduler in inner[:-1] for settings in scheduler.values()]
        if None in lengths:
            raise _refusal(f"{here}.schedulers", "must all, but the last, have total_iters")
        own["milestones"] = list(accumulate(lengths))  # ModelZoo accepts no others


def _stretch(own: _Tree, kind: str, here: str, factor: Fraction) -> None:
    for key, default in _DEFAULTS.get(kind, {}).items():
        if own.get(key) is None:
            own[key] = default
    if kind == "inversesquarerootdecay":  # scale / √t
        _change(own, "scale", here, lambda value: tidy(value * math.sqrt(factor)), factor)
    exponent = 1
    if kind == "inverseexponentialtimedecay":  # t ** step_exponent / total_iters
        exponent = _integer(own.get("step_exponent"), f"{here}.step_exponent")
    for key in COUNTS:
        if own.get(key) is not None:
            own[key] = _longer(own[key], factor**exponent, f"{here}.{key}")
    if own.get("milestones") is not None:
        own["milestones"] = _longer_milestones(own["milestones"], factor, f"{here}.milestones")
    if kind in PER_STEP:
        _change(own, PER_STEP[kind], here, lambda value: tidy(value ** (1 / float(factor))), factor)


def _longer(count: Any, factor: Fraction, here: str) -> int:
    """Return a count of steps for the same samples: rounded up, as the steps of a run are."""
    return math.ceil(_integer(count, here) * factor)


def _longer_milestones(milestones: Any, factor: Fraction, here: str) -> list[int]:
    """Return milestones for the same samples. They must increase, so two that meet are put a step apart."""
    if not isinstance(milestones, list):
        raise _refusal(here, "must be a list of steps")
    longer: list[int] = []
    for milestone in milestones:
        longer.append(max(_longer(milestone, factor, here), longer[-1] + 1 if longer else 0))
    return longer


def _change(holder: _Tree, key: str, here: str, change: Callable[[float], float], factor: float | Fraction) -> None:
    """Change a number, or each of a list, where there is one; a factor of 1 leaves it as it is written."""
    value = holder.get(key)
    if value is None or factor == 1:
        return
    where = f"{here}.{key}"
    several = isinstance(value, list)
    numbers = [_number(each, where) for each in (value if several else [value])]
    if min(numbers, default=0) < 0:
        raise _refusal(where, f"is {value}; it must not be negative")
    changed = [change(number) for number in numbers]
    holder[key] = changed if several else changed[0]


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
