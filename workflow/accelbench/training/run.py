"""One training run: start the platform's backend, keep its log as it comes, record how it ended.

A run that is over (backend: log) is only read: its log is copied, and judged like any other.
"""

import shutil
import time
from pathlib import Path
from typing import Any

import orjson

from accelbench import specs
from accelbench.config import CerebrasPlatform, Config, LogPlatform, TorchPlatform
from accelbench.errors import UserError
from accelbench.files import sha256, write_if_changed, write_json
from accelbench.measurement import MEASURED, finish, host, measuring, now, restore
from accelbench.process import guarded
from accelbench.training.backends import backend_of
from accelbench.training.log import parse_log
from accelbench.training.params import dump, render

LOG, RECORD, PARAMS = "run.log", "run.json", "params.yaml"


def train(config: Config, run: specs.TrainRun, spec: str, folder: Path) -> None:
    """Train one size on one platform, or restore the finished run of the same spec.

    Raises UserError, with the way the run ended and where its log lies, when it did not complete.
    """
    platform = config.training.platforms[run.platform]
    on_this_host = isinstance(platform, TorchPlatform) and not platform.own_node
    with measuring(folder, shares_host=not on_this_host):
        for left in (MEASURED, RECORD):
            (folder / left).unlink(missing_ok=True)
        if config.restore and restore(folder, spec):
            return
        started_at, start_s = now(), time.perf_counter()
        if isinstance(platform, LogPlatform):
            ran = _brought(platform, run, orjson.loads(spec)["log"], folder)
        else:
            ran = _run(config, run, platform, folder)
        log = parse_log(folder / LOG, batch_size=run.batch)
        completed = ran["exit_status"] in (0, None) and log.outcome == "completed"
        record = {
            "spec": orjson.loads(spec),
            **ran,
            "started_at": started_at,
            "ended_at": now(),
            "wall_s": round(time.perf_counter() - start_s, 3),
            "outcome": "completed" if completed else log.outcome if log.outcome != "completed" else "failed",
            "failure": log.to_json()["failure"],
        }
        write_json(folder / RECORD, record)
        if not completed:
            raise UserError(_why(folder, record))
        finish(folder, spec, [LOG, RECORD])


def _run(
    config: Config, run: specs.TrainRun, platform: TorchPlatform | CerebrasPlatform, folder: Path
) -> dict[str, Any]:
    """Run the platform's trainer to its end; return what the log does not say."""
    backend = backend_of(platform)
    params, model_dir = folder / PARAMS, folder / "model_dir"
    shutil.rmtree(model_dir, ignore_errors=True)  # a finished model_dir makes the next run fail
    # anew: mount_dirs, job_time_sec and their like stand in no spec, so they may have changed since the file was
    write_if_changed(params, dump(render(config, run)))
    launch = backend.launch(platform, params, model_dir)
    machine = host()
    print(f"{folder}: training; follow it with: tail -f {folder / LOG}", flush=True)
    with guarded(
        launch.command, folder / LOG, env=launch.env, stop=launch.stop, afterwards=launch.afterwards
    ) as process:
        status = process.wait()
    return {"command": launch.command, "exit_status": status, "host": machine, "trainer": backend.facts(model_dir)}


def _brought(platform: LogPlatform, run: specs.TrainRun, digest: str, folder: Path) -> dict[str, Any]:
    """Copy the log of a run that is over; nothing is known of it but what the log says."""
    source, kept = platform.log(run.batch, run.repeat), folder / LOG
    if not source.exists():
        raise UserError(
            f"{source} is not there: training.platforms.{run.platform}.logs names it for batch {run.batch}, "
            f"repeat {run.repeat}. Put the log there, or take the batch size out of training.batch_sizes."
        )
    kept.unlink(missing_ok=True)  # a hard link in the archive keeps the old content
    shutil.copyfile(source, kept)
    if sha256(kept)[: len(digest)] != digest:
        raise UserError(f"{source} changed while it was read. Run the same command again when its run is over.")
    print(f"{folder}: read from {source}.", flush=True)
    return {"command": None, "exit_status": None, "host": None, "trainer": {"log_file": str(source)}}


def _why(folder: Path, record: dict[str, Any]) -> str:
    """Say how a run failed: the log's own failure, else its last line."""
    failure, brought = record["failure"], record["command"] is None
    text = failure["text"] if failure else _last_line(folder / LOG)
    status = "" if brought else f" (exit status {record['exit_status']})"
    source = f" ({record['trainer']['log_file']})" if brought else ""
    retry = "Bring another log to have it read" if brought else "The same command again retries it"
    return (
        f"{folder}: the run ended as {record['outcome']}{status}: {text}\n"
        f"Its log is {folder / LOG}{source}. {retry}; `snakemake report` shows the rest meanwhile."
    )


def _last_line(path: Path) -> str:
    with path.open("rb") as stream:
        stream.seek(0, 2)
        stream.seek(max(0, stream.tell() - 4096))
        lines = stream.read().decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it printed nothing"
