"""The page's tables of the training half: the sweep, its phases, what was published, and losses reached."""

from collections.abc import Callable, Mapping, Sequence

from accelbench.analysis.sweep import WINDOW, LossReached
from accelbench.report.page.tables import Table, TableCell, count_cell, figure, named
from accelbench.report.summary import Summary
from accelbench.report.text import DISTURBED, Shown, listed, number
from accelbench.report.training_tables import (
    figure_notes,
    published_caption,
    published_columns,
    published_notes,
    resumed_notes,
    training_columns,
)
from accelbench.store.records import TrainRunRecord

ONE_RUN = "Means over the completed runs. Figures from one run have no uncertainty."
_STEADY = "steady rate samples/s (lowest–highest)"
_SHORT = ("batch size", "micro batch", _STEADY, "total s", "not training", "final loss")
"""The columns of the first table; all are in the folded one."""
_OF_LENGTHS = ("sequence length", "tokens/s")
"""And these, if the sequence length is an axis of the sweep."""
_SHOWN_FROM_S = 0.05  # a phase needs this many seconds in some run to get a column


def training_table(summary: Summary) -> Table:
    """Return the sweep in a few columns: a row per platform and size."""
    short = _SHORT + (_OF_LENGTHS if any(row.length for row in summary.training) else ())
    columns = {name: cells for name, cells in training_columns(summary.training).items() if name in short}
    caption = "Training by platform and batch size"
    return Table("training", caption, ["platform", *columns], _rows(columns, summary), [ONE_RUN])


def training_in_full(summary: Summary) -> Table:
    """Return the sweep with every column that has a figure."""
    columns = training_columns(summary.training)
    notes = [ONE_RUN, *figure_notes(summary.training, summary.labels, summary.runs, summary.sweeps)]
    caption = "Training by platform and batch size, all columns"
    return Table("training-all", caption, ["platform", *columns], _rows(columns, summary), notes)


def _rows(columns: Mapping[str, Sequence[Shown]], summary: Summary) -> list[list[TableCell]]:
    return [
        [named(row.platform, summary), *(TableCell(*cells[place]) for cells in columns.values())]
        for place, row in enumerate(summary.training)
    ]


def phases(summary: Summary) -> Table | None:
    """Return where each run's seconds went, without phases that no log mentions."""
    runs = [run for run in summary.runs if run.logged.phases_s]
    names = runs[0].logged.phases_s if runs else {}
    axes = _axes(runs)
    phases = [name for name in names if any((run.logged.phases_s.get(name) or 0) >= _SHOWN_FROM_S for run in runs)]
    rows = [
        [
            *_size_cells(run, axes, summary),
            *(figure(run.logged.phases_s.get(name)) for name in phases),
            figure(run.logged.wall_s),
        ]
        for run in runs
    ]
    columns = ["platform", "batch size", *axes, "repeat", *(f"{name} (s)" for name in phases), "all (s)"]
    notes = resumed_notes(runs, summary.labels)
    return Table("phases", "Where the seconds of each run went", columns, rows, notes) if rows and phases else None


def published(summary: Summary) -> Table | None:
    """Return the published figures that the config names."""
    if summary.published is None:
        return None
    columns = published_columns(summary.published)
    rows = [[TableCell(*shown) for shown in row] for row in zip(*columns.values(), strict=True)]
    caption, notes = published_caption(summary.published), published_notes(summary.published)
    return Table("published", caption, list(columns), rows, notes)


def to_loss(summary: Summary) -> Table | None:
    """Return samples and seconds to the loss that all runs of a series reached."""
    reached = [row for sweep in summary.sweeps for row in sweep.reached]
    axes = _axes(reached)
    rows = [
        [*_size_cells(row, axes, summary), figure(row.target, 4), count_cell(row.samples), _seconds(row)]
        for row in reached
    ]
    columns = [
        "platform",
        "batch size",
        *axes,
        "repeat",
        "loss",
        "samples to that loss",
        "seconds of training to that loss",
    ]
    alike = listed(["the platform", *axes])
    notes = [
        f"The loss is the highest final loss of a run of {alike}, as the mean of {WINDOW} logged training losses. A "
        "run reaches it at the first progress line that shows it; start-up is left out. Sizes differ in learning "
        "rate per sample and in schedule position, and each run has one seed, so these figures do not rank batch "
        "sizes."
    ]
    caption = "Samples and seconds to a loss that all runs reached"
    return Table("to-loss", caption, columns, rows, notes) if rows else None


def _seconds(row: LossReached) -> TableCell:
    return TableCell(number(row.seconds) + (DISTURBED if row.disturbed and row.seconds else ""), row.seconds)


_Sized = TrainRunRecord | LossReached
_AXES: dict[str, Callable[[_Sized], int | None]] = {
    "micro batch": lambda size: size.micro_batch_size,
    "sequence length": lambda size: size.length,
}


def _axes(sizes: Sequence[_Sized]) -> list[str]:
    """Return the columns of a micro batch and a sequence length, if any is set."""
    return [name for name, value in _AXES.items() if any(map(value, sizes))]


def _size_cells(size: _Sized, axes: Sequence[str], summary: Summary) -> list[TableCell]:
    """Return the names of a run."""
    own = [count_cell(_AXES[name](size)) for name in axes]
    return [named(size.platform, summary), count_cell(size.batch_size), *own, count_cell(size.repeat)]
