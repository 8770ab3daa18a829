"""The config of a cluster: resources requested from PBS or Slurm. None of it changes what is measured."""

from accelbench.config.fields import Model, PositiveInt, descriptive


class NodeJob(Model):
    """Resources that each job of one kind requests."""

    queue: str | None = descriptive(None, "PBS queue; left out: the server's default.", min_length=1)
    select: str = descriptive("1", "PBS chunks, such as 1 (a whole node), or 1:ngpus=8.", min_length=1)
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
    infer: NodeJob = descriptive(NodeJob, "Rounds with a server on its own node (own_node).")

    @property
    def is_for_pbs(self) -> bool:
        """Whether the config says what only PBS is told."""
        return bool(self.account or self.filesystems or self.train.queue or self.infer.queue)

    @property
    def profile(self) -> str:
        """The profile that submits to this cluster."""
        return "alcf-pbs" if self.is_for_pbs else "slurm"
