"""Imports as folders: named apart, written whole or not at all, never over another's."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from accelbench.compare import importers
from accelbench.compare.endpoints import compare_endpoints
from accelbench.compare.importers import keep_imported
from accelbench.errors import UserError
from accelbench.store.files import read_jsonl

from .importers.results import DETAILS, vllm, written


def side(*latencies: float) -> dict[str, Any]:
    metadata = {"prompt_tokens": 247, "completion_tokens": 79}
    return {"results": [{"prompt_id": n, "latency_sec": s, "metadata": metadata} for n, s in enumerate(latencies)]}


def test_names_that_become_equal_are_numbered_and_lose_nothing(tmp_path: Path) -> None:
    names = ["Metis!", "metis?", "METIS ", "metis-2", "Metis"]
    source = written(tmp_path / "a.json", {name: side(*[1.0] * (place + 1)) for place, name in enumerate(names)})
    counts = keep_imported(source, tmp_path / "out")
    assert sorted(counts.values()) == [1, 2, 3, 4, 5]
    kept = {name: len(read_jsonl(tmp_path / "out" / name / "requests.jsonl")) for name in counts}
    assert kept == counts
    origins = {json.loads((tmp_path / "out" / n / "run.json").read_text())["imported"]["endpoint"] for n in counts}
    assert origins == set(names)


@pytest.mark.parametrize("letter", ["x", "é", "深", "𝔪"])
def test_a_name_of_200_characters_is_written_whatever_its_alphabet(tmp_path: Path, letter: str) -> None:
    source = written(tmp_path / "a.json", {letter * 200: side(1.0), letter * 201: side(2.0)})
    assert list(keep_imported(source, tmp_path / "out").values()) == [1, 1]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = written(tmp_path / "a.json", {"one": side(1.0), "two": side(2.0)})
    calls: list[Path] = []

    def full_disk(path: Path, records: object) -> None:
        calls.append(path)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        path.parent.mkdir(parents=True)
        path.write_text("")

    monkeypatch.setattr(importers, "write_jsonl", full_disk)
    with pytest.raises(OSError, match="No space left"):
        keep_imported(source, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_two_files_of_one_tool_are_sides_of_their_own(tmp_path: Path) -> None:
    for name in ("before", "after"):
        keep_imported(written(tmp_path / f"{name}.json", vllm()), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["after", "before"]


def test_another_files_results_are_never_overwritten(tmp_path: Path) -> None:
    keep_imported(written(tmp_path / "a.json", {"metis": side(1.0)}), tmp_path / "out")
    with pytest.raises(UserError, match=r"out/metis already exists and is not from .*b\.json"):
        keep_imported(written(tmp_path / "b.json", {"sophia": side(3.0), "metis": side(2.0)}), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["metis"]
    assert read_jsonl(tmp_path / "out/metis/requests.jsonl")[0]["e2e_s"] == 1.0


def test_the_same_file_may_be_imported_again(tmp_path: Path) -> None:
    source = written(tmp_path / "a.json", {"metis": side(1.0)})
    assert keep_imported(source, tmp_path / "out") == keep_imported(source, tmp_path / "out") == {"metis": 1}


def test_a_folder_of_ones_own_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "out/a").mkdir(parents=True)
    (tmp_path / "out/a/notes.txt").write_text("mine")
    with pytest.raises(UserError, match="already exists"):
        keep_imported(written(tmp_path / "a.json", vllm()), tmp_path / "out")


def test_imported_is_compared_as_the_file_itself_is(tmp_path: Path) -> None:
    for name, document in (("requests", vllm()), ("summary", vllm(**DETAILS))):
        source = written(tmp_path / f"{name}.json", document)
        keep_imported(source, tmp_path / "out")
        sides = (source, tmp_path / "out" / name)
        one, other = (asdict(compare_endpoints([path]).document) for path in sides)
        for said in (one, other):
            said["sides"][0]["name"] = said["throughput"][0]["name"] = name
            said["notes"] = [note.replace(f"{name}.json", name) for note in said["notes"]]
        assert one == other


def test_a_published_latency_below_0_is_left_out_and_counted(tmp_path: Path) -> None:
    source = written(tmp_path / "a.json", {"metis": side(1.0, -1.0)})
    assert keep_imported(source, tmp_path / "out") == {"metis": 1}
    notes = json.loads((tmp_path / "out/metis/run.json").read_text())["imported"]["notes"]
    assert "1 request left out: a negative time" in notes
