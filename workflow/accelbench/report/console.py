"""Tables for the terminal, standing alone from Snakemake and from any config."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from accelbench.analysis.inference import summarise
from accelbench.errors import UserError
from accelbench.files import read_jsonl
from accelbench.records import InferRoundRecord, RequestRecord
from accelbench.report.tables import inference_markdown
from accelbench.report.text import markdown, number
from accelbench.training.log import ParsedLog


def log_table(logs: Sequence[ParsedLog]) -> str:
    """Return parsed training logs as a table, with each log's failure and doubts below."""
    header = [
        "log",
        "outcome",
        "batch",
        "steps",
        "Rate",
        "GlobalRate",
        "steady rate",
        "total s",
        "final loss",
    ]
    body = [
        [
            Path(log.file).name,
            log.outcome,
            number(log.batch_size),
            f"{number(log.last_step)}/{number(log.max_steps)}",
            number(log.rate_mean_samples_per_s, 4),
            number(log.global_rate_samples_per_s, 4),
            number(log.steady_rate_samples_per_s, 4),
            number(log.processed_seconds, 4),
            number(log.final_loss, 6),
        ]
        for log in logs
    ]
    notes = [f"{Path(log.file).name}: line {log.failure.line_no}: {log.failure.text}" for log in logs if log.failure]
    notes += [f"{Path(log.file).name}: {check.text}" for log in logs for check in log.checks]
    return markdown(header, body) + "rates in samples/s\n" + "".join(f"{note}\n" for note in notes)


def comparison(sides: Sequence[Path]) -> str:
    """Return measured endpoints side by side. Raises UserError when a side holds no requests.

    Requests are paired by cell, round and prompt. Sides measured under differently named cells are compared
    as they are, unpaired.
    """
    names = _names(sides)
    requests = [
        replace(request, endpoint=name) for side, name in zip(sides, names, strict=True) for request in _read(side)
    ]
    rounds = dict.fromkeys((r.endpoint, r.cell, r.round) for r in requests)
    records = [InferRoundRecord(*key, state="measured", why=None) for key in rounds]
    concurrency = {
        cell: max(_in_flight([r for r in requests if (r.endpoint, r.cell) == (name, cell)]) for name in names)
        for cell in {r.cell for r in requests}
    }
    rows = summarise(records, requests, concurrency, names[0])
    return inference_markdown(rows, {}, "as recorded in the files")


def _names(sides: Sequence[Path]) -> list[str]:
    """Name each side by the folder that tells it from the others."""
    names = [side.resolve().name if side.is_dir() else side.resolve().parent.name for side in sides]
    return names if len(set(names)) == len(names) else [str(side) for side in sides]


def _read(side: Path) -> list[RequestRecord]:
    files = sorted(side.rglob("requests.jsonl")) if side.is_dir() else [side]
    try:
        requests = [RequestRecord(**record) for file in files for record in read_jsonl(file)]
    except (OSError, TypeError) as error:
        raise UserError(f"{side}: is no requests.jsonl of this version ({error}).") from None
    if not requests:
        raise UserError(f"{side}: holds no requests.jsonl. Name a folder under results/inference, or such a file.")
    if len(endpoints := sorted({request.endpoint for request in requests})) > 1:
        raise UserError(f"{side}: holds {' and '.join(endpoints)}; name the folder of one of them.")
    return requests


def _in_flight(requests: Sequence[RequestRecord]) -> int:
    """Return the most requests that were in flight at once, the concurrency of a closed loop."""
    marks = sorted(
        mark for r in requests if r.sent_unix_s and r.end_unix_s for mark in ((r.sent_unix_s, 1), (r.end_unix_s, -1))
    )
    most = open_ = 0
    for _, change in marks:
        open_ += change
        most = max(most, open_)
    return most or 1
