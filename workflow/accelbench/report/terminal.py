"""Tables for the terminal: a training log, a load test."""

import math
from collections.abc import Sequence
from pathlib import Path

from accelbench.analysis.inference import LoadFigures, SweepFigures
from accelbench.analysis.metrics import METRICS
from accelbench.analysis.percentiles import Tail, Times
from accelbench.report.text import NONE, markdown, number
from accelbench.store.records import ClientFacts, ParsedLog
from accelbench.training.log.timeline import PHASES

_OF_ALL = "E2E of all, failures as ∞"
_SHOWN_FROM_S = 0.05  # a phase needs this many seconds in some log to get a column


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
    notes = [f"{_name(log)}: line {log.failure['line_no']}: {log.failure['text']}" for log in logs if log.failure]
    notes += [f"{_name(log)}: a log of {log.trainer}." for log in logs if log.trainer]
    notes += [
        f"{_name(log)}: total s is that of the training loop alone{'' if log.trainer else ', as up to Release 2.2'}."
        for log in logs
        if log.processed_covers == "train_loop"
    ]
    notes += [f"{_name(log)}: {check.text}" for log in logs for check in log.checks]
    return (
        f"{markdown(header, body)}rates in samples/s; total s: from the last line of the log\n{_phase_table(logs)}"
        + "".join(f"{note}\n" for note in notes)
    )


def _name(log: ParsedLog) -> str:
    """Return the log's name, with the number of the run if the log has several."""
    name = Path(log.file).name
    return f"{name} (run {log.run_no} of {log.runs_in_file})" if log.runs_in_file > 1 else name


def _phase_table(logs: Sequence[ParsedLog]) -> str:
    """Return the phases of each log; nothing if no log has timestamps."""
    timed = [log for log in logs if log.wall_s]
    phases = [name for name in PHASES if any((log.phases_s[name] or 0) >= _SHOWN_FROM_S for log in timed)]
    body = [[_name(log), *(_seconds(log.phases_s[name]) for name in phases), _seconds(log.wall_s)] for log in timed]
    return f"\n{markdown(['seconds of', *phases, 'all'], body)}\n" if timed else ""


def _seconds(seconds: float | None) -> str:
    return NONE if seconds is None else f"{seconds:,.1f}"


def load_table(figures: LoadFigures | SweepFigures) -> str:
    """Return the figures of one load as tables: latencies, then speeds, classes, and the client's check on itself.

    Of a sweep: a row per concurrency, what has to be said of its steps, and why it ended.
    """
    if isinstance(figures, SweepFigures):
        return _sweep_table(figures)
    statistics = ["n", "mean", "p50", "p90", "p95", "p99", "min", "max"]
    labels = {key: metric.label for metric in METRICS.values() if (key := metric.in_load)}
    known = {labels[key]: figure for key, figure in figures.metrics.items() if figure is not None}
    times = {label: figure for label, figure in known.items() if isinstance(figure, Times)}
    shown: list[tuple[str, Times | Tail]] = [*times.items(), (_OF_ALL, figures.e2e_of_all_s)]
    body = [
        [label, *(_figure(getattr(figure, name, None)) for name in statistics)] for label, figure in shown if figure.n
    ]
    classes = ", ".join(f"{count} {kind}" for kind, count in figures.by_class.items())
    speeds = ", ".join(f"{number(figure, 3)} {label}" for label, figure in known.items() if isinstance(figure, float))
    lines = [f"{figures.n} requests in {_figure(figures.wall_s)} s: {classes}", *_reasons(figures)]
    lines.append(f"speed: {speeds or 'none'}")
    if figures.is_open:
        lines.append(f"arrivals: {_figure(figures.due_per_s)}/s drawn, {_figure(figures.sent_per_s)}/s sent")
    if figures.waited_s:
        lines.append(
            f"waits: {_figure(figures.waited_s)} s in total because the endpoint was busy; they lower the speeds "
            "but are not added to latencies"
        )
    if figures.resumed:
        lines.append("resumed after an interruption: the gap is left out, and connections were opened again")
    lines += [*figures.labels, _client(figures.client)]
    return markdown(["latency in s", *statistics], body) + "\n".join(lines) + "\n"


def _sweep_table(sweep: SweepFigures) -> str:
    header = ["concurrency", "n", "ok", "output tok/s", "requests/s", "TTFT median s", "TPOT median s", "E2E median s"]
    body = [
        [
            number(slots),
            number(step.n),
            number(step.successes),
            *(_figure(step.speed(name)) for name in ("output_tok_per_s", "requests_per_s")),
            *(_figure(step.time(name).median) for name in ("ttft_s", "tpot_s", "e2e_s")),
        ]
        for slots, step in sweep.steps.items()
    ]
    said = [f"concurrency {slots}: {why}" for slots, step in sweep.steps.items() for why in _reasons(step)]
    said += [f"concurrency {slots}: {label}" for slots, step in sweep.steps.items() for label in step.labels]
    limited = {slots: step for slots, step in sweep.steps.items() if step.client["limited"]}
    said += [f"concurrency {slots}: {_client(step.client)}" for slots, step in limited.items()]
    return markdown(header, body) + "\n".join([*said, f"stopped: {sweep.stopped}"]) + "\n"


def _reasons(figures: LoadFigures) -> list[str]:
    """Return why requests failed, class by class."""
    return [f"{kind}: {why}" for kind, why in figures.reasons.items()]


def _figure(value: float | None) -> str:
    if value == math.inf:
        return "∞"
    return number(value, 3) if isinstance(value, float) else number(value)


def _client(facts: ClientFacts) -> str:
    lag_s, share = facts["lag_p99_s"], facts["cpu_share"]
    if lag_s is None or share is None:
        return "the client: too short a load to tell whether it kept up"
    verdict = "it was the bottleneck: these latencies may include its own delays" if facts["limited"] else "it kept up"
    return (
        f"the client: {verdict} (lag p99 {1000 * lag_s:.1f} ms, "
        f"{100 * share:.0f} % of a core, {facts['late_sends']} late sends)"
    )
