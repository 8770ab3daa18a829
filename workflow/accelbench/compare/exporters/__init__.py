"""Measured rounds as other tools write theirs: a format is one module with a function, and one entry in EXPORTERS."""

from collections.abc import Callable
from pathlib import Path

from accelbench.compare.exporters.exported import Exported
from accelbench.compare.exporters.llm_d import benchmark_report
from accelbench.compare.exporters.vllm import vllm_result
from accelbench.compare.sides import read_sides
from accelbench.errors import UserError
from accelbench.store.files import write_json
from accelbench.store.records import JsonObject

EXPORTERS: dict[str, Callable[[Exported], JsonObject]] = {"vllm": vllm_result, "llm-d": benchmark_report}


def export(source: Path, format_: str, out: Path) -> list[Path]:
    """Write each round of a file or folder of requests as a file of its own; return these.

    Raises UserError for an unknown format, or when there are no single requests.
    """
    if format_ not in EXPORTERS:
        raise UserError(f"--format {format_} is unknown; choose from {', '.join(EXPORTERS)}.")
    written = []
    for load in (load for side in read_sides([source]) for load in side):
        for record in load.rounds:
            if exported := Exported.of(record, load.attempts, load.slots):
                written.append(out / f"{load.cell}-r{record.round}.json".replace("/", "-"))
                write_json(written[-1], EXPORTERS[format_](exported))
    if not written:
        raise UserError(f"{source} holds no single requests with their times, which an export needs.")
    return written
