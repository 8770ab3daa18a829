"""The report: one self-contained page, and provenance.json beside it.

The page asks nothing of the network and runs no script but its own (a content security policy names that
script's digest): answers, errors and labels come from models, servers and users, and are shown as text only.
"""

import base64
import hashlib
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from accelbench import paths
from accelbench.analysis.inference import SUCCESS, InferenceRow
from accelbench.analysis.statistics import Estimate
from accelbench.files import read_jsonl, write_atomically, write_json
from accelbench.measurement import versions
from accelbench.records import InferRoundRecord, RequestRecord, TrainRunRecord
from accelbench.report import sentences, style
from accelbench.report.summary import Summary
from accelbench.report.tables import NONE, inference_metrics, interval, number

HERE = Path(__file__).parent
MAX_SAMPLED = 300
PACKAGES = (
    "accelbench", "snakemake", "pandas", "datasets", "requests", "pydantic", "scipy", "matplotlib", "jinja2",
    "torch", "transformers", "xllamacpp",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in a table, and what it is sorted by."""

    text: str
    sort: float | str | None = None
    colour: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the page; its name is the file name of its CSV."""

    name: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()


def write_page(out: Path, summary: Summary) -> None:
    """Write report.html and provenance.json; the plots are read from out/plots."""
    facts = provenance(summary)
    write_json(out / "provenance.json", facts)
    write_atomically(out / "report.html", page_html(out / "plots", summary, facts))


def page_html(plots: Path, summary: Summary, facts: dict[str, Any]) -> str:
    """Return the page."""
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (HERE / "page.js").read_text()
    shown, failures, successes = _browsed(summary.requests)
    return environment.get_template("page.html.j2").render(
        summary=summary,
        sentences=sentences.summary_sentences(summary.training, summary.inference, summary.rounds, summary.labels),
        gaps=sentences.absent(summary.runs, summary.rounds),
        absent=_absent(summary),
        failed=_failed_table(summary),
        training=_training_table(summary),
        phases=_phases_table(summary),
        doubts=_doubts(summary),
        inference=_inference_table(summary),
        cells=_cell_tables(summary),
        requests=_requests(shown, summary),
        counts={"failures": failures, "successes": successes, "shown": len(shown) - failures},
        endpoints=_endpoints_table(summary),
        prompts=_prompts_table(summary),
        measurements=_measurements_table(summary),
        facts=facts,
        plot=lambda name, alt: inline_svg(plots / f"{name}.svg", alt),
        css=Markup((HERE / "page.css").read_text()),
        period=_period([*summary.runs, *summary.rounds]),
        is_text=_is_text,
        script=Markup(script),
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def inline_svg(path: Path, alt: str) -> Markup:
    """Return a plot as it stands in the page: no prolog, no namespaces, ids of its own, as wide as its place."""
    if not path.exists():
        return Markup("<p>The plot {} was not drawn.</p>").format(path.name)
    svg = path.read_text()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^<>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^<>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'(<[^<>]*\sid=")', rf"\1{path.stem}-", svg)
    svg = re.sub(r'(<[^<>]*(?:href="|url\()#)', rf"\1{path.stem}-", svg)
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1))


# --- provenance ---------------------------------------------------------------------------------------------


def provenance(summary: Summary) -> dict[str, Any]:
    """Return where all figures come from."""
    records: list[TrainRunRecord | InferRoundRecord] = [*summary.runs, *summary.rounds]
    hosts = {str(r.host.get("name")): _lasting(r.host) for r in records if r.host}
    return {
        "title": summary.title,
        "accelbench": versions("accelbench")["accelbench"],
        "commit": _commit(),
        "packages": {name: found for name, found in versions(*PACKAGES).items() if found},
        "hosts": list(hosts.values()),
        "prompts": {
            name: {key: fact for key, fact in facts.items() if key != "digests"}
            for name, facts in summary.prompts.items()
        },
        "training": [_without(asdict(run), "log") for run in summary.runs],
        "inference": [asdict(record) for record in summary.rounds],
    }


def _commit() -> str | None:
    """Return the commit of the checkout that this package lies in, marked where files differ from it."""
    root = HERE.parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _lasting(host: dict[str, Any]) -> dict[str, Any]:
    return _without(host, "load_1min")


def _without(record: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != key}


# --- tables -------------------------------------------------------------------------------------------------


def _training_table(summary: Summary) -> Table:
    columns = [
        "platform", "batch size", "runs", "steps", "steady rate (samples/s)", "lowest–highest", "GlobalRate",
        "Rate, mean", "tokens/s", "samples/total s", "total time (s)", "samples seen", "final loss", "held-out loss",
    ]  # fmt: skip
    rows = [
        [
            _named(row.platform, summary),
            _count(row.batch_size),
            Cell(f"{row.repeats}/{row.repeats_planned}", row.repeats),
            _count(row.steps),
            _figure(row.steady_rate_samples_per_s),
            Cell(
                f"{number(row.steady_rate_lowest)}–{number(row.steady_rate_highest)}"
                if row.repeats > 1 and row.steady_rate_lowest is not None
                else NONE
            ),
            _figure(row.global_rate_samples_per_s),
            _figure(row.rate_samples_per_s),
            _figure(row.tokens_per_s),
            _figure(row.samples_per_total_s),
            _figure(row.total_time_s),
            _count(row.samples_seen),
            _figure(row.final_loss, 4),
            _figure(row.held_out_loss, 4),
        ]
        for row in summary.training
    ]
    notes = ["Means over the completed runs. Figures from one run have no uncertainty."]
    return Table("training", "Training by platform and batch size", columns, rows, notes)


def _phases_table(summary: Summary) -> Table | None:
    """Return where each run's seconds went, phases that no log speaks of left out."""
    runs = [run for run in summary.runs if run.log and run.log.get("phases_s")]
    logged = [(run, (run.log or {})["phases_s"]) for run in runs]
    phases = [name for name in (logged[0][1] if logged else {}) if any(spent.get(name) for _, spent in logged)]
    rows = [
        [
            _named(run.platform, summary),
            _count(run.batch_size),
            _count(run.repeat),
            *(_figure(spent.get(name)) for name in phases),
            _figure((run.log or {}).get("wall_s")),
        ]
        for run, spent in logged
    ]
    columns = ["platform", "batch size", "repeat", *(f"{name} (s)" for name in phases), "all (s)"]
    return Table("phases", "Where the seconds of each run went", columns, rows) if rows and phases else None


def _inference_table(summary: Summary) -> Table:
    columns = [
        "endpoint", "load", "rounds", "success", "median latency (s)", "typical latency (s), 95 % interval",
        "latency ÷ baseline's, 95 % interval", "TTFT, median (s)", "TPOT, median (ms)", "output tok/s per request",
        "output tok/s, system", "output tokens, mean", "F1", "contains gold",
    ]  # fmt: skip
    baselines = [sentences.baseline_of(rows) for rows in _by_cell(summary.inference)]
    rows = [
        [
            _named(row.endpoint, summary),
            Cell(f"{row.cell} ({row.concurrency} at a time)"),
            Cell(f"{row.rounds}/{row.rounds_planned}", row.rounds),
            Cell(f"{row.successes}/{row.requests}", row.successes / row.requests if row.requests else None),
            _figure(row.latency.median if row.latency else None),
            _estimate(row.typical_latency),
            Cell("1 (baseline)", 1.0) if row in baselines else _estimate(row.ratio_to_baseline),
            _figure(row.ttft.median if row.ttft else None),
            _figure(row.tpot.median * 1000 if row.tpot else None),
            _figure(row.output_tok_per_s),
            _figure(row.system_output_tok_per_s),
            _figure(row.completion_tokens),
            _share(row.f1),
            _share(row.contains_gold),
        ]
        for row in summary.inference
    ]
    notes = [f"Questions: {summary.data_set}. Below 1 in the ratio column is faster than the baseline."]
    return Table("inference", "Endpoints under each load", columns, rows, [*notes, *_no_intervals(summary.inference)])


def _cell_tables(summary: Summary) -> list[Table]:
    tables = []
    for rows in _by_cell(summary.inference):
        base, metrics = sentences.baseline_of(rows), [inference_metrics(row) for row in rows]
        body = [[Cell(name), *(Cell(column[name]) for column in metrics)] for name in metrics[0]]
        if len(rows) > 1:
            ratios = [Cell("1 (baseline)") if row is base else _estimate(row.ratio_to_baseline) for row in rows]
            body.append([Cell("latency ÷ baseline's, same prompts, 95 % interval"), *ratios])
        names = [summary.labels.get(row.endpoint, row.endpoint) for row in rows]
        notes = [
            f"{name}: n = {row.requests} requests in {row.rounds} of {row.rounds_planned} rounds"
            + (f"; failed: {row.failures}" if row.failures else "")
            + (f"; {row.missing}" if row.missing else "")
            for name, row in zip(names, rows, strict=True)
        ]
        caption = f"{rows[0].cell}: {rows[0].concurrency} at a time"
        columns = ["metric", *names]
        tables.append(Table(f"inference-{rows[0].cell}", caption, columns, body, [*notes, *_no_intervals(rows)]))
    return tables


def _failed_table(summary: Summary) -> Table | None:
    """Return the requests that failed, counted by endpoint, load and class."""
    failed = [r for r in summary.requests if r.class_ not in SUCCESS and r.last_attempt and not r.warm_up]
    kinds = list(dict.fromkeys((r.endpoint, r.cell, r.class_) for r in failed))
    rows = []
    for kind in kinds:
        of_kind = [r for r in failed if (r.endpoint, r.cell, r.class_) == kind]
        said = next((r.error_text for r in of_kind if r.error_text), None)
        rows.append([_named(kind[0], summary), Cell(kind[1]), Cell(kind[2]), _count(len(of_kind)), Cell(said or NONE)])
    columns = ["endpoint", "load", "class", "requests", "first error"]
    return Table("failed-requests", "Requests that failed", columns, rows) if rows else None


def _endpoints_table(summary: Summary) -> Table | None:
    rows = []
    for name in dict.fromkeys(record.endpoint for record in summary.rounds):
        facts = next((r.facts for r in summary.rounds if r.endpoint == name and r.facts), {})
        told = "; ".join(f"{key}: {fact}" for key, fact in facts.items() if key != "command")
        rows.append([_named(name, summary), Cell(summary.hardware.get(name, NONE)), Cell(told or NONE)])
    return Table("endpoints", "Endpoints", ["endpoint", "hardware", "facts"], rows) if rows else None


def _prompts_table(summary: Summary) -> Table | None:
    keys = ("count", "passages", "articles", "template", "select", "seed", "digest")
    rows = [
        [
            Cell(name),
            Cell(f"{facts['source']['name']} ({facts['source'].get('revision', NONE)})"),
            *(Cell(str(facts.get(key, NONE))) for key in keys),
        ]
        for name, facts in summary.prompts.items()
    ]
    return Table("prompts", "Questions", ["set", "source (revision)", *keys], rows) if rows else None


def _measurements_table(summary: Summary) -> Table:
    rows = [
        [Cell(name), Cell(r.state), _time(r.measured_at), _time(r.restored_at), Cell(resumed), Cell(_host(r))]
        for name, r, resumed in [
            *((f"{r.platform} batch {r.batch_size} repeat {r.repeat}", r, NONE) for r in summary.runs),
            *((f"{r.endpoint} {r.cell} round {r.round}", r, _yes(r.resumed)) for r in summary.rounds),
        ]
    ]
    columns = ["measurement", "state", "measured", "restored", "resumed", "host"]
    return Table("measurements", "All planned measurements", columns, rows)


# --- requests -----------------------------------------------------------------------------------------------


def _browsed(requests: Sequence[RequestRecord]) -> tuple[list[RequestRecord], int, int]:
    """Return all failed attempts and an even sample of the successes, with the counts of both."""
    failed = [request for request in requests if request.class_ not in SUCCESS]
    good = [request for request in requests if request.class_ in SUCCESS]
    count = min(MAX_SAMPLED, len(good))
    return failed + [good[place * len(good) // count] for place in range(count)], len(failed), len(good)


def _requests(shown: Iterable[RequestRecord], summary: Summary) -> list[dict[str, Any]]:
    questions: dict[str, str] = {}
    for name in summary.prompts:
        path = Path(paths.PROMPTS.format(set=name) + ".jsonl")
        if path.exists():
            questions |= {prompt["id"]: prompt["question"] for prompt in read_jsonl(path)}
    looks = style.looks(summary)
    return [
        {
            "request": request,
            "label": summary.labels.get(request.endpoint, request.endpoint),
            "colour": looks[request.endpoint].colour if request.endpoint in looks else style.GREY,
            "failed": request.class_ not in SUCCESS,
            "question": questions.get(request.key, ""),
            "latency": f"{number(request.e2e_s)} s" if request.e2e_s is not None else "no latency",
            "times": _times(request),
        }
        for request in shown
    ]


def _times(request: RequestRecord) -> str:
    tokens = {"prompt": request.prompt_tokens, "output": request.completion_tokens}
    told = [f"{name} tokens {count:,}" for name, count in tokens.items() if count is not None]
    told += [f"TTFT {number(request.ttft_s)} s"] if request.ttft_s is not None else []
    told += [f"TPOT {number(request.tpot_s * 1000)} ms"] if request.tpot_s is not None else []
    told += [f"F1 {100 * request.f1:.0f} %"] if request.f1 is not None else []
    told += [f"finish: {request.finish_reason}"] if request.finish_reason else []
    told += [f"HTTP {request.http_status}"] if request.http_status is not None else []
    return ", ".join(told)


# --- cells --------------------------------------------------------------------------------------------------


def _absent(summary: Summary) -> list[tuple[str, str, str]]:
    runs = [
        (f"{summary.labels.get(r.platform, r.platform)}, batch {r.batch_size}, repeat {r.repeat}", r.state, r.why or "")
        for r in summary.runs
        if r.state != "measured"
    ]
    rounds = [
        (f"{summary.labels.get(r.endpoint, r.endpoint)}, {r.cell}, round {r.round}", r.state, r.why or "")
        for r in summary.rounds
        if r.state != "measured"
    ]
    return runs + rounds


def _doubts(summary: Summary) -> list[str]:
    """Return what the logs themselves give reason to doubt."""
    return [
        f"{summary.labels.get(run.platform, run.platform)}, batch {run.batch_size}, repeat {run.repeat}: {check['text']}"
        for run in summary.runs
        for check in (run.log or {}).get("checks") or []
    ]


def _by_cell(rows: Sequence[InferenceRow]) -> list[list[InferenceRow]]:
    return [[row for row in rows if row.cell == cell] for cell in dict.fromkeys(row.cell for row in rows)]


def _no_intervals(rows: Iterable[InferenceRow]) -> list[str]:
    estimates = [estimate for row in rows for estimate in (row.typical_latency, row.ratio_to_baseline)]
    reasons = dict.fromkeys(e.why_no_interval for e in estimates if e and e.why_no_interval)
    return [f"No interval: {reason}." for reason in reasons]


def _named(name: str, summary: Summary) -> Cell:
    looks = style.looks(summary)
    return Cell(summary.labels.get(name, name), colour=looks[name].colour if name in looks else None)


def _figure(value: float | None, digits: int = 3) -> Cell:
    return Cell(number(value, digits), value)


def _count(value: int | None) -> Cell:
    return Cell(NONE if value is None else f"{value:,}", value)


def _share(value: float | None) -> Cell:
    return Cell(NONE if value is None else f"{100 * value:.0f} %", value)


def _estimate(estimate: Estimate | None) -> Cell:
    return Cell(interval(estimate), estimate.value if estimate else None)


def _time(text: str | None) -> Cell:
    return Cell(text.replace("T", " ") if text else NONE, text)


def _period(records: Iterable[TrainRunRecord | InferRoundRecord]) -> str:
    """Return from when to when was measured, to the minute."""
    times = sorted(record.measured_at[:16].replace("T", " ") for record in records if record.measured_at)
    return "" if not times else times[0] if times[0] == times[-1] else f"{times[0]} to {times[-1]}"


def _is_text(table: Table, column: int) -> bool:
    """Tell whether a column holds words, to be set flush left and broken."""
    return column > 0 and any(len(row[column].text) > 40 or row[column].colour for row in table.rows)


def _yes(value: bool | None) -> str:
    return NONE if value is None else "yes" if value else "no"


def _host(record: TrainRunRecord | InferRoundRecord) -> str:
    return str((record.host or {}).get("name", NONE))
