"""A Cerebras CS-3 through ModelZoo's `cszoo fit` (flags of Release 2.6.0).

SIGTERM leaves the wafer job running (cszoo has no handler); SIGINT shuts it down cleanly, so that is how it is
asked to stop. Batch size and steps are set in the params file only: cszoo has no flags for them.
"""

import os
import signal
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from accelbench.config import CerebrasPlatform
from accelbench.files import read_json
from accelbench.training.backends import Launch

FIGURES = {  # performance.json's names (ModelZoo 2.6.0), and ours, with units
    "global_rate": "global_rate_samples_per_s",
    "rate": "rate_samples_per_s",
    "samples_per_sec": "samples_per_total_s",
    "total_samples": "total_samples",
    "total_time": "total_time_s",
    "flops_utilization": "flops_utilization",
}
JOB_KINDS = {"compile_jobs": "compile", "execute_jobs": "execute"}


def launch(platform: CerebrasPlatform, params: Path, model_dir: Path) -> Launch:
    """Return the cszoo command for one params file, and what cancels its wafer jobs when cszoo is killed."""
    command = [*_words(platform.command), "fit", str(params), "--target_device", "CSX", "--model_dir", str(model_dir)]
    if platform.job_labels:
        command += ["--job_labels", *(f"{key}={value}" for key, value in platform.job_labels.items())]
    cancel = [sys.executable, "-m", "accelbench.training.cancel", *_words(platform.csctl)]
    return Launch(command, stop=signal.SIGINT, afterwards=cancel)


def facts(model_dir: Path) -> dict[str, Any]:
    """Return what cszoo leaves beside the log: its own record of rates, and of its jobs; only what is there."""
    return {**_performance(model_dir), **_jobs(model_dir)}


def _performance(model_dir: Path) -> dict[str, Any]:
    files = sorted(model_dir.glob("cerebras_logs/*/executors/*/performance.json"))
    if not files:
        return {}
    said = _mapping(files[-1])
    figures = {ours: said[theirs] for theirs, ours in FIGURES.items() if _is_number(said.get(theirs))}
    return {"performance_file": str(files[-1]), **figures}


def _jobs(model_dir: Path) -> dict[str, Any]:
    """Return the wafer jobs as cszoo recorded them (cerebras-appliance 2.6.0, cluster/client.py)."""
    said = _mapping(model_dir / "cerebras_logs" / "run_meta.json")
    jobs = [
        _job(kind, job)
        for category, kind in JOB_KINDS.items()
        for job in _list(said.get(category))
        if isinstance(job, dict)
    ]
    waits = [job["queue_s"] for job in jobs if job.get("queue_s") is not None]
    return {**({"jobs": jobs} if jobs else {}), **({"queue_s": round(sum(waits), 3)} if waits else {})}


def _job(kind: str, job: dict[str, Any]) -> dict[str, Any]:
    names = ("id", "workflow_id", "start_time", "scheduled_time", "end_time", "execution_time_s", "software_versions")
    start, scheduled = (_seconds(job.get(name)) for name in ("start_time", "scheduled_time"))
    queue_s = None if start is None or scheduled is None else round(scheduled - start, 3)
    return {"kind": kind, **{name: job[name] for name in names if name in job}, "queue_s": queue_s}


def _seconds(moment: Any) -> float | None:
    """Return a moment, written as ISO 8601 or as seconds, in seconds; None for anything else."""
    if _is_number(moment):
        return float(moment)
    try:
        return datetime.fromisoformat(moment).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


def _mapping(path: Path) -> dict[str, Any]:
    try:
        said = read_json(path)
    except (OSError, orjson.JSONDecodeError):
        return {}
    return said if isinstance(said, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _words(command: Sequence[str]) -> list[str]:
    return [os.path.expanduser(word) for word in command]  # noqa: PTH111  (words, not only paths)
