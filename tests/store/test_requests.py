"""Requests as columns: what is written is read again, all or chosen, and gives the same rows as the records."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from accelbench.analysis.load import Load
from accelbench.analysis.pairs import pairs_of
from accelbench.analysis.sample import sides_of
from accelbench.errors import UserError
from accelbench.store.records import RequestRecord
from accelbench.store.requests import _PIECE, Requests, writing_requests

from ..analysis.records import asked_rounds, failed, measured, request


@pytest.fixture
def records() -> list[RequestRecord]:
    """Two endpoints, five rounds each: reasoning, event times, failures, repeated attempts."""
    told = {"reasoning": "hm", "event_times_s": [0.1, 0.25, 0.4], "server_timings": {"draft_n": 3, "predicted_ms": 8.5}}
    records = [r for name in ("one", "two") for r in asked_rounds(name, lambda tokens: 1 + 0.01 * tokens, **told)]
    records[3] = replace(records[3], reasoning="", event_times_s=[], reasoning_tokens=4)
    records += [failed(endpoint="two", round=5, key="lost", attempt=1, last_attempt=False)]
    records += [request(endpoint="two", round=5, key="lost", attempt=2, passage=None)]
    return records


@pytest.fixture
def written(tmp_path: Path, records: list[RequestRecord]) -> Requests:
    with writing_requests(tmp_path / "requests.parquet") as keep:
        for name in ("one", "two"):
            keep(r for r in records if r.endpoint == name)
    return Requests.read(tmp_path / "requests.parquet")


def test_records_are_read_as_they_were_written(written: Requests, records: list[RequestRecord]) -> None:
    assert list(written.records()) == records
    assert list(written.at([2, 40]).records()) == [records[2], records[40]]


def test_columns_of_a_file_are_those_of_the_records(written: Requests, records: list[RequestRecord]) -> None:
    here = Requests.of(records)
    told = [*asdict(records[0]), "is_success", "is_whole", "is_timed", "total_tokens", "answer_tokens", "text_number"]
    for name in set(told) - {"golds", "event_times_s"}:
        np.testing.assert_array_equal(written[name], here[name], err_msg=name)


def test_equal_texts_are_one_object_and_a_column_of_one_value_takes_the_memory_of_one(written: Requests) -> None:
    assert len({id(name) for name in written["endpoint"]}) == 2
    assert written["warm_up"].strides == (0,) and not written["warm_up"].any()
    assert written.where(~written["warm_up"]) is written


def test_what_a_file_holds_gives_the_same_comparison_as_the_records(
    written: Requests, records: list[RequestRecord]
) -> None:
    rounds = [measured(name, number) for name in ("one", "two") for number in range(1, 6)]
    found = [
        pairs_of(rounds, sides_of(rounds, each, {"load": Load("load", 1)}), "one", 60.0)
        for each in (written, Requests.of(records))
    ]
    assert found[0] == found[1]


def test_an_unfinished_file_is_none(tmp_path: Path, records: list[RequestRecord]) -> None:
    with pytest.raises(ValueError, match="broken"), writing_requests(tmp_path / "requests.parquet") as keep:
        keep(records)
        raise ValueError("broken")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_there_or_is_damaged_is_named(tmp_path: Path) -> None:
    path = tmp_path / "requests.parquet"
    with pytest.raises(UserError, match=r"requests\.parquet is not there; `.* --forcerun classify` rebuilds it"):
        Requests.read(path)
    path.write_bytes(b"PAR1")
    with pytest.raises(UserError, match="is damaged"):
        Requests.read(path)
    parquet.write_table(pa.table({"key": ["a"]}), path)
    with pytest.raises(UserError, match="was written by an earlier version: it has no "):
        Requests.read(path)


def test_no_requests_are_a_file_too(tmp_path: Path) -> None:
    with writing_requests(tmp_path / "requests.parquet"):
        pass
    empty = Requests.read(tmp_path / "requests.parquet")
    assert (len(empty), list(empty["is_whole"]), empty.by("endpoint")) == (0, [], {})


def test_a_choice_over_several_pieces_is_read_from_each(tmp_path: Path) -> None:
    with writing_requests(tmp_path / "requests.parquet") as keep:
        keep(request(key=str(n), event_times_s=[float(n)]) for n in range(2 * _PIECE + 5))
    chosen = Requests.read(tmp_path / "requests.parquet").at([3, _PIECE, 2 * _PIECE + 4])
    assert [(r.key, r.event_times_s) for r in chosen.records()] == [
        (str(n), [float(n)]) for n in (3, _PIECE, 2 * _PIECE + 4)
    ]
    assert chosen["key"].tolist() == ["3", str(_PIECE), str(2 * _PIECE + 4)]


def test_times_between_tokens_are_not_those_of_a_gateway() -> None:
    batched = Requests.of([request(streaming="batched"), request()])
    assert batched.seconds("ttft_s").tolist() == pytest.approx([np.nan, 0.5], nan_ok=True)
    assert batched.seconds("e2e_s").tolist() == [2.0, 2.0]


def test_a_whole_generation_without_an_answer_counts_where_its_tokens_do() -> None:
    kinds = [
        request(),
        request(class_="truncated_length"),
        request(class_="no_answer"),
        request(class_="no_answer", tokens_estimated=True),
        request(class_="no_answer", completion_tokens=None),
        failed(),
    ]
    assert Requests.of(kinds)["is_whole"].tolist() == [True, True, True, False, False, False]


def test_answer_tokens_are_unknown_where_reasoning_is_not_counted() -> None:
    told = Requests.of([request(), request(reasoning_tokens=4), request(reasoning="hm")])
    assert told["answer_tokens"].tolist() == pytest.approx([10.0, 6.0, np.nan], nan_ok=True)
