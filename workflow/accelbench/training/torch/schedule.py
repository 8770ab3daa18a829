"""Learning rates by ModelZoo's own formulas.

Source: cerebras-pytorch 2.6.0, optim/scheduler.py (`_get_closed_form`). Steps count from 0: the first update
of the weights takes the rate of step 0.
"""

import math
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate

from accelbench.errors import UserError
from accelbench.training.torch.settings import Settings, name_of

Schedule = Callable[[int], float]


def linear(initial: float, end: float, total_iters: int) -> Schedule:
    """LinearLR: a straight line, then `end`."""
    return lambda step: end if step >= total_iters else end + (initial - end) * (1 - step / total_iters)


def cosine_decay(initial: float, end: float, total_iters: int) -> Schedule:
    """CosineDecayLR: half a cosine, then `end`."""
    return lambda step: end + (initial - end) * (1 + math.cos(math.pi * min(step, total_iters) / total_iters)) / 2


def constant(rate: float) -> Schedule:
    """ConstantLR: one rate."""
    return lambda _: rate


def sequential(schedules: list[Schedule], milestones: list[int]) -> Schedule:
    """SequentialLR: from each milestone on the next schedule, counting from 0 again."""
    starts = [0, *milestones]

    def rate(step: int) -> float:
        stage = bisect_right(milestones, step)
        return schedules[stage](step - starts[stage])

    return rate


def read_schedule(init: Settings, own_rate: float | None) -> Schedule:
    """Return the schedule of `trainer.init.schedulers`; without one, the optimizer's own learning rate.

    Raises UserError for schedulers that this backend does not follow, or if there is no learning rate at all.
    """
    schedulers = init.each("schedulers")
    if len(schedulers) > 1:
        raise UserError(
            f"{init.file}: {name_of(init.here)}.schedulers lists {len(schedulers)}; this backend follows "
            "one. Join those that follow each other in a SequentialLR."
        )
    if schedulers:
        return _read(schedulers[0])[0]
    if own_rate is None:
        raise UserError(f"{init.file}: there is no learning rate; write {name_of(init.here)}.schedulers.")
    return constant(own_rate)


def _read(scheduler: Settings) -> tuple[Schedule, int | None]:
    """Return a schedule and its length in steps, which a SequentialLR needs of all but its last."""
    name = scheduler.only_key("scheduler")
    own = scheduler.at(name)
    own.only("param_group_tags", None, default=None)
    if name == "ConstantLR":
        steps = own.value("total_iters")
        return constant(own.number("learning_rate")), None if steps is None else own.integer("total_iters")
    if name in ("LinearLR", "CosineDecayLR"):
        own.only("cycle", False, default=False)
        steps = own.integer("total_iters")
        shape = linear if name == "LinearLR" else cosine_decay
        return shape(own.number("initial_learning_rate"), own.number("end_learning_rate"), steps), steps
    if name == "SequentialLR":
        return _read_sequential(own), None
    raise UserError(
        f"{scheduler.file}: {name_of(scheduler.here)} is {name}; this backend knows SequentialLR, LinearLR, "
        "CosineDecayLR and ConstantLR."
    )


def _read_sequential(own: Settings) -> Schedule:
    stages = [_read(stage) for stage in own.each("schedulers")]
    lengths = [steps for _, steps in stages[:-1] if steps is not None]
    if not stages or len(lengths) < len(stages) - 1:
        raise own.refusal("schedulers", wanted="must list schedulers with total_iters (except for the last)")
    milestones = list(accumulate(lengths))
    own.only("milestones", milestones, default=milestones)
    return sequential([schedule for schedule, _ in stages], milestones)
