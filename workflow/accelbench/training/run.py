"""One training run: start the platform's backend, keep its log as it comes, record how it ended."""

import shutil
import time
from pathlib import Path

import orjson

from accelbench import specs
from accelbench.config import Config
from accelbench.errors import UserError
from accelbench.files import write_if_changed, write_json
from accelbench.measurement import MEASURED, finish, host, measuring, now, restore
from accelbench.process import guarded
from accelbench.training.backends import backend_of
from accelbench.training.log import parse_log
from accelbench.training.params import dump, render

LOG, RECORD = "run.log", "run.json"


def train(config: Config, run: specs.TrainRun, spec: str, params: Path, folder: Path) -> None:
    """Train one size on one platform, or restore the finished run of the same spec.

    Raises UserError, with the way the run ended and where its log lies, when it did not complete.
    """
    platform = config.training.platforms[run.platform]
    on_this_host = platform.backend == "torch" and not platform.own_node
    with measuring(folder, shares_host=not on_this_host):
        for left in (MEASURED, RECORD):
            (folder / left).unlink(missing_ok=True)
        if config.restore and restore(folder, spec):
            return
        backend = backend_of(platform)
        model_dir = folder / "model_dir"
        shutil.rmtree(model_dir, ignore_errors=True)  # a finished model_dir makes the next run fail
        # anew: mount_dirs, job_time_sec and their like stand in no spec, so they may have changed since the file was
        write_if_changed(params, dump(render(config, run)))
        launch = backend.launch(platform, params, model_dir)
        machine, started_at, start_s = host(), now(), time.perf_counter()
        print(f"{folder}: training; follow it with: tail -f {folder / LOG}", flush=True)
        with guarded(launch.command, folder / LOG, env=launch.env, stop=launch.stop) as process:
            status = process.wait()
        log = parse_log(folder / LOG, batch_size=run.batch)
        completed = status == 0 and log.outcome == "completed"
        record = {
            "spec": orjson.loads(spec),
            "command": launch.command,
            "exit_status": status,
            "started_at": started_at,
            "ended_at": now(),
            "wall_s": round(time.perf_counter() - start_s, 3),
            "outcome": "completed" if completed else log.outcome if log.outcome != "completed" else "failed",
            "failure": log.to_json()["failure"],
            "host": machine,
            "trainer": backend.facts(model_dir),
        }
        write_json(folder / RECORD, record)
        if not completed:
            raise UserError(_why(folder, record))
        finish(folder, spec, [LOG, RECORD])


def _why(folder: Path, record: dict[str, object]) -> str:
    """Say how a run failed: the log's own failure, else its last line."""
    failure = record["failure"]
    text = failure["text"] if isinstance(failure, dict) else _last_line(folder / LOG)
    return (
        f"{folder}: the run ended as {record['outcome']} (exit status {record['exit_status']}): {text}\n"
        f"Its log is {folder / LOG}. The same command again retries it; `snakemake report` shows the rest meanwhile."
    )


def _last_line(path: Path) -> str:
    with path.open("rb") as stream:
        stream.seek(0, 2)
        stream.seek(max(0, stream.tell() - 4096))
        lines = stream.read().decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it printed nothing"
