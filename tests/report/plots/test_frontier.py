"""System against user speed: points, frontier, knee, the bandwidth limit; what the page says of them."""

from dataclasses import replace
from pathlib import Path

import matplotlib
import pytest
from matplotlib.figure import Figure

from accelbench.analysis.economy import economy
from accelbench.config import Endpoint
from accelbench.report.plots import style
from accelbench.report.plots.frontier import system_vs_user_speed
from accelbench.report.plots.inference import latency_vs_tokens
from accelbench.report.sentences import knees
from accelbench.report.summary import Summary

from ...analysis.records import measured, sides
from ...analysis.test_load_curve import KNEED, asked, rows_of
from ..summaries import summary_of

LIMIT = {"machine": "a100-40gb", "count": 4, "model": "gpt-oss-120b"}
LABELS = {"one": "Alpha", "two": "Beta"}


def shown(
    seconds: dict[int, float], speculates: bool = False, endpoints: tuple[str, ...] = ("one",), rounds: int = 1
) -> Summary:
    """Return a summary of endpoints under some loads; each has a bandwidth limit."""
    each = [(name, number) for name in endpoints for number in range(1, rounds + 1)]
    requests = [request for name, number in each for request in asked(seconds, number, name)]
    if speculates:
        requests = [replace(request, server_timings={"draft_n": 4}) for request in requests]
    lengths = {request.key: 40 + 5 * (n % 10) for n, request in enumerate(requests)}
    requests = [
        replace(r, passage=r.key, completion_tokens=lengths[r.key], e2e_s=(r.e2e_s or 0) * lengths[r.key] / 60)
        for r in requests
    ]
    rows = rows_of(requests, [*seconds])
    stated = Endpoint.model_validate({"base_url": "http://h/v1", "model": "m", "limit": LIMIT})
    records = [measured(name, number, f"load-c{slots}") for name, number in each for slots in seconds]
    placed = sides(records, requests, rows)
    economies = [economy(row, stated, None, placed[row.endpoint, row.cell]) for row in rows]
    return summary_of(records, requests, rows, labels=LABELS, economies=economies)


def drawn(summary: Summary) -> Figure:
    with matplotlib.rc_context(style.RC):
        return system_vs_user_speed(summary)


def numbers(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for part in figure.legends for text in part.get_texts()]


def said(figure: Figure) -> str:
    return " ".join(" ".join(text.get_text().split()) for text in figure.texts)


def test_each_load_is_a_point_with_its_number_and_the_knee_is_named() -> None:
    figure = drawn(shown(KNEED, rounds=3))
    assert numbers(figure) == ["1", "knee: 8", "64"]
    assert legend(figure)[:3] == ["Alpha", "Pareto frontier", "knee"]


def test_the_frontiers_line_joins_its_points_alone() -> None:
    figure = drawn(shown({1: 1.0, 8: 1.1, 64: 80.0}))
    assert len(figure.axes[0].lines[0].get_xdata()) == 2  # type: ignore[arg-type]
    assert numbers(figure) == ["1", "8", "64"] and "knee" not in legend(figure)
    assert "worse in both than another load" in legend(figure)


def test_axes_have_units_and_the_notes_n() -> None:
    figure = drawn(shown(KNEED))
    (axes,) = figure.axes
    assert axes.get_ylabel() == "output tok/s, system"
    assert axes.get_xlabel().startswith("output tok/s that one request sees")
    assert "n = 10 to 640 requests a point, in 1 round" in said(figure)


@pytest.mark.parametrize("speculates", [False, True])
def test_the_limit_is_a_line_unless_the_server_speculates(speculates: bool) -> None:
    summary = shown(KNEED, speculates)
    for draw in (drawn, latency_vs_tokens):
        figure = draw(summary)
        dashed = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
        assert len(dashed) == (0 if speculates else 1)
        assert any("limit of Alpha: 1,234 tok/s, " in entry for entry in legend(figure)) is not speculates
        assert ("Limit withheld because of speculative decoding: Alpha." in said(figure)) is speculates


def test_the_limit_stands_at_one_request_in_flight_only() -> None:
    axes = latency_vs_tokens(shown(KNEED)).axes
    assert [sum(line.get_linestyle() == "--" for line in each.lines) for each in axes] == [1, 0, 0]


def test_the_legend_says_how_much_of_the_limit_was_reached() -> None:
    (entry,) = (entry for entry in legend(drawn(shown(KNEED, rounds=3))) if "limit" in entry)
    assert entry.replace("\N{NO-BREAK SPACE}", " ").endswith("4.9 % reached")  # 60 of 1,234


def test_an_endpoint_without_a_limit_has_no_line_and_no_note() -> None:
    figure = drawn(replace(shown(KNEED), economies=[]))
    assert not any("limit" in entry for entry in legend(figure)) and "imit" not in said(figure)


def test_one_load_is_no_curve() -> None:
    summary = shown({8: 1.0})
    assert "nothing to draw" in said(drawn(summary))
    assert knees(summary.curves, LABELS) == []


def test_the_sentence_names_the_knee_of_each_endpoint() -> None:
    summary = shown(KNEED, endpoints=("one", "two"), rounds=3)
    (sentence,) = knees(summary.curves, LABELS)
    assert sentence.startswith("In load, the knee of speed per user against system throughput is at 8 in flight for")
    assert "for Alpha (" in sentence and "8 in flight for Beta (" in sentence and "; 3 rounds, p < 0.001)" in sentence


def test_a_point_tells_its_figures_where_one_hovers(tmp_path: Path) -> None:
    style.save_figure(drawn(shown(KNEED)), tmp_path, "plot")
    svg = (tmp_path / "plot.svg").read_text()
    assert "<title>Alpha, 8 at a time: 54.5 output tok/s per user, " in svg
    assert 'id="tip' not in svg
