"""Why figures have no interval, and what would give them one."""

from collections.abc import Sequence

from accelbench.analysis.inference import InferenceRow
from accelbench.analysis.intervals import MIN_PASSAGES, MIN_ROUNDS, counted
from accelbench.report.text import Labels, listed, unique


def no_intervals(rows: Sequence[InferenceRow], labels: Labels, *, planned: bool = True) -> list[str]:
    """Return a sentence per reason. `planned`: by a config, which can plan more; else the rounds are what there is."""
    said: dict[str, list[str]] = {}
    for row in rows:
        why = row.typical_latency.why_no_interval if row.typical_latency else None
        if why:
            said.setdefault(_takes(row, why, planned=planned), []).append(_name(row, rows, labels))
    return [f"No interval for {listed(unique(names))}: {takes}" for takes, names in said.items()]


def _takes(row: InferenceRow, why: str, *, planned: bool) -> str:
    if row.rounds >= MIN_ROUNDS:
        more = f" A larger requests: asks more passages; {MIN_PASSAGES} are needed." if planned else ""
        return f"{why}.{more}"
    there = f"{MIN_ROUNDS} rounds are needed; there {'was' if row.rounds == 1 else 'were'} {row.rounds}"
    if not planned:
        return f"{there}."
    if row.rounds_planned >= MIN_ROUNDS:
        missing = counted(row.rounds_planned - row.rounds, "missing round")
        return f"{there}: run again, which measures only the {missing}."
    new = counted(MIN_ROUNDS - row.rounds, "new one")
    return f"{there}: set rounds: {MIN_ROUNDS} and run again, which measures only the {new}."


def _name(row: InferenceRow, rows: Sequence[InferenceRow], labels: Labels) -> str:
    """Name the endpoint, with its load where several are told of."""
    name = labels.get(row.endpoint, row.endpoint)
    return f"{name} in {row.cell}" if len({each.cell for each in rows}) > 1 else name
