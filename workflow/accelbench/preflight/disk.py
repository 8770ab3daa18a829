"""The user's quota, as the site's own program tells it: shown, since no two sites print the same.

One thing is read in it: `quota` and `lfs quota` put a `*` behind a figure that is over its limit (their manuals).

The disk that results/ is on: what is free, and the user's quota, against what the plan writes.
"""

import getpass
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from accelbench.analysis.training import multiplied_parameters
from accelbench.config import Config
from accelbench.errors import UserError
from accelbench.plan import specs
from accelbench.plan.findings import Finding, fails, ok, warning
from accelbench.preflight.load import planned_loads
from accelbench.store import paths
from accelbench.training.backends import backend_of
from accelbench.training.params.check import trainers
from accelbench.training.params.render import render

_TIMEOUT_S = 10.0  # `quota` asks file servers, which may be away
LINES_SHOWN = 8
_OVER = re.compile(r"\d[\w.]*\*")


def quota(folder: Path) -> list[str] | None:
    """Return the lines of the first program here that tells of a quota; None where none does."""
    for command in _commands(folder):
        if shutil.which(command[0]) is not None and (lines := _printed(command)):
            return [f"`{' '.join(command)}` says:", *lines[:LINES_SHOWN]]
    return None


def is_exceeded(lines: list[str]) -> bool:
    """Whether a figure is marked as over its limit."""
    return any(_OVER.search(line) for line in lines[1:])


def _commands(folder: Path) -> Iterator[list[str]]:
    yield ["myquota"]  # ALCF
    yield ["lfs", "quota", "-h", "-u", getpass.getuser(), str(folder)]  # fails where the folder is not on Lustre
    yield ["quota", "-w"]


def _printed(command: list[str]) -> list[str]:
    """Return what a command prints; nothing where it has nothing to say. Its status tells of a limit, or nothing."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.rstrip() for line in done.stdout.splitlines() if line.strip()]


GB = 1e9
PROBE_BYTES = 1_000_000
CHECKPOINT_BYTES_PER_PARAMETER = 12  # float32: the weight and AdamW's two moments
WEIGHTS_BYTES = 520e6  # the packaged weights, converted
BYTES_PER_TOKEN = 500  # a streamed chunk, as it came, and its record
REST_BYTES = 200e6  # logs, tables, plots
MUCH_BYTES = 20e9  # a home folder's quota is of this order (ALCF: 50 GB)
FREE_SOME = "Free some, work in another folder, or set training.checkpoint_steps to null."
ASK_SITE = "Ask your site for your quota, and where there is room."


def check_disk(config: Config) -> Iterator[Finding]:
    """Yield whether what is planned fits: into what is free, and, as far as the site tells it, into the quota."""
    folder = _existing(Path(paths.RESULTS))
    needed, free = needed_bytes(config), shutil.disk_usage(folder).free
    text = f"{free / GB:,.3g} GB are free, the plan writes about {needed / GB:,.3g} GB"
    if needed > free:
        yield fails("disk", text, FREE_SOME)
    elif needed > free / 2:
        yield warning("disk", text, FREE_SOME)
    else:
        yield ok("disk", text)
    yield _quota(needed, quota(folder.absolute()))
    yield from _unwritable()


def _unwritable() -> Iterator[Finding]:
    """Yield the folders beside results/ that programs write into and can't: the home folder and that of TMPDIR."""
    for name, use in (("HOME", "caches"), ("TMPDIR", "temporary files")):
        if not (place := os.environ.get(name)):
            continue
        try:
            with tempfile.TemporaryFile(dir=place) as file:
                file.write(b"0" * PROBE_BYTES)
        except OSError as error:
            remedy = f"Free some there, or `export {name}=` another folder."
            yield warning(name, f"{place} takes no {use} ({error.strerror})", remedy)


def _quota(needed: float, said: list[str] | None) -> Finding:
    if said is None:
        text = "no program here tells of one (myquota, lfs quota, quota)"
        return warning("quota", text, ASK_SITE) if needed > MUCH_BYTES else ok("quota", text)
    text = "\n".join(said)
    if is_exceeded(said):
        return fails("quota", text, "A figure with * is over its limit. Free some, or work in another folder.")
    if needed > MUCH_BYTES:
        return warning("quota", text, f"See that it leaves {needed / GB:,.3g} GB, or set checkpoint_steps to null.")
    return ok("quota", text)


def needed_bytes(config: Config) -> float:
    """Return about how many bytes the whole plan writes."""
    answers = sum(planned_loads(config, name).answer_tokens * BYTES_PER_TOKEN for name in config.inference.run)
    converted = {
        endpoint.model
        for endpoint in (config.inference.endpoints[name] for name in config.inference.run)
        if endpoint.server is not None and endpoint.server.converts_weights
    }
    checkpoints = sum(_checkpoint_bytes(config, run) for run in specs.train_runs(config))
    return answers + len(converted) * WEIGHTS_BYTES + checkpoints + REST_BYTES


def _checkpoint_bytes(config: Config, run: specs.TrainRun) -> float:
    """Return what the checkpoints of one run take; 0 where its params file is refused, which another check says."""
    training, backend = config.training, backend_of(config, run.platform)
    if training.checkpoint_steps is None or not backend.platform.trains:
        return 0.0
    try:
        [(_, trainer)] = trainers(render(config, run))
        parameters = multiplied_parameters(trainer["init"]["model"]) or 0
    except (UserError, ValueError, KeyError, TypeError):
        return 0.0
    steps = training.settings(run.batch, run.micro).max_steps or training.max_steps
    saved = -(-steps // training.checkpoint_steps)
    kept = min(saved, backend.checkpoints_kept or saved)
    return float(kept * parameters * CHECKPOINT_BYTES_PER_PARAMETER)


def _existing(path: Path) -> Path:
    return path if path.exists() else Path()
