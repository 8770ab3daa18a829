"""What the rules ask about the config: specs, orders, inputs. The rules themselves stand in workflow/rules."""

import os
import sys
from pathlib import Path
from typing import Any

import psutil

from accelbench import configfile, paths, specs
from accelbench.config import Config
from accelbench.errors import UserError
from accelbench.files import write_atomically
from accelbench.process import WORKFLOW_PID

DEFAULT = Path("config/config.yaml")
PLOTS = ("rate_vs_batch_size", "loss_vs_samples", "latency_by_request", "latency_vs_tokens")
FIRST = 1_000_000  # preparations go before all measurements


def checked_config(workflow: Any) -> Config:
    """Return the merged, checked config of a Snakemake run; end it with one line per mistake."""
    settings = workflow.config_settings
    try:
        return configfile.load(DEFAULT, [Path(path) for path in settings.configfiles], dict(settings.config))
    except UserError as error:
        sys.exit(str(error))


def prepare_environment(basedir: Path) -> None:
    """Let jobs find this interpreter and package, and this workflow's process."""
    folder = str(Path(sys.executable).parent)
    os.environ["PATH"] = os.pathsep.join([folder, os.environ.get("PATH", "")])
    package = str(basedir / "workflow")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    os.environ[WORKFLOW_PID] = str(os.getpid())


def start(config: Config) -> None:
    """Record that a run begins: its config for the jobs, its process for `unlock`."""
    configfile.write_merged(config, Path(paths.RUN_CONFIG))
    write_atomically(Path(paths.WORKFLOW_PID), f"{os.getpid()}\n")


def at_work() -> int | None:
    """Return the process of the Snakemake that works in this folder, if it is alive."""
    try:
        pid = int(Path(paths.WORKFLOW_PID).read_text())
        return pid if "snakemake" in " ".join(psutil.Process(pid).cmdline()) else None
    except (OSError, ValueError, psutil.Error):
        return None


class Dag:
    """The rules' view of one config. Methods take Snakemake's wildcards."""

    def __init__(self, config: Config) -> None:
        """Plan the order of all jobs once."""
        self.config = config
        self._priorities = specs.priorities(config)

    @property
    def wildcards(self) -> dict[str, str]:
        """The wildcard constraints: names in the config and numbers."""
        config = self.config
        return {
            "platform": _one_of(config.training.platforms),
            "endpoint": _one_of(config.inference.endpoints),
            "cell": _one_of(specs.cells(config)),
            "set": _one_of(config.inference.prompts),
            "batch": r"\d+",
            "repeat": r"\d+",
            "round": r"\d+",
        }

    @property
    def train_results(self) -> list[str]:
        """The results of all training runs."""
        runs = specs.train_runs(self.config)
        return [str(paths.train_run(r.platform, r.batch, r.repeat) / "measured.json") for r in runs]

    @property
    def infer_results(self) -> list[str]:
        """The results of all rounds."""
        rounds = specs.infer_rounds(self.config)
        return [str(paths.infer_round(i.endpoint, i.cell, i.round) / "measured.json") for i in rounds]

    @property
    def has_corpus(self) -> bool:
        """Whether the sweep trains on a corpus that the workflow prepares."""
        return self.config.training.corpus is not None

    def corpus_spec(self, _: Any) -> str:
        """Return the spec of the corpus."""
        return specs.corpus(self.config)

    def train_spec(self, wildcards: Any) -> str:
        """Return the spec of one training run."""
        return specs.train(self.config, _run(wildcards))

    def train_order(self, wildcards: Any) -> int:
        """Return the priority of one training run."""
        return self._priorities.get(_run(wildcards), 0)

    def trains_here(self, wildcards: Any) -> int:
        """Return 1 if the run takes the submitting host, else 0."""
        platform = self.config.training.platforms[wildcards.platform]
        return int(platform.backend == "torch" and not platform.own_node)

    def trains_on_csx(self, wildcards: Any) -> int:
        """Return 1 if the run takes the CS-3, else 0."""
        return int(self.config.training.platforms[wildcards.platform].backend == "cerebras")

    def prompts_spec(self, wildcards: Any) -> str:
        """Return the spec of a prompt set."""
        return specs.prompts(self.config, wildcards.set)

    def prompt_files(self, wildcards: Any) -> list[str]:
        """Return the local file that a prompt set is read from, if it is."""
        path = self.config.inference.prompts[wildcards.set].path
        return [path] if path else []

    def prompt_set(self, wildcards: Any) -> str:
        """Return the prompt set that a cell asks."""
        return specs.scenario_of(self.config, wildcards.cell).prompts

    def weights_of(self, wildcards: Any) -> list[str]:
        """Return the converted weights that an endpoint's server needs."""
        endpoint = self.config.inference.endpoints[wildcards.endpoint]
        converted = endpoint.server is not None and endpoint.server.kind == "transformers"
        return [paths.WEIGHTS.format(model=endpoint.model)] if converted else []

    def infer_spec(self, wildcards: Any) -> str:
        """Return the spec of one round."""
        return specs.infer(self.config, _round(wildcards))

    def infer_order(self, wildcards: Any) -> int:
        """Return the priority of one round."""
        return self._priorities.get(_round(wildcards), 0)

    def analysis_spec(self, *modules: str) -> str:
        """Return what an analysis job depends on beside its inputs: its own code, and what ratios are against."""
        return specs.canonical({"baseline": self.config.inference.baseline, "code": specs.code(*modules)})


def _run(wildcards: Any) -> specs.TrainRun:
    return specs.TrainRun(wildcards.platform, int(wildcards.batch), int(wildcards.repeat))


def _round(wildcards: Any) -> specs.InferRound:
    return specs.InferRound(wildcards.endpoint, wildcards.cell, int(wildcards.round))


def _one_of(names: Any) -> str:
    return "|".join(name.replace(".", r"\.") for name in names) or "none"
