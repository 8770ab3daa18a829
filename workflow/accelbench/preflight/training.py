"""The planned training runs: their params files, data and backends, and their amount."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any

from accelbench.analysis.published import read_published
from accelbench.config import Config
from accelbench.errors import Finding, UserError, fails, ok, warning
from accelbench.plan import specs
from accelbench.report.text import unique
from accelbench.store import paths
from accelbench.training import dataset
from accelbench.training.backends import backend_of
from accelbench.training.backends.backend import Backend
from accelbench.training.params.check import check_params
from accelbench.training.params.render import render

_Runs = Sequence[specs.TrainRun]


def check_training(config: Config) -> Iterator[Finding]:
    """Yield, platform by platform, whether its runs could start, and their totals."""
    if published := config.training.reference:
        yield _published(published)
    for name, group in groupby(specs.train_runs(config), lambda run: run.platform):
        runs, backend = list(group), backend_of(config, name)
        yield from backend.preflight(config, runs)
        if backend.platform.trains:
            yield from _params_and_data(config, backend, runs)
            yield _plan(config, backend, runs)


def _published(path: str) -> Finding:
    try:
        read_published(paths.found(path))
    except UserError as error:
        return fails("published figures", f"training.reference: {error}")
    return ok("published figures", path)


def _params_and_data(config: Config, backend: Backend[Any], runs: _Runs) -> Iterator[Finding]:
    """Yield what is wrong with the rendered params files, each mistake once, and which data are missing."""
    name = backend.name
    wrong, doubtful, missing, needs = [], [], [], []
    for run in runs:
        try:
            params = render(config, run)
        except UserError as error:
            wrong += str(error).splitlines()
            continue
        needs += [need] if (need := backend.memory(run, params)) else []
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
    yield from dict.fromkeys(needs)
    if not wrong:
        yield ok(f"{name}: params", f"all {len(runs)} made from {config.training.model} are accepted")
    if not (wrong or missing or config.training.corpus):
        yield ok(f"{name}: data", "all of data_dir exists")


def _is_said(doubt: str, missing: Sequence[str]) -> bool:
    """Whether a doubt is about a folder that is already reported as missing."""
    folder = doubt.partition(" isn't")[0].rstrip("/")
    return any(folder in line for line in missing)


def _corpus(config: Config, name: str) -> Finding:
    if specs.corpus_is_made(config):
        return ok(f"{name}: data", f"{paths.CORPUS} is prepared for the config's model")
    if find_spec("h5py") is None:
        return fails(f"{name}: data", "h5py, which writes the corpus, is not installed", "Run `make setup`.")
    return ok(f"{name}: data", f"{paths.CORPUS} will be prepared first, which takes seconds")


def _plan(config: Config, backend: Backend[Any], runs: _Runs) -> Finding:
    steps = [config.training.settings(run.batch, run.micro).max_steps or 0 for run in runs]
    samples = sum(n * run.batch for n, run in zip(steps, runs, strict=True))
    there = sum(Path(run.folder / "measured.json").exists() for run in runs)
    text = f"{len(runs)} runs: {sum(steps):,} steps, {samples:,} samples"
    if there:
        text += f"; {there} are already measured"
    if limit := backend.at_most(config, len(runs) - there):
        text += f"; {limit}"
    return ok(f"{backend.name}: plan", text)
