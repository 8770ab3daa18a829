"""What varied in a sweep, and with which effective values: columns of its table, and the line under it."""

from collections.abc import Sequence

from accelbench.analysis.training import TrainingRow
from accelbench.report.text import NONE, Shown, joined_range, listed, number


def micro_batch_column(rows: Sequence[TrainingRow]) -> dict[str, list[Shown]]:
    """Return the column of micro batches; no column when none is known."""
    if not any(row.micro_batch_size or row.micro_batch_logged for row in rows):
        return {}
    return {"micro batch": [_micro_batch(row) for row in rows]}


def columns(rows: Sequence[TrainingRow]) -> dict[str, list[Shown]]:
    """Return seeds, epochs, and the factors that are not 1 for all: those of which any row has a figure."""
    found: dict[str, list[Shown]] = {}
    if any(row.seeds for row in rows):
        found["seeds"] = [(_spanned(seeds) or NONE, min(seeds, default=None)) for seeds in map(_seeds, rows)]
    if any(row.lr_factor not in (None, 1) for row in rows):
        found["learning rates ×"] = [_factor(row.lr_factor) for row in rows]
    if any(row.schedule_factor not in (None, 1) for row in rows):
        found["schedule's iterations ×"] = [_factor(row.schedule_factor) for row in rows]
    if any(row.epochs is not None for row in rows):
        found["epochs"] = [(number(row.epochs), row.epochs) for row in rows]
    return found


def sentence(rows: Sequence[TrainingRow]) -> str:
    """Say what varied between repeats and between sizes; nothing for a sweep without results."""
    done = [row for row in rows if row.repeats]
    return f"What varied: {'; '.join(filter(None, [_between_repeats(done), _between_sizes(done)]))}." if done else ""


def _between_repeats(rows: Sequence[TrainingRow]) -> str:
    by_row = [_seeds(row) for row in rows]
    seeds = sorted({seed for own in by_row for seed in own})
    if not seeds:
        return "the seeds are not known"
    if max(row.repeats for row in rows) < 2:
        return f"no repeats (seed {_spanned(seeds)})"
    varied = any(len(set(own)) > 1 for own in by_row)
    return f"between repeats {'the seed' if varied else 'nothing'} ({'' if varied else 'seed '}{_spanned(seeds)})"


def _between_sizes(rows: Sequence[TrainingRow]) -> str:
    ranges = {
        "the batch size": _range([row.batch_size for row in rows]),
        "the micro batch": _range([row.micro_batch_size or row.micro_batch_logged for row in rows]),
        "the steps": _range([row.steps for row in rows]),
        "the learning rates' factor": _range([row.lr_factor for row in rows]),
        "the schedule's factor": _range([row.schedule_factor for row in rows]),
    }
    varied = [f"{what} ({values})" for what, values in ranges.items() if values]
    return f"between sizes {listed(varied)}" if varied else ""


def _range(values: Sequence[float | None]) -> str | None:
    """Return lowest and highest of values that differ."""
    known = sorted({value for value in values if value is not None})
    return joined_range(_factor(known[0])[0], _factor(known[-1])[0]) if len(known) > 1 else None


def _micro_batch(row: TrainingRow) -> Shown:
    if row.micro_batch_size is None and row.micro_batch_logged is not None:
        return f"{row.micro_batch_logged:,} (logged)", row.micro_batch_logged
    return number(row.micro_batch_size), row.micro_batch_size


def _factor(value: float | None) -> Shown:
    if value is None:
        return NONE, None
    return (f"{value:,}" if isinstance(value, int) else f"{value:.4g}"), value


def _seeds(row: TrainingRow) -> list[int]:
    return [int(seed) for seed in row.seeds.split(", ") if seed]


def _spanned(seeds: Sequence[int]) -> str:
    """Return seeds as "1–3" where they follow each other, else one by one."""
    distinct = sorted(set(seeds))
    if len(distinct) > 1 and distinct[-1] - distinct[0] == len(distinct) - 1:
        return f"{distinct[0]}–{distinct[-1]}"
    return ", ".join(map(str, distinct))
