"""GPUs: a stand-in for NVML, and a constructed drm tree."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from accelbench.telemetry.sources import gpu
from accelbench.telemetry.sources.gpu import Gpu
from accelbench.telemetry.sources.source import Watched


class NVMLError(Exception):
    pass


class Nvml:
    """NVML as its documentation says, of two cards; a figure that is None isn't supported."""

    NVMLError, NVML_CLOCK_SM = NVMLError, 1

    def __init__(self, **shown: Any) -> None:
        self.energy_mj: int | None = 5_000
        self.pids: list[int] = []
        self.reasons = 0x1
        vars(self).update(shown)

    def nvmlInit(self) -> None: ...

    def __getattr__(self, name: str) -> Any:
        shown = {
            "nvmlDeviceGetCount": lambda: 2,
            "nvmlDeviceGetHandleByIndex": lambda number: number,
            "nvmlDeviceGetUUID": lambda handle: f"GPU-{handle}{handle}{handle}-x".encode(),
            "nvmlDeviceGetName": lambda _: b"NVIDIA A100-SXM4-40GB",
            "nvmlDeviceGetTotalEnergyConsumption": lambda _: self._supported(self.energy_mj),
            "nvmlDeviceGetPowerUsage": lambda _: 61_500,
            "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(used=3 << 30),
            "nvmlDeviceGetUtilizationRates": lambda _: SimpleNamespace(gpu=40),
            "nvmlDeviceGetClockInfo": lambda *_: 1410,
            "nvmlDeviceGetCurrentClocksThrottleReasons": lambda _: self.reasons,
            "nvmlDeviceGetComputeRunningProcesses": lambda _: [SimpleNamespace(pid=pid) for pid in self.pids],
        }
        return shown[name]

    def _supported(self, value: int | None) -> int:
        if value is None:
            raise NVMLError("Not Supported")
        return value


@pytest.fixture(autouse=True)
def _nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "DRM", tmp_path / "drm")
    monkeypatch.setattr(gpu, "NVIDIA_DRIVER", tmp_path / "version")
    monkeypatch.delenv(gpu.CARDS_OF_JOB, raising=False)


@pytest.fixture
def nvml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nvml:
    (tmp_path / "version").touch()
    found = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", found)  # type: ignore[arg-type]
    monkeypatch.setattr(gpu, "find_spec", lambda _: True)
    return found


def test_a_card_shows_its_energy_memory_and_clock(nvml: Nvml) -> None:
    source = Gpu(Watched())
    assert source.facts()["scopes"] == {
        n: {"scope": f"GPU {n}", "name": "NVIDIA A100-SXM4-40GB", "read": "energy counter"} for n in ("0", "1")
    }
    shown = source.read()
    assert (shown["1.energy_j"], shown["1.power_w"], shown["1.memory_bytes"]) == (5.0, 61.5, 3 << 30)
    assert (shown["1.utilisation"], shown["1.clock_mhz"], shown["1.throttled"]) == (0.4, 1410, 0.0)
    assert source.shows_power


def test_without_a_counter_energy_is_said_to_come_from_samples(nvml: Nvml) -> None:
    nvml.energy_mj = None
    source = Gpu(Watched())
    assert source.facts()["scopes"]["0"]["read"] == "samples of its power"  # type: ignore[index]
    assert source.read()["0.energy_j"] is None


def test_a_card_that_is_kept_from_its_clock_is_throttled_and_an_idle_one_is_not(nvml: Nvml) -> None:
    source = Gpu(Watched())
    nvml.reasons = 0x1 | 0x2
    assert source.read()["0.throttled"] == 0.0
    nvml.reasons = 0x1 | 0x20
    assert source.read()["0.throttled"] == 1.0


def test_other_processes_on_the_card_are_counted_and_those_out_of_sight_unknown(nvml: Nvml) -> None:
    source = Gpu(Watched())
    nvml.pids = [os.getpid(), 1]
    assert source.read()["0.other_processes"] == 1.0
    nvml.pids = [os.getpid(), 2**22 + 1]
    assert source.read()["0.other_processes"] is None


@pytest.mark.parametrize(("visible", "cards"), [("1", {"1"}), ("GPU-000", {"0"}), ("0,1", {"0", "1"}), ("", set())])
def test_only_the_cards_of_this_job_are_read(
    nvml: Nvml, monkeypatch: pytest.MonkeyPatch, visible: str, cards: set[str]
) -> None:
    monkeypatch.setenv(gpu.CARDS_OF_JOB, visible)
    assert set(Gpu(Watched()).facts()["scopes"]) == cards  # type: ignore[call-overload]


def test_a_server_with_cards_of_its_own_is_watched_there(nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gpu.CARDS_OF_JOB, "0")
    assert set(Gpu(Watched(cards="1")).facts()["scopes"]) == {"1"}  # type: ignore[call-overload]


def test_numbers_in_another_order_than_pcis_name_no_card(nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    monkeypatch.setenv(gpu.CARDS_OF_JOB, "0")
    assert "name the cards by UUID" in str(Gpu(Watched()).facts()["why"])
    monkeypatch.setenv(gpu.CARDS_OF_JOB, "GPU-000")
    assert set(Gpu(Watched()).facts()["scopes"]) == {"0"}  # type: ignore[call-overload]


def test_all_cards_are_read_unless_the_job_was_given_some(nvml: Nvml) -> None:
    assert set(Gpu(Watched()).facts()["scopes"]) == {"0", "1"}  # type: ignore[call-overload]


def test_a_part_of_a_card_is_said_to_show_no_power(nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gpu.CARDS_OF_JOB, "MIG-1c6a")
    assert "MIG" in str(Gpu(Watched()).facts()["why"])


def test_a_driver_that_fails_is_said_and_nothing_else(nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise NVMLError("Driver/library version mismatch")

    monkeypatch.setattr(nvml, "nvmlInit", broken)
    source = Gpu(Watched())
    assert source.facts() == {"scopes": {}, "why": "NVMLError: Driver/library version mismatch"}
    assert source.read() == {} and not source.shows_power


def test_a_machine_without_one_says_so() -> None:
    assert Gpu(Watched()).facts() == {"scopes": {}, "why": "no GPU that shows its power"}


def card(root: Path, vendor: str, **files: int) -> None:
    device = root / "drm/card0/device"
    (device / "hwmon/hwmon3").mkdir(parents=True)
    (device / "vendor").write_text(f"{vendor}\n")
    for name, value in files.items():
        folder = device if name.startswith(("mem", "gpu")) else device / "hwmon/hwmon3"
        (folder / name).write_text(f"{value}\n")


def test_an_amd_card_is_read_from_the_kernels_files(tmp_path: Path) -> None:
    big = {"mem_info_vram_total": 64 << 30, "mem_info_vram_used": 5 << 30, "gpu_busy_percent": 50}
    card(tmp_path, "0x1002", power1_average=90_000_000, **big)
    source = Gpu(Watched())
    assert source.facts()["scopes"] == {"card0": {"scope": "GPU card0", "name": "AMD", "read": "samples of its power"}}
    assert source.read() == {
        "card0.energy_j": None,
        "card0.power_w": 90.0,
        "card0.memory_bytes": 5 << 30,
        "card0.utilisation": 0.5,
    }


def test_an_intel_card_counts_its_energy(tmp_path: Path) -> None:
    card(tmp_path, "0x8086", energy1_input=12_000_000)
    assert Gpu(Watched()).read()["card0.energy_j"] == 12.0


@pytest.mark.parametrize(
    ("vendor", "files"),
    [
        ("0x1002", {"power1_average": 9, "mem_info_vram_total": 512 << 20}),  # a part of the processor
        ("0x10de", {"power1_average": 9}),  # NVML's
        ("0x8086", {}),
    ],
)
def test_what_is_no_accelerator_is_not_read(tmp_path: Path, vendor: str, files: dict[str, int]) -> None:
    card(tmp_path, vendor, **files)
    assert Gpu(Watched()).facts()["scopes"] == {}
