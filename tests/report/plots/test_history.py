"""The history as a plot: a panel per figure, hollow points, and a line where it changed."""

import matplotlib
from matplotlib.figure import Figure

from accelbench.analysis.history import HistoryEntry, trends_of
from accelbench.report.history import History
from accelbench.report.plots import style
from accelbench.report.plots.history import history

from ...analysis.test_history import around, days, entry_of, row_of


def drawn(entries: list[HistoryEntry]) -> Figure:
    with matplotlib.rc_context(style.RC):
        return history(History(len(entries), trends_of(entries), []))


def test_a_change_is_a_dashed_line_with_its_ratio() -> None:
    (axes,) = drawn(days(around([1.0] * 10 + [1.2] * 10))).axes
    assert [text.get_text() for text in axes.texts] == ["+20 %"]
    assert sum(line.get_linestyle() == "--" for line in axes.lines) == 1


def test_a_disturbed_report_is_hollow() -> None:
    figure = drawn([*days([1.0, 1.0]), entry_of(row_of(3, 1.5, disturbed=True))])
    points = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [line.get_markerfacecolor() == "none" for line in points] == [False, False, True]
    assert "measured on a busy host" in [text.get_text() for part in figure.legends for text in part.get_texts()]


def test_figures_that_changed_come_first() -> None:
    moved = [row for entry in days(around([1.0] * 10 + [1.2] * 10), load="b") for row in entry.rows]
    entries = [entry_of(row_of(n + 1, 1.0), row) for n, row in enumerate(moved)]
    assert [axes.texts[0].get_text() if axes.texts else "" for axes in drawn(entries).axes] == ["+20 %", ""]


def test_without_a_report_there_is_nothing_to_draw() -> None:
    assert "nothing to draw" in drawn([]).texts[0].get_text()
