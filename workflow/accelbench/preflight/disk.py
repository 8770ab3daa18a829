"""The disk that results/ is on: what is free, against what the plan writes."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from accelbench import paths, specs
from accelbench.analysis.flops import multiplied_parameters
from accelbench.config import CerebrasPlatform, Config, LogPlatform
from accelbench.errors import UserError
from accelbench.preflight.finding import Finding, fails, ok, warning
from accelbench.preflight.load import planned
from accelbench.training.check import trainers
from accelbench.training.params import render

GB = 1e9
CHECKPOINT_BYTES_PER_PARAMETER = 12  # float32: the weight and AdamW's two moments
TORCH_KEEPS = 2  # checkpoints; cszoo keeps all
WEIGHTS_BYTES = 520e6  # the packaged weights, converted for `transformers serve`
BYTES_PER_TOKEN = 500  # a streamed chunk, as it came, and its record
REST_BYTES = 200e6  # logs, tables, plots


def disk(config: Config) -> Iterator[Finding]:
    """Yield whether what is planned fits. A quota is not seen from here, and said to be looked up where it matters."""
    needed, free = needed_bytes(config), shutil.disk_usage(_existing(Path(paths.RESULTS))).free
    text = f"{free / GB:,.3g} GB are free, the plan writes about {needed / GB:,.3g} GB"
    if needed > free:
        yield fails("disk", text, "Free some, work in another folder, or set training.checkpoint_steps to null.")
    elif needed > free / 2 or needed > 20 * GB:
        yield warning("disk", f"{text}; a quota is not seen from here", "Look it up (ALCF: `myquota`).")
    else:
        yield ok("disk", f"{text} (a quota is not seen from here)")


def needed_bytes(config: Config) -> float:
    """Return about how many bytes the whole plan writes."""
    answers = sum(planned(config, name).answer_tokens * BYTES_PER_TOKEN for name in config.inference.run)
    converted = {
        endpoint.model
        for endpoint in (config.inference.endpoints[name] for name in config.inference.run)
        if endpoint.server is not None and endpoint.server.kind == "transformers"
    }
    checkpoints = sum(_checkpoint_bytes(config, run) for run in specs.train_runs(config))
    return answers + len(converted) * WEIGHTS_BYTES + checkpoints + REST_BYTES


def _checkpoint_bytes(config: Config, run: specs.TrainRun) -> float:
    """Return what the checkpoints of one run take; 0 where its params file is refused, which another check says."""
    training, platform = config.training, config.training.platforms[run.platform]
    if training.checkpoint_steps is None or isinstance(platform, LogPlatform):
        return 0.0
    try:
        [(_, trainer)] = trainers(render(config, run))
        parameters = multiplied_parameters(trainer["init"]["model"]) or 0
    except (UserError, ValueError, KeyError, TypeError):
        return 0.0
    steps = training.settings(run.batch, run.micro).max_steps or training.max_steps
    saved = -(-steps // training.checkpoint_steps)
    kept = saved if isinstance(platform, CerebrasPlatform) else min(saved, TORCH_KEEPS)
    return float(kept * parameters * CHECKPOINT_BYTES_PER_PARAMETER)


def _existing(path: Path) -> Path:
    return path if path.exists() else Path()
