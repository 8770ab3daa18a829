"""The sweep as a table: its columns, those that only some sweeps have, its notes; and what was published.

The columns and notes here serve the Markdown and the page alike.
"""

from collections.abc import Callable, Sequence

from accelbench.analysis.published import Published
from accelbench.analysis.sweep import Sweep
from accelbench.analysis.training import TrainingRow
from accelbench.report.sentences_training import NOT_SAID
from accelbench.report.text import (
    DISTURBED,
    NONE,
    Labels,
    Shown,
    joined_range,
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
DISTURBED_NOTE = "Rates and times are those of quiet runs, if a size has any; else they are marked disturbed."


def _figure(value: float | None, digits: int = 3) -> Shown:
    return number(value, digits), value


def _percent(share: float | None, places: int = 0) -> Shown:
    """Return a share in percent."""
    return (NONE if share is None else f"{100 * share:.{places}f} %"), share


def _factor(value: float | None) -> Shown:
    if value is None:
        return NONE, None
    return (f"{value:,}" if isinstance(value, int) else f"{value:.4g}"), value


def _gib(n_bytes: int | None) -> Shown:
    return _figure(None if n_bytes is None else n_bytes / 2**30)


def _steady(row: TrainingRow) -> Shown:
    """Return the steady rate with the range of its repeats."""
    text = number(row.steady_rate_samples_per_s)
    if row.timed_repeats > 1 and row.steady_rate_lowest is not None:
        text += f" ({number(row.steady_rate_lowest)}–{number(row.steady_rate_highest)})"
    text += DISTURBED if row.disturbed else ""
    return text, row.steady_rate_samples_per_s


def _micro_batch(row: TrainingRow) -> Shown:
    if row.micro_batch_size is None and row.micro_batch_logged is not None:
        return f"{row.micro_batch_logged:,} (logged)", row.micro_batch_logged
    return number(row.micro_batch_size), row.micro_batch_size


def _mfu(row: TrainingRow) -> Shown:
    if row.mfu is None:
        return NONE, None
    return f"{100 * row.mfu:.1f} % of {number(row.mfu_peak_tflops)} ({row.mfu_peak_kind})", row.mfu


def _joules(row: TrainingRow) -> Shown:
    """Return the energy per sample with the range of its runs, and what it is of."""
    if row.joules_per_sample is None:
        return NONE, None
    text = number(row.joules_per_sample)
    if row.joules_per_sample_lowest != row.joules_per_sample_highest:
        text += f" ({number(row.joules_per_sample_lowest)}–{number(row.joules_per_sample_highest)})"
    return f"{text}, {row.energy_scope}{DISTURBED if row.disturbed else ''}", row.joules_per_sample


def _resumed(row: TrainingRow) -> Shown:
    steps = row.resumed_from_steps
    return (NONE, None) if steps is None else (steps, float(steps.partition(",")[0]))


_COLUMNS: dict[str, Callable[[TrainingRow], Shown]] = {
    "batch size": lambda row: _figure(row.batch_size),
    "micro batch": _micro_batch,
    "sequence length": lambda row: _figure(row.length),
    "runs": lambda row: (f"{row.repeats}/{row.repeats_planned}", row.repeats),
    "steps": lambda row: _figure(row.steps),
    "Rate samples/s": lambda row: _figure(row.rate_samples_per_s),
    "GlobalRate samples/s": lambda row: _figure(row.global_rate_samples_per_s),
    "steady rate samples/s (lowest–highest)": _steady,
    "tokens/s": lambda row: _figure(row.tokens_per_s),
    "total s": lambda row: _figure(row.total_time_s),
    "samples/total s": lambda row: _figure(row.samples_per_total_s),
    "not training": lambda row: _percent(row.not_training_share),
    "samples seen": lambda row: _figure(row.samples_seen),
    "final loss": lambda row: _figure(row.final_loss, 4),
    "held-out loss": lambda row: _figure(row.held_out_loss, 4),
    "seeds": lambda row: (_spanned(_seeds(row)) or NONE, min(_seeds(row), default=None)),
    "learning rates ×": lambda row: _factor(row.lr_factor),
    "schedule's iterations ×": lambda row: _factor(row.schedule_factor),
    "epochs": lambda row: _figure(row.epochs),
    "resumed from step": _resumed,
    "model TFLOP/s": lambda row: _figure(row.model_tflops),
    "MFU (kind of peak)": _mfu,
    "trainer's flops utilization": lambda row: _percent(row.flops_utilization, 1),
    "measured J/sample (of)": _joules,
    "W before the run": lambda row: _figure(row.idle_before_w),
    "W after the run": lambda row: _figure(row.idle_after_w),
    "memory per process GiB (estimated)": lambda row: _gib(row.memory_need_bytes),
    "memory per process GiB (peak)": lambda row: _gib(row.memory_peak_bytes),
    "projected: time for {steps:,} steps (s)": lambda row: _figure(row.projected_time_s),
    "projected: samples/s, start-up included": lambda row: _figure(row.projected_rate_samples_per_s),
}
_NO_NEWS = {"learning rates ×": 1, "schedule's iterations ×": 1}


def training_columns(rows: Sequence[TrainingRow]) -> dict[str, list[Shown]]:
    """Return the table's columns after the platform: each figure as it is shown, and what it is sorted by.

    Columns without any figure are left out, as are factors of 1.
    """
    steps = next((row.projected_steps for row in rows if row.projected_time_s), 0)
    shown = {name.format(steps=steps): [cell(row) for row in rows] for name, cell in _COLUMNS.items()}
    return {name: cells for name, cells in shown.items() if {value for _, value in cells} - {None, _NO_NEWS.get(name)}}


def training_markdown(
    rows: Sequence[TrainingRow], labels: Labels, runs: Sequence[TrainRunRecord] = (), sweeps: Sequence[Sweep] = ()
) -> str:
    """Return the sweep as Markdown: the published table's columns, then those that make them comparable."""
    if not rows:
        return "No training runs are planned.\n"
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
    notes += figure_notes(rows, labels, runs, sweeps)
    notes += [f"{size_name(row, labels)}: {row.missing}" for row in rows if row.missing]
    return markdown(*_grid(rows, labels)) + "".join(f"\n{markdown_line(note)}\n" for note in notes)


def training_latex(rows: Sequence[TrainingRow], labels: Labels) -> str:
    """Return the sweep as LaTeX."""
    return latex("Training by platform and batch size", *_grid(rows, labels)) if rows else ""


def _grid(rows: Sequence[TrainingRow], labels: Labels) -> tuple[list[str], list[list[str]]]:
    """Return the header, and the rows as text."""
    columns = training_columns(rows)
    body = [
        [labels.get(row.platform, row.platform), *(cells[place][0] for cells in columns.values())]
        for place, row in enumerate(rows)
    ]
    return ["platform", *columns], body


def published_markdown(published: Published) -> str:
    """Return published figures under a heading that says so."""
    columns = published_columns(published)
    body = [[text for text, _ in row] for row in zip(*columns.values(), strict=True)]
    notes = "".join(f"\n{note}\n" for note in published_notes(published))
    return f"### {published_caption(published)}\n\n{markdown(list(columns), body)}{notes}"


def figure_notes(
    rows: Sequence[TrainingRow], labels: Labels, runs: Sequence[TrainRunRecord] = (), sweeps: Sequence[Sweep] = ()
) -> list[str]:
    """Say what the columns are based on, and why a figure is missing."""
    done = [row for row in rows if row.repeats]
    notes = [what_varied(rows)] if done else []
    if random := [row for row in done if row.trained_on_random_tokens]:
        notes.append(f"{_platforms(random, labels)} trained on random tokens (corpus: synthetic): losses mean nothing.")
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
    if any(row.energy_scope for row in rows):
        notes.append(
            "Measured energy is gross and includes start-up. Compare it only between rows of the same scope, and never "
            "with declared power."
        )
    notes += [f"Energy, {size_name(row, labels)}: {row.why_no_energy}." for row in done if row.why_no_energy]
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
    notes += [DISTURBED_NOTE] if any(row.busy_host for row in done) else []
    return [*notes, *resumed_notes(runs, labels), *_lines(sweeps, labels)]


def resumed_notes(runs: Sequence[TrainRunRecord], labels: Labels) -> list[str]:
    """Say which runs were resumed, and what their times include."""
    return [
        f"Resumed: {labels.get(run.platform, run.platform)}, batch {run.batch_size:,}, repeat {run.repeat}, from "
        f"step {listed([f'{step:,}' for step in log.resumed_from_steps])}; its phases cover {log.parts} parts. Its "
        "total is the time of all parts, including repeated steps and every start-up, but not the "
        f"{number(log.between_parts_s)} s between the parts (counted under other)."
        for run in runs
        if (log := run.logged).resumed_from_steps
    ]


def published_caption(published: Published) -> str:
    """Say what was published, and that it was not measured here."""
    return f"Published, not measured here: {published.what}"


def published_columns(published: Published) -> dict[str, list[Shown]]:
    """Return published figures with what follows from their totals, column by column."""
    rows = published.rows
    return {
        "batch size": [_figure(row.batch_size) for row in rows],
        "Rate samples/s": [_figure(row.rate_samples_per_s, 4) for row in rows],
        "GlobalRate samples/s": [_figure(row.global_rate_samples_per_s, 4) for row in rows],
        "total s": [_figure(row.total_time_s) for row in rows],
        "samples/total s": [_figure(row.samples_per_total_s) for row in rows],
        "samples seen": [_figure(row.samples_seen) for row in rows],
        "start-up and overhead s": [_figure(row.overhead_s) for row in rows],
        "share of total": [_percent(row.overhead_share) for row in rows],
        "final loss": [_figure(row.final_loss, 6) for row in rows],
    }


def published_notes(published: Published) -> list[str]:
    """Say where the figures come from, what is derived, and which row is misleading."""
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


def _platforms(rows: Sequence[TrainingRow], labels: Labels) -> str:
    return listed(unique(labels.get(row.platform, row.platform) for row in rows))


def _lines(sweeps: Sequence[Sweep], labels: Labels) -> list[str]:
    """Return the line through each series' total times, where there is one."""
    return [
        f"Cross-check, {series_name(sweep, labels)}: total time, the queue left out, = {number(line.start_s)} s + "
        f"samples / {number(line.rate_samples_per_s)} per s, by least squares over {line.runs} runs of {line.sizes} "
        f"sizes; the furthest run lies {number(round(line.furthest_s, 1))} s off. One line for all sizes assumes equal "
        "rates; the steady rates may differ."
        for sweep in sweeps
        if (line := sweep.line)
    ]


def what_varied(rows: Sequence[TrainingRow]) -> str:
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
        "the sequence length": _range([row.length for row in rows]),
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


def _seeds(row: TrainingRow) -> list[int]:
    return [int(seed) for seed in row.seeds.split(", ") if seed]


def _spanned(seeds: Sequence[int]) -> str:
    """Return seeds as "1–3" where they follow each other, else one by one."""
    distinct = sorted(set(seeds))
    if len(distinct) > 1 and distinct[-1] - distinct[0] == len(distinct) - 1:
        return f"{distinct[0]}–{distinct[-1]}"
    return ", ".join(map(str, distinct))
