"""What a config plans: its cells, the order in which they run, and how planning grows."""

import itertools
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelbench.config import Config
from accelbench.plan import specs
from accelbench.plan.specs import InferRound, TrainRun

from .planned import all_specs, config_with, here  # noqa: F401


def test_a_list_of_concurrencies_has_a_cell_per_value() -> None:
    cells = specs.cells(config_with())
    assert {name: (cell.scenario, cell.slots) for name, cell in cells.items()} == {
        "one": ("one", 1),
        "many-c2": ("many", 2),
        "many-c5": ("many", 5),
    }


def test_lists_of_several_keys_make_a_cell_per_combination() -> None:
    lists = {"context_tokens": [64, 128], "max_tokens": [8, 16]}
    config = config_with(**{f"inference__scenarios__one__{key}": values for key, values in lists.items()})
    cells = {name: cell for name, cell in specs.cells(config).items() if cell.scenario == "one"}
    assert list(cells) == ["one-in64-out8", "one-in64-out16", "one-in128-out8", "one-in128-out16"]
    assert (cells["one-in64-out16"].context_tokens, cells["one-in64-out16"].max_tokens) == (64, 16)


def test_a_cell_of_a_list_is_the_same_load_as_its_value_alone() -> None:
    listed = config_with(inference__scenarios__one__max_tokens=[8, 16])
    loads = [cell.load for cell in specs.cells(listed).values() if cell.scenario == "one"]
    alone = specs.cells(config_with(inference__scenarios__one__max_tokens=16))["one"].load
    assert loads[1] == alone


def test_open_loops_are_named_by_their_rates_and_differ_in_them() -> None:
    load = {"arrivals": "poisson", "rate_per_s": [2, 2.5]}
    config = config_with(inference__scenarios__one=load)
    assert [name for name in specs.cells(config) if name.startswith("one")] == ["one-r2", "one-r2p5"]
    first, second = (specs.infer_spec(config, InferRound("a", name, 1)) for name in ("one-r2", "one-r2p5"))
    capped = config_with(inference__scenarios__one={**load, "max_in_flight": 2})
    assert len({first, second, specs.infer_spec(capped, InferRound("a", "one-r2p5", 1))}) == 3


def test_a_half_that_runs_nothing_plans_nothing() -> None:
    config = config_with(training__run=[], inference__run=[])
    assert specs.train_runs(config) == specs.infer_rounds(config) == specs.prompt_sets(config) == []
    assert specs.priorities(config) == {}


def in_order(config: Config) -> list[Any]:
    priorities = specs.priorities(config)
    return sorted(priorities, key=priorities.__getitem__, reverse=True)


def test_every_job_has_a_priority_of_its_own() -> None:
    config = config_with()
    priorities = specs.priorities(config)
    assert priorities.keys() == {*specs.train_runs(config), *specs.infer_rounds(config)}
    assert sorted(priorities.values()) == list(range(1, len(priorities) + 1))


@given(st.integers(0, 1000))
def test_repeats_and_rounds_are_blocks_and_the_endpoints_of_a_cell_follow_each_other(seed: int) -> None:
    order = in_order(config_with(seed=seed))
    repeats = [job.repeat for job in order if isinstance(job, TrainRun)]
    rounds = [job for job in order if isinstance(job, InferRound)]
    assert repeats == sorted(repeats)
    assert [job.round for job in rounds] == sorted(job.round for job in rounds)
    for first, second in zip(rounds[::2], rounds[1::2], strict=True):
        assert (first.cell, first.round) == (second.cell, second.round)
        assert {first.endpoint, second.endpoint} == {"a", "b"}


def test_the_order_is_drawn_from_the_seed_and_not_from_the_files_order() -> None:
    orders = [in_order(config_with(seed=seed)) for seed in range(5)]
    assert in_order(config_with(seed=0)) == orders[0]
    assert any(order != orders[0] for order in orders[1:])
    turned = config_with(seed=0, inference__run=["b", "a"], training__batch_sizes=[8, 4])
    assert in_order(turned) == orders[0]


@pytest.mark.parametrize("count", [2, 3, 4, 5, 8])
@given(st.integers(1, 13), st.integers(0, 100))
def test_the_order_within_rounds_is_balanced_however_many_there_are(count: int, rounds: int, seed: int) -> None:
    names = [f"e{n}" for n in range(count)]
    orders = list(itertools.islice(specs.balanced_orders(names, f"{seed}"), rounds))
    firsts = [sum(order[0] == name for order in orders) for name in names]
    assert max(firsts) - min(firsts) <= 1
    for one, other in itertools.combinations(names, 2):
        before = sum(order.index(one) < order.index(other) for order in orders)
        assert abs(2 * before - rounds) <= 1


def test_more_rounds_leave_the_order_of_those_before() -> None:
    six, eight = (in_order(config_with(inference__scenarios__one__rounds=n)) for n in (6, 8))
    kept = [job for job in eight if not isinstance(job, InferRound) or job.cell != "one" or job.round <= 6]
    assert [job for job in six if job in kept] == [job for job in kept if job in six]


def test_planning_ten_times_the_cells_takes_about_ten_times_as_long() -> None:
    """Thrice that at most. When each round looked all cells over, it took over a hundred times as long."""

    def planning_s(loads: int) -> float:
        config = config_with(inference__scenarios__many__concurrency=list(range(1, loads + 1)))
        start_s = time.process_time()
        specs.priorities(config)
        all_specs(config)
        return time.process_time() - start_s

    few_s, many_s = (min(planning_s(loads) for _ in range(3)) for loads in (100, 1000))
    assert many_s < 30 * few_s


def test_each_config_has_its_own_cells() -> None:
    one = config_with()
    other = one.model_copy(update={"inference": one.inference.model_copy(update={"scenarios_run": ["one"]})})
    for _ in range(2):
        assert list(specs.cells(one)) == ["one", "many-c2", "many-c5"]
        assert list(specs.cells(other)) == ["one"]
