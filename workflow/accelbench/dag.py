"""The rules' view of the config: specs, orders, inputs. The rules themselves are in workflow/rules."""

import atexit
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from accelbench.config import Config, NodeJob, configfile
from accelbench.errors import UserError
from accelbench.jobs.pbs.programs import cancel_what_is_left
from accelbench.jobs.process import WORKFLOW_PID, interrupted_by_hangup
from accelbench.jobs.scheduler import SHIMS
from accelbench.plan import specs
from accelbench.plan.measurement import is_of, share_archive
from accelbench.store import paths
from accelbench.store.records import JsonObject
from accelbench.store.working_directory import take_folder
from accelbench.training.backends import backend_of
from accelbench.training.params.render import remove_outdated

NO_RUN = re.compile(
    r"-[a-zA-Z]*n[a-zA-Z]*"  # -n, also with others: -np
    r"|--(dry-?run|lint|unlock|report|(detailed-)?summary|list.*|dag|(rule|file)graph|d3dag|archive|cleanup-.*)(=.*)?"
)
Half = Literal["training", "inference"]
FIRST = 1_000_000  # preparations run before all measurements


def checked_config(workflow: Any, of_module: dict[str, Any] | None = None) -> Config:
    """Return the merged, checked config of a Snakemake run; end it with one line per mistake and per missing file.

    The config of the working directory and the files of the command line are merged into the default; or, if the
    workflow is a module of another one, the config `of_module` that the other passes. Jobs on a cluster's nodes were
    planned by a Snakemake that has looked for the files.
    """
    settings = workflow.config_settings
    try:
        if workflow.modifier.is_main_snakefile():
            files = [*paths.own_configs(), *map(Path, settings.configfiles)]
            config = configfile.load_config(paths.default_config(), files, dict(settings.config))
        else:
            config = configfile.load_config(paths.default_config(), module=of_module)
    except UserError as error:
        sys.exit(str(error))
    if workflow.is_main_process and (missing := specs.out_of_reach(config)):
        sys.exit("\n".join(missing))
    if workflow.is_main_process:
        _warn_of_missing_data(config)
    return config


def _warn_of_missing_data(config: Config) -> None:
    """Print which data folders are missing on this machine, if it trains; the runs that need them report it again."""
    from accelbench.training import dataset

    training = config.training
    backends = [backend_of(config, name) for name in training.run]
    if training.corpus is None and any(each.platform.trains and not each.own_node for each in backends):
        try:
            dataset.require_data(specs.base_params(str(training.model)), str(training.model))
        except UserError as error:
            print(f"warning: {error}", file=sys.stderr)


def prepare_environment(basedir: Path) -> None:
    """Let jobs find this interpreter, package and workflow process, and let Snakemake find Slurm's shims."""
    shims = [str(folder) for folder in sorted(SHIMS.glob("*")) if shutil.which(folder.name)]
    os.environ["PATH"] = os.pathsep.join([*shims, str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    package = str(basedir / "workflow")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    os.environ[WORKFLOW_PID] = str(os.getpid())
    os.environ["ACCELBENCH"] = str(basedir)  # where profiles/alcf-pbs finds its programs


def is_run(workflow: Any) -> bool:
    """Tell whether this Snakemake will do work here: not a job of another one, not a dry run, not a service."""
    asked = sys.argv[1:]
    return workflow.is_main_process and not any(NO_RUN.fullmatch(word) for word in asked)


def begin(config: Config) -> None:
    """Lock the folder, and write the config for the jobs, unless another Snakemake is running here.

    Not in `onstart`, and not in `onerror` what is left to do at the end: a module's are never called.
    """
    atexit.register(cancel_what_is_left)
    interrupted_by_hangup()
    try:
        if take_folder():
            share_archive(config.archive_dir)
            configfile.write_merged(config, Path(paths.RUN_CONFIG))
            remove_outdated(config)
    except UserError as error:
        sys.exit(f"accelbench: {error}")
    except OSError as error:
        sys.exit(f"accelbench: {error.filename}: {error.strerror}. Snakemake must be able to write into this folder.")


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
            "cell": _one_of([*specs.cells(config), *specs.searched_cells(config)]),
            "set": _one_of(config.inference.prompts),
            "size": paths.SIZE,
            "repeat": r"\d+",
            "round": r"\d+",
        }

    def platforms(self, *, trains: bool) -> str:
        """Return the platforms that train, or those whose logs are only read, as a wildcard constraint."""
        platforms = self.config.training.platforms
        return _one_of(name for name, platform in platforms.items() if platform.trains == trains)

    def endpoints(self, *, on_node: bool, in_one_job: bool | None = False) -> str:
        """Return the endpoints whose servers have a node of their own, or the others, as a wildcard constraint.

        Apart from those, `in_one_job`, of which all rounds are one job on a node; None: whether or not they are.
        """
        endpoints = self.config.inference.endpoints
        return _one_of(
            name
            for name, each in endpoints.items()
            if each.own_node == on_node and in_one_job in (None, each.in_one_job)
        )

    def prompt_sets_of(self, wildcards: Any) -> list[str]:
        """Return the prompt sets that the rounds of an endpoint ask."""
        rounds = specs.rounds_of(self.config, wildcards.endpoint)
        return sorted({specs.scenario_of(self.config, each.cell).prompts for each in rounds})

    def on_node(self, kind: Literal["train", "infer"]) -> dict[str, int | str]:
        """Return the resources of jobs on a cluster's nodes: `runtime` in minutes, and what PBS alone is told."""
        cluster = self.config.cluster
        job: NodeJob = getattr(cluster, kind)
        asked = {
            "runtime": job.runtime_min,
            "pbs_account": cluster.account,
            "pbs_filesystems": cluster.filesystems,
            "pbs_queue": job.queue,
            "pbs_select": job.select,
            "pbs_place": job.place,
        }
        return {name: value for name, value in asked.items() if value is not None}

    @property
    def train_results(self) -> list[str]:
        """The results of all training runs."""
        return [str(run.folder / "measured.json") for run in specs.train_runs(self.config)]

    @property
    def infer_results(self) -> list[str]:
        """The results of all rounds, some of which are those of a job of several."""
        results = [str(specs.result_of(self.config, each)) for each in specs.infer_rounds(self.config)]
        return list(dict.fromkeys(results))

    @property
    def searched_cells(self) -> str:
        """The loads of which the highest is searched, as a wildcard constraint."""
        return _one_of(specs.searched_cells(self.config))

    @property
    def search_results(self) -> list[str]:
        """The results of all searches for the highest load."""
        return [str(each.folder / "measured.json") for each in specs.searches(self.config)]

    def power_files(self, half: Half) -> list[str]:
        """Return the imported power files that are there: one that comes later, or grows, is read again."""
        files = [paths.found(file) for file, _ in self._powers(half).values()]
        return [str(file) for file in dict.fromkeys(files) if file.is_file()]

    def derived_spec(self, half: Half, *modules: str) -> str:
        """Return what parsing and classifying depend on besides their inputs: code, and what imported power is of."""
        return specs.canonical({"power": self._powers(half), "code": specs.code(*modules)})

    def _powers(self, half: Half) -> dict[str, tuple[str, str]]:
        training, inference = self.config.training, self.config.inference
        planned = (
            {name: training.platforms[name] for name in training.run}
            if half == "training"
            else {name: inference.endpoints[name] for name in inference.run}
        )
        return {name: (each.power_csv, each.power_scope) for name, each in planned.items() if each.power_csv}

    def spec(self, wildcards: Any) -> str:
        """Return the spec of a measurement, or of all of an endpoint; of a compile, that of its size's first run."""
        if not hasattr(wildcards, "platform") and not hasattr(wildcards, "cell"):
            return specs.endpoint_spec(self.config, wildcards.endpoint)
        return specs.spec_of(self.config, _item(wildcards))

    def order(self, wildcards: Any) -> int:
        """Return the priority of one run or round; of a compile, that of the run which waits for it."""
        return self._priorities.get(_item(wildcards), 0)

    def train_resource(self, name: str) -> Callable[[Any], int | str | None]:
        """Return how much of one of Snakemake's resources a training run takes; None: it does not ask for it."""
        return lambda wildcards: backend_of(self.config, wildcards.platform).resources.get(name)

    def logs_brought(self, wildcards: Any) -> list[str]:
        """Return the log that a run is read from; if it is missing, the job reports that."""
        run = _run(wildcards)
        log = self.config.training.platforms[run.platform].log(run.batch, run.repeat, run.micro)
        return [str(log)] if log and log.exists() else []

    def renders_params(self, wildcards: Any) -> bool:
        """Tell whether a run needs a params file: all but finished ones do."""
        return self.config.training.platforms[wildcards.platform].trains

    def compiled(self, wildcards: Any) -> list[str]:
        """Return the file that records that a run was compiled beforehand, if configured.

        Snakemake repeats jobs that gain or lose an input. So a finished run keeps the inputs that it was measured with.
        """
        run = _run(wildcards)
        path = paths.compiled(run.platform, run.batch, run.micro)
        asked = backend_of(self.config, run.platform).compiles_first
        return (
            [str(path)]
            if path.exists() or (asked and not is_of(run.folder, specs.train_spec(self.config, run)))
            else []
        )

    def prompt_files(self, wildcards: Any) -> list[str]:
        """Return the local file that a prompt set is read from, if it is."""
        path = self.config.inference.prompts[wildcards.set].path
        return [str(paths.found(path))] if path else []

    def weights_of(self, wildcards: Any) -> list[str]:
        """Return the converted weights that an endpoint's server needs."""
        endpoint = self.config.inference.endpoints[wildcards.endpoint]
        converts = endpoint.server is not None and endpoint.server.converts_weights
        return [paths.WEIGHTS.format(model=endpoint.model)] if converts else []

    def calibrate_spec(self, _: Any) -> str:
        """Return the spec of the client's calibration under all planned loads."""
        from accelbench.inference.calibration import bench_loads, spec

        return spec(bench_loads(self.config))

    def analysis_spec(self, *modules: str) -> str:
        """Return what the analysis depends on besides its inputs: its code, and facts of the config."""
        return specs.canonical(
            {
                "inference": self._inference_told(),
                "training": self._training_told(),
                "words": self._words(),
                "code": specs.code(*modules),
            }
        )

    def report_spec(self, *modules: str) -> str:
        """Return what tables and page depend on besides their inputs: their code, and a calibration, if there is one.

        It is not an input, or Snakemake would calibrate again, which only runs on request.
        """
        calibration = _digest(Path(paths.CALIBRATION) / "calibration.json")
        return specs.canonical({"calibration": calibration, "code": specs.code(*modules)})

    def _words(self) -> JsonObject:
        """Return what the config calls things."""
        inference, training = self.config.inference, self.config.training
        endpoints = {name: inference.endpoints[name] for name in inference.run}
        named = {**{name: training.platforms[name] for name in training.run}, **endpoints}
        return {
            "title": self.config.title,
            "labels": {name: item.label for name, item in named.items() if item.label},
            "hardware": {name: endpoint.hardware for name, endpoint in endpoints.items() if endpoint.hardware},
        }

    def _inference_told(self) -> JsonObject:
        """Return what the config adds to the endpoints' figures without changing what is measured."""
        asked = self.config.inference
        hardware = paths.found("config/hardware.yaml")
        economy = {
            name: endpoint.model_dump(include={"cost", "limit"})
            for name, endpoint in asked.endpoints.items()
            if endpoint.cost or endpoint.limit
        }
        judged_by = {"baseline", "primary", "equivalence", "interleaved_within_s", "goodput"}
        return {
            **asked.model_dump(include=judged_by),
            "economy": economy,
            "hardware": _digest(hardware) if economy else None,
        }

    def _training_told(self) -> JsonObject:
        """Return what the config adds to the training figures without changing what is measured."""
        training = self.config.training
        peaks = {name: platform.peak_tflops for name, platform in training.platforms.items() if platform.peak_tflops}
        return {
            "sequence_length": training.sequence_length,
            "project_steps": training.project_steps,
            "peaks": {name: peak.model_dump() for name, peak in peaks.items()},
            "published": _published(training.reference) if training.reference else None,
        }


def _run(wildcards: Any) -> specs.TrainRun:
    batch, *axes = paths.parse_size(wildcards.size)
    return specs.TrainRun(wildcards.platform, batch, int(getattr(wildcards, "repeat", 1)), *axes)


def _item(wildcards: Any) -> specs.Measurement:
    if hasattr(wildcards, "platform"):
        return _run(wildcards)
    if not hasattr(wildcards, "round"):
        return specs.Search(wildcards.endpoint, wildcards.cell)
    return specs.InferRound(wildcards.endpoint, wildcards.cell, int(wildcards.round))


def _digest(path: Path) -> str | None:
    return specs.digest(path.read_text()) if path.exists() else None


def _published(reference: str) -> str:
    """Return the digest of published figures; end the workflow before it measures when they can't be shown."""
    from accelbench.analysis.published import read_published

    try:
        read_published(paths.found(reference))
    except UserError as error:
        sys.exit(f"training.reference: {error}")
    return specs.digest(paths.found(reference).read_text())


def _one_of(names: Any) -> str:
    return "|".join(name.replace(".", r"\.") for name in names) or "none"
