"""The tables of the page: the summary's figures as cells with sort keys."""

from collections.abc import Sequence
from dataclasses import dataclass

from accelbench.analysis.disturbance import disturbed_in_words, unknown_in_words
from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.intervals import Estimate
from accelbench.analysis.metrics import Line, Metric, lines_in
from accelbench.report import calibration, inference_tables, sentences
from accelbench.report.inference_tables import no_intervals
from accelbench.report.page.charts import themed
from accelbench.report.plots import style
from accelbench.report.summary import Summary
from accelbench.report.text import DISTURBED, NONE, interval, number
from accelbench.store.records import InferRoundRecord, TrainRunRecord


@dataclass(frozen=True, slots=True)
class TableCell:
    """The text of a cell, and its sort key."""

    text: str
    sort: float | str | None = None
    colour: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the page; its name is the file name of its CSV."""

    name: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[TableCell]]
    notes: Sequence[str] = ()


EACH = "Intervals are 95 %, each by itself, not corrected for their number."
_SHORT = ("typical_latency", "ttft", "tpot", "success_rate")
"""The metrics of the first table; all are in the folded ones."""


def inference(summary: Summary) -> Table:
    """Return the comparison in seven columns: a row per endpoint and load."""
    return _overview("inference", "Endpoints under each load", summary, _SHORT)


def inference_in_full(summary: Summary) -> Table:
    """Return the comparison with every column."""
    return _overview("inference-all", "Endpoints under each load, all columns", summary)


def _overview(name: str, caption: str, summary: Summary, metrics: Sequence[str] = ()) -> Table:
    lines = [(metric, line) for metric, line in lines_in("overview") if not metrics or metric.key in metrics]
    rounds = [] if metrics else ["rounds"]
    columns = ["endpoint", "load", *rounds, "latency ÷ baseline's, 95 % interval", *(line.label for _, line in lines)]
    baselines = [sentences.ratio_baseline(rows) for rows in _by_cell(summary.inference)]
    rows = [
        [
            named(row.endpoint, summary),
            TableCell(row.cell + (DISTURBED if row.disturbed else "")),
            *([TableCell(f"{row.rounds}/{row.rounds_planned}", row.rounds)] if rounds else []),
            TableCell("1 (baseline)", 1.0) if row in baselines else _estimate(_latency_ratio(row)),
            *(_cell(row, metric, line) for metric, line in lines),
        ]
        for row in summary.inference
    ]
    notes = [f"Questions: {summary.data_set}. A ratio below 1 is faster than the baseline."]
    if not metrics:
        notes += [
            f"{summary.labels.get(row.endpoint, row.endpoint)}, {row.cell}: {row.labels}."
            for row in summary.inference
            if row.labels
        ]
        notes += no_intervals(summary.inference, summary.labels)
    return Table(name, caption, columns, rows, [EACH, *notes])


def cells_table(summary: Summary) -> list[Table]:
    """Return one table per load: metrics down, endpoints across, each beside its ratio to the baseline."""
    tables = []
    for rows in _by_cell(summary.inference):
        grid = inference_tables.comparison(rows, summary.labels, summary.economies)
        names = [summary.labels.get(row.endpoint, row.endpoint) for row in rows]
        notes = [
            f"{name}: n = {row.requests} requests in {row.rounds} of {row.rounds_planned} rounds"
            + (f"; {row.labels}" if row.labels else "")
            + (f"; failed: {row.failures}" if row.failures else "")
            + (f"; {row.missing}" if row.missing else "")
            for name, row in zip(names, rows, strict=True)
        ]
        caption = f"{rows[0].cell}: {rows[0].load}"
        notes += [*grid.notes, *no_intervals(rows, summary.labels)]
        tables.append(_worded(f"inference-{rows[0].cell}", caption, grid, notes))
    return tables


def details_table(summary: Summary) -> list[Table]:
    """Return a second table per load: the load itself, and percentiles."""
    tables = []
    for rows in _by_cell(summary.inference):
        grid = inference_tables.details(rows, summary.labels)
        caption, name = f"{rows[0].cell}: load and percentiles", f"inference-{rows[0].cell}-details"
        tables.append(_worded(name, caption, grid, grid.notes))
    return tables


def failed_requests(summary: Summary) -> Table | None:
    """Return the requests that failed, counted by endpoint, load and class."""
    rows = [
        [
            named(each.endpoint, summary),
            TableCell(each.cell),
            TableCell(failed.class_),
            count_cell(failed.count),
            TableCell(failed.first_error or NONE),
        ]
        for each in summary.evidence
        for failed in each.failed
    ]
    columns = ["endpoint", "load", "class", "requests", "first error"]
    return Table("failed-requests", "Requests that failed", columns, rows) if rows else None


def endpoints_table(summary: Summary) -> Table | None:
    """Return what each endpoint is and runs on."""
    rows = []
    for name in summary.endpoints:
        facts = next((r.facts for r in summary.rounds if r.endpoint == name and r.facts), {})
        told = "; ".join(f"{key}: {fact}" for key, fact in facts.items() if not isinstance(fact, dict | list))
        rows.append([named(name, summary), TableCell(summary.hardware.get(name, NONE)), TableCell(told or NONE)])
    return Table("endpoints", "Endpoints", ["endpoint", "hardware", "facts"], rows) if rows else None


def prompts_table(summary: Summary) -> Table | None:
    """Return the real source of the questions."""
    keys = ("count", "passages", "articles", "template", "select", "seed", "digest")
    rows = [
        [
            TableCell(name),
            TableCell(f"{facts['source']['name']} ({facts['source'].get('revision', NONE)})"),
            *(TableCell(str(facts.get(key, NONE))) for key in keys),
        ]
        for name, facts in summary.prompts.items()
    ]
    return Table("prompts", "Questions", ["set", "source (revision)", *keys], rows) if rows else None


def measurements(summary: Summary) -> Table:
    """Return every planned run and round, with when and where it was measured."""
    planned: list[tuple[str, TrainRunRecord | InferRoundRecord]] = [
        *((run.name, run) for run in summary.runs),
        *((f"{record.endpoint} {record.cell} round {record.round}", record) for record in summary.rounds),
    ]
    rows = [
        [
            TableCell(name),
            TableCell(r.state),
            _time(r.measured_at),
            _time(r.restored_at),
            TableCell(_resumed(r)),
            TableCell(_host(r)),
            TableCell(_disturbed(r)),
        ]
        for name, r in planned
    ]
    columns = ["measurement", "state", "measured", "restored", "resumed", "host", "disturbed"]
    return Table("measurements", "All planned measurements", columns, rows)


def _by_cell(rows: Sequence[InferenceRow]) -> list[list[InferenceRow]]:
    return [[row for row in rows if row.cell == cell] for cell in dict.fromkeys(row.cell for row in rows)]


def _worded(name: str, caption: str, grid: inference_tables.Grid, notes: Sequence[str]) -> Table:
    return Table(name, caption, grid.header, [[TableCell(text) for text in line] for line in grid.body], notes)


def _latency_ratio(row: InferenceRow) -> Estimate | None:
    return (row.ratio_to_baseline or {}).get("typical_latency")


def _cell(row: InferenceRow, metric: Metric, line: Line) -> TableCell:
    figure = row.figures.get(metric.key)
    sorted_by = next(
        (value for name in (line.statistic, "value", "mean") if (value := getattr(figure, name, None))), None
    )
    text = inference_tables.cell(row, metric, line)
    return TableCell(text, figure if isinstance(figure, float | int) else sorted_by)


def named(name: str, summary: Summary) -> TableCell:
    """Return an endpoint or a platform by its label, with its colour."""
    looks = style.looks(summary)
    return TableCell(summary.labels.get(name, name), colour=themed(looks[name].colour) if name in looks else None)


def figure(value: float | None, digits: int = 3) -> TableCell:
    """Return a figure with `digits` significant digits."""
    return TableCell(number(value, digits), value)


def count_cell(value: int | None) -> TableCell:
    """Return a whole number."""
    return TableCell(NONE if value is None else f"{value:,}", value)


def _estimate(estimate: Estimate | None) -> TableCell:
    return TableCell(interval(estimate), estimate.value if estimate else None)


def _time(text: str | None) -> TableCell:
    return TableCell(text.replace("T", " ") if text else NONE, text)


def _resumed(record: TrainRunRecord | InferRoundRecord) -> str:
    resumed = record.resumed if isinstance(record, InferRoundRecord) else None
    return NONE if resumed is None else "yes" if resumed else "no"


def _host(record: TrainRunRecord | InferRoundRecord) -> str:
    return str((record.host or {}).get("name", NONE))


def _disturbed(record: TrainRunRecord | InferRoundRecord) -> str:
    activity = record.host_activity
    if record.state != "measured" or unknown_in_words([activity]):
        return NONE
    return disturbed_in_words([activity]) or "no"


def text_columns(table: Table) -> list[bool]:
    """Tell which columns have text, to be set flush left and wrapped, and which have figures."""
    return [_is_text([row[column].text for row in table.rows]) for column in range(len(table.columns))]


def _is_text(texts: Sequence[str]) -> bool:
    long = any(len(text) > 40 for text in texts)
    return long or (any(text != NONE for text in texts) and not any(text[:1].isdigit() for text in texts))


def client_error_table() -> Table | None:
    """Return the error under each load, if the client was calibrated in this folder."""
    record = calibration.read_calibration()
    if record is None:
        return None
    rows = [[TableCell(*shown) for shown in row] for row in calibration.rows(record)]
    return Table("calibration", calibration.TITLE, calibration.CALIBRATION_COLUMNS, rows, calibration.notes(record))
