"""The page's tables of the training half: the sweep, its phases, what was published, and losses reached."""

from collections.abc import Sequence

from accelbench.analysis import sweep
from accelbench.analysis.sweep import WINDOW, losses_reached
from accelbench.analysis.training import Sized
from accelbench.report import variation
from accelbench.report.page.tables import Table, TableCell, count_cell, figure, named
from accelbench.report.summary import Summary
from accelbench.report.training_tables import (
    MICRO_BATCHES_CAPTION,
    MICRO_BATCHES_NOTE,
    PUBLISHED_COLUMNS,
    figure_notes,
    further_columns,
    micro_batch_columns,
    micro_batch_figures,
    percent,
    published_caption,
    published_notes,
    published_rows,
    resumed_notes,
    steady,
)

_SHOWN_FROM_S = 0.05  # phases that no run spent so long in are not worth a column


def training_table(summary: Summary) -> Table:
    """Return the sweep: a row per platform, batch size and micro batch."""
    micro, more = variation.micro_batch_column(summary.training), further_columns(summary.training)
    columns = [
        "platform", "batch size", *micro, "runs", "steps", "steady rate, samples/s (lowest–highest)",
        "GlobalRate", "Rate", "tokens/s", "samples/total s", "total time (s)", "not training", "samples seen",
        "final loss", "held-out loss", *more,
    ]  # fmt: skip
    rows = [
        [
            named(row.platform, summary),
            count_cell(row.batch_size),
            *(TableCell(*column[place]) for column in micro.values()),
            TableCell(f"{row.repeats}/{row.repeats_planned}", row.repeats),
            count_cell(row.steps),
            TableCell(*steady(row)),
            figure(row.global_rate_samples_per_s),
            figure(row.rate_samples_per_s),
            figure(row.tokens_per_s),
            figure(row.samples_per_total_s),
            figure(row.total_time_s),
            TableCell(*percent(row.not_training_share)),
            count_cell(row.samples_seen),
            figure(row.final_loss, 4),
            figure(row.held_out_loss, 4),
            *(TableCell(*column[place]) for column in more.values()),
        ]
        for place, row in enumerate(summary.training)
    ]
    notes = ["Means over the completed runs. Figures from one run have no uncertainty."]
    notes += figure_notes(summary.training, summary.runs, summary.labels)
    return Table("training", "Training by platform and batch size", columns, rows, notes)


def micro_batches_table(summary: Summary) -> Table | None:
    """Return the micro batches of each batch size side by side."""
    found = sweep.micro_batches(summary.training)
    rows = [
        [named(size.platform, summary), *(TableCell(*shown) for shown in micro_batch_figures(size, found))]
        for size in found
    ]
    columns = micro_batch_columns(found)
    return Table("micro-batches", MICRO_BATCHES_CAPTION, columns, rows, [MICRO_BATCHES_NOTE]) if rows else None


def phases(summary: Summary) -> Table | None:
    """Return where each run's seconds went, phases that no log speaks of left out."""
    runs = [run for run in summary.runs if run.log and run.log.get("phases_s")]
    logged = [(run, (run.log or {})["phases_s"]) for run in runs]
    names = logged[0][1] if logged else {}
    micro = _micro_column(runs)
    phases = [name for name in names if any((spent.get(name) or 0) >= _SHOWN_FROM_S for _, spent in logged)]
    rows = [
        [
            named(run.platform, summary),
            count_cell(run.batch_size),
            *([count_cell(run.micro_batch_size)] if micro else []),
            count_cell(run.repeat),
            *(figure(spent.get(name)) for name in phases),
            figure((run.log or {}).get("wall_s")),
        ]
        for run, spent in logged
    ]
    columns = ["platform", "batch size", *micro, "repeat", *(f"{name} (s)" for name in phases), "all (s)"]
    notes = resumed_notes(runs, summary.labels)
    return Table("phases", "Where the seconds of each run went", columns, rows, notes) if rows and phases else None


def published(summary: Summary) -> Table | None:
    """Return the published figures that the config names, beside which one's own stand."""
    if summary.published is None:
        return None
    rows = [[TableCell(*shown) for shown in row] for row in published_rows(summary.published)]
    caption, notes = published_caption(summary.published), published_notes(summary.published)
    return Table("published", caption, PUBLISHED_COLUMNS, rows, notes)


def to_loss(summary: Summary) -> Table | None:
    """Return samples and seconds to the loss that all runs of a series reached."""
    reached = losses_reached(summary.runs)
    micro = _micro_column(reached)
    rows = [
        [
            named(row.platform, summary),
            count_cell(row.batch_size),
            *([count_cell(row.micro_batch_size)] if micro else []),
            count_cell(row.repeat),
            figure(row.target, 4),
            count_cell(row.samples),
            figure(row.seconds),
        ]
        for row in reached
    ]
    columns = [
        "platform",
        "batch size",
        *micro,
        "repeat",
        "loss",
        "samples to that loss",
        "seconds of training to that loss",
    ]
    alike = "the platform and micro batch" if micro else "the platform"
    notes = [
        f"The loss is the highest final loss of a run of {alike}, as the mean of {WINDOW} logged training losses. A "
        "run reaches it at the first progress line that shows it; start-up is left out. Sizes differ in learning "
        "rate per sample and in schedule position, and each run has one seed, so these figures do not rank batch "
        "sizes."
    ]
    caption = "Samples and seconds to a loss that all runs reached"
    return Table("to-loss", caption, columns, rows, notes) if rows else None


def _micro_column(sizes: Sequence[Sized]) -> list[str]:
    """Return the column that the micro batch takes, where any is set."""
    return ["micro batch"] if any(size.micro_batch_size for size in sizes) else []
