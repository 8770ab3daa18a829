"""The planned training runs: their params files, data, devices and logs, and how much they are."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

from accelbench.analysis.intervals import counted
from accelbench.analysis.published import read_published
from accelbench.config import CerebrasPlatform, Config, LogPlatform, TorchPlatform
from accelbench.errors import UserError
from accelbench.plan import specs
from accelbench.preflight.findings import Finding, fails, ok, warning
from accelbench.report.text import unique
from accelbench.store import paths
from accelbench.training import dataset
from accelbench.training.params.check import check_params
from accelbench.training.params.render import render
from accelbench.training.run import log_of_run

LONGEST_JOB_S = 86_400  # ALCF's user guide: at most 24 hours on a CS-3
_Runs = Sequence[specs.TrainRun]


def check_training(config: Config) -> Iterator[Finding]:
    """Yield, platform by platform, whether its runs could begin, and what they add up to."""
    if published := config.training.reference:
        yield _published(published)
    for name, group in groupby(specs.train_runs(config), lambda run: run.platform):
        runs, platform = list(group), config.training.platforms[name]
        if isinstance(platform, LogPlatform):
            yield _logs(config, name, platform, runs)
            continue
        yield from _params_and_data(config, name, runs)
        if isinstance(platform, TorchPlatform):
            yield from _device(name, platform)
        else:
            yield _wafer_time(name, platform)
        yield _plan(config, name, runs)


def _published(path: str) -> Finding:
    try:
        read_published(paths.found(path))
    except UserError as error:
        return fails("published figures", f"training.reference: {error}")
    return ok("published figures", path)


def _params_and_data(config: Config, name: str, runs: _Runs) -> Iterator[Finding]:
    """Yield what is wrong with the rendered params files, each mistake once, and which data are missing."""
    wrong, doubtful, missing = [], [], []
    for run in runs:
        try:
            params = render(config, run)
        except UserError as error:
            wrong += str(error).splitlines()
            continue
        doubtful += [sentence for severity, sentence in check_params(params) if severity == "warning"]
        try:
            dataset.require_data(params, str(config.training.model))
        except UserError as error:
            missing += str(error).splitlines()
    if config.training.corpus:
        yield _corpus(config, name)
    else:
        yield from (fails(f"{name}: data", line) for line in unique(missing))
    yield from (fails(f"{name}: params", line) for line in unique(wrong))
    yield from (warning(f"{name}: params", f"{doubt}.") for doubt in unique(doubtful) if not _is_said(doubt, missing))
    if not wrong:
        yield ok(f"{name}: params", f"{len(runs)} files of {config.training.model} are accepted")
    if not (wrong or missing or config.training.corpus):
        yield ok(f"{name}: data", "what data_dir names is there")


def _is_said(doubt: str, missing: Sequence[str]) -> bool:
    """Whether a doubt is about a folder that is found missing anyway."""
    folder = doubt.partition(" isn't")[0].rstrip("/")
    return any(folder in line for line in missing)


def _corpus(config: Config, name: str) -> Finding:
    if specs.corpus_is_made(config):
        return ok(f"{name}: data", f"{paths.CORPUS} is prepared, for the model of the config")
    if find_spec("h5py") is None:
        return fails(f"{name}: data", "h5py, which writes the corpus, is not installed", "Run `make setup`.")
    return ok(f"{name}: data", f"{paths.CORPUS} is prepared first, in seconds")


def _logs(config: Config, name: str, platform: LogPlatform, runs: _Runs) -> Finding:
    logs = [Path(log) for log in unique([str(platform.log(run.batch, run.repeat, run.micro)) for run in runs])]
    gone = [str(log) for log in logs if not log.exists()]
    if gone:
        return fails(f"{name}: logs", f"not there: {', '.join(gone)}", "Put them there, or correct `logs`.")
    try:
        for run in runs if platform.holds_all_sizes else []:
            log_of_run(config, run, platform.log(run.batch, run.repeat, run.micro))
    except UserError as error:
        return fails(f"{name}: logs", error)
    return ok(f"{name}: logs", f"{counted(len(logs), 'file')} there")


def _device(name: str, platform: TorchPlatform) -> Iterator[Finding]:
    """Yield whether the device is here; a node of its own is asked by its job."""
    if find_spec("torch") is None:
        yield fails(f"{name}: device", "torch is not installed", "Run `make setup`.")
    elif platform.device != "cpu" and not platform.own_node:
        yield _accelerator(name, platform)


def _accelerator(name: str, platform: TorchPlatform) -> Finding:
    import torch

    cuda = platform.device == "cuda"
    there = torch.cuda.device_count() if cuda else int(torch.backends.mps.is_available())
    if there < platform.processes:
        remedy = f"Run on a machine that has it, or set training.platforms.{name}.device."
        return fails(
            f"{name}: device", f"{platform.processes} of {platform.device} are planned, {there} are here", remedy
        )
    return ok(f"{name}: device", f"{there} of {platform.device}")


def _wafer_time(name: str, platform: CerebrasPlatform) -> Finding:
    what, key = f"{name}: job time", f"training.platforms.{name}.job_time_sec"
    if platform.job_time_sec is None:
        return warning(what, "a wafer job that hangs holds the CS-3", f"Set {key}: others wait for the system, too.")
    if platform.job_time_sec > LONGEST_JOB_S:
        return warning(what, f"{platform.job_time_sec:,} s is more than the 24 hours that ALCF allows", f"Lower {key}.")
    return ok(what, f"each wafer job ends after {platform.job_time_sec / 3600:.3g} h at the latest")


def _plan(config: Config, name: str, runs: _Runs) -> Finding:
    steps = [config.training.settings(run.batch, run.micro).max_steps or 0 for run in runs]
    samples = sum(n * run.batch for n, run in zip(steps, runs, strict=True))
    there = sum(Path(run.folder / "measured.json").exists() for run in runs)
    platform, text = config.training.platforms[name], f"{len(runs)} runs: {sum(steps):,} steps, {samples:,} samples"
    if there:
        text += f"; {there} are measured already"
    if isinstance(platform, CerebrasPlatform) and platform.job_time_sec:
        wafer_h = (len(runs) - there) * platform.job_time_sec / 3600
        text += f"; at most {wafer_h:,.3g} h on the wafer, one after the other"
    if isinstance(platform, TorchPlatform) and platform.own_node:
        text += f"; on a cluster at most {config.cluster.train.runtime_min} min each (cluster.train.runtime_min)"
    return ok(f"{name}: plan", text)
