"""Learning rates against ModelZoo's formulas, at points worked out by hand."""

from pathlib import Path
from typing import Any

import pytest

from accelbench.errors import UserError
from accelbench.training.torch.run import Schedule, read_schedule
from accelbench.training.torch.settings import Settings

LINEAR = {"LinearLR": {"initial_learning_rate": 0.0, "end_learning_rate": 1.0, "total_iters": 10}}
COSINE = {"CosineDecayLR": {"initial_learning_rate": 1.0, "end_learning_rate": 0.2, "total_iters": 40}}
CONSTANT = {"ConstantLR": {"learning_rate": 0.5, "total_iters": 5}}


def schedule(*schedulers: Any, own_rate: float | None = None) -> Schedule:
    return read_schedule(Settings(Path("p.yaml"), (), {"schedulers": list(schedulers)}), own_rate)


def sequence(*schedulers: Any, **more: Any) -> Any:
    return {"SequentialLR": {"schedulers": list(schedulers), **more}}


@pytest.mark.parametrize(("step", "rate"), [(0, 0.0), (1, 0.1), (9, 0.9), (10, 1.0), (99, 1.0)])
def test_linear_reaches_its_end_at_total_iters_and_stays(step: int, rate: float) -> None:
    assert schedule(LINEAR)(step) == pytest.approx(rate)


@pytest.mark.parametrize(("step", "rate"), [(0, 1.0), (20, 0.6), (40, 0.2), (99, 0.2)])
def test_cosine_decay_is_half_a_cosine_and_stays_at_its_end(step: int, rate: float) -> None:
    assert schedule(COSINE)(step) == pytest.approx(rate)


@pytest.mark.parametrize(("step", "rate"), [(0, 0.0), (9, 0.9), (10, 1.0), (30, 0.6), (50, 0.2), (99, 0.2)])
def test_a_sequence_starts_its_next_schedule_from_zero_at_the_milestone(step: int, rate: float) -> None:
    assert schedule(sequence(LINEAR, COSINE))(step) == pytest.approx(rate)


@pytest.mark.parametrize(("step", "rate"), [(4, 0.5), (5, 0.0), (14, 0.9), (15, 1.0), (35, 0.6)])
def test_a_sequence_of_three_has_two_milestones(step: int, rate: float) -> None:
    assert schedule(sequence(CONSTANT, LINEAR, COSINE))(step) == pytest.approx(rate)


def test_without_schedulers_the_optimizers_own_rate_holds() -> None:
    assert schedule(own_rate=0.25)(7) == 0.25


def test_a_rate_written_as_yaml_1_1_does_not_read_numbers_is_a_number() -> None:
    assert schedule({"ConstantLR": {"learning_rate": "3e-4"}})(0) == 3e-4


@pytest.mark.parametrize(
    ("schedulers", "message"),
    [
        ([], "there is no learning rate"),
        ([LINEAR, COSINE], "lists 2; this backend follows one"),
        ([{"CyclicLR": {}}], "is CyclicLR; this backend knows SequentialLR"),
        ([{"LinearLR": {"initial_learning_rate": 1.0}}], "total_iters is missing"),
        ([sequence({"ConstantLR": {"learning_rate": 1.0}}, COSINE)], "with total_iters"),
        ([sequence(LINEAR, COSINE, milestones=[9])], r"milestones is \[9\]; it can only be \[10\]"),
        ([{"LinearLR": LINEAR["LinearLR"] | {"cycle": True}}], "cycle is true; it can only be false"),
    ],
)
def test_what_it_cannot_follow_is_refused(schedulers: list[Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        schedule(*schedulers)
