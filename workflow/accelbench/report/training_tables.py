"""The sweep as a table: its columns, those that only some sweeps have, its notes; and what was published.

The columns and notes here serve the Markdown and the page alike.
"""

from collections.abc import Sequence

from accelbench.analysis.published import Published
from accelbench.analysis.sweep import MicroBatches, micro_batches, total_time_line
from accelbench.analysis.training import TrainingRow, by_series
from accelbench.report import variation
from accelbench.report.sentences_training import NOT_SAID
from accelbench.report.text import (
    NONE,
    Labels,
    Shown,
    latex,
    listed,
    markdown,
    markdown_line,
    number,
    series_name,
    size_name,
    unique,
)
from accelbench.store.records import TrainRunRecord

KINDS_OF_PEAK = {"dense": "dense", "sparse": "sparse", "unstated": "dense or sparse not stated"}
PUBLISHED_COLUMNS = (
    "batch size", "Rate samples/s", "GlobalRate samples/s", "total s", "samples/total s", "samples seen",
    "start-up and overhead s", "share of total", "final loss",
)  # fmt: skip


def training_markdown(rows: Sequence[TrainingRow], labels: Labels, runs: Sequence[TrainRunRecord] = ()) -> str:
    """Return the sweep as Markdown: the published table's columns, then what makes them comparable."""
    if not rows:
        return "No training runs are planned.\n"
    header, body = training_grid(rows, labels)
    notes = [
        "Means over the completed runs. Rate: mean of the log's moving average; GlobalRate: samples / time since the "
        "first step; steady rate: from the timestamps of the progress lines; samples/total: start-up included; "
        "not training: the share of a run's time spent on anything else."
    ]
    if len({row.samples_seen for row in rows if row.samples_seen}) > 1:
        notes.append(
            "The losses of different batch sizes can't be compared: at equal steps they saw different amounts of data."
        )
    if any(row.repeats == 1 for row in rows):
        notes.append("A figure from one run (1/…) has no uncertainty.")
    notes += figure_notes(rows, runs, labels)
    notes += [f"{size_name(row, labels)}: {row.missing}" for row in rows if row.missing]
    return markdown(header, body) + "".join(f"\n{markdown_line(note)}\n" for note in notes)


def training_grid(rows: Sequence[TrainingRow], labels: Labels) -> tuple[list[str], list[list[str]]]:
    """Return the sweep's columns and, as text, its rows."""
    micro, more = variation.micro_batch_column(rows), further_columns(rows)
    header = [
        "platform", "batch size", *micro, "runs", "steps", "Rate samples/s", "GlobalRate samples/s",
        "steady rate samples/s (lowest–highest)", "tokens/s", "total s", "samples/total s", "not training",
        "samples seen", "final loss", "held-out loss", *more,
    ]  # fmt: skip
    body = [
        [
            labels.get(row.platform, row.platform),
            str(row.batch_size),
            *(column[place][0] for column in micro.values()),
            f"{row.repeats}/{row.repeats_planned}",
            number(row.steps),
            number(row.rate_samples_per_s),
            number(row.global_rate_samples_per_s),
            steady(row)[0],
            number(row.tokens_per_s),
            number(row.total_time_s),
            number(row.samples_per_total_s),
            percent(row.not_training_share)[0],
            number(row.samples_seen),
            number(row.final_loss, 4),
            number(row.held_out_loss, 4),
            *(column[place][0] for column in more.values()),
        ]
        for place, row in enumerate(rows)
    ]
    return header, body


def training_latex(rows: Sequence[TrainingRow], labels: Labels) -> str:
    """Return the sweep as LaTeX."""
    return latex("Training by platform and batch size", *training_grid(rows, labels)) if rows else ""


def published_markdown(published: Published) -> str:
    """Return published figures under a heading that says that they are."""
    body = [[text for text, _ in row] for row in published_rows(published)]
    notes = "".join(f"\n{note}\n" for note in published_notes(published))
    return f"### {published_caption(published)}\n\n{markdown(PUBLISHED_COLUMNS, body)}{notes}"


def further_columns(rows: Sequence[TrainingRow]) -> dict[str, list[Shown]]:
    """Return the columns that only some sweeps have, a figure per row: those of which any row has a figure."""
    columns = variation.columns(rows)
    if any(row.resumed_from_steps for row in rows):
        columns["resumed from step"] = [(row.resumed_from_steps or NONE, None) for row in rows]
    if any(row.model_tflops for row in rows):
        columns["model TFLOP/s"] = [_figure(row.model_tflops) for row in rows]
    if any(row.mfu for row in rows):
        columns["MFU (kind of peak)"] = [_mfu(row) for row in rows]
    if any(row.flops_utilization is not None for row in rows):
        columns["vendor's flops utilization"] = [percent(row.flops_utilization, 1) for row in rows]
    steps = next((row.projected_steps for row in rows if row.projected_time_s), None)
    if steps:
        columns[f"projected: time for {steps:,} steps (s)"] = [_figure(row.projected_time_s) for row in rows]
        columns["projected: samples/s, start-up included"] = [_figure(row.projected_rate_samples_per_s) for row in rows]
    return columns


def figure_notes(rows: Sequence[TrainingRow], runs: Sequence[TrainRunRecord], labels: Labels) -> list[str]:
    """Say what the columns rest on, and why a figure is not there."""
    done = [row for row in rows if row.repeats]
    notes = [variation.sentence(rows)] if done else []
    if lacking := [row for row in done if row.sequence_length is None]:
        notes.append(
            f"No tokens/s for {_platforms(lacking, labels)}: the trainer does not say the sequence length (or runs "
            "differ in it); set training.sequence_length."
        )
    for why in unique(row.why_no_epochs for row in done if row.why_no_epochs):
        notes.append(f"No epochs for {_platforms([row for row in done if row.why_no_epochs == why], labels)}: {why}.")
    if any(row.model_tflops for row in rows):
        notes.append(
            "Model TFLOP/s: (6·N·L + 6·layers·L²·d) per sample at the steady rate, N without the input embedding, "
            "L the sequence length, attention counted as causal; recomputation is not counted."
        )
    for why in unique(row.why_no_tflops for row in done if row.why_no_tflops and row.sequence_length):
        notes.append(f"No model TFLOP/s: {why}.")
    peaks = unique(
        f"{number(row.mfu_peak_tflops)} TFLOP/s, {KINDS_OF_PEAK[row.mfu_peak_kind]}, {row.mfu_peak_source}"
        for row in rows
        if row.mfu and row.mfu_peak_kind
    )
    if peaks:
        notes.append(f"MFU is against a named peak ({'; '.join(peaks)}). Peaks of different kinds can't be compared.")
    drawn = {row.initial_weights: row.platform for row in done if row.initial_weights}
    if len(drawn) > 1:
        normal = [row for row in done if row.initial_weights == "normal"]
        notes.append(
            f"Losses start from different weights: those of {_platforms(normal, labels)} were drawn from a single "
            "normal distribution (initial_weights: normal), the others' as ModelZoo draws them. Don't compare losses "
            "between them."
        )
    if any(row.projected_time_s for row in rows):
        notes.append(
            "Projected from each size's own start-up (without the queue) and steady rate, without checkpoints "
            "and evaluations."
        )
    for why in unique(row.why_no_projection for row in done if row.why_no_projection):
        sizes = [size_name(row, labels) for row in done if row.why_no_projection == why]
        notes.append(f"Not projected: {listed(sizes)}; {why}.")
    notes += [f"{size_name(row, labels)} {row.shared_node}." for row in done if row.shared_node]
    notes += [f"{size_name(row, labels)}, busy host: {row.busy_host}." for row in done if row.busy_host]
    return [*notes, *resumed_notes(runs, labels), *_lines(runs, labels)]


def resumed_notes(runs: Sequence[TrainRunRecord], labels: Labels) -> list[str]:
    """Say which runs were resumed, and what their times include."""
    return [
        f"Resumed: {labels.get(run.platform, run.platform)}, batch {run.batch_size:,}, repeat {run.repeat}, from "
        f"step {listed([f'{step:,}' for step in run.resumed_from_steps])}; its phases cover "
        f"{(run.log or {})['parts']} parts. Its total is the time of all parts, including repeated steps and every "
        f"start-up, but not the {number((run.log or {}).get('between_parts_s'))} s between the parts (counted under "
        "other)."
        for run in runs
        if run.resumed_from_steps
    ]


def steady(row: TrainingRow) -> Shown:
    """Return the steady rate with the range of its repeats."""
    text = number(row.steady_rate_samples_per_s)
    if row.repeats > 1 and row.steady_rate_lowest is not None:
        text += f" ({number(row.steady_rate_lowest)}–{number(row.steady_rate_highest)})"
    return text, row.steady_rate_samples_per_s


def percent(share: float | None, places: int = 0) -> Shown:
    """Return a share in percent."""
    return (NONE if share is None else f"{100 * share:.{places}f} %"), share


def published_caption(published: Published) -> str:
    """Say what was published, and that it was not measured here."""
    return f"Published, not measured here: {published.what}"


def published_rows(published: Published) -> list[list[Shown]]:
    """Return published figures with what follows from their totals."""
    return [
        [
            _figure(row.batch_size),
            _figure(row.rate_samples_per_s, 4),
            _figure(row.global_rate_samples_per_s, 4),
            _figure(row.total_time_s),
            _figure(row.samples_per_total_s),
            _figure(row.samples_seen),
            _figure(row.overhead_s),
            percent(row.overhead_share),
            _figure(row.final_loss, 6),
        ]
        for row in published.rows
    ]


def published_notes(published: Published) -> list[str]:
    """Say where the figures come from, what is derived, and which row is not what it seems."""
    notes = [
        f"Source: {published.source}. Derived here: samples seen (batch size × {published.steps:,} steps), "
        "samples/total, start-up and overhead (total − samples / GlobalRate), its share."
    ]
    notes += [
        f"Batch {row.batch_size:,}: {100 * row.overhead_share:.0f} % of its time is not training: {NOT_SAID}."
        for row in published.rows
        if row.stands_out
    ]
    if len({row.samples_seen for row in published.rows}) > 1:
        notes.append("Its losses can't be compared either: at equal steps the sizes saw different amounts of data.")
    return notes


def _mfu(row: TrainingRow) -> Shown:
    if row.mfu is None:
        return NONE, None
    return f"{100 * row.mfu:.1f} % of {number(row.mfu_peak_tflops)} ({row.mfu_peak_kind})", row.mfu


def _platforms(rows: Sequence[TrainingRow], labels: Labels) -> str:
    return listed(unique(labels.get(row.platform, row.platform) for row in rows))


def _lines(runs: Sequence[TrainRunRecord], labels: Labels) -> list[str]:
    """Return the line through each series' total times, where there is one."""
    notes = []
    for series, own in by_series(runs).items():
        line = total_time_line(own)
        if line:
            notes.append(
                f"Cross-check, {series_name(series, labels)}: total time, the queue left out, = "
                f"{number(line.start_s)} s + samples / {number(line.rate_samples_per_s)} per s, by least squares over "
                f"{line.runs} runs of {line.sizes} sizes; the furthest run lies "
                f"{number(round(line.furthest_s, 1))} s off. "
                "One line for all sizes assumes equal rates; the steady rates may differ."
            )
    return notes


def _figure(value: float | None, digits: int = 3) -> Shown:
    return number(value, digits), value


MICRO_BATCHES_CAPTION = "Micro batches at each batch size: steady rate, samples/s (lowest–highest)"
MICRO_BATCHES_NOTE = (
    "Means over the completed runs; the range where there are two or more. A figure from one run has no uncertainty."
)


def micro_batches_markdown(rows: Sequence[TrainingRow], labels: Labels) -> str:
    """Return the comparison as Markdown under a heading; nothing where no batch size has several micro batches."""
    found = micro_batches(rows)
    if not found:
        return ""
    body = [
        [labels.get(size.platform, size.platform), *(text for text, _ in micro_batch_figures(size, found))]
        for size in found
    ]
    return f"### {MICRO_BATCHES_CAPTION}\n\n{markdown(micro_batch_columns(found), body)}\n{MICRO_BATCHES_NOTE}\n"


def micro_batch_columns(found: Sequence[MicroBatches]) -> list[str]:
    """Return the table's columns: one per micro batch."""
    return ["platform", "batch size", *(f"micro batch {micro:,}" for micro in _all(found)), "highest ÷ lowest"]


def micro_batch_figures(size: MicroBatches, found: Sequence[MicroBatches]) -> list[Shown]:
    """Return a batch size's cells after the platform."""
    own = {row.micro_batch_size: steady(row) for row in size.rows}
    rates = [own.get(micro, (NONE, None)) for micro in _all(found)]
    return [(number(size.batch_size), size.batch_size), *rates, (number(1 + size.between), 1 + size.between)]


def micro_batch_sentence(rows: Sequence[TrainingRow], labels: Labels) -> str:
    """Say how far micro batches of one batch size lay apart in steady rate, and repeats of one micro batch."""
    found = micro_batches(rows)
    platforms = unique(size.platform for size in found)
    return " ".join(_of_platform([size for size in found if size.platform == name], labels) for name in platforms)


def _of_platform(found: Sequence[MicroBatches], labels: Labels) -> str:
    size = max(found, key=lambda size: size.between)
    slow, fast = (pick(size.rows, key=lambda row: row.steady_rate_samples_per_s or 0.0) for pick in (min, max))
    within = [size.within for size in found if size.within is not None]
    repeats = (
        f"repeats of one differed by up to {100 * max(within):.1f} % (no test is made)"
        if within
        else "one run each: no uncertainty can be given"
    )
    return (
        f"{labels.get(size.platform, size.platform)}: micro batches at one batch size differed by up to "
        f"{100 * size.between:.1f} % in steady rate (batch {size.batch_size:,}: {_at(slow)}, {_at(fast)}); "
        f"{repeats}."
    )


def _at(row: TrainingRow) -> str:
    return f"{number(row.steady_rate_samples_per_s)} samples/s at micro batch {row.micro_batch_size:,}"


def _all(found: Sequence[MicroBatches]) -> list[int]:
    return sorted({row.micro_batch_size or 0 for size in found for row in size.rows})
