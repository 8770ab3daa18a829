"""The report page."""

from pathlib import Path

from accelbench.files import write_atomically, write_json
from accelbench.report.summary import Summary


def write_page(out: Path, summary: Summary) -> None:
    """Write report.html and provenance.json."""
    write_atomically(out / "report.html", "<!doctype html><title>accelbench</title>")
    write_json(out / "provenance.json", {})
