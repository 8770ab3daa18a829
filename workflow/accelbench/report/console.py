"""Tables for the terminal, standing alone from Snakemake and from any config."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from accelbench.analysis.inference import summarise
from accelbench.analysis.load import Load, due_per_s
from accelbench.errors import UserError
from accelbench.files import read_jsonl
from accelbench.records import InferRoundRecord, RequestRecord
from accelbench.report.tables import inference_markdown
from accelbench.report.text import NONE, markdown, number
from accelbench.training.log import ParsedLog
from accelbench.training.timeline import PHASES

SHOWN_FROM_S = 0.05  # phases that no log spent so long in are not worth a column


def log_table(logs: Sequence[ParsedLog]) -> str:
    """Return parsed training logs as a table, with each log's phases, failure and doubts below."""
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
    notes += [
        f"{Path(log.file).name}: total s is that of the training loop alone, as up to Release 2.2."
        for log in logs
        if log.processed_covers == "train_loop"
    ]
    notes += [f"{Path(log.file).name}: {check.text}" for log in logs for check in log.checks]
    return (
        f"{markdown(header, body)}rates in samples/s; total s: as its last line says\n{_phase_table(logs)}"
        + "".join(f"{note}\n" for note in notes)
    )


def _phase_table(logs: Sequence[ParsedLog]) -> str:
    """Return where the seconds of each log went; nothing where no log has times."""
    timed = [log for log in logs if log.wall_s]
    phases = [name for name in PHASES if any((log.phases_s[name] or 0) >= SHOWN_FROM_S for log in timed)]
    body = [
        [Path(log.file).name, *(_seconds(log.phases_s[name]) for name in phases), _seconds(log.wall_s)] for log in timed
    ]
    return f"\n{markdown(['seconds of', *phases, 'all'], body)}\n" if timed else ""


def _seconds(seconds: float | None) -> str:
    return NONE if seconds is None else f"{seconds:,.1f}"


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
    loads = {cell: _load(cell, [r for r in requests if r.cell == cell]) for cell in {r.cell for r in requests}}
    rows = summarise(records, requests, loads, names[0])
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


def _load(cell: str, requests: Sequence[RequestRecord]) -> Load:
    """Return the load of a cell as its records tell: they hold no config."""
    one_round = [r for r in requests if (r.endpoint, r.round) == (requests[0].endpoint, requests[0].round)]
    most = max(_in_flight([r for r in requests if r.endpoint == name]) for name in {r.endpoint for r in requests})
    return Load(cell, most, rate_per_s=due_per_s(one_round))


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
