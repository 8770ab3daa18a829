"""The configuration: every key, its default, unit and meaning.

These models are the only source of config/schema.json, of the config reference and of the specs.
A field is *measured* (it changes what is measured and is part of the spec) unless it is declared
`descriptive` (labels, sources of secrets, commands: changing one measures nothing again).

A default of a measured field is never changed once released: specs leave defaults out, so a new default would silently
change what old measurements mean. New behaviour gets a new key (tests/plan/test_specs.py holds the released defaults).
"""

import re
from typing import Literal

from pydantic import Field, model_validator

from accelbench.config.fields import Model, PositiveInt, Real, descriptive, problem
from accelbench.config.inference import (
    ColumnMap,
    CommandServer,
    DecodeLimit,
    Endpoint,
    GoodputLimits,
    Inference,
    LlamaCppServer,
    PromptSet,
    Scenario,
    SecretSource,
    TransformersServer,
)
from accelbench.config.training import (
    LABEL_RULE,
    LABEL_SIDE,
    BatchSettings,
    CerebrasPlatform,
    LogPlatform,
    Platform,
    TorchPlatform,
    Training,
)

__all__ = [
    "LABEL_RULE",
    "LABEL_SIDE",
    "BatchSettings",
    "CerebrasPlatform",
    "Cluster",
    "ColumnMap",
    "CommandServer",
    "Config",
    "DecodeLimit",
    "Endpoint",
    "GoodputLimits",
    "Inference",
    "LlamaCppServer",
    "LogPlatform",
    "Model",
    "NodeJob",
    "Platform",
    "PositiveInt",
    "PromptSet",
    "Real",
    "Scenario",
    "SecretSource",
    "TorchPlatform",
    "Training",
    "TransformersServer",
]


class NodeJob(Model):
    """Resources that each job of one kind requests."""

    queue: str | None = descriptive(None, "PBS queue; left out: the server's default.", min_length=1)
    select: str = descriptive(
        "1",
        "PBS chunks, such as 1 (a whole node), or 1:ngpus=8. A platform with several `nodes` gets as many: give one.",
        min_length=1,
    )
    place: str | None = descriptive(
        "scatter:excl",
        "How PBS places the chunks; excl: no other job shares their nodes. A queue that allocates parts of nodes "
        "(Sophia's by-gpu) needs scatter; null: the queue's default.",
        min_length=1,
    )
    runtime_min: PositiveInt = descriptive(60, "Walltime in minutes; a job that takes longer is killed.")


class Cluster(Model):
    """Jobs on a cluster's nodes: used with --profile profiles/alcf-pbs or profiles/slurm."""

    account: str | None = descriptive(None, "The project that PBS charges (qsub -A).", min_length=1)
    filesystems: str | None = descriptive(
        None, "File systems that PBS jobs need, such as home:eagle (ALCF requires them).", min_length=1
    )
    train: NodeJob = descriptive(NodeJob, "Training runs.")
    infer: NodeJob = descriptive(
        NodeJob, "A round with a server on its own node (own_node); with server.keep: run, all rounds of the endpoint."
    )

    @property
    def is_for_pbs(self) -> bool:
        """Whether the config has settings for PBS only."""
        return bool(self.account or self.filesystems or self.train.queue or self.infer.queue)

    @property
    def profile(self) -> str:
        """The profile that submits to this cluster."""
        return "alcf-pbs" if self.is_for_pbs else "slurm"


class Measurement(Model):
    """How rounds and training runs are measured on this machine."""

    when_busy: Literal["wait", "label"] = descriptive(
        "wait",
        "When other programs use this machine before a round or a training run: wait up to 60 s for a quiet one, then "
        "measure (wait; not again within ten minutes of a wait in vain), or measure at once (label). Disturbed "
        "measurements are labelled either way.",
    )


class Config(Model):
    """A run: what is trained, which endpoints are measured, and in which order."""

    title: str = descriptive("accelbench", "Heading of the report.")
    seed: int = Field(1, ge=0, description="Seed of the order of jobs and of the random prefixes.")
    restore: bool = descriptive(
        True, "Reuse a finished measurement of the same spec from results/archive instead of measuring again."
    )
    archive_dir: str | None = descriptive(
        None,
        "Folder of finished measurements that several working directories share; left out: results/archive of each.",
        min_length=1,
    )
    measurement: Measurement = descriptive(Measurement, "How this machine is measured on.")
    training: Training = descriptive(Training, "The batch-size sweep.")
    inference: Inference = descriptive(Inference, "The endpoint benchmark.")
    cluster: Cluster = descriptive(Cluster, "Resources of jobs on a cluster.")

    @model_validator(mode="after")
    def _fits_together(self) -> "Config":
        chunks = self.cluster.train.select
        several = any(getattr(self.training.platforms[name], "nodes", 1) > 1 for name in self.training.run)
        if several and not re.fullmatch(r"1(:[^+]*)?", chunks):
            raise problem(
                "cluster.train.select", f"is {chunks!r}; for a platform with several nodes write the chunk of one: 1:…"
            )
        return self
