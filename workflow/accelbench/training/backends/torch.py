"""This machine or a GPU node: the project's own trainer, in a process of its own."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import psutil

from accelbench.config import Config, TorchPlatform
from accelbench.errors import Finding, UserError, fails, ok
from accelbench.foreign import Tree
from accelbench.plan.specs import TrainRun
from accelbench.store.files import read_record
from accelbench.store.records import TrainerFacts
from accelbench.training.backends.backend import Backend, Launch, steps_of
from accelbench.training.params.check import micro_batch_of, section, trainers
from accelbench.training.torch.settings import Settings


class Torch(Backend[TorchPlatform]):
    """The project's own trainer (`training/torch`)."""

    trains_here = True
    checkpoints_kept = 2

    @property
    def own_node(self) -> bool:
        """Whether the config gives each run a node."""
        return self.platform.own_node

    @property
    def resources(self) -> Mapping[str, int | str]:
        """A run measures the host it is on; on nodes of its own, one task each, it is nobody else's.

        `mpi` has Slurm's plugin start the job without a step of its own, which would take up the first node.
        """
        nodes = self.platform.nodes
        several: dict[str, int | str] = {"nodes": nodes, "tasks": nodes, "mpi": "srun"} if nodes > 1 else {}
        return {"measure": int(not self.own_node), **several}

    @property
    def initial_weights(self) -> str:
        """How the config has them drawn."""
        return self.platform.initial_weights

    def params(self, init: Tree) -> Tree:
        """Set device and precision, and take out what is a CS-3's."""
        mixed = self.platform.dtype != "float32"
        return {
            "backend": {"cluster_config": None, "backend_type": "CPU" if self.platform.device == "cpu" else "GPU"},
            "precision": {"enabled": mixed, **({"fp16_type": self.platform.dtype} if mixed else {})},
        }

    def preflight(self, config: Config, runs: Sequence[TrainRun]) -> Iterator[Finding]:
        """Yield whether the device is here; a node of its own is asked by its job."""
        if find_spec("torch") is None:
            yield fails(f"{self.name}: device", "torch is not installed", "Run `make setup`.")
        elif self.platform.device != "cpu" and not self.own_node:
            yield self._accelerator()

    def _accelerator(self) -> Finding:
        from accelbench.training.torch.ranks import devices_here

        what, device, planned = f"{self.name}: device", self.platform.device, self.platform.processes
        there = devices_here(device)
        if there < planned:
            remedy = f"Run on a machine that has it, or set {self.key}.device."
            return fails(what, f"{planned} of {device} are planned, {there} are available", remedy)
        return ok(what, f"{there} of {device}")

    def memory(self, run: TrainRun, params: Tree) -> Finding | None:
        """Return what each process needs; one that can't have it is refused with the smallest setting that could."""
        if find_spec("h5py") is None:
            return None
        from accelbench.training.params.memory import Division, MemorySettings, estimate  # h5py is an extra
        from accelbench.training.torch.run import read_llama

        platform = self.platform
        try:
            [(here, trainer)] = trainers(params)
            init = section(trainer, "init")
            model = read_llama(Settings(Path("params.yaml"), (here, "init", "model"), section(init, "model")))
        except (UserError, ValueError):
            return None
        micro = micro_batch_of(params, run.batch)
        wanted = Division(platform.sharding, platform.activation_checkpointing)
        settings = MemorySettings(platform.world_size, run.batch, micro, platform.dtype, wanted)
        return estimate(f"{self.name}: memory", model, settings, self._device_bytes())

    def _device_bytes(self) -> int | None:
        """Return the memory of one process's device: the config's machine, else this one."""
        if self.platform.machine:
            from accelbench.analysis.economy import device_memory_bytes  # heavy: not while the workflow is planned

            return device_memory_bytes(self.platform.machine)
        if self.platform.device == "cpu" and not self.own_node:
            return psutil.virtual_memory().total // self.platform.processes
        return None

    def at_most(self, config: Config, n_runs: int) -> str | None:
        """Say how long a job on a node may take."""
        minutes = config.cluster.train.runtime_min
        return f"on a cluster at most {minutes} min each (cluster.train.runtime_min)" if self.own_node else None

    def launch(self, params: Path, model_dir: Path) -> Launch:
        """Return the trainer's command for one params file."""
        platform, threads = self.platform, self.platform.threads
        trainer = [sys.executable, "-m", "accelbench.training.torch.trainer"]
        arguments = [str(params), "--model_dir", str(model_dir), "--device", platform.device]
        if platform.initial_weights != "normal":
            arguments += ["--initial_weights", platform.initial_weights]
        for option in ("sharding", "activation_checkpointing"):
            if (value := getattr(platform, option)) != "none":
                arguments += [f"--{option}", value]
        arguments += ["--compile"] * platform.compile
        if platform.processes > 1:
            arguments += ["--processes", str(platform.processes)]
            threads = threads or max(1, (os.cpu_count() or 1) // platform.processes)
        if platform.nodes > 1:
            arguments += ["--nodes", str(platform.nodes)]
        env = {"OMP_NUM_THREADS": str(threads)} if threads else {}
        return Launch(trainer + arguments, env={"OMP_WAIT_POLICY": "passive", **env})

    def facts(self, model_dir: Path) -> TrainerFacts:
        """Return what the trainer says of itself: versions, device, parameters, keys it does not honour."""
        facts: TrainerFacts = read_record(model_dir / "trainer.json")
        return facts

    def checkpoints(self, model_dir: Path) -> dict[str, int]:
        """Return the names and steps of the checkpoints that the trainer left."""
        found = list(model_dir.glob("checkpoint_*"))
        return steps_of(found, ".pt") | steps_of(found, ".dcp")
