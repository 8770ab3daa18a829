"""How cszoo and csctl are called: in a virtual environment, with environment modules, through a proxy.

A Cerebras CS-3 through ModelZoo's `cszoo fit` (flags of Release 2.6.0).

SIGTERM leaves the wafer job running (cszoo has no handler); SIGINT shuts it down cleanly, so that is how it is
asked to stop. Batch size and steps are set in the params file only: cszoo has no flags for them.

The compile of one size before its runs, in a job that holds no wafer (cszoo fit --compile_only).

It fills the cluster's compile cache, so that a run finds its compile there. A compile that fails is no failed
measurement: the run tries it again and is recorded as what it is.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

from accelbench.config import CerebrasPlatform, Config
from accelbench.errors import UserError
from accelbench.jobs.process import guarded, how_ended
from accelbench.plan import specs
from accelbench.plan.measurement import measuring, now
from accelbench.store.files import write_json
from accelbench.training.backends import Launch, steps_of
from accelbench.training.log.model_dir import left_behind
from accelbench.training.log.reader import parse_log

PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy")
_TIMEOUT_S = 60.0  # a login shell on a busy node


def called(platform: CerebrasPlatform, command: Sequence[str]) -> list[str]:
    """Return a command as it is called: by a login shell where environment modules are to be loaded first."""
    words = [_at_home(word) for word in command]
    return [*_shell(platform, 'exec "$@"'), *words] if platform.modules else words


def environment(platform: CerebrasPlatform) -> dict[str, str]:
    """Return what the virtual environment and the proxy set in a job's environment."""
    inside = {}
    if platform.venv:
        inside["VIRTUAL_ENV"] = str(_bin(platform.venv).parent)
        inside["PATH"] = os.pathsep.join([str(_bin(platform.venv)), os.environ.get("PATH", os.defpath)])
    return inside | (dict.fromkeys(PROXIES, platform.proxy) if platform.proxy else {})


def require(platform: CerebrasPlatform, key: str) -> None:
    """Look for cszoo and csctl where they will be called; `key` is the platform's place in the config.

    Raises UserError when cszoo is not there. A missing csctl, which only a cszoo that was killed needs, is said.
    """
    if platform.venv and not _bin(platform.venv).is_dir():
        raise UserError(f"{key}.venv: {_bin(platform.venv)} is not there. Give the path of a virtual environment.")
    if not _is_found(platform, platform.command[0]):
        modules = f", and {key}.modules to what `module load` knows" if platform.modules else ""
        raise UserError(
            f"{key}.command: {platform.command[0]} can't be found on this machine. Set {key}.venv to ModelZoo's "
            f"virtual environment (its bin holds cszoo){modules}; a CS-3 is used from its user node."
        )
    if not _is_found(platform, platform.csctl[0]):
        print(
            f"{key}.csctl: {platform.csctl[0]} can't be found. Set it to csctl's path, or the wafer job of a cszoo "
            "that was killed runs on.",
            flush=True,
        )


def _shell(platform: CerebrasPlatform, script: str) -> list[str]:
    """Return a login shell, which knows `module`, that runs a script once the modules are loaded.

    A login sets PATH anew, and modules put theirs first, so the virtual environment's bin goes first after both.
    """
    path = [f'export PATH={shlex.quote(str(_bin(platform.venv)))}:"$PATH"'] if platform.venv else []
    return ["bash", "-lc", " && ".join([f"module load {shlex.join(platform.modules)}", *path, script]), "bash"]


def _is_found(platform: CerebrasPlatform, word: str) -> bool:
    inside = environment(platform)
    if not platform.modules:
        return shutil.which(_at_home(word), path=inside.get("PATH")) is not None
    command = [*_shell(platform, 'command -v -- "$1"'), _at_home(word)]
    try:
        done = subprocess.run(
            command, env={**os.environ, **inside}, capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _at_home(word: str) -> str:
    return os.path.expanduser(word)  # noqa: PTH111  (a word, not only a path)


def _bin(venv: str) -> Path:
    return Path(venv).expanduser().absolute() / "bin"


__all__ = ["checkpoints", "launch", "left_behind", "prewarm", "require"]


def launch(platform: CerebrasPlatform, params: Path, model_dir: Path) -> Launch:
    """Return the cszoo command for one params file, and what cancels its wafer jobs when cszoo is killed."""
    fit = ["fit", str(params), "--target_device", "CSX", "--model_dir", str(model_dir)]
    if platform.job_labels:
        fit += ["--job_labels", *(f"{key}={value}" for key, value in platform.job_labels.items())]
    cancel = [sys.executable, "-m", "accelbench.training.backends.wafer_jobs", *called(platform, platform.csctl)]
    command = [*called(platform, platform.command), *fit]
    return Launch(command, env=environment(platform), stop=signal.SIGINT, afterwards=cancel)


def checkpoints(model_dir: Path) -> dict[str, int]:
    """Return the names and steps of the checkpoints that cszoo would load from: those that its index lists.

    Without an index it takes all files of that name. Source: ModelZoo 2.6.0, trainer/callbacks/checkpoint.py.
    """
    paths = list(model_dir.glob("checkpoint_*"))
    index = model_dir / "checkpoints_index.yaml"
    try:
        listed = yaml.safe_load(index.read_text()) if index.exists() else None
    except (OSError, ValueError, yaml.YAMLError):
        listed = []  # cszoo can't read it either
    if index.exists():
        names = {Path(str(path)).name for path in (listed if isinstance(listed, list) else [])}
        paths = [path for path in paths if path.name in names]
    return steps_of(paths, ".mdl")


def prewarm(config: Config, run: specs.TrainRun, params: Path, out: Path) -> None:
    """Compile what a run will train, and record how that ended; the log is kept beside `out`."""
    platform, folder = config.training.platforms[run.platform], out.parent
    if not isinstance(platform, CerebrasPlatform) or not platform.prewarm:
        write_json(out, {"outcome": "not asked for"})
        return
    log, model_dir = folder / "compile.log", folder / "compile_dir"
    with measuring(folder, shares_host=True):
        shutil.rmtree(model_dir, ignore_errors=True)
        require(platform, f"training.platforms.{run.platform}")
        start = launch(platform, params, model_dir)
        command = [*start.command, "--compile_only"]
        started_at, start_s = now(), time.perf_counter()
        print(f"{folder}: compiling; follow it with: tail -f {log}", flush=True)
        with guarded(command, log, env=start.env, stop=start.stop, afterwards=start.afterwards) as process:
            status = process.wait()
        said = parse_log(log)
        record = {
            "command": command,
            "exit_status": status,
            "started_at": started_at,
            "ended_at": now(),
            "wall_s": round(time.perf_counter() - start_s, 3),
            "outcome": "failed" if status else "completed",
            "failure": said.failure.text if said.failure else None,
            "cached": said.compile_cached,
            "trainer": left_behind(model_dir),
        }
        write_json(out, record)
    if status:
        why = record["failure"] or how_ended(status)
        print(f"{folder}: the compile failed: {why}. Its log is {log}. The run tries it again.", flush=True)
