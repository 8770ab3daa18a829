"""Micro batches side by side at each batch size: a table, and the sentence on how far they lay apart."""

from collections.abc import Sequence

from accelbench.analysis.sweep import MicroBatches, micro_batches
from accelbench.analysis.training import TrainingRow
from accelbench.report.names import Labels
from accelbench.report.text import NONE, Labels, Shown, markdown, number, unique
from accelbench.report.training_tables import steady

CAPTION = "Micro batches at each batch size: steady rate, samples/s (lowest–highest)"
NOTE = "Means over the completed runs; the range where there are two or more. A figure from one run has no uncertainty."


def micro_batches_markdown(rows: Sequence[TrainingRow], labels: Labels) -> str:
    """Return the comparison as Markdown under a heading; nothing where no batch size has several micro batches."""
    found = micro_batches(rows)
    if not found:
        return ""
    body = [[labels.get(size.platform, size.platform), *(text for text, _ in compared(size, found))] for size in found]
    return f"### {CAPTION}\n\n{markdown(columns(found), body)}\n{NOTE}\n"


def columns(found: Sequence[MicroBatches]) -> list[str]:
    """Return the table's columns: one per micro batch."""
    return ["platform", "batch size", *(f"micro batch {micro:,}" for micro in _all(found)), "highest ÷ lowest"]


def compared(size: MicroBatches, found: Sequence[MicroBatches]) -> list[Shown]:
    """Return a batch size's cells after the platform."""
    own = {row.micro_batch_size: steady(row) for row in size.rows}
    rates = [own.get(micro, (NONE, None)) for micro in _all(found)]
    return [(number(size.batch_size), size.batch_size), *rates, (number(1 + size.between), 1 + size.between)]


def sentence(rows: Sequence[TrainingRow], labels: Labels) -> str:
    """Say how far micro batches of one batch size lay apart in steady rate, and repeats of one micro batch."""
    found = micro_batches(rows)
    platforms = unique(size.platform for size in found)
    return " ".join(_of_platform([size for size in found if size.platform == name], labels) for name in platforms)


def _of_platform(found: Sequence[MicroBatches], labels: Labels) -> str:
    size = max(found, key=lambda size: size.between)
    slow, fast = (pick(size.rows, key=lambda row: row.steady_rate_samples_per_s or 0.0) for pick in (min, max))
    within = [size.within for size in found if size.within is not None]
    repeats = (
        f"repeats of one lay up to {100 * max(within):.1f} % apart (no test is made)"
        if within
        else "one run each: no uncertainty can be given"
    )
    return (
        f"{labels.get(size.platform, size.platform)}: micro batches at one batch size lay up to "
        f"{100 * size.between:.1f} % apart in steady rate (batch {size.batch_size:,}: {_at(slow)}, {_at(fast)}); "
        f"{repeats}."
    )


def _at(row: TrainingRow) -> str:
    return f"{number(row.steady_rate_samples_per_s)} samples/s at micro batch {row.micro_batch_size:,}"


def _all(found: Sequence[MicroBatches]) -> list[int]:
    return sorted({row.micro_batch_size or 0 for size in found for row in size.rows})
