"""One training run: start the platform's backend, keep its log as it comes, record how it ended.

An interrupted run goes on where it can (`tries`); its log then has the parts one after the other.

A run that is over is only read: its log is copied, and judged like any other.
"""

import shutil
import time
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from accelbench.analysis.disturbance import MOST_TAKEN, disturbed_in_words
from accelbench.config import Config
from accelbench.errors import UserError
from accelbench.jobs.process import guarded, how_ended
from accelbench.jobs.scheduler import end_explained, why_ended
from accelbench.plan import specs
from accelbench.plan.measurement import MEASURED, finish, host, measuring, now, restore
from accelbench.store.files import copy, read_record, sha256, write_json
from accelbench.store.paths import snakemake
from accelbench.store.records import Failure, ParsedLog
from accelbench.telemetry.recorder import TELEMETRY, recorded, recording, wait_until_quiet
from accelbench.telemetry.sources.source import Watched
from accelbench.telemetry.summary import telemetry_of
from accelbench.training import dataset
from accelbench.training.backends import backend_of
from accelbench.training.backends.backend import Backend, Launch
from accelbench.training.params.render import read_params
from accelbench.training.tries import (
    RunFile,
    Try,
    begun_from,
    earlier_tries,
    is_of_a_signal,
    keep_whole_checkpoints,
    step_to_resume_from,
    summary,
)

LOG, RECORD, PARAMS, MODEL_DIR = "run.log", "run.json", "params.yaml", "model_dir"
UNFINISHED: RunFile = {"exit_status": None, "trainer": {}, "outcome": "unfinished", "failure": None}
"""What the record of a run says until it has ended, and of one that was killed with all that watched it."""


def measure_run(config: Config, run: specs.TrainRun, spec: str, folder: Path) -> None:
    """Train one size on one platform, or restore the finished run of the same spec.

    Raises UserError, with the way the run ended and where its log lies, when it did not complete.
    """
    backend = backend_of(config, run.platform)
    brought = backend.platform.log(run.batch, run.repeat, run.micro)
    shared = not backend.trains_here
    with measuring(folder, shares_host=shared), end_explained(partial(_note_end, folder / RECORD)):
        (folder / MEASURED).unlink(missing_ok=True)
        if config.restore and restore(folder, spec):
            return
        ran = _brought(backend, run, spec, brought, folder) if brought else _run(backend, config, spec, folder)
        log = backend.read(folder / LOG, run)
        completed = ran["exit_status"] in (0, None) and log.outcome == "completed"
        record: RunFile = {
            **ran,
            "outcome": "completed" if completed else log.outcome if log.outcome != "completed" else "failed",
            "failure": log.failure or _unlogged_failure(ran["exit_status"], folder / LOG),
        }
        write_json(folder / RECORD, record)
        if not completed:
            again = "Provide another log to have it read" if brought else _again(backend, spec, folder)
            raise UserError(f"{_why(folder, record)} {again}; `{snakemake()} --cores 4 report` shows the rest.")
        finish(folder, spec, [LOG, RECORD, *recorded(folder)])
        print(f"{folder}: {_came_out(log, folder)}", flush=True)


def _came_out(log: ParsedLog, folder: Path) -> str:
    """Say how fast a run was, what loss it reached, and whether the host was busy."""
    rate, loss, found = log.steady_rate_samples_per_s, log.final_loss, telemetry_of(folder)
    said = [f"{rate:,.4g} samples/s"] if rate is not None else []
    said += [f"loss {loss:,.4g}"] if loss is not None else []
    busy = disturbed_in_words([found.host_activity]) if found else None
    return (", ".join(said) or "completed") + (f"; busy: {busy}" if busy else "")


def _note_end(record: Path, reason: str) -> None:
    """Write down why a cluster ended the run, before it is gone."""
    said = read_record(record)
    if said.get("outcome") == UNFINISHED["outcome"]:
        write_json(record, {**said, "failure": {"text": reason}})


def _unlogged_failure(exit_status: int | None, log: Path) -> Failure | None:
    """Return why a trainer failed that logged no failure: what it said last, or what the cluster says of a kill."""
    if not exit_status:
        return None
    reason = why_ended() if is_of_a_signal(exit_status) else _last_line(log)
    return {"text": reason} if reason else None


def _run(backend: Backend[Any], config: Config, spec: str, folder: Path) -> RunFile:
    """Run the platform's trainer to its end; return what the log does not say."""
    file, model_dir, log = folder / PARAMS, folder / MODEL_DIR, folder / LOG
    tries = earlier_tries(folder / RECORD, log, spec)
    if not tries:
        (folder / RECORD).unlink(missing_ok=True)
    backend.require()
    params = read_params(file)
    dataset.require_data(params, str(config.training.model))
    launch = backend.launch(file, model_dir)
    step = step_to_resume_from(tries, params, log, backend.checkpoints(model_dir))
    if step:
        keep_whole_checkpoints(log, model_dir)
    else:
        tries = []
        shutil.rmtree(model_dir, ignore_errors=True)  # a finished model_dir makes the next run fail
    known: RunFile = {
        "spec": orjson.loads(spec),
        "command": launch.command,
        "host": host(),
        "dataset": dataset.data_facts(params),
    }
    if backend.trains_here and config.measurement.when_busy == "wait":
        wait_until_quiet(str(folder), Watched(), MOST_TAKEN)
    begun = Try(now(), step)
    write_json(folder / RECORD, {**known, **UNFINISHED, **summary([*tries, begun])})
    what = f"training resumes from step {step}" if step else "training"
    print(f"{folder}: {what}; follow it with: tail -f {log}", flush=True)
    ended = _trained(launch, log, begun, here=backend.trains_here)
    if not ended.from_step:
        tries = []
    return {
        **known,
        "exit_status": ended.exit_status,
        "trainer": backend.facts(model_dir),
        **summary([*tries, ended]),
    }


def _trained(launch: Launch, log: Path, begun: Try, *, here: bool) -> Try:
    """Run the trainer to its end; a try that goes on appends to the log. `here`: this host is what trains.

    The step that it began from is the one that its log tells: what the trainer loads is its own to decide.
    """
    start_s, append = time.perf_counter(), begun.from_step > 0
    offset = log.stat().st_size if append else 0
    if not append:
        (log.parent / TELEMETRY).unlink(missing_ok=True)
    with (
        recording(log.parent, Watched()) if here else nullcontext(),
        guarded(
            launch.command, log, env=launch.env, stop=launch.stop, afterwards=launch.afterwards, append=append
        ) as process,
    ):
        status = process.wait()
    told = begun_from(log, offset)
    begun = begun if told is None else replace(begun, from_step=told)
    return begun.ended(status, time.perf_counter() - start_s)


def _brought(backend: Backend[Any], run: specs.TrainRun, spec: str, source: Path, folder: Path) -> RunFile:
    """Copy the log of a run that is over; nothing is known of it but what the log says."""
    kept, planned = folder / LOG, orjson.loads(spec)
    copying, start_s = Try(now(), 0), time.perf_counter()
    (folder / RECORD).unlink(missing_ok=True)
    if not source.exists():
        raise UserError(
            f"{source} is not there: {backend.key}.logs names it for batch {run.batch}, "
            f"repeat {run.repeat}. Put the log there, or take the batch size out of training.batch_sizes."
        )
    copy(source, kept)
    if not sha256(kept).startswith(planned["log"]):
        raise UserError(f"{source} changed while it was read. Run the same command again when its run has ended.")
    print(f"{folder}: read from {source}.", flush=True)
    return {
        "spec": planned,
        "command": None,
        "exit_status": None,
        "host": None,
        "trainer": {"log_file": str(source)},
        **summary([copying.ended(None, time.perf_counter() - start_s)]),
    }


def _again(backend: Backend[Any], spec: str, folder: Path) -> str:
    """Say what the same command does next with a run that did not complete."""
    log, model_dir = folder / LOG, folder / MODEL_DIR
    tries = earlier_tries(folder / RECORD, log, spec)
    step = step_to_resume_from(tries, read_params(folder / PARAMS), log, backend.checkpoints(model_dir))
    if step:
        return f"The same command resumes from step {step} (delete {model_dir} to start over)"
    if tries and tries[-1].from_step:
        return f"The same command starts over instead of resuming from step {tries[-1].from_step}"
    return "The same command tries it again"


def _why(folder: Path, record: RunFile) -> str:
    """Say how a run failed: the log's own failure, else its last line."""
    failure, brought, exit_status = record["failure"], record["command"] is None, record["exit_status"]
    text = failure["text"] if failure else _last_line(folder / LOG)
    status = "" if exit_status is None else f" ({how_ended(exit_status)})"
    source = f" ({record['trainer']['log_file']})" if brought else ""
    return f"{folder}: the run ended as {record['outcome']}{status}: {text}\nIts log is {folder / LOG}{source}."


def _last_line(path: Path) -> str:
    with path.open("rb") as stream:
        stream.seek(0, 2)
        stream.seek(max(0, stream.tell() - 4096))
        lines = stream.read().decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it printed nothing"
