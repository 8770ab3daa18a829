"""What the page shows of the laws: the fixed cost, part by part."""

from accelbench.analysis.load import Load
from accelbench.report.page.sections import fixed_costs
from accelbench.report.summary import Summary
from accelbench.store.records import InferRoundRecord

from ...analysis.records import failed, request, rows_of
from ..summaries import summary_of


def shown(requests: list[object], health_s: list[float] | None) -> Summary:
    rounds = [InferRoundRecord("one", "load", 1, "measured", None, floor_s=health_s)]
    rows = rows_of(rounds, requests, {"load": Load("load", 1)}, None, 60.0)  # type: ignore[arg-type]
    return summary_of(rounds, requests, rows)  # type: ignore[arg-type]


def test_the_parts_of_the_fixed_cost_stand_beside_it() -> None:
    streams: list[object] = [
        request(key=key, ttft_s=0.5, tpot_s=0.01, e2e_s=0.6, completion_tokens=11, streaming="faithful",
                server_ttft_s=0.4)
        for key in "pq"
    ]  # fmt: skip
    table = fixed_costs(shown(streams, [0.02, 0.04, 0.02]))
    assert table is not None
    (row,) = table.rows
    # a = TTFT - b; the way 0.02; the server 0.4 - b; what is left of the 0.1 s outside the server
    assert [cell.text for cell in row] == ["one", "load", "0.490", "0.0200", "0.390", "0.0800", "–"]


def test_without_a_law_there_is_no_fixed_cost_to_split() -> None:
    assert fixed_costs(shown([failed()], [0.02])) is None
