"""requests.csv: exactly what Python's own writer makes of the records."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st

from accelbench.compare.endpoints import compare_endpoints
from accelbench.compare.importers.accelbench import request_records
from accelbench.report.tables import REQUEST_COLUMNS, _cells, read_requests, write_requests
from accelbench.store.requests import Requests

from ..analysis.records import asked_rounds, failed, request


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
@example([5e-05, 0.0001, 1e-06, 1e16, 123456789012345680.0, -0.0])
def test_figures_and_lists_of_them_read_as_python_shows_them(values: list[float]) -> None:
    assert _cells(pa.array(values, pa.float64())) == [str(value) for value in values]
    assert _cells(pa.array([values, values], pa.list_(pa.float64()))) == _cells(pa.array([str(values)] * 2))


def test_each_attempt_is_a_line_with_all_its_columns(tmp_path: Path) -> None:
    requests = [
        request(answer='two\nlines, "quoted"', event_times_s=[0.5, 1e-05]),
        failed(error_text="a, b"),
        request(event_times_s=[0.25, 0.5], e2e_s=1e-07),
    ]
    write_requests(tmp_path / "requests.csv", Requests.of(requests))
    expected = io.StringIO(newline="")
    writer = csv.DictWriter(expected, REQUEST_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: getattr(each, name) for name in REQUEST_COLUMNS} for each in requests)
    assert (tmp_path / "requests.csv").read_bytes().decode() == expected.getvalue()


def test_what_an_endpoint_says_is_no_formula_and_comes_back(tmp_path: Path) -> None:
    requests = [
        request(answer='=HYPERLINK("http://x")', finish_reason=None, ttft_s=None),
        failed(key="p2", error_text="-1"),
    ]
    write_requests(tmp_path / "requests.csv", Requests.of(requests))
    text = (tmp_path / "requests.csv").read_text()
    assert "'=HYPERLINK" in text and ",'-1," in text
    back = request_records(read_requests(tmp_path / "requests.csv"))
    assert back == [replace(each, event_times_s=list(each.event_times_s), golds=[]) for each in requests]


def test_the_table_is_compared_as_the_records_are(tmp_path: Path) -> None:
    requests = [r for name in ("one", "two") for r in asked_rounds(name, lambda n: 1 + n / 100)]
    write_requests(tmp_path / "requests.csv", Requests.of(requests))
    compared = compare_endpoints([tmp_path / "requests.csv"])
    assert [len(load.attempts) for load in compared.loads] == [len(requests) / 2] * 2
    assert len(compared.document.pairs) == 1 and compared.rows[0].load == "1 at a time"
