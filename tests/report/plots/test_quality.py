"""Quality against speed: drawn where two endpoints have scores, with intervals and n."""

from dataclasses import replace

import matplotlib
from matplotlib.figure import Figure

from accelbench.analysis.load import Load
from accelbench.report.plots import style
from accelbench.report.plots.quality import comparable, quality_vs_speed
from accelbench.report.summary import Summary
from accelbench.store.records import RequestRecord

from ...analysis.records import asked_rounds, measured, rows_of
from ..summaries import summary_of


def scored(name: str, cell: str = "load", rounds: int = 5) -> list[RequestRecord]:
    requests = asked_rounds(name, lambda tokens: tokens / 10, rounds=rounds, cell=cell)
    return [replace(request, contains_gold=n % 2 == 0) for n, request in enumerate(requests)]


def shown(requests: list[RequestRecord], loads: dict[str, Load] | None = None) -> Summary:
    keys = dict.fromkeys((r.endpoint, r.round, r.cell) for r in requests)
    records = [measured(*key) for key in keys]
    rows = rows_of(records, requests, loads or {"load": Load("load", 1)}, None, 60.0)
    return summary_of(records, requests, rows)


def drawn(summary: Summary) -> Figure:
    with matplotlib.rc_context(style.RC):
        return quality_vs_speed(summary)


def said(figure: Figure) -> str:
    return " ".join(" ".join(text.get_text().split()) for text in figure.texts)


def test_two_endpoints_are_two_points_with_intervals() -> None:
    figure = drawn(shown([*scored("one"), *scored("two")]))
    (axes,) = figure.axes
    assert [line.get_ydata()[0] for line in axes.lines] == [50, 50]  # type: ignore[index]
    assert len(axes.collections) == 4  # two bars each
    assert "Quality against speed: 50" in said(figure) and "n = 40 answers a point. Bars: 95 % intervals." in said(
        figure
    )
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("typical E2E latency (s)", "contain gold (%)")


def test_too_few_rounds_have_no_bars_and_say_so() -> None:
    figure = drawn(shown([*scored("one", rounds=2), *scored("two", rounds=2)]))
    assert "There are too few for intervals." in said(figure)


def test_one_endpoint_or_no_scores_leave_nothing_to_draw() -> None:
    without = [replace(request, contains_gold=None) for request in scored("two")]
    for requests in (scored("one"), [*scored("one"), *without]):
        assert comparable(shown(requests).inference) == []
        assert "nothing to draw" in said(drawn(shown(requests)))


def test_loads_of_a_list_share_a_panel_and_their_ends_are_numbered() -> None:
    loads = {f"load-c{slots}": Load("load", slots) for slots in (1, 2, 4)}
    figure = drawn(shown([r for name in ("one", "two") for cell in loads for r in scored(name, cell)], loads))
    (axes,) = figure.axes
    assert sorted(text.get_text() for text in axes.texts) == ["1", "1", "4", "4"]
