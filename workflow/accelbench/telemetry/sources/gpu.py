"""GPUs: NVIDIA's by NVML, AMD's and Intel's from Linux' drm and hwmon trees.

Energy is the card's own counter where it has one, else samples of its power; both may come from the same sensor, and
on some cards (A100, H100) NVML's power covers only a part of the time (Yang et al., "Part-time Power Measurements",
arXiv:2312.02741): agreement of the two is no independent check.
"""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import psutil

from accelbench.jobs.process import CUDA_ORDER, PCI_ORDER
from accelbench.store.records import JsonObject
from accelbench.telemetry.sources.source import Watched

DRM = Path("/sys/class/drm")
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
VENDORS = {"0x1002": "AMD", "0x8086": "Intel"}
LEAST_VRAM_BYTES = 4 << 30  # an integrated GPU has less of its own, and trains nothing
CARDS_OF_JOB = "CUDA_VISIBLE_DEVICES"


class GpuCard(Protocol):
    """One GPU."""

    name: str

    def read(self) -> dict[str, float | None]:
        """Return energy_j or power_w, memory_bytes, utilisation (0 to 1), clock_mhz, throttled, other_processes."""
        ...


class Gpu:
    """Reads all cards that this job may use."""

    def __init__(self, watched: Watched) -> None:
        """Find the cards."""
        self._cards: dict[str, GpuCard] = {}
        self._why: str | None = None
        try:
            self._cards = {**dict(_nvidia(watched)), **dict(_drm())}
        except Exception as error:  # NVML's own errors: whatever it is, the host is still recorded
            self._why = f"{type(error).__name__}: {error}"
        if not self._cards and self._why is None:
            self._why = "no GPU that shows its power"
        first = {index: card.read() for index, card in self._cards.items()}
        self._scopes = {
            index: {
                "scope": f"GPU {index}",
                "name": self._cards[index].name,
                "read": "energy counter" if shown.get("energy_j") is not None else "samples of its power",
            }
            for index, shown in first.items()
        }
        self.shows_power = bool(self._cards)
        self.interval_s = 0.5 if self._cards else math.inf

    def facts(self) -> JsonObject:
        """Return the cards, and how their energy is read."""
        return {"scopes": self._scopes, "why": self._why}

    def read(self) -> JsonObject:
        """Return what each card shows, as `{card}.{figure}`."""
        shown: dict[str, float | None] = {}
        for index, card in self._cards.items():
            with suppress(Exception):  # a card that falls off the bus is none of the measurement's business
                shown |= {f"{index}.{key}": value for key, value in card.read().items()}
        return shown


class _Nvidia:
    """A card by NVML (https://docs.nvidia.com/deploy/nvml-api)."""

    def __init__(self, nvml: Any, handle: Any, is_ours: Callable[[int], bool | None]) -> None:
        self._nvml, self._handle, self._is_ours = nvml, handle, is_ours
        name = nvml.nvmlDeviceGetName(handle)
        self.name = name.decode() if isinstance(name, bytes) else str(name)
        idle, set_by_user = 0x1, 0x2  # nvmlClocksThrottleReasonGpuIdle, …ApplicationsClocksSetting: no throttling
        self._harmless = idle | set_by_user

    def read(self) -> dict[str, float | None]:
        nvml, handle = self._nvml, self._handle
        reasons = self._shown(lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
        return {
            "energy_j": self._shown(lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3),
            "power_w": self._shown(lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1e3),
            "memory_bytes": self._shown(lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used),
            "utilisation": self._shown(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100),
            "clock_mhz": self._shown(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
            "throttled": None if reasons is None else float(bool(int(reasons) & ~self._harmless)),
            "other_processes": self._shown(self._others),
        }

    def _others(self) -> float | None:
        ours = [self._is_ours(one.pid) for one in self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)]
        return None if None in ours else float(ours.count(False))

    def _shown(self, read: Callable[[], float | None]) -> float | None:
        with suppress(self._nvml.NVMLError):
            return read()
        return None


class _Drm:
    """A card by the kernel's files (Documentation/ABI: sysfs-driver-intel-xe-hwmon; gpu/amdgpu/thermal)."""

    def __init__(self, device: Path, hwmon: Path, vendor: str) -> None:
        self.name = vendor
        self._device, self._hwmon = device, hwmon

    def read(self) -> dict[str, float | None]:
        energy_uj = _number(self._hwmon / "energy1_input")
        power_uw = next(filter(None, (_number(self._hwmon / f"power1_{kind}") for kind in ("average", "input"))), None)
        busy = _number(self._device / "gpu_busy_percent")
        return {
            "energy_j": None if energy_uj is None else energy_uj / 1e6,
            "power_w": None if power_uw is None else power_uw / 1e6,
            "memory_bytes": _number(self._device / "mem_info_vram_used"),
            "utilisation": None if busy is None else busy / 100,
        }


def _nvidia(watched: Watched) -> Iterator[tuple[str, GpuCard]]:
    """Yield NVIDIA's cards by their number; those that CUDA_VISIBLE_DEVICES hides from job or server are others'.

    Its numbers are in PCI's order, as NVML's are, unless the user has set another one.
    """
    if not NVIDIA_DRIVER.exists():
        return
    if find_spec("pynvml") is None:
        raise RuntimeError("a GPU is here, and nvidia-ml-py is not installed")
    import pynvml as nvml

    nvml.nvmlInit()
    said = os.environ.get(CARDS_OF_JOB) if watched.cards is None else watched.cards  # empty: no card at all
    visible = None if said is None else [name.strip() for name in said.split(",") if name.strip()]
    if any(name.startswith("MIG-") for name in visible or ()):
        raise RuntimeError("a part of a card (MIG) shows no power of its own")
    order = os.environ.get(CUDA_ORDER, PCI_ORDER)
    if order != PCI_ORDER and any(map(str.isdigit, visible or ())):
        raise RuntimeError(f"{CARDS_OF_JOB} has numbers, and {CUDA_ORDER} is {order}: name the cards by UUID")
    for number in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(number)
        uuid = nvml.nvmlDeviceGetUUID(handle)
        uuid = uuid.decode() if isinstance(uuid, bytes) else uuid
        if visible is None or any(name == str(number) or (len(name) > 4 and uuid.startswith(name)) for name in visible):
            yield str(number), _Nvidia(nvml, handle, lambda pid: _is_ours(pid, watched))


def _drm() -> Iterator[tuple[str, GpuCard]]:
    """Yield AMD's and Intel's cards that show energy or power."""
    for device in sorted(DRM.glob("card*[0-9]/device")):
        vendor = VENDORS.get(_text(device / "vendor"))
        vram = _number(device / "mem_info_vram_total")
        for hwmon in sorted(device.glob("hwmon/hwmon*"))[:1]:
            card = _Drm(device, hwmon, vendor or "")
            shown = card.read()
            if vendor and (vram is None or vram >= LEAST_VRAM_BYTES) and (shown["energy_j"] or shown["power_w"]):
                yield device.parent.name, card


def _is_ours(pid: int, watched: Watched) -> bool | None:
    """Tell whether a process belongs to the measurement; None where it can't be seen from here (a container)."""
    try:
        line = [pid, *(parent.pid for parent in psutil.Process(pid).parents())]
    except psutil.Error:
        return None
    return bool({watched.job, watched.workflow} & set(line))


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text().strip()
    return ""


def _number(path: Path) -> int | None:
    with suppress(ValueError):
        return int(_text(path))
    return None
