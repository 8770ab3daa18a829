"""All plots, each as SVG and PNG. A half without data gets a small figure that says so.

Points are single runs and single requests; means, medians and lines are drawn only over what one sees.
"""

from collections.abc import Callable
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from accelbench.report.plots import frontier, inference, load, loss, quality, style, training
from accelbench.report.summary import Summary

DRAWN: dict[str, Callable[[Summary], Figure]] = {
    "rate_vs_batch_size": training.rate_vs_batch_size,
    "phases_by_batch_size": training.phases_by_batch_size,
    "loss_curves": loss.loss_curves,
    "latency_by_request": inference.latency_by_request,
    "latency_vs_tokens": inference.latency_vs_tokens,
    "throughput_by_concurrency": load.throughput_by_concurrency,
    "system_vs_user_speed": frontier.system_vs_user_speed,
    "ttft_by_prompt_tokens": load.ttft_by_prompt_tokens,
    "quality_vs_speed": quality.quality_vs_speed,
}
"""The plots by file name: those that the rules expect (accelbench.dag.PLOTS)."""


def write_plots(out: Path, summary: Summary) -> None:
    """Write all plots to a folder, as {name}.svg and {name}.png."""
    with matplotlib.rc_context(style.RC):
        for name, draw in DRAWN.items():
            style.save(draw(summary), out, name)
