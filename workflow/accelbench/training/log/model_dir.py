"""
What a run of ModelZoo leaves in its model_dir, and which of it is preferred to the log's own lines.

    latest_run.log → cerebras_logs/{time}/run.log          the console's lines, and uncaught tracebacks
    cerebras_logs/run_meta.json                            the wafer jobs of all runs in this folder, in UTC
    cerebras_logs/{time}/executors/{n}/performance.json    rates; one for each stage, train loop or evaluation
    cerebras_logs/{time}/executors/{n}/track.json          seconds by section: {name: [total, {name: [total, …]}]}

Of track.json, `compile` spans its job's queue too, and `execute_send_weights` is the sending of the weights. Staging
has no section of its own: there the log's lines are finer. A name has one clock per stage, so wherever a name
stands in one file, it stands with the same total.

Sources: cerebras-appliance 2.6.0 (cluster/client.py, utils/tracker.py), cerebras-pytorch 2.6.0 (core/appliance.py,
backend/base_backend.py, utils/data/data_executor.py), ModelZoo (trainer/callbacks/profiler.py). A file that is
missing or broken says nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeGuard, get_args

import orjson

from accelbench.errors import UserError
from accelbench.store.files import read_json
from accelbench.store.records import Check, JobKind, ParsedLog, TrainerFacts, WaferJob
from accelbench.training.log.reader import DISAGREEMENT, read_log

_Figure = Literal[
    "global_rate_samples_per_s", "rate_samples_per_s", "total_samples", "total_time_s", "flops_utilization"
]
_FIGURES: Final[dict[str, _Figure]] = {
    "global_rate": "global_rate_samples_per_s",
    "rate": "rate_samples_per_s",
    "total_samples": "total_samples",
    "total_time": "total_time_s",
    "flops_utilization": "flops_utilization",
}
"""performance.json's names, and ours. Its samples_per_sec is global_rate again, its flops_utilization is in percent."""
JOB_KINDS: Final[dict[str, JobKind]] = {"compile_jobs": "compile", "execute_jobs": "execute"}
STARTS_AS: Final[dict[JobKind, str]] = {"compile": "compile", "execute": "staging"}
"""The phase that a job's pods start in, which the log can't always tell from its queue."""
_JobKey = Literal[
    "id", "workflow_id", "start_time", "scheduled_time", "end_time", "execution_time_s", "software_versions"
]
_AS_SAID: Final[tuple[_JobKey, ...]] = get_args(_JobKey)
_POLL_S: Final = 10.0
"""Between two looks at a job's state (cluster/client.py): seconds closer than that don't disagree."""
_STAGE: Final = re.compile(rb"Starting (\S+) loop \d")


def parse_run(file: Path, *, model_dir: Path | None = None, batch_size: int | None = None) -> ParsedLog:
    """Read a log and the model_dir of its run; `file` may be the model_dir itself. Raises UserError, OSError.

    The model_dir's own log is read in the place of `file` when it says all that `file` does.
    """
    given = None if file.is_dir() else file
    if given is None and model_dir is not None:
        raise UserError(f"{file} is a folder; with --model-dir, name a log.")
    folder = model_dir if given else file
    if folder is None:
        return read_log(file, batch_size=batch_size)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; name the model_dir of the run.")
    own = newest_log(folder)
    if own is None and given is None:
        raise UserError(f"{folder} holds no latest_run.log, so it is no model_dir; name a log, with its --model-dir.")
    logs = [read_log(path, batch_size=batch_size) for path in (own, given) if path]
    log = logs[0] if given is None or covers(logs[0], logs[-1]) else logs[-1]
    return prefer(log, left_behind(folder))


def newest_log(model_dir: Path) -> Path | None:
    """Return the log of the folder's last run."""
    latest = model_dir / "latest_run.log"
    runs = sorted(model_dir.glob("cerebras_logs/*/run.log"))
    return latest if latest.is_file() else runs[-1] if runs else None


def left_behind(model_dir: Path) -> TrainerFacts:
    """Return what the last run left beside its log: its rates, its sections, its jobs; only what is there."""
    run, facts = _run_folder(model_dir), TrainerFacts()
    if run:
        facts.update(_performance(run))
        if sections := _sections(run):
            facts["sections_s"] = sections
    if jobs := _jobs(model_dir):
        facts["jobs"] = jobs
    waits = [queue_s for job in jobs if (queue_s := job["queue_s"]) is not None]
    if waits:
        facts["queue_s"] = round(sum(waits), 3)
    return facts


def covers(log: ParsedLog, other: ParsedLog) -> bool:
    """Whether a log is of the same run as the other and says all that it does."""
    began, other_began = (_moment(each.started_at) for each in (log, other))
    if began and other_began:
        end, other_end = began + _wall(log), other_began + _wall(other)
        a_second = timedelta(seconds=1)
        if began > other_began + a_second or end < other_end - a_second:
            return False
    if other.last_step is not None and (
        log.first_step is None
        or log.last_step is None
        or log.first_step > (other.first_step or 0)
        or log.last_step < other.last_step
    ):
        return False
    jobs = {job.id for job in log.wsjobs}
    return jobs >= {job.id for job in other.wsjobs} and (log.failure is not None or other.failure is None)


def prefer(log: ParsedLog, beside: TrainerFacts) -> ParsedLog:
    """Put what stands beside a log (`facts`) in the place of what its lines say; `sources` says which was.

    Phases still add up to the wall time: what one gains, its neighbours lose. Only a phase that the log speaks of
    is touched, since the others lie outside of it.
    """
    known = {job.get("id") for job in beside.get("jobs") or ()}
    named = {job.id for job in log.wsjobs}
    if known and named and not known & named:
        text = "run_meta.json names none of the log's jobs, so the folder belongs to another run and is not used."
        return replace(log, checks=(*log.checks, Check("model_dir", text)))
    return _prefer_phases(_prefer_rates(log, beside), beside)


# --- which figures are preferred ----------------------------------------------------------------------------------


def _prefer_rates(log: ParsedLog, beside: TrainerFacts) -> ParsedLog:
    ours, theirs = log.global_rate_samples_per_s, beside.get("global_rate_samples_per_s")
    checks = list(log.checks)
    if ours and theirs and _apart(ours, theirs):
        checks.append(
            Check("rates", f"performance.json says {theirs:.4g} samples/s, the log's last GlobalRate is {ours:.4g}.")
        )
    preferred = [name for name in ("global_rate_samples_per_s", "flops_utilization") if name in beside]
    return replace(
        log,
        global_rate_samples_per_s=ours if theirs is None else theirs,
        flops_utilization=beside.get("flops_utilization", log.flops_utilization),
        checks=tuple(checks),
        sources={**log.sources, **dict.fromkeys(preferred, "performance.json")},
    )


class _Preferred(NamedTuple):
    """Seconds of a phase that another file knows, and who loses what the phase gains by them."""

    phase: str
    seconds: float
    source: str
    neighbours: Mapping[str, float]
    """Phases, and their shares of the difference."""
    tolerated_s: float
    """How far the log's own lines may be off."""


def _prefer_phases(log: ParsedLog, beside: TrainerFacts) -> ParsedLog:
    checks, sources, phases = list(log.checks), dict(log.sources), dict(log.phases_s)
    for preferred in _preferred_phases(log, beside):
        phase, seconds, source, neighbours, tolerated_s = preferred
        ours = log.phases_s[phase]
        if ours is None:
            continue
        said = f"{source} says {seconds:.0f} s of {phase}, the log's lines {ours:.0f} s."
        changed = _exchanged(phases, phase, seconds, neighbours)
        if changed is None:
            checks.append(Check("phases_s", f"{said} The log's are kept: its other phases leave no room for more."))
            continue
        if ours and abs(ours - seconds) > tolerated_s and _apart(ours, seconds):
            checks.append(Check("phases_s", said))
        phases, sources[f"phases_s.{phase}"] = changed, source
    return replace(log, phases_s=phases, checks=tuple(checks), sources=sources)


def _preferred_phases(log: ParsedLog, beside: TrainerFacts) -> Iterator[_Preferred]:
    sections = (beside.get("sections_s") or {}) if log.parts == 1 else {}  # track.json is of the last part only
    queues = _queues(log, beside)
    queued_s = 2 * _POLL_S + 1  # the first state but "queueing" is seen at the second look; run_meta.json's are full s
    if queues:
        shares = {STARTS_AS[kind]: len(each) for kind, each in queues.items() if each}
        seconds = sum(map(sum, queues.values()))
        yield _Preferred("queue", seconds, "run_meta.json", shares, queued_s * len(log.wsjobs))
    elif "scheduler_wait" in sections:
        shares = dict.fromkeys(STARTS_AS.values(), 1)
        yield _Preferred("queue", sections["scheduler_wait"], "track.json", shares, queued_s * len(log.wsjobs))
    if queues and queues["compile"] and "compile" in sections:
        seconds = max(0.0, sections["compile"] - sum(queues["compile"]))
        yield _Preferred("compile", seconds, "track.json", {"setup": 1}, _POLL_S)
    if "execute_send_weights" in sections:
        yield _Preferred("weights", sections["execute_send_weights"], "track.json", {"staging": 1}, _POLL_S)


def _queues(log: ParsedLog, beside: TrainerFacts) -> dict[JobKind, list[float]] | None:
    """Return the seconds that each of the log's jobs queued, by kind; None unless all of them are known."""
    jobs = {job.get("id"): job for job in beside.get("jobs") or ()}
    queues: dict[JobKind, list[float]] = {kind: [] for kind in STARTS_AS}
    for named in log.wsjobs:
        job = jobs.get(named.id, {})
        kind, queue_s = job.get("kind"), job.get("queue_s")
        if kind not in queues or queue_s is None:
            return None
        queues[kind].append(max(0.0, queue_s))
    return queues if log.wsjobs else None


def _exchanged(
    phases: Mapping[str, float | None], phase: str, seconds: float, neighbours: Mapping[str, float]
) -> dict[str, float | None] | None:
    """Give a phase its seconds, and take the difference from its neighbours by their shares, then from `other`.

    None when they don't have as much.
    """
    changed = dict(phases)
    missing = seconds - (phases[phase] or 0.0)
    parts = sum(neighbours.values())
    takes = [(name, missing * share / parts) for name, share in neighbours.items()]
    for name, take in takes:
        taken = min(take, changed[name] or 0.0)
        if changed[name] is not None or taken < 0:
            changed[name] = round((changed[name] or 0.0) - taken, 3)
        missing -= taken
    if missing > (changed["other"] or 0.0):
        return None
    changed["other"] = round((changed["other"] or 0.0) - missing, 3)
    changed[phase] = round(seconds, 3)
    return changed


def _apart(ours: float, theirs: float) -> bool:
    return math.isfinite(ours) and abs(ours - theirs) > DISAGREEMENT * min(abs(ours), abs(theirs))


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _wall(log: ParsedLog) -> timedelta:
    return timedelta(seconds=log.wall_s or 0)


# --- what is there ------------------------------------------------------------------------------------------------


def _run_folder(model_dir: Path) -> Path | None:
    """Return the folder of the last run in this model_dir."""
    latest = model_dir / "latest_run.log"
    folder = latest.resolve().parent
    if latest.is_file() and folder.parent.name == "cerebras_logs":
        return folder
    runs = sorted(path.parent for path in model_dir.glob("cerebras_logs/*/executors"))
    return runs[-1] if runs else None


def _performance(run: Path) -> TrainerFacts:
    path = run / "executors" / f"{_last_train_stage(run):06d}" / "performance.json"
    if not path.is_file():
        return {}
    said, facts = _mapping(path), TrainerFacts(performance_file=str(path))
    for theirs, ours in _FIGURES.items():
        if _is_number(figure := said.get(theirs)):
            facts[ours] = figure / 100 if ours == "flops_utilization" else figure
    return facts


def _last_train_stage(run: Path) -> int:
    """Return the number of the run's last train loop among all its stages; the first where its log is gone."""
    try:
        with (run / "run.log").open("rb") as log:
            stages = [match[1] for line in log if (match := _STAGE.search(line))]
    except OSError:
        return 1
    return max((n for n, stage in enumerate(stages, 1) if stage.startswith(b"train")), default=1)


def _sections(run: Path) -> dict[str, float]:
    """Return seconds by section over all stages of a run."""
    total: dict[str, float] = {}
    for path in sorted(run.glob("executors/[0-9]*/track.json")):
        for name, seconds in dict(_timed(_mapping(path))).items():
            total[name] = round(total.get(name, 0.0) + seconds, 3)
    return total


def _timed(sections: object) -> Iterator[tuple[str, float]]:
    for name, timed in sections.items() if isinstance(sections, dict) else ():
        seconds, within = timed if isinstance(timed, list) and len(timed) == 2 else (timed, {})
        if _is_number(seconds) and seconds >= 0:
            yield name, float(seconds)
        yield from _timed(within)


def _jobs(model_dir: Path) -> list[WaferJob]:
    said = _mapping(model_dir / "cerebras_logs" / "run_meta.json")
    return [
        _job(kind, job)
        for category, kind in JOB_KINDS.items()
        for job in _list(said.get(category))
        if isinstance(job, dict)
    ]


def _job(kind: JobKind, said: Mapping[str, object]) -> WaferJob:
    start, scheduled = (_seconds(said.get(name)) for name in ("start_time", "scheduled_time"))
    job: WaferJob = {
        "kind": kind,
        "queue_s": None if start is None or scheduled is None else round(scheduled - start, 3),
    }
    for name in _AS_SAID:
        if name in said:
            job[name] = said[name]
    return job


def _seconds(moment: Any) -> float | None:
    """Return a moment, written as ISO 8601 or as seconds, in seconds; None for anything else."""
    if _is_number(moment):
        return float(moment)
    try:
        return datetime.fromisoformat(moment).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


def _mapping(path: Path) -> Mapping[str, object]:
    try:
        said = read_json(path)
    except (OSError, orjson.JSONDecodeError):
        return {}
    return said if isinstance(said, dict) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
