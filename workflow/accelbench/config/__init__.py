"""The configuration: every key, its default, unit and meaning.

These models are the one source of config/schema.json, of the config reference and of the specs.
A field is *measured* (it changes what is measured and is part of the spec) unless it is declared
`descriptive` (labels, sources of secrets, commands: changing one measures nothing again).

A default of a measured field is never changed once released: specs leave defaults out, so a new default
would silently give old measurements a new meaning. New behaviour gets a new key (tests/plan/test_specs.py
holds the released defaults).
"""

from pydantic import Field

from accelbench.config.cluster import Cluster, NodeJob
from accelbench.config.fields import Model, PositiveInt, Real, descriptive
from accelbench.config.inference import (
    ClusterStatus,
    ColumnMap,
    CommandServer,
    Cost,
    DecodeLimit,
    Endpoint,
    Equivalence,
    GoodputLimits,
    Inference,
    LlamaCppServer,
    PromptSet,
    Scenario,
    SecretSource,
    Server,
    TransformersServer,
)
from accelbench.config.training import (
    LABEL_RULE,
    LABEL_SIDE,
    BatchSettings,
    CerebrasPlatform,
    LogPlatform,
    PeakTflops,
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
    "ClusterStatus",
    "ColumnMap",
    "CommandServer",
    "Config",
    "Cost",
    "DecodeLimit",
    "Endpoint",
    "Equivalence",
    "GoodputLimits",
    "Inference",
    "LlamaCppServer",
    "LogPlatform",
    "Model",
    "NodeJob",
    "PeakTflops",
    "Platform",
    "PositiveInt",
    "PromptSet",
    "Real",
    "Scenario",
    "SecretSource",
    "Server",
    "TorchPlatform",
    "Training",
    "TransformersServer",
]


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
    training: Training = descriptive(Training, "The batch-size sweep.")
    inference: Inference = descriptive(Inference, "The endpoint benchmark.")
    cluster: Cluster = descriptive(Cluster, "Resources of jobs on a cluster.")
