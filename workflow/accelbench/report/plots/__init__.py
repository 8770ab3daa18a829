"""All plots, each as SVG and PNG. A half without data gets a small figure that states it.

A plot is one function in a module here and one entry in PLOTS, which the rules and the page read. Points are single
runs and single requests; means, medians and lines are drawn only over visible points.
"""

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from accelbench.analysis.inference import InferenceRow
    from accelbench.report.summary import Summary


def _always(_: "Summary") -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Plot:
    """How one plot is drawn, and where it is shown."""

    half: Literal["training", "inference"]
    draw: str
    """From the summary to a figure, as module:function. Rules read this list, and matplotlib takes long to import."""
    caption: str
    """Describes the plot for readers who can't see it."""
    is_planned: Callable[["Summary"], bool] = _always
    """Whether the plan includes what the plot shows; the page leaves other plots out."""

    def figure(self, summary: "Summary") -> "Figure":
        """Return the figure, drawn."""
        figure: Figure = pkgutil.resolve_name(self.draw)(summary)
        return figure


def _varies(axis: "Callable[[InferenceRow], int | None]") -> "Callable[[Summary], bool]":
    """Return whether any scenario was planned at several values of an axis."""

    def varies(summary: "Summary") -> bool:
        values = {(row.scenario, axis(row)) for row in summary.inference if axis(row)}
        return len(values) > len({scenario for scenario, _ in values})

    return varies


def _has_comparable_quality(summary: "Summary") -> bool:
    from accelbench.report.plots.quality import comparable

    return bool(comparable(summary.inference))


_over_concurrency = _varies(lambda row: None if row.rate_per_s else row.concurrency)
_over_context = _varies(lambda row: row.context_tokens)

PLOTS = {
    "rate_vs_batch_size": Plot(
        "training",
        "accelbench.report.plots.training:rate_vs_batch_size",
        "Steady rate in samples per second by batch size, a point per run; for the figures see the table Training by "
        "platform and batch size.",
    ),
    "phases_by_batch_size": Plot(
        "training",
        "accelbench.report.plots.training:phases_by_batch_size",
        "Where the seconds of each batch size went, stacked by phase, means over its runs; for the figures of "
        "each run see the table Where the seconds of each run went.",
    ),
    "loss_curves": Plot(
        "training",
        "accelbench.report.plots.loss:loss_curves",
        "Training loss against steps, samples, time and tokens, a line per run, held-out losses as diamonds.",
    ),
    "latency_by_request": Plot(
        "inference",
        "accelbench.report.plots.inference:latency_by_request",
        "End-to-end latency of each request by endpoint, one panel per load; for the figures see the tables below.",
    ),
    "latency_vs_tokens": Plot(
        "inference",
        "accelbench.report.plots.inference:latency_vs_tokens",
        "End-to-end latency of each request against its output tokens, one panel per load.",
    ),
    "throughput_by_concurrency": Plot(
        "inference",
        "accelbench.report.plots.load:throughput_by_concurrency",
        "Output tokens per second of the whole endpoint by requests in flight, a line per endpoint; for the figures "
        "see the tables below.",
        _over_concurrency,
    ),
    "system_vs_user_speed": Plot(
        "inference",
        "accelbench.report.plots.frontier:system_vs_user_speed",
        "Output tokens per second of the whole endpoint against those that one request sees, a point per number of "
        "requests in flight, the Pareto frontier of each endpoint as a line, its knee ringed where it has one; the "
        "knees are described below.",
        _over_concurrency,
    ),
    "ttft_by_prompt_tokens": Plot(
        "inference",
        "accelbench.report.plots.load:ttft_by_prompt_tokens",
        "Time to the first token of each request against its prompt tokens.",
        _over_context,
    ),
    "quality_vs_speed": Plot(
        "inference",
        "accelbench.report.plots.quality:quality_vs_speed",
        "Share of answers that contain the gold answer against typical end-to-end latency, a point per endpoint and "
        "load, a panel per scenario; for the figures see the tables below.",
        _has_comparable_quality,
    ),
}
"""The plots by name: {name}.svg and {name}.png."""


def write_plots(out: Path, summary: "Summary") -> None:
    """Write all plots to a folder, as {name}.svg and {name}.png."""
    import matplotlib

    from accelbench.report.plots import style

    with matplotlib.rc_context(style.RC):
        for name, plot in PLOTS.items():
            style.save_figure(plot.figure(summary), out, name)
