"""What `compare` prints: the table of the published comparison per load, then what it carries."""

from collections.abc import Mapping, Sequence
from typing import Any

from accelbench.analysis.inference import summarise
from accelbench.analysis.load import Load, due_per_s
from accelbench.analysis.sides import Side
from accelbench.compare import Compared
from accelbench.records import InferRoundRecord, RequestRecord
from accelbench.report.tables import inference_markdown
from accelbench.report.text import NONE, markdown, number


def endpoints_text(compared: Compared) -> str:
    """Return the tables of all loads, and the sentences of each pair."""
    requests = [r for side in compared.sides for r in side.requests]
    rounds = dict.fromkeys((r.endpoint, r.cell, r.round) for r in requests)
    records = [InferRoundRecord(*key, state="measured", why=None) for key in rounds]
    loads = {cell: _load(cell, [s for s in compared.sides if s.cell == cell]) for cell in _cells(compared.sides)}
    rows = summarise(records, requests, loads, compared.sides[0].name)
    said = [sentence for pair in compared.document["pairs"] for sentence in pair["verdict"]]
    notes = [f"- {note}" for note in compared.remarks]
    shown = inference_markdown(rows, {}, "as recorded in the files", planned=False)
    return "\n".join([shown, *said, *notes]) + "\n"


def training_text(document: Mapping[str, Any]) -> str:
    """Return the steady rates by batch size, and their ratios."""
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
    notes = "".join(f"- {note}\n" for note in document["notes"])
    return f"{markdown(header, body)}{notes}"


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


def _cells(sides: Sequence[Side]) -> list[str]:
    return list(dict.fromkeys(side.cell for side in sides))


def _load(cell: str, sides: Sequence[Side]) -> Load:
    """Return the load of a cell as its records tell: they hold no config."""
    first = sides[0].requests
    one_round = [r for r in first if r.round == first[0].round] if first else []
    return Load(cell, max(_in_flight(side.requests) for side in sides), rate_per_s=due_per_s(one_round))


def _in_flight(requests: Sequence[RequestRecord]) -> int:
    """Return the most requests that were in flight at once, the concurrency of a closed loop."""
    marks = sorted(
        mark for r in requests if r.sent_unix_s and r.end_unix_s for mark in ((r.sent_unix_s, 1), (r.end_unix_s, -1))
    )
    most = open_ = 0
    for _, change in marks:
        open_ += change
        most = max(most, open_)
    return most or 1
