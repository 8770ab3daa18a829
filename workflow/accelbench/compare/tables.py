"""What `compare` prints: the verdict, the essential figures of each load, and what they carry; or all that there is."""

from collections.abc import Mapping, Sequence

from accelbench.analysis.intervals import Estimate
from accelbench.analysis.metrics import lines_in
from accelbench.compare.endpoints import Compared
from accelbench.compare.importers.imported import Distribution, ToolSummary
from accelbench.compare.sides import Recorded
from accelbench.compare.training import ComparedSize, ComparedSweeps, SizeRates
from accelbench.foreign import printable
from accelbench.report.inference_tables import Grid, comparison
from accelbench.report.tables import inference_markdown
from accelbench.report.text import NONE, interval, listed, markdown, number, unique

NOT_TESTED = "not tested"
FILES_OWN = "the file's own"
MORE = "All tables, the latency laws, percentiles and possible reasons: --full."


def endpoints_text(compared: Compared, *, full: bool = False) -> str:
    """Return the verdicts, then of each load its essential figures; `full`: with all sentences, tables and reasons."""
    every = [sentence for pair in compared.document.pairs for sentence in pair.verdict]
    if not full:
        return _text(compared, compared.verdicts, ["", MORE])
    everything = inference_markdown(compared.rows, {}, "as recorded in the files", planned=False)
    return _text(compared, every, ["", *([everything] if compared.rows else []), *_reasons(compared.document.reasons)])


def contenders_text(compared: Compared, more: str) -> str:
    """Return two sentences on each pair, then the essential figures; `more` says where all others are."""
    return _text(compared, compared.in_short, ["", more])


def _text(compared: Compared, said: Sequence[str], after: Sequence[str]) -> str:
    tables = [_essential(compared, cell) for cell in unique(load.cell for load in compared.loads)]
    parts = [*said, *([""] if said else []), *tables, *(f"- {note}" for note in compared.remarks), *after]
    return printable("\n".join(parts) + "\n")


def _essential(compared: Compared, cell: str) -> str:
    """Return the few figures that a load is judged by; beside them, those of sides without single requests."""
    rows = [row for row in compared.rows if row.cell == cell]
    essential = [line.label for _, line in lines_in("essential")]
    grid = comparison(rows, {}) if rows else Grid(["metric"], [[label] for label in essential], [])
    without = [load for load in compared.loads if load.cell == cell and not load.attempts]
    header = [*grid.header, *(f"{load.name} ({FILES_OWN})" for load in without)]
    columns = [_own_figures(load) for load in without]
    lines = [[*line, *(column.get(line[0], NONE) for column in columns)] for line in grid.body if line[0] in essential]
    told = [line for line in lines if set(line[1:]) != {NONE}]
    title = f"### {cell}: {rows[0].load if rows else _load_of(without[0])}\n"
    return "\n".join([title, markdown(header, told)])


def _own_figures(load: Recorded) -> dict[str, str]:
    own: ToolSummary = load.summary
    asked = NONE if own.requests is None else f"{own.ok if own.ok is not None else NONE}/{own.requests}"
    return {
        "mean latency (s)": number(own.latency_s.mean),
        "median latency (s)": number(own.latency_s.median),
        "TTFT, median (s)": _middle(own.ttft_s),
        "TPOT, median (ms)": _middle(own.tpot_s, 1000),
        "system throughput (output tok/s), over rounds": number(own.output_tok_per_s),
        "requests per s, over rounds": number(own.requests_per_s),
        "response length (output tokens)": number(own.completion_tokens),
        "success": f"{own.ok} (of an unknown number)" if own.requests is None and own.ok is not None else asked,
    }


def _middle(times_s: Distribution, units: float = 1.0) -> str:
    """Return the median, or where a file has none, the mean."""
    if times_s.median is not None:
        return number(units * times_s.median)
    return NONE if times_s.mean is None else f"{number(units * times_s.mean)} (mean)"


def _load_of(load: Recorded) -> str:
    found = load.imported
    if found and found.rate_per_s is not None:
        return f"open loop, {found.rate_per_s:g} requests per s"
    return f"{found.concurrency} at a time" if found and found.concurrency else "concurrency not recorded"


def _reasons(reasons: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the candidates that the records speak to; those that were not tested are only named."""
    told = [
        [each[column] for column in ("candidate", "side", "load", "finding", "evidence")]
        for each in reasons
        if each["finding"] != NOT_TESTED
    ]
    untested = list(dict.fromkeys(each["candidate"] for each in reasons if each["finding"] == NOT_TESTED))
    table = markdown(["possible reason", "side", "load", "these records", "evidence"], told) if told else ""
    return [
        *(["", table] if table else []),
        *([f"Not tested everywhere: {listed(untested)}."] if untested else []),
    ]


def training_text(compared: ComparedSweeps) -> str:
    """Return what the ratios carry, then the steady rates by batch size."""
    sides, pairs = compared["sides"], compared["pairs"]
    rows = [{row["batch_size"]: row for row in side["rows"]} for side in sides]
    ratios: dict[tuple[str, str], dict[int, ComparedSize]] = {}
    for pair in pairs:
        ratios.setdefault((pair["a"], pair["b"]), {})[pair["batch_size"]] = pair
    header = ["batch size", *(side["name"] for side in sides), *(f"{ours} ÷ {theirs}" for ours, theirs in ratios)]
    body = [
        [
            f"{size:,}",
            *(_rate(own.get(size)) for own in rows),
            *(_ratio(between.get(size)) for between in ratios.values()),
        ]
        for size in sorted({size for own in rows for size in own})
    ]
    said = [sentence for pair in pairs for sentence in pair["verdict"]]
    return printable("\n".join([*said, "", markdown(header, body), *(f"- {n}" for n in compared["notes"])]) + "\n")


def _rate(row: SizeRates | None) -> str:
    if row is None:
        return NONE
    spread = f" ({number(row['lowest'], 4)} to {number(row['highest'], 4)})" if row["n"] > 1 else ""
    return f"{number(row['steady_rate_samples_per_s'], 4)}{spread}, n = {row['n']}"


def _ratio(pair: ComparedSize | None) -> str:
    if pair is None:
        return NONE
    low, high = pair["ratio_ci"] or (None, None)
    return interval(Estimate(pair["ratio"], low, high, sum(pair["n"])), 4)
