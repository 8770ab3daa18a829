"""A toy of each kind that docs/extending.md names, added through its registry, and found where a user sees it."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from accelbench.compare import importers
from accelbench.compare.endpoints import compare
from accelbench.compare.importers.imported import Document, Imported, Importer, Requests
from accelbench.compare.tables import endpoints_text
from accelbench.report.page.document import write_page
from accelbench.report.plots import PLOTS, Plot, style, write_plots
from accelbench.report.summary import Summary

from .report.page.test_document import request, summary


def _toy_results(documents: Sequence[Document]) -> list[Imported] | None:
    if not all("toy_ms" in each for each in documents):
        return None
    requests = Requests()
    for place, each in enumerate(documents):
        requests.add(str(place), e2e_s=each["toy_ms"] / 1000)
    return [Imported(requests.kept())]


def test_an_import_format_is_one_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importers, "IMPORTERS", (*importers.IMPORTERS, Importer("toy", _toy_results)))
    file = tmp_path / "toy.jsonl"
    file.write_text("\n".join(json.dumps({"toy_ms": latency}) for latency in (1000, 3000)))
    compared = compare([file])
    assert compared.document["sides"][0]["latency_s"]["mean"] == 2.0
    assert "| 2.00 " in endpoints_text(compared)


def _toy_figure(shown: Summary) -> Figure:
    return style.nothing("A toy", f"It saw {len(shown.requests)} requests.", [])


def test_a_plot_is_one_function_and_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = Plot("inference", f"{__name__}:_toy_figure", "What the toy shows.")
    monkeypatch.setitem(PLOTS, "toy", toy)
    shown = summary([request(1)])
    write_plots(tmp_path / "plots", shown)
    write_page(tmp_path, shown)
    assert "It saw 1 requests." in (tmp_path / "plots/toy.svg").read_text()
    assert 'aria-label="What the toy shows."' in (tmp_path / "report.html").read_text()
