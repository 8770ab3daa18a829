"""RAPL by a constructed powercap tree."""

import os
from pathlib import Path

import pytest

from accelbench.telemetry.sources import powercap
from accelbench.telemetry.sources.powercap import Powercap
from accelbench.telemetry.sources.source import Watched


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, energy in (("intel-rapl:0", "5000000"), ("intel-rapl:1", "7500000"), ("intel-rapl:0:0", "1")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{energy}\n")
        (tmp_path / name / "max_energy_range_uj").write_text("262143328850\n")
    monkeypatch.setattr(powercap, "POWERCAP", tmp_path)
    return tmp_path


def test_each_package_is_read_and_its_domains_are_part_of_it(tree: Path) -> None:
    source = Powercap(Watched())
    assert source.facts() == {
        "scopes": {
            "0": {"scope": "CPU package 0", "wraps_j": 262143.32885},
            "1": {"scope": "CPU package 1", "wraps_j": 262143.32885},
        },
        "why": None,
    }
    assert source.read() == {"0.energy_j": 5.0, "1.energy_j": 7.5} and source.shows_power
    (tree / "intel-rapl:1/energy_uj").unlink()
    assert source.read() == {"0.energy_j": 5.0, "1.energy_j": None}


def test_why_there_is_none_is_said(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in tree.glob("*/energy_uj"):
        path.unlink()
        path.symlink_to("/dev/full" if os.geteuid() else "/nowhere")
    closed = Powercap(Watched())
    assert closed.facts()["why"] == "only root may read energy_uj" and not closed.shows_power
    monkeypatch.setattr(powercap, "POWERCAP", tree / "none")
    assert Powercap(Watched()).facts() == {"scopes": {}, "why": "no powercap tree"}
