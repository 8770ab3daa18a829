"""Tables for the terminal, standing alone from Snakemake and from any config."""

from collections.abc import Sequence
from pathlib import Path

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
            _name(log),
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
    notes = [f"{_name(log)}: line {log.failure.line_no}: {log.failure.text}" for log in logs if log.failure]
    notes += [
        f"{_name(log)}: total s is that of the training loop alone, as up to Release 2.2."
        for log in logs
        if log.processed_covers == "train_loop"
    ]
    notes += [f"{_name(log)}: {check.text}" for log in logs for check in log.checks]
    return (
        f"{markdown(header, body)}rates in samples/s; total s: as its last line says\n{_phase_table(logs)}"
        + "".join(f"{note}\n" for note in notes)
    )


def _name(log: ParsedLog) -> str:
    """Return the log's name, and which of its runs it is where it holds several."""
    name = Path(log.file).name
    return f"{name} (run {log.run_no} of {log.runs_in_file})" if log.runs_in_file > 1 else name


def _phase_table(logs: Sequence[ParsedLog]) -> str:
    """Return where the seconds of each log went; nothing where no log has times."""
    timed = [log for log in logs if log.wall_s]
    phases = [name for name in PHASES if any((log.phases_s[name] or 0) >= SHOWN_FROM_S for log in timed)]
    body = [[_name(log), *(_seconds(log.phases_s[name]) for name in phases), _seconds(log.wall_s)] for log in timed]
    return f"\n{markdown(['seconds of', *phases, 'all'], body)}\n" if timed else ""


def _seconds(seconds: float | None) -> str:
    return NONE if seconds is None else f"{seconds:,.1f}"
