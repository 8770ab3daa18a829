"""A Cerebras CS-3 through ModelZoo's `cszoo fit` (flags of Release 2.6.0).

SIGTERM leaves the wafer job running (cszoo has no handler); SIGINT shuts it down cleanly, so that is how it is
asked to stop. Batch size and steps are set in the params file only: cszoo has no flags for them.
"""

import io
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import yaml

from accelbench.config import CerebrasPlatform, Config
from accelbench.errors import Finding, UserError, fails, ok, warning
from accelbench.foreign import Tree
from accelbench.jobs.process import guarded, how_ended
from accelbench.plan.measurement import measuring, now
from accelbench.plan.specs import TrainRun
from accelbench.store.files import write_json
from accelbench.store.records import TrainerFacts
from accelbench.training.backends.backend import Backend, Launch, steps_of

PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy")
SHELL_TIMEOUT_S = 60.0  # a login shell on a busy node
LONGEST_JOB_S = 86_400  # ALCF's user guide: at most 24 hours on a CS-3
RELEASED = "cerebras_pytorch"  # on PyPI its versions are those of the releases


class Cerebras(Backend[CerebrasPlatform]):
    """ModelZoo's own trainer: cszoo and csctl are called in a virtual environment, with modules, through a proxy."""

    resources: Mapping[str, int] = {"csx": 1}
    initial_weights = "modelzoo"

    @property
    def compiles_first(self) -> bool:
        """Whether the config asks for it."""
        return self.platform.prewarm

    # --- what is asked of it ------------------------------------------------------------------------------------

    def params(self, init: Tree) -> Tree:
        """Set the wafer job's systems, time, folders and labels."""
        platform = self.platform
        cluster: Tree = {"num_csx": self._systems(init)}
        cluster |= {
            key: value for key in ("job_time_sec", "mount_dirs", "python_paths") if (value := getattr(platform, key))
        }
        if platform.job_labels:
            cluster["job_labels"] = [f"{key}={value}" for key, value in platform.job_labels.items()]
        return {"backend": {"backend_type": "CSX", "cluster_config": cluster}}

    def _systems(self, init: Tree) -> int:
        """Return num_csx. A base file that asks for several systems is never cut to the config's default of one."""
        num_csx = self.platform.num_csx
        based: Any = init
        for key in ("backend", "cluster_config", "num_csx"):
            based = based.get(key) if isinstance(based, Mapping) else None
        if based not in (None, num_csx) and "num_csx" not in self.platform.model_fields_set:
            raise UserError(
                f"{self.key}.num_csx is not set, which means {num_csx}, but the base params file's cluster_config "
                f"has {based}. Set the right one as {self.key}.num_csx."
            )
        return num_csx

    def launch(self, params: Path, model_dir: Path) -> Launch:
        """Return the cszoo command for one params file, and what cancels its wafer jobs when cszoo is killed."""
        platform = self.platform
        fit = ["fit", str(params), "--target_device", "CSX", "--model_dir", str(model_dir)]
        if platform.job_labels:
            fit += ["--job_labels", *(f"{key}={value}" for key, value in platform.job_labels.items())]
        cancel = [sys.executable, "-m", "accelbench.training.backends.wafer_jobs", *self.called(platform.csctl)]
        command = [*self.called(platform.command), *fit]
        return Launch(command, env=self.environment, stop=signal.SIGINT, afterwards=cancel)

    def facts(self, model_dir: Path) -> TrainerFacts:
        """Return what the last run left in its model_dir."""
        from accelbench.training.log.model_dir import left_behind

        return left_behind(model_dir)

    def checkpoints(self, model_dir: Path) -> dict[str, int]:
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

    def compile(self, params: Path, out: Path) -> None:
        """Compile what a run will train, in a job that holds no wafer (cszoo fit --compile_only).

        It fills the cluster's compile cache, so that a run finds its compile there. A compile that fails is no failed
        measurement: the run tries it again and is recorded as what it is. The log is kept beside `out`.
        """
        from accelbench.training.log.reader import read_log

        if not self.compiles_first:
            super().compile(params, out)
            return
        folder = out.parent
        log, model_dir = folder / "compile.log", folder / "compile_dir"
        with measuring(folder, shares_host=True):
            shutil.rmtree(model_dir, ignore_errors=True)
            self.require()
            start = self.launch(params, model_dir)
            command = [*start.command, "--compile_only"]
            started_at, start_s = now(), time.perf_counter()
            print(f"{folder}: compiling; follow it with: tail -f {log}", flush=True)
            with guarded(command, log, env=start.env, stop=start.stop, afterwards=start.afterwards) as process:
                status = process.wait()
            said = read_log(log)
            record = {
                "command": command,
                "exit_status": status,
                "started_at": started_at,
                "ended_at": now(),
                "wall_s": round(time.perf_counter() - start_s, 3),
                "outcome": "failed" if status else "completed",
                "failure": said.failure["text"] if said.failure else None,
                "cached": said.compile_cached,
                "trainer": self.facts(model_dir),
            }
            write_json(out, record)
        if status:
            why = record["failure"] or how_ended(status)
            print(f"{folder}: the compile failed: {why}. Its log is {log}. The run compiles it again.", flush=True)

    # --- whether it is there ------------------------------------------------------------------------------------

    def preflight(self, config: Config, runs: Sequence[TrainRun]) -> Iterator[Finding]:
        """Yield whether cszoo is there, in the release that will be recorded, and how long a wafer job may hang."""
        yield self._cszoo()
        yield from self._release()
        what, key, job_s = f"{self.name}: job time", f"{self.key}.job_time_sec", self.platform.job_time_sec
        if job_s is None:
            yield warning(
                what, "a wafer job that hangs blocks the CS-3", f"Set {key}: others are waiting for the system."
            )
        elif job_s > LONGEST_JOB_S:
            yield warning(what, f"{job_s:,} s is more than the 24 hours that ALCF allows", f"Lower {key}.")
        else:
            yield ok(what, f"each wafer job ends after {job_s / 3600:.3g} h at the latest")

    def at_most(self, config: Config, n_runs: int) -> str | None:
        """Say how long the wafer may be held."""
        if not self.platform.job_time_sec:
            return None
        return f"at most {n_runs * self.platform.job_time_sec / 3600:,.3g} h on the wafer, one after the other"

    def _cszoo(self) -> Finding:
        what, said = f"{self.name}: cszoo", io.StringIO()
        try:
            with redirect_stdout(said):
                self.require()
        except UserError as error:
            return fails(what, error)
        if complaint := said.getvalue().strip():
            return warning(what, complaint)
        place = f" in {self.platform.venv}" if self.platform.venv else ""
        return ok(what, f"{self.platform.command[0]} and {self.platform.csctl[0]} are found{place}")

    def _release(self) -> Iterator[Finding]:
        """Yield whether the recorded release is the one in the virtual environment, if it tells."""
        venv, release = self.platform.venv, self.platform.release
        folders = map(str, Path(venv or os.devnull).expanduser().glob("lib/python*/site-packages"))
        what, key = f"{self.name}: release", f"{self.key}.release"
        for installed in [each.version for each in distributions(name=RELEASED, path=list(folders))]:
            if installed == release or installed.startswith((f"{release}.", f"{release}+")):
                yield ok(what, f"{RELEASED} {installed} is installed")
            else:
                text = f"{RELEASED} {installed} is in {venv}, and {key} is {release}"
                yield fails(what, text, f"Set {key} to {installed}, or venv to that of {release}.")

    def require(self) -> None:
        """Look for cszoo and csctl where they will be called.

        Raises UserError when cszoo is not there. A missing csctl, which only a cszoo that was killed needs, is said.
        """
        platform, key = self.platform, self.key
        if platform.venv and not _bin(platform.venv).is_dir():
            raise UserError(f"{key}.venv: {_bin(platform.venv)} is not there. Give the path of a virtual environment.")
        if not self._is_found(platform.command[0]):
            modules = f", and {key}.modules to what `module load` knows" if platform.modules else ""
            raise UserError(
                f"{key}.command: {platform.command[0]} can't be found on this machine. Set {key}.venv to ModelZoo's "
                f"virtual environment (its bin holds cszoo){modules}; a CS-3 is used from its user node."
            )
        if not self._is_found(platform.csctl[0]):
            print(
                f"{key}.csctl: {platform.csctl[0]} can't be found. Set it to csctl's path, or the wafer job of a "
                "killed cszoo keeps running.",
                flush=True,
            )

    def _is_found(self, word: str) -> bool:
        if not self.platform.modules:
            return shutil.which(_at_home(word), path=self.environment.get("PATH")) is not None
        command = [*self._shell('command -v -- "$1"'), _at_home(word)]
        env = {**os.environ, **self.environment}
        try:
            done = subprocess.run(command, env=env, capture_output=True, timeout=SHELL_TIMEOUT_S, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0

    # --- how it is called ---------------------------------------------------------------------------------------

    def called(self, command: Sequence[str]) -> list[str]:
        """Return a command as it is called: by a login shell where environment modules are to be loaded first."""
        words = [_at_home(word) for word in command]
        return [*self._shell('exec "$@"'), *words] if self.platform.modules else words

    @property
    def environment(self) -> dict[str, str]:
        """What the virtual environment and the proxy set in a job's environment."""
        inside = {}
        if self.platform.venv:
            inside["VIRTUAL_ENV"] = str(_bin(self.platform.venv).parent)
            inside["PATH"] = os.pathsep.join([str(_bin(self.platform.venv)), os.environ.get("PATH", os.defpath)])
        return inside | (dict.fromkeys(PROXIES, self.platform.proxy) if self.platform.proxy else {})

    def _shell(self, script: str) -> list[str]:
        """Return a login shell, which knows `module`, that runs a script once the modules are loaded.

        A login sets PATH anew, and modules put theirs first, so the virtual environment's bin goes first after both.
        """
        venv = self.platform.venv
        path = [f'export PATH={shlex.quote(str(_bin(venv)))}:"$PATH"'] if venv else []
        return ["bash", "-lc", " && ".join([f"module load {shlex.join(self.platform.modules)}", *path, script]), "bash"]


def _at_home(word: str) -> str:
    return os.path.expanduser(word)  # noqa: PTH111  (a word, not only a path)


def _bin(venv: str) -> Path:
    return Path(venv).expanduser().absolute() / "bin"
