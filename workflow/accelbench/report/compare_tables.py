"""What `compare` prints: the table of the published comparison per load, then what it carries."""

from collections.abc import Mapping, Sequence
from typing import Any

from accelbench.compare.endpoints import Compared
from accelbench.report.tables import inference_markdown
from accelbench.report.text import NONE, listed, markdown, number

NOT_TESTED = "not tested"


def endpoints_text(compared: Compared) -> str:
    """Return the tables of all loads, the sentences of each pair, and the possible reasons."""
    said = [sentence for pair in compared.document["pairs"] for sentence in pair["verdict"]]
    notes = [f"- {note}" for note in compared.remarks]
    shown = inference_markdown(compared.rows, {}, "as recorded in the files", planned=False)
    return "\n".join([shown, *said, *notes, *_reasons(compared.document["reasons"])]) + "\n"


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


def training_text(document: Mapping[str, Any]) -> str:
    """Return the steady rates by batch size, their ratios, and what these carry."""
    sides, pairs = document["sides"], document["pairs"]
    sizes = sorted({row["batch_size"] for side in sides for row in side["rows"]})
    by_side = [{row["batch_size"]: row for row in side["rows"]} for side in sides]
    header = ["batch size", *(side["name"] for side in sides), *(f"{pair[0]} ÷ {pair[1]}" for pair in _compared(pairs))]
    body = [
        [
            f"{size:,}",
            *(_rate(own.get(size)) for own in by_side),
            *(_ratio(pairs, between, size) for between in _compared(pairs)),
        ]
        for size in sizes
    ]
    said = [sentence for pair in pairs for sentence in pair["verdict"]]
    return "\n".join([markdown(header, body), *said, *(f"- {note}" for note in document["notes"])]) + "\n"


def _compared(pairs: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((pair["a"], pair["b"]) for pair in pairs))


def _rate(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return NONE
    spread = f" ({number(row['lowest'], 4)} to {number(row['highest'], 4)})" if row["n"] > 1 else ""
    return f"{number(row['steady_rate_samples_per_s'], 4)}{spread}, n = {row['n']}"


def _ratio(pairs: Sequence[Mapping[str, Any]], between: tuple[str, str], size: int) -> str:
    for pair in pairs:
        if (pair["a"], pair["b"], pair["batch_size"]) == (*between, size):
            interval = pair["ratio_ci"]
            said = f" ({number(interval[0], 4)} to {number(interval[1], 4)})" if interval else " (no interval)"
            return f"{number(pair['ratio'], 4)}{said}"
    return NONE
