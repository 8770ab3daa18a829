"""Tables for the terminal: logs side by side."""

from pathlib import Path

import pytest

from accelbench.report.terminal import log_table
from accelbench.training.log.reader import read_log

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


# --- logs ---------------------------------------------------------------------------------------------------


def tables(*logs: Path) -> list[str]:
    """Return the table of runs, that of their phases, and the notes."""
    return log_table([read_log(each) for each in logs]).split("\n\n")


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
    assert "run.log: total s is that of the training loop alone" in log_table([read_log(log("run.log", LOG + older))])


def test_a_failed_log_says_where_and_why() -> None:
    runs, _, notes = tables(log("good.log", LOG + END), log("bad.log", LOG + CRASH))
    assert cells_of(runs)["bad.log"][0] == "failed"
    assert "bad.log: line " in notes
    assert "out of | memory" in notes


def test_an_empty_log_has_a_row_of_nothing() -> None:
    row = cells_of(log_table([read_log(log("empty.log", ""))]))["empty.log"]
    assert set(row[1:]) <= {"–", "–/–"}
