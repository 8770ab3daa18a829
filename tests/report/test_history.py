"""history.jsonl: what is appended, read back, joined, told and shown."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from accelbench.analysis.history import HistoryEntry
from accelbench.cli import app
from accelbench.errors import UserError
from accelbench.report.history import History, history_text, read_history, remember, told, write_history_page
from accelbench.report.summary import Summary
from accelbench.store import paths

from ..analysis.test_history import around, days, entry_of, row_of

FILE = Path(paths.HISTORY)


def written(entries: Sequence[HistoryEntry], file: Path = FILE) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{entry.model_dump_json()}\n" for entry in entries))
    return file


def read(*files: Path) -> History:
    return read_history(files or [FILE])


def summary(day: int = 1, value: float = 1.0) -> Summary:
    return Summary("t", [], [], [], [], {}, {}, {}, headlines=[row_of(day, value)])


def changed() -> list[HistoryEntry]:
    software = [{"xllamacpp": "0.3.1"}] * 10 + [{"xllamacpp": "0.3.2"}] * 10
    return days(around([1.0] * 10 + [1.2] * 10), software=software)


def test_a_report_made_again_of_the_same_measurements_appends_nothing() -> None:
    FILE.parent.mkdir()
    for value in (1.0, 1.1):  # another version computes another figure
        remember(FILE, summary(value=value))
    remember(FILE, summary(day=2))
    assert len(FILE.read_text().splitlines()) == 2 and read().reports == 2


def test_a_report_without_a_measurement_leaves_an_empty_file() -> None:
    FILE.parent.mkdir()
    remember(FILE, replace(summary(), headlines=[]))
    assert FILE.read_text() == "" and told(read()) == ["There is no report yet."]


def test_a_torn_line_is_left_out_and_said_and_the_next_report_begins_a_line_of_its_own() -> None:
    written(days([1.0, 1.0]))
    FILE.write_bytes(FILE.read_bytes()[:-40])
    assert (read().reports, read().remarks) == (
        1,
        ["results/history.jsonl: line 2 is left out: it is torn, or of another version of accelbench."],
    )
    remember(FILE, summary(day=3))
    assert read().reports == 2
    assert read().remarks[0] in history_text(read())


@pytest.mark.parametrize(("key", "value"), [("measured_at", "soon"), ("value", 0.0), ("value", "much")])
def test_a_line_that_no_report_wrote_ends_nothing(key: str, value: object) -> None:
    written(days([1.0, 1.1]))
    first, second = map(json.loads, FILE.read_text().splitlines())
    (second["rows"][0] if key == "measured_at" else second["rows"][0]["figures"][0])[key] = value
    FILE.write_text("\n".join(map(json.dumps, [first, second])))
    assert "1.00 (0.970 to 1.03)" in history_text(read())


def test_twins_after_a_merge_count_once() -> None:
    ours, theirs = days([1.0, 1.1, 1.2]), days([1.0, 1.3])
    assert read(written([*ours, *theirs])).reports == 3
    apart = [written(entries, Path(name, "history.jsonl")) for name, entries in (("a", ours), ("b", theirs))]
    assert read(*apart).reports == 3
    assert read(*(file.parent for file in apart)).reports == 3


def test_a_union_merge_of_two_branches_loses_no_report() -> None:
    base, ours, theirs = days([1.0]), days([1.0, 1.1]), days([1.0, 1.2], measurements=[["day 1"], ["theirs"]])
    files = [str(written(each, Path(f"{n}.jsonl"))) for n, each in enumerate((ours, base, [*base, theirs[1]]))]
    subprocess.run(["git", "merge-file", "--union", *files], check=True)
    assert [figure.value for _, figure in read(Path("0.jsonl")).trends[0].points] == [1.0, 1.1, 1.2]


def test_a_change_is_told_with_what_changed_beside_it() -> None:
    (sentence,) = told(read(written(changed())))
    assert sentence.startswith("one, load: E2E latency 0.999 → 1.20 s (+20 %, +19 % to +21 %) ")
    assert sentence.endswith(
        "since 2026-11-11 06:00, after 10 reports. Changed at that moment: xllamacpp 0.3.1 → 0.3.2; same host."
    )


def test_a_change_without_a_recorded_cause_says_so() -> None:
    (sentence,) = told(read(written(days(around([1.0] * 10 + [1.2] * 10)))))
    assert sentence.endswith("Nothing that was recorded changed.")


def test_figures_that_were_always_disturbed_are_counted() -> None:
    assert told(read(written(days([1.0, 2.0], disturbed=[True, False])))) == [
        "No figure changed by more than its intervals carry, over 2 reports.",
        "Of 1 of 1 figure nothing can be said: at most one report was undisturbed.",
    ]


def test_a_share_changes_by_points() -> None:
    values = [90.0, 91, 90, 89, 90, 60, 61, 59, 60, 61]
    share = {"scale": "difference", "unit": "%", "label": "success", "metric": "success", "se": 1.0}
    (sentence,) = told(read(written(days(values, **share))))
    assert "success 90.0 → 60.2 % (−30 points, " in sentence


def test_the_table_has_a_line_per_report_marked_where_a_stretch_begins_and_where_the_host_was_busy() -> None:
    lines = history_text(read(written([*changed(), entry_of(row_of(21, 9.0, disturbed=True, rounds_disturbed=6))])))
    assert lines.count("▸ 1.2") == 1 and "9.00 (8.73 to 9.27) (disturbed) | 6 of 6" in lines
    assert "2026-11-01" not in lines and "1 earlier report left out" in lines


def test_the_command_prints_draws_and_chooses_a_figure() -> None:
    written(changed())
    done = CliRunner().invoke(app, ["history", "--metric", "e2e_s", "--html", "h.html", "--drawing", "."])
    assert done.exit_code == 0, done.output
    assert "xllamacpp 0.3.1 → 0.3.2" in done.stdout
    assert all(Path(name).stat().st_size > 1000 for name in ("h.html", "history.svg", "history.png"))


def test_the_page_is_one_file_and_shows_no_markup_of_others() -> None:
    write_history_page(Path("h.html"), read(written(days([1.0, 1.1], name="<script>x</script>"))))
    page = Path("h.html").read_text()
    assert "<svg" in page and "<script>" not in page and "http" not in page.replace("http-equiv", "")


def test_a_folder_without_a_history_and_an_unknown_figure_are_one_line() -> None:
    with pytest.raises(
        UserError, match=r"none has no history\.jsonl; a finished report \(`snakemake --cores 4`\) begins"
    ):
        read(Path("none"))
    written(days([1.0]))
    with pytest.raises(UserError, match=r"--metric e2e is in no report; choose from e2e_s\."):
        read_history([FILE], ["e2e"])
