"""A toy of each kind that docs/extending.md names, added through its registry, and found where a user sees it."""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import pytest
from matplotlib.figure import Figure

from accelbench.compare import exporters, importers
from accelbench.compare.endpoints import compare_endpoints
from accelbench.compare.importers.imported import Imported, ImportedRequests, Importer, JsonDocument
from accelbench.compare.tables import endpoints_text
from accelbench.config.inference import LocalServer
from accelbench.inference.servers import SERVERS, Serve, ServerKind, running
from accelbench.plan import trace
from accelbench.preflight.inference import check_servers
from accelbench.report.page.document import write_page
from accelbench.report.plots import PLOTS, Plot, style, write_plots
from accelbench.report.summary import Summary
from accelbench.store.files import write_jsonl
from accelbench.training.log import trainers
from accelbench.training.log.reader import read_log
from accelbench.training.log.trainers.trainer import Planned, Said, StepLine, Trainer

from .preflight.test_preflight import asking
from .report.page.test_document import request, summary


def _toy_results(documents: Sequence[JsonDocument]) -> list[Imported] | None:
    if not all("toy_ms" in each for each in documents):
        return None
    requests = ImportedRequests()
    for place, each in enumerate(documents):
        requests.add(str(place), e2e_s=each["toy_ms"] / 1000)
    return [Imported(requests.kept())]


def test_an_import_format_is_one_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importers, "IMPORTERS", (*importers.IMPORTERS, Importer("toy", _toy_results)))
    file = tmp_path / "toy.jsonl"
    file.write_text("\n".join(json.dumps({"toy_ms": latency}) for latency in (1000, 3000)))
    compared = compare_endpoints([file])
    assert compared.document.sides[0].latency_s["mean"] == 2.0
    assert "| 2.00 " in endpoints_text(compared)


def test_an_export_format_is_one_function_and_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(exporters.EXPORTERS, "toy", lambda round_: {"n": len(round_.good), "model": round_.model})
    write_jsonl(tmp_path / "r1/requests.jsonl", [replace(request(1), dequeued_unix_s=1.0, end_unix_s=2.0)])
    (written,) = exporters.export(tmp_path, "toy", tmp_path / "out")
    assert json.loads(written.read_text()) == {"n": 1, "model": "unknown"}


def test_a_shape_of_trace_is_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(trace.SHAPES, "toy", trace.Shape("ms", "prompt", "answer", lambda ms: float(ms) / 1000))
    (tmp_path / "toy.csv").write_text("ms,prompt,answer\n500,9,3\n1500,8,2\n")
    assert trace.read_trace(str(tmp_path / "toy.csv"), 2)[1] == trace.Arrival(1.0, 8, 2)


def _toy_figure(shown: Summary) -> Figure:
    return style.nothing("A toy", f"It saw {len(shown.requests)} requests.", [])


def test_a_plot_is_one_function_and_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = Plot("inference", f"{__name__}:_toy_figure", "What the toy shows.")
    monkeypatch.setitem(PLOTS, "toy", toy)
    monkeypatch.chdir(tmp_path)
    shown = summary([request(1)])
    write_plots(tmp_path / "plots", shown)
    write_page(tmp_path, shown)
    assert "It saw 1 requests." in (tmp_path / "plots/toy.svg").read_text()
    assert 'aria-label="What the toy shows."' in (tmp_path / "report.html").read_text()


class ToyServer(LocalServer):
    kind: Literal["toy"] = "toy"
    context_tokens: ClassVar = None


def test_a_server_kind_is_one_model_and_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def serve(model: str, _: ToyServer, port: int) -> Serve:
        command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
        return Serve(command, {"server": f"toy of {model}"}, cwd=tmp_path, ready="/")

    monkeypatch.setitem(SERVERS, "toy", ServerKind(serve, lambda model, _: f"a toy of {model} is here"))
    config = asking()
    endpoint = config.inference.endpoints["one"].model_copy(update={"server": ToyServer()})
    config.inference.endpoints["one"] = endpoint
    assert "a toy of m is here" in [finding.text for finding in check_servers(config)]
    with running("one", endpoint, tmp_path / "server.log") as server:
        assert server.facts["server"] == "toy of m"


_TOY_LINE = re.compile(r"toy (\d+) of (\d+): loss=(\S+) batch=(\d+) ms=(\d+)")


class _ToyLog:
    def take(self, line: str) -> Iterator[Said]:
        if said := _TOY_LINE.search(line):
            yield Planned(batch_size=int(said[4]), last_step=int(said[2]))
            yield StepLine(int(said[1]), float(said[3]), step_s=int(said[5]) / 1000)


def test_a_trainers_log_is_one_reader_and_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainers, "TRAINERS", (*trainers.TRAINERS, Trainer("toy", _TOY_LINE, _ToyLog)))
    file = tmp_path / "toy.log"
    file.write_text("".join(f"toy {step} of 3: loss=2.5 batch=8 ms=500\n" for step in (1, 2, 3)))
    log = read_log(file)
    assert (log.trainer, log.outcome, log.final_loss, log.steady_rate_samples_per_s) == ("toy", "completed", 2.5, 16.0)
