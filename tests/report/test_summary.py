"""analysis.json: what is written is read back, fits its schema, and is refused where it is of another version."""

import json
import math
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner

from accelbench.analysis.inference import inference_rows
from accelbench.analysis.load import Load
from accelbench.analysis.pairs import judge_all, pairs_of
from accelbench.analysis.sample import sides_of
from accelbench.analysis.training import training_rows
from accelbench.cli import app
from accelbench.errors import UserError
from accelbench.report.summary import VERSION, Summary, read_records, read_summary, write_summary
from accelbench.store import paths
from accelbench.store.files import write_jsonl
from accelbench.store.records import ParsedLog, Step, TrainRunRecord
from accelbench.store.requests import Requests

from ..analysis.records import asked_rounds, failed, measured
from ..analysis.test_load_curve import KNEED, asked, rows_of
from .summaries import summary_of

ANALYSIS = Path("analysis.json")


@pytest.fixture
def summary() -> Summary:
    """Two endpoints, one of which often fails, judged, and a training run."""
    requests = [r for name in "ab" for r in asked_rounds(name, lambda n: 1 + n / 97 % 0.1)]
    requests += [failed(endpoint="b", key=f"gone {n}") for n in range(len(requests))]
    rounds = [measured(name, number) for name in "ab" for number in range(1, 6)]
    sides = sides_of(rounds, Requests.of(requests), loads := {"load": Load("load", 1)})
    pairs = pairs_of(rounds, sides, "a", 60.0)
    rows = inference_rows(rounds, sides, pairs, loads, "a")
    runs = [
        TrainRunRecord(
            "cpu", 4, 1, "measured", None, log=ParsedLog(steps=(Step(5, loss=math.inf),)), busy=(("10:00", "11:00"),)
        )
    ]
    judged = judge_all(pairs)
    return summary_of(rounds, requests, rows, runs=runs, training=training_rows(runs), judged=judged)


def with_curves() -> Summary:
    requests = [r for number in (1, 2, 3) for r in asked(KNEED, number)]
    rounds = [measured("one", number, f"load-c{slots}") for slots in KNEED for number in (1, 2, 3)]
    return summary_of(rounds, requests, rows_of(requests, [*KNEED]))


def test_what_is_written_is_read_back(summary: Summary) -> None:
    assert summary.judged and summary.inference[1].figures["latency_of_all"].p99 == float("inf")
    for written in (summary, with_curves()):
        write_summary(ANALYSIS, written)
        assert read_summary(ANALYSIS) == written


def test_a_knee_is_read_back() -> None:
    write_summary(ANALYSIS, with_curves())
    ((curve,),) = read_summary(ANALYSIS).curves
    assert curve.knee in curve.loads


def test_what_is_written_fits_the_schema_that_is_printed(summary: Summary) -> None:
    schema = json.loads(CliRunner().invoke(app, ["schema", "--of", "analysis"]).stdout)
    write_summary(ANALYSIS, summary)
    jsonschema.validate(json.loads(ANALYSIS.read_text(), parse_constant=pytest.fail), schema)
    assert schema["properties"]["version"]["type"] == "integer"


def test_a_record_that_is_none_is_named_with_the_rule_that_makes_it_anew() -> None:
    write_jsonl(Path(paths.RUNS), [])
    write_jsonl(Path(paths.ROUNDS), [measured(), replace(measured(), round="x")])
    with pytest.raises(UserError, match=r"rounds\.jsonl: line 2: round is invalid; .*--forcerun classify` rebuilds it"):
        read_records()


@pytest.mark.parametrize("command", ["tables", "plots", "page"])
def test_without_an_analysis_the_command_says_what_makes_it(command: str) -> None:
    with pytest.raises(UserError, match=r"results/analysis\.json is not there; `snakemake .*` makes it"):
        CliRunner().invoke(app, [command], catch_exceptions=False)


def test_one_of_another_version_is_refused(summary: Summary) -> None:
    write_summary(ANALYSIS, replace(summary, version=summary.version + 1))
    with pytest.raises(UserError, match=r"another version of accelbench; `snakemake .* analyse` rebuilds it"):
        read_summary(ANALYSIS)


@pytest.mark.parametrize("content", ["", "[]", "{}", f'{{"version": {VERSION}, "title": "t"}}'], ids=range(4))
def test_a_damaged_one_is_refused(content: str) -> None:
    ANALYSIS.write_text(content)
    with pytest.raises(UserError, match=r"analysis\.json is damaged"):
        read_summary(ANALYSIS)
