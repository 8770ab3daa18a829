"""The report: one self-contained page, provenance.json, and what is missing, one line per cause."""

import base64
import hashlib
import re
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from numpy.typing import NDArray

from accelbench.analysis.inference import InferenceRow
from accelbench.plan.measurement import MEASURED, MEASURING_RULES, versions
from accelbench.report import sentences
from accelbench.report.glossary import terms_used
from accelbench.report.page import sections, tables
from accelbench.report.page.cards import cards
from accelbench.report.page.charts import DARK_PALETTE, charts, themed, whisker_strip
from accelbench.report.plots import PLOTS, style
from accelbench.report.reasons import LOCAL
from accelbench.report.summary import Summary
from accelbench.report.text import listed, number, size_name, unique
from accelbench.store import paths
from accelbench.store.files import read_jsonl, write_atomically, write_json
from accelbench.store.records import InferRoundRecord, JsonObject, RequestRecord, SearchRecord, TrainRunRecord
from accelbench.store.requests import Requests

MOST_NAMES = 5
_FOLDER = re.compile(r"results/(?:training|inference)/[^\s:`,]+?/r\d+")
ANEW = f"--forcerun …/{MEASURED}`"


@dataclass(frozen=True, slots=True)
class Absent:
    """Measurements that are missing for one reason."""

    names: list[str]
    state: str
    why: str

    @property
    def what(self) -> str:
        """Name them, or the first of many."""
        more = len(self.names) - MOST_NAMES
        return listed([*self.names[:MOST_NAMES], f"{more:,} more"] if more > 0 else self.names)


def by_cause(found: Iterable[tuple[str, str, str]]) -> list[Absent]:
    """Group missing measurements (name, state, why) by cause, in order of the first of each.

    Causes that differ only in the folder are one; their commands are then those for all.
    """
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for name, state, why in found:
        groups.setdefault((state, _FOLDER.sub("…", why)), []).append((name, why))
    return [
        Absent([name for name, _ in same], state, same[0][1] if len(same) == 1 else _of_all(cause))
        for (state, cause), same in groups.items()
    ]


def lines(found: Iterable[tuple[str, str, str]], noun: str) -> list[str]:
    """Return the groups as lines for a terminal: `failed: NAME: why`, or `failed: 4 runs: why` and their names."""
    told = []
    for each in by_cause(found):
        if len(each.names) == 1:
            told.append(f"  {each.state}: {each.names[0]}: {each.why}")
        else:
            told += [f"  {each.state}: {len(each.names):,} {noun}: {each.why}", f"    {each.what}"]
    return told


def _of_all(cause: str) -> str:
    return cause.replace(ANEW, f"--forcerun {' '.join(MEASURING_RULES)}`").replace(f" …/{MEASURED}`", "`")


HERE = Path(__file__).parent
PACKAGES = (
    "accelbench", "snakemake", "pandas", "datasets", "requests", "pydantic", "scipy", "matplotlib", "jinja2",
    "torch", "transformers", "xllamacpp",
)  # fmt: skip


def write_page(out: Path, summary: Summary) -> None:
    """Write report.html and provenance.json; the plots are read from out/plots."""
    facts = provenance(summary)
    write_json(out / "provenance.json", facts)
    write_atomically(out / "report.html", page_html(out / "plots", summary, facts))


def page_html(plots: Path, summary: Summary, facts: JsonObject) -> str:
    """Return the page."""
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (HERE / "page.js").read_text()
    return environment.get_template("page.html.j2").render(
        summary=summary,
        sentences=sentences.summary_sentences(
            summary.training,
            summary.inference,
            summary.rounds,
            summary.labels,
            summary.runs,
            summary.judged,
            summary.evidence,
            summary.tests,
            summary.sweeps,
            summary.searches,
        ),
        cards=[(card, whisker_strip(card.interval) if card.interval else "") for card in cards(summary)],
        charts=charts(summary),
        limitations=sentences.limitations(
            summary.runs, summary.rounds, _real_rows(summary), summary.labels, summary.evidence
        ),
        completeness=sentences.completeness(summary.planned, summary.inference),
        reconnects=int(_is_reconnect(summary.requests).sum()),
        hardware=_hardware(summary),
        palette=[*zip(style.PALETTE, DARK_PALETTE, strict=True)],
        meaning=_meaning,
        gaps=sentences.absent(summary.planned),
        absent=_absent(summary),
        failed=tables.failed_requests(summary),
        training=sections.training_table(summary),
        training_in_full=sections.training_in_full(summary),
        published=sections.published(summary),
        to_loss=sections.to_loss(summary),
        phases=sections.phases(summary),
        doubts=_doubts(summary),
        inference=tables.inference(summary),
        inference_in_full=tables.inference_in_full(summary),
        cells=tables.cells_table(summary),
        said=[
            *sections.said(summary),
            *sentences.knees(summary.curves, summary.labels),
            *filter(None, [sentences.untested(summary.inference, summary.evidence)]),
        ],
        laws=sections.laws(summary),
        fixed_costs=sections.fixed_costs(summary),
        verdicts=sections.verdicts(summary),
        searches=sections.highest_loads(summary),
        economy=sections.economy_table(summary),
        reasons=sections.possible_reasons(summary),
        details=tables.details_table(summary),
        plots={half: _drawn(plots, summary, half) for half in ("training", "inference")},
        calibration=tables.client_error_table(),
        requests=(shown := _requests(summary)),
        counts={
            "failures": sum(item["failed"] for item in shown),
            "successes": summary.shown.succeeded,
            "shown": len(summary.shown.places) - summary.shown.failed,
        },
        endpoints=tables.endpoints_table(summary),
        prompts=tables.prompts_table(summary),
        measurements=tables.measurements(summary),
        facts=facts,
        css=Markup((HERE / "page.css").read_text()),
        period=_period(summary.planned),
        text_columns=tables.text_columns,
        terms_used=terms_used,
        script=Markup(script),
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _drawn(folder: Path, summary: Summary, half: str) -> list[Markup]:
    """Return the plots of a half whose axes were planned."""
    return [
        inline_svg(folder / f"{name}.svg", plot.caption)
        for name, plot in PLOTS.items()
        if plot.half == half and plot.is_planned(summary)
    ]


def inline_svg(path: Path, alt: str) -> Markup:
    """Return a plot to embed in the page: no prolog, no namespaces, unique ids, as wide as its column."""
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
    svg = themed(svg)
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1))


# --- provenance ---------------------------------------------------------------------------------------------


def provenance(summary: Summary) -> JsonObject:
    """Return where all figures come from."""
    records: list[TrainRunRecord | InferRoundRecord] = [*summary.runs, *summary.rounds]
    hosts = {str(r.host.get("name")): _without(r.host, "load_1min") for r in records if r.host}
    return {
        "title": summary.title,
        "accelbench": versions("accelbench")["accelbench"],
        "commit": _commit(),
        "packages": {name: found for name, found in versions(*PACKAGES).items() if found},
        "hosts": list(hosts.values()),
        "prompts": {name: _without(facts, "digests") for name, facts in summary.prompts.items()},
        "training": [_without(asdict(run), "log") for run in summary.runs],
        "inference": [asdict(record) for record in summary.rounds],
    }


def _commit() -> str | None:
    """Return the commit of the checkout that this package lies in, marked where files differ from it."""
    root = HERE.parents[3]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _without(record: JsonObject, key: str) -> JsonObject:
    return {name: value for name, value in record.items() if name != key}


# --- requests -----------------------------------------------------------------------------------------------


def _requests(summary: Summary) -> list[dict[str, Any]]:
    """Return the attempts to show; failed ones first."""
    again = _is_reconnect(summary.requests)
    places = [place for place in summary.shown.places if not again[place]]
    shown = list(summary.requests.at(places).records()) if places else []
    shown.sort(key=lambda request: request.is_success)
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
            "colour": themed(looks[request.endpoint].colour if request.endpoint in looks else style.GREY),
            "failed": not request.is_success,
            "question": questions.get(request.key, ""),
            "latency": f"{number(request.e2e_s)} s" if request.e2e_s is not None else "no latency",
            "times": _times(request),
        }
        for request in shown
    ]


def _is_reconnect(requests: Requests) -> NDArray[np.bool_]:
    """Tell which attempts found a kept-alive connection closed, and were sent again on a new one."""
    again: NDArray[np.bool_] = (requests["class_"] == "connection") & ~requests["last_attempt"].astype(bool)
    return again


def _times(request: RequestRecord) -> str:
    tokens = {"prompt": request.prompt_tokens, "output": request.completion_tokens}
    told = [f"{name} tokens {count:,}" for name, count in tokens.items() if count is not None]
    told += [f"counted as {request.tokens_rule}"] if request.tokens_rule not in (None, "completion_tokens") else []
    told += [f"TTFT {number(request.ttft_s)} s"] if request.ttft_s is not None else []
    told += [f"TPOT {number(request.tpot_s * 1000)} ms"] if request.tpot_s is not None else []
    told += [f"F1 {100 * request.f1:.0f} %"] if request.f1 is not None else []
    told += [f"finish: {request.finish_reason}"] if request.finish_reason else []
    told += [f"HTTP {request.http_status}"] if request.http_status is not None else []
    return ", ".join(told)


# --- gaps and doubts ---------------------------------------------------------------------------------------


def _absent(summary: Summary) -> list[Absent]:
    """Return what is missing, its state, and why, by cause."""
    runs = [(_run_name(run, summary), run.state, run.why or "") for run in summary.runs]
    rounds = [
        (f"{summary.labels.get(each.endpoint, each.endpoint)}, {each.cell}, round {each.round}", each.state, each.why)
        for each in summary.rounds
    ]
    searches = [
        (f"{summary.labels.get(each.endpoint, each.endpoint)}, {each.cell}", each.state, each.why)
        for each in summary.searches
    ]
    found = [(name, state, why or "") for name, state, why in [*runs, *rounds, *searches] if state != "measured"]
    return by_cause(found)


def _doubts(summary: Summary) -> list[str]:
    """Return the doubts about each log."""
    return [f"{_run_name(run, summary)}: {check.text}" for run in summary.runs for check in run.logged.checks]


def _run_name(run: TrainRunRecord, summary: Summary) -> str:
    return f"{size_name(run, summary.labels)}, repeat {run.repeat}"


def _real_rows(summary: Summary) -> list[InferenceRow]:
    twins = {each.pair.ours.name for each in summary.judged if each.control}
    return [row for row in summary.inference if row.endpoint not in twins]


def _hardware(summary: Summary) -> list[str]:
    """Return what was measured, half by half: not the machine that only waited for it."""
    trained = unique(
        f"{summary.labels.get(run.platform, run.platform)}{_of_device(run)}"
        for run in summary.runs
        if run.state == "measured"
    )
    served = unique(
        summary.hardware.get(each.endpoint) or _served_on(each) for each in summary.rounds if each.state == "measured"
    )
    halves = {"Training": trained, "Inference": served}
    return [f"{half}: {listed(found)}" for half, found in halves.items() if found]


def _of_device(run: TrainRunRecord) -> str:
    device = (run.trainer or {}).get("device_name") or run.logged.device
    return f" ({device})" if device else ""


def _served_on(record: InferRoundRecord) -> str:
    facts = record.facts or {}
    host = urlsplit(str(facts.get("base_url") or "")).hostname
    if host in LOCAL and record.host:
        return str(record.host.get("cpu", record.host.get("name")))
    return f"{host or record.endpoint} (hardware not stated)"


def _meaning(column: str) -> str:
    """Return what the terms in a column's title mean."""
    return " ".join(term.meaning for term in terms_used(column))


def _period(records: Iterable[TrainRunRecord | InferRoundRecord | SearchRecord]) -> str:
    """Return the period of the measurements, to the minute."""
    times = sorted(record.measured_at[:16].replace("T", " ") for record in records if record.measured_at)
    if not times or times[0] == times[-1]:
        return "".join(times[:1])
    first, last = times[0], times[-1]
    return f"{first} to {last[11:] if first[:10] == last[:10] else last}"
