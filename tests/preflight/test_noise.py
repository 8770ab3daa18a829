"""What makes a machine's figures vary: said with what to do, and nothing said of what is fine or can't be read."""

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from accelbench.config import Config
from accelbench.preflight import machine
from accelbench.preflight.machine import check_noise

QUIET = {
    "cpu/cpu0/cpufreq/scaling_governor": "performance", "cpu/intel_pstate/no_turbo": "1", "cpu/smt/active": "0",
    "cgroup/job/cpu.max": "max 100000", "own": "0::/job",
}  # fmt: skip


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a machine that is fine."""
    for name, text in QUIET.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    for name, place in (("CPUS", "cpu"), ("CGROUPS", "cgroup"), ("OWN_CGROUP", "own")):
        monkeypatch.setattr(machine, name, tmp_path / place)
    monkeypatch.setattr(machine, "_LOOK_S", 0.0)
    monkeypatch.setattr(machine, "_spent_by_others", dict)
    monkeypatch.setattr(psutil, "cpu_count", lambda: 8)
    monkeypatch.setattr(psutil, "cpu_times", lambda: SimpleNamespace(user=100.0, system=10.0, steal=0.0))
    monkeypatch.setattr(psutil, "swap_memory", lambda: SimpleNamespace(used=0))
    return tmp_path


def said() -> dict[str, str]:
    found = list(check_noise(Config()))
    assert all(finding.verdict == "warning" and finding.remedy for finding in found)
    return {finding.what: finding.text for finding in found}


def test_a_machine_that_is_fine_or_shows_nothing_is_not_spoken_of(quiet: Path) -> None:
    assert said() == {}
    for name in QUIET:
        (quiet / name).unlink()
    assert said() == {}


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("cpu/cpu0/cpufreq/scaling_governor", "powersave", "CPU governor"),
        ("cpu/intel_pstate/no_turbo", "0", "turbo"),
        ("cpu/smt/active", "1", "SMT"),
        ("cgroup/job/cpu.max", "150000 100000", "CPU limit"),
    ],
)
def test_a_setting_that_makes_figures_vary_is_named(quiet: Path, name: str, text: str, what: str) -> None:
    (quiet / name).write_text(text)
    assert list(said()) == [what]


def test_steal_and_swap_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_times", lambda: SimpleNamespace(user=80.0, system=10.0, steal=10.0))
    monkeypatch.setattr(psutil, "swap_memory", lambda: SimpleNamespace(used=2_000_000_000))
    found = said()
    assert "took 10%" in found["virtual machine"] and "2.0 GB" in found["swap"]


def test_processes_of_other_users_are_counted_and_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([{7: 1.0, 8: 1.0}, {7: 9.0, 8: 1.0}])
    monkeypatch.setattr(machine, "_spent_by_others", lambda: next(looks))
    clock = iter([0.0, 2.0])
    monkeypatch.setattr(machine.time, "monotonic", lambda: next(clock))
    assert said() == {"other users": "1 processes of other users use 50% of the CPU time"}
