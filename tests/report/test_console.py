"""Tables for the terminal: logs side by side, and endpoints compared from their files alone."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from accelbench.errors import UserError
from accelbench.files import write_jsonl
from accelbench.records import RequestRecord
from accelbench.report.console import comparison, log_table
from accelbench.training.log import parse_log

from ..analysis.records import request, spanned
from .test_tables import cells_of


def trained(second: int, step: int, loss: float) -> str:
    rates = "Rate=8.00 samples/sec, GlobalRate=8.00 samples/sec"
    return f"2026-01-31 23:59:{second},000 INFO:   | Train Device=cpu, Step={step}, Loss={loss:.5f}, {rates}\n"


LOG = (
    "2026-01-31 23:59:00,000 INFO:   Effective batch size is 8.\n"
    "2026-01-31 23:59:01,000 INFO:   Starting train loop 1 of 1, from global step 1 to 20 (20 steps)\n"
    + trained(11, 10, 6.5)
    + trained(21, 20, 6.0)
)
END = (
    "2026-01-31 23:59:22,000 INFO:   Training completed successfully!\n"
    "2026-01-31 23:59:23,000 INFO:   Processed 160 training sample(s) in 22.0 seconds.\n"
)
CRASH = """Traceback (most recent call last):
  File "run.py", line 1, in <module>
RuntimeError: out of | memory
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def log(name: str, text: str) -> Path:
    Path(name).write_text(text)
    return Path(name)


def side(folder: str, *requests: RequestRecord) -> Path:
    write_jsonl(Path(folder) / "load" / "r1" / "requests.jsonl", list(requests))
    return Path(folder)


def ratio_in(table: str) -> Iterable[str]:
    return cells_of(table)["latency ÷ baseline's, same prompts, 95 % interval"]


# --- logs ---------------------------------------------------------------------------------------------------


def tables(*logs: Path) -> list[str]:
    """Return the table of runs, that of their phases, and the notes."""
    return log_table([parse_log(each) for each in logs]).split("\n\n")


def test_a_log_is_a_row() -> None:
    row = cells_of(tables(log("run.log", LOG + END))[0])["run.log"]
    assert row == ["completed", "8", "20/20", "8.000", "8.000", "8.000", "22.00", "6.00000"]


def test_a_logs_seconds_are_told_by_phase_where_it_has_times() -> None:
    _, phases, notes = tables(log("run.log", LOG + END), log("plain.log", "| Train Device=CSX, Step=1, Loss=7.0\n"))
    assert cells_of(phases)["seconds of"] == ["setup", "train", "teardown", "all"]
    assert cells_of(phases)["run.log"] == ["1.0", "21.0", "1.0", "23.0"]
    assert "plain.log" not in cells_of(phases)
    assert "plain.log: The log has none, so there are no phases" in notes
    assert len(tables(Path("plain.log"))) == 1


def test_a_total_that_is_not_of_the_whole_run_is_named() -> None:
    older = END.replace("training sample(s)", "sample(s)")
    assert "run.log: total s is that of the training loop alone" in log_table([parse_log(log("run.log", LOG + older))])


def test_a_failed_log_says_where_and_why() -> None:
    runs, _, notes = tables(log("good.log", LOG + END), log("bad.log", LOG + CRASH))
    assert cells_of(runs)["bad.log"][0] == "failed"
    assert "bad.log: line " in notes
    assert "out of | memory" in notes


def test_an_empty_log_has_a_row_of_nothing() -> None:
    row = cells_of(log_table([parse_log(log("empty.log", ""))]))["empty.log"]
    assert set(row[1:]) <= {"–", "–/–"}


# --- comparisons --------------------------------------------------------------------------------------------


def test_sides_are_compared_on_the_same_prompts_with_the_first_as_baseline() -> None:
    one = side("a/one", request(e2e_s=1.0), request(key="p2", e2e_s=50.0))
    two = side("a/two", request(endpoint="two", e2e_s=2.0))
    table = comparison([one, two])
    assert cells_of(table)["metric"] == ["one", "two"]
    assert list(ratio_in(table)) == ["1 (baseline)", "2.00 (no interval)"]


def test_files_are_taken_as_well_as_folders() -> None:
    files = [side(name, request(endpoint=name)) / "load/r1/requests.jsonl" for name in ("one", "two")]
    assert cells_of(comparison(files))["metric"] == [str(file) for file in files]


def test_sides_of_one_name_are_told_apart_by_their_path() -> None:
    sides = [side("monday/one", request(e2e_s=1.0)), side("friday/one", request(e2e_s=3.0))]
    table = comparison(sides)
    assert cells_of(table)["metric"] == ["monday/one", "friday/one"]
    assert list(ratio_in(table))[1].startswith("3.00")


def test_differently_named_cells_stand_below_each_other_unpaired() -> None:
    table = comparison([side("one", request(cell="x")), side("two", request(endpoint="two", cell="y"))])
    assert "### x: 1 at a time" in table
    assert "### y: 1 at a time" in table
    assert "÷" not in table


def test_concurrency_is_that_of_one_side_even_if_both_were_measured_at_once() -> None:
    sides = [side(name, spanned(0, 4, 40, endpoint=name), spanned(1, 2, 20, endpoint=name)) for name in ("one", "two")]
    assert "### load: 2 at a time" in comparison(sides)


@pytest.mark.parametrize("content", [None, "", "garbage\n", '{"endpoint": "one"}\n', "[1]\n"])
def test_a_side_that_holds_no_requests_is_named(content: str | None) -> None:
    if content is not None:
        Path("two/requests.jsonl").parent.mkdir()
        Path("two/requests.jsonl").write_text(content)
    with pytest.raises(UserError, match=r"^two[:/]"):
        comparison([side("one", request()), Path("two")])


def test_a_side_of_several_endpoints_is_refused() -> None:
    with pytest.raises(UserError, match="holds one and two; name the folder of one of them"):
        comparison([side("all", request(), request(endpoint="two")), side("other", request())])
