"""The compile of one size before its runs, in a job that holds no wafer (cszoo fit --compile_only).

It fills the cluster's compile cache, so that a run finds its compile there. A compile that fails is no failed
measurement: the run tries it again and is recorded as what it is.
"""

import shutil
import time
from pathlib import Path

from accelbench import specs
from accelbench.config import CerebrasPlatform, Config
from accelbench.files import write_json
from accelbench.measurement import measuring, now
from accelbench.process import guarded, how_ended
from accelbench.training.backends import cerebras
from accelbench.training.log import parse_log


def prewarm(config: Config, run: specs.TrainRun, params: Path, out: Path) -> None:
    """Compile what a run will train, and record how that ended; the log is kept beside `out`."""
    platform, folder = config.training.platforms[run.platform], out.parent
    if not isinstance(platform, CerebrasPlatform) or not platform.prewarm:
        write_json(out, {"outcome": "not asked for"})
        return
    log, model_dir = folder / "compile.log", folder / "compile_dir"
    with measuring(folder, shares_host=True):
        shutil.rmtree(model_dir, ignore_errors=True)
        cerebras.require(platform, f"training.platforms.{run.platform}")
        launch = cerebras.launch(platform, params, model_dir)
        command = [*launch.command, "--compile_only"]
        started_at, start_s = now(), time.perf_counter()
        print(f"{folder}: compiling; follow it with: tail -f {log}", flush=True)
        with guarded(command, log, env=launch.env, stop=launch.stop, afterwards=launch.afterwards) as process:
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
            "trainer": cerebras.facts(model_dir),
        }
        write_json(out, record)
    if status:
        why = record["failure"] or how_ended(status)
        print(f"{folder}: the compile failed: {why}. Its log is {log}. The run tries it again.", flush=True)
