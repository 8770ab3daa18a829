"""Measurements that shared a node are found by their recorded hosts and times, and marked in their rows."""

from dataclasses import replace
from typing import Any

from accelbench.analysis.disturbance import overlaps, shared
from accelbench.analysis.training import training_rows
from accelbench.report.training_tables import figure_notes
from accelbench.store.records import InferRoundRecord, ParsedLog, TrainRunRecord

DAY = "2026-11-27T{}+00:00"


def busy(begin: str, end: str) -> list[tuple[str, str]]:
    return [(DAY.format(begin), DAY.format(end))]


def run(repeat: int, begin: str, end: str, node: str = "node-7", **more: Any) -> TrainRunRecord:
    host = {"name": node, "cpu": "x", "cores": 8}
    more = {"host": host, "busy": busy(begin, end), "log": ParsedLog(last_step=4), **more}
    return TrainRunRecord("gpu", 4, repeat, "measured", None, **more)


def asked(number: int, begin: str, end: str, node: str = "node-7") -> InferRoundRecord:
    host = {"name": node, "cpu": "x", "cores": 8}
    return InferRoundRecord("vllm", "one", number, "measured", None, host=host, busy=busy(begin, end))


def test_a_training_and_two_rounds_on_one_node_are_all_marked() -> None:
    records = [run(1, "10:00:00", "11:00:00"), asked(1, "10:10:00", "10:20:00"), asked(2, "10:30:00", "10:40:00")]
    assert overlaps(records) == {
        "gpu batch 4 repeat 1": ["vllm one round 1", "vllm one round 2"],
        "vllm one round 1": ["gpu batch 4 repeat 1"],
        "vllm one round 2": ["gpu batch 4 repeat 1"],
    }


def test_one_after_the_other_and_on_different_nodes_nothing_is_shared() -> None:
    in_turns = [run(1, "10:00:00", "11:00:00"), run(2, "11:00:00", "12:00:00")]
    assert overlaps([*in_turns, run(3, "10:30:00", "10:50:00", node="node-8")]) == {}


def test_the_time_between_two_tries_is_nobodys() -> None:
    resumed = run(1, "10:00:00", "10:10:00")
    resumed = run(1, "", "", busy=[*resumed.busy, *busy("11:00:00", "11:10:00")])
    assert overlaps([resumed, run(2, "10:20:00", "10:50:00")]) == {}
    assert set(overlaps([resumed, run(2, "10:20:00", "11:01:00")])) == {resumed.name, "gpu batch 4 repeat 2"}


def test_what_has_no_times_or_was_not_measured_shares_nothing() -> None:
    unmeasured = TrainRunRecord("gpu", 4, 3, "failed", "out of memory")
    assert overlaps([run(1, "10:00:00", "11:00:00"), run(2, "", "", busy=()), unmeasured]) == {}


def test_a_row_says_how_many_of_its_runs_shared_their_node_and_with_what() -> None:
    runs = [run(1, "10:00:00", "11:00:00"), run(2, "11:00:00", "12:00:00")]
    found = overlaps([*runs, asked(1, "10:10:00", "10:20:00")])
    said = shared(runs, found)
    assert said == "shared its node: 1 of 2 ran at the same time as vllm one round 1"
    assert shared([runs[1]], found) is None


def test_the_notes_of_the_training_table_name_what_shared_its_node() -> None:
    runs = [run(1, "10:00:00", "11:00:00"), run(2, "10:30:00", "12:00:00")]
    [row] = training_rows(runs)
    marked = replace(row, shared_node=shared(runs, overlaps(runs)))
    [note] = [note for note in figure_notes([marked], {}, runs) if "shared its node" in note]
    assert "2 of 2 ran at the same time as gpu batch 4 repeat 1, gpu batch 4 repeat 2" in note
