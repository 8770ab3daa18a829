"""The config of the batch-size sweep: platforms, and how a batch size changes training."""

import math
import re
import string
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from accelbench.config.fields import (
    HttpUrl,
    Model,
    Name,
    Names,
    PositiveInt,
    Real,
    Sizes,
    descriptive,
    problem,
    undefined,
)

# one side of a wafer job's label; source: cerebras-appliance 2.6.0, cluster_config.py
LABEL_SIDE = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]")
LABEL_RULE = "each side of a label must be 1 to 63 letters, digits, - _ . with a letter or digit at both ends"


def _labels(labels: dict[str, str]) -> dict[str, str]:
    for key, value in labels.items():
        if not (LABEL_SIDE.fullmatch(key) and LABEL_SIDE.fullmatch(value)):
            raise PydanticCustomError("accelbench", "{text}", {"text": f"has {key}={value}; {LABEL_RULE}"})
    return labels


def _log_pattern(pattern: str) -> str:
    try:
        parts = list(string.Formatter().parse(pattern))
    except ValueError:
        parts = []
    fields = {field for _, field, _, _ in parts if field is not None}
    plain = bool(parts) and all(not spec and not conversion for _, _, spec, conversion in parts)
    if not plain or not fields <= {"batch", "micro", "repeat"}:
        raise PydanticCustomError(
            "accelbench", "{text}", {"text": "must be a path, optionally with {batch}, {micro} and {repeat}"}
        )
    return pattern


_Labels = Annotated[dict[str, str], AfterValidator(_labels)]


class PeakTflops(Model):
    """The peak that MFU is relative to. MFUs against different kinds of peak are never ranked."""

    value: Real = descriptive(..., "TFLOP/s of all the devices of one run together.", gt=0)
    kind: Literal["dense", "sparse", "unstated"] = descriptive(
        "unstated", "Whether the vendor's figure counts dense or sparse operations, or doesn't say."
    )
    source: str = descriptive(..., "Where the figure comes from.", min_length=1)


class Platform(Model):
    """Where and how the sweep trains; each backend's own model adds keys, and says which are measured."""

    needs_local: ClassVar[bool] = False
    """Whether its runs need the extra `local`."""
    trains: ClassVar[bool] = True
    """False: its runs are finished, and their logs are read."""

    backend: str = Field(description="What trains.")
    label: str | None = descriptive(None, "Shown in tables and plots instead of the platform's name.")
    peak_tflops: PeakTflops | None = descriptive(None, "Its peak, for MFU; left out: no MFU.")
    power_csv: str | None = descriptive(
        None, "CSV of its power (a PDU, a facility's dashboard): time (ISO with zone, or Unix seconds), watts."
    )
    power_scope: str = descriptive("node", "What the watts of power_csv are of.", min_length=1)

    def log(self, batch_size: int, repeat: int, micro: int | None = None) -> Path | None:
        """Return the log of a finished run; None if runs are trained."""
        return None

    def check_sweep(self, name: str, sweep: "Training") -> None:
        """Raise for a sweep that this platform, named `name`, can't run."""


class TorchPlatform(Platform):
    """This machine, or a GPU node: the params file is trained by transformers' LlamaForCausalLM."""

    needs_local = True

    backend: Literal["torch"] = Field(description="torch: this project's own trainer.")
    device: Literal["cpu", "cuda", "xpu", "mps"] = Field(
        "cpu", description="Where the model trains. cuda: NVIDIA's and AMD's GPUs; xpu: Intel's; mps: Apple's."
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="bfloat16: autocast; parameters and optimizer stay float32."
    )
    threads: PositiveInt | None = Field(
        None, description="CPU threads of the trainer (of each process); left out: all cores."
    )
    initial_weights: Literal["normal", "modelzoo"] = Field(
        "normal",
        description="How initial weights are drawn. modelzoo: as on a CS-3, from truncated normals, with a standard "
        "deviation divided by sqrt(2 · layers) for those that write into the residual stream; normal: all with "
        "initializer_range. Compare losses after few steps only where this is the same.",
    )
    processes: PositiveInt = Field(
        1, description="Processes that share every batch, one per GPU of a node (data parallel, by torchrun)."
    )
    nodes: PositiveInt = Field(
        1,
        description="Nodes of a PBS or Slurm job that train together, each with `processes`; the working directory "
        "must be on a file system that all of them see.",
    )
    sharding: Literal["auto", "none", "full"] = Field(
        "none",
        description="full: weights, gradients and optimizer are divided over the processes (FSDP2's fully_shard); "
        "auto: if the estimate says that they don't fit otherwise.",
    )
    activation_checkpointing: Literal["auto", "none", "full"] = Field(
        "none",
        description="full: of each layer only the input is kept, and the rest is computed again; auto: if the "
        "estimate says that it doesn't fit otherwise.",
    )
    machine: str | None = descriptive(
        None, "Its GPU in config/hardware.yaml, for preflight's estimate of memory; left out: the one that is here."
    )
    compile: bool = Field(False, description="Compile each decoder layer (torch.compile), before the first step.")
    own_node: bool = descriptive(
        False, "The job has its own node (a cluster's GPU node) and may run during other measurements."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "TorchPlatform":
        if self.device == "mps" and self.processes > 1:
            raise problem("processes", f"is {self.processes}, and device mps is a single GPU; remove it")
        if self.nodes > 1 and not self.own_node:
            raise problem("nodes", f"is {self.nodes}; several nodes are a job of a cluster: set own_node: true")
        return self

    @property
    def world_size(self) -> int:
        """The processes of all nodes."""
        return self.nodes * self.processes

    def check_sweep(self, name: str, sweep: "Training") -> None:
        """Raise where a batch has fewer samples than there are processes."""
        _check_shares(sweep, self.world_size, f"{name} has {self.world_size} processes")


class CerebrasPlatform(Platform):
    """A Cerebras CS-3 through ModelZoo's `cszoo fit`, Release 2.6.0."""

    backend: Literal["cerebras"] = Field(description="cerebras: ModelZoo's own trainer, on the wafer.")
    release: str = Field("2.6.0", description="The Cerebras release that is installed.")
    num_csx: PositiveInt = Field(1, description="CS-3 systems per job.")
    command: list[str] = descriptive(lambda: ["cszoo"], "Command that runs cszoo.", min_length=1)
    venv: str | None = descriptive(
        None, "ModelZoo's virtual environment, such as ~/R_2.6.0/venv_cerebras_pt: cszoo and csctl run in it."
    )
    modules: list[str] = descriptive(list, "Environment modules that cszoo and csctl need (`module load`).")
    proxy: HttpUrl | None = descriptive(
        None, "HTTP and HTTPS proxy of cszoo and csctl; ALCF's is http://proxy.alcf.anl.gov:3128."
    )
    job_time_sec: PositiveInt | None = descriptive(
        None, "The wafer job is stopped after running for this many seconds (not counting the queue)."
    )
    job_labels: _Labels = descriptive(dict, "Labels of the wafer job, shown by `csctl get jobs`.")
    mount_dirs: list[str] = descriptive(list, "Folders that the worker pods must see.")
    python_paths: list[str] = descriptive(list, "Folders put on the worker pods' PYTHONPATH.")
    csctl: list[str] = descriptive(
        lambda: ["csctl"], "Command that runs csctl, which cancels the wafer jobs of a killed cszoo.", min_length=1
    )
    prewarm: bool = descriptive(
        False, "Compile each batch size first (cszoo --compile_only), in a job that holds no wafer."
    )

    def check_sweep(self, name: str, sweep: "Training") -> None:
        """Raise where a batch has fewer samples than there are systems."""
        _check_shares(sweep, self.num_csx, f"{name} has {self.num_csx} systems (num_csx)")


class LogPlatform(Platform):
    """Finished runs: their logs, of whatever trainer, read as if they had been measured here."""

    trains = False

    backend: Literal["log"] = Field(description="log: reads existing logs; runs nothing.")
    logs: Annotated[str, AfterValidator(_log_pattern)] = Field(
        description="One log per run, such as logs/mytest_{batch}.log; {repeat} for several runs of a size, {micro} "
        "for several micro batches. Without {batch}: one file with the runs of all sizes. Each is identified by the "
        "batch size in its log; the repeats of a size are its runs in file order."
    )

    @property
    def holds_all_sizes(self) -> bool:
        """Whether one file holds the runs of all batch sizes."""
        return "{batch}" not in self.logs

    def log(self, batch_size: int, repeat: int, micro: int | None = None) -> Path:
        """Return the log of one run."""
        return Path(self.logs.format(batch=batch_size, repeat=repeat, micro=micro)).expanduser()

    def check_sweep(self, name: str, sweep: "Training") -> None:
        """Raise where one log would count as several runs."""
        key = f"platforms.{name}.logs"
        if sweep.repeats > 1 and "{repeat}" not in self.logs and "{batch}" in self.logs:
            raise problem(
                key,
                f"is {self.logs!r}; with {sweep.repeats} repeats it must have {{repeat}} in it, "
                "or one log would count as several runs; with one log per size, set training.repeats to 1",
            )
        if sweep.micro_batch_sizes and "{micro}" not in self.logs:
            raise problem(
                key,
                f"is {self.logs!r}; with micro_batch_sizes it must have {{micro}} in it, "
                "or one log would count as several runs",
            )
        if not sweep.micro_batch_sizes and "{micro}" in self.logs:
            raise problem(key, f"is {self.logs!r}; name the micro batches in training.micro_batch_sizes")


def _check_shares(sweep: "Training", parts: int, what: str) -> None:
    """Refuse batches with fewer samples than there are parts of the platform that share them."""
    if (smallest := min(sweep.batch_sizes)) < parts:
        raise problem("batch_sizes", f"has {smallest}, and {what}: each needs a sample of every batch")


_OneOf = Annotated[TorchPlatform | CerebrasPlatform | LogPlatform, Field(discriminator="backend")]
"""The config model of each training backend."""


class BatchSettings(Model):
    """Settings of one batch size that differ from the rest of the sweep."""

    max_steps: PositiveInt | None = Field(None, description="Training steps of this batch size.")
    log_steps: PositiveInt | None = Field(None, description="Steps between its progress lines.")
    micro_batch_size: PositiveInt | None = Field(None, description="Samples per gradient accumulation.")


class Training(Model):
    """The batch-size sweep."""

    run: Names = descriptive(list, "The platforms to sweep; []: none.")
    platforms: dict[Name, _OneOf] = descriptive(dict, "Definitions: name -> platform.")
    model: str | None = Field(None, description="Base params file in ModelZoo's format.")
    corpus: Literal["python_docs", "synthetic"] | None = Field(
        None,
        description="Prepared as HDF5. python_docs: the standard library's help texts; synthetic: random tokens of "
        "the model's vocabulary, for speed alone, because losses then mean nothing; "
        "left out: the base file's own data_dir.",
    )
    batch_sizes: Sizes = descriptive(lambda: [1], "Global batch sizes, in samples.")
    max_steps: PositiveInt = Field(200, description="Training steps.")
    match: Literal["steps", "samples"] = Field(
        "steps",
        description="What is equal for all batch sizes. steps: max_steps each; samples: as many samples as "
        "base_batch_size trains in max_steps, rounded up to whole steps.",
    )
    base_batch_size: PositiveInt | None = Field(
        None,
        description="The batch size that the base file's learning rates and schedule (and with match: samples, "
        "max_steps) are meant for; left out: the smallest of batch_sizes. Set it: otherwise a smaller size added "
        "later changes the other runs.",
    )
    lr_scaling: Literal["none", "linear", "sqrt"] = Field(
        "none",
        description="linear: all learning rates times batch size / base_batch_size; sqrt: times its square root.",
    )
    schedule_unit: Literal["steps", "samples"] | None = Field(
        None,
        description="How the learning-rate schedule's iteration counts follow the batch size. steps: as in the base "
        "file; samples: times base_batch_size / batch size, rounded up; left out: as in match, because with fewer "
        "steps a warm-up counted in steps could take the whole run.",
    )
    log_steps: PositiveInt = Field(10, description="Steps between progress lines.")
    micro_batch_size: PositiveInt | None = Field(
        None, description="Samples per gradient accumulation; left out: as in the base file."
    )
    micro_batch_sizes: Sizes | None = descriptive(
        None,
        "A second axis of the sweep, instead of micro_batch_size: each batch size is run once per micro batch that "
        "divides it.",
    )
    sequence_lengths: Sizes | None = descriptive(
        None,
        "A further axis of the sweep: each size is run once per length, in tokens per sample, of the model and of "
        "`corpus`. For the torch backend.",
    )
    eval_frequency: PositiveInt | Real | None = Field(
        None, description="Held-out loss: an integer k: every k steps; 1.0: after training; null: never."
    )
    checkpoint_steps: PositiveInt | None = Field(
        None,
        description="Steps between checkpoints, plus one after the last step; null: none (one takes about 9 minutes "
        "for a 7B model). The torch trainer keeps the last two.",
    )
    seed: int = Field(1, ge=0, description="Seed of the first repeat; see vary_seed for the others.")
    repeats: PositiveInt = descriptive(1, "Runs per batch size (and micro batch).")
    vary_seed: bool = descriptive(
        True, "true: repeat r trains with seed + r - 1; false: all repeats train with the same seed."
    )
    sequence_length: PositiveInt | None = descriptive(
        None,
        "Tokens per sample, for tokens/s and TFLOP/s of runs whose trainer does not report it (a CS-3); left out: read "
        "from the HDF5 files of data_dir, where the training machine can.",
    )
    project_steps: PositiveInt | None = descriptive(
        None, "Show the time and effective rate of a run of this many steps, including start-up."
    )
    reference: str | None = descriptive(
        None, "Published figures to show next to yours, such as config/reference/llama2_7b_cs3.yaml."
    )
    sizes: dict[PositiveInt, BatchSettings] = descriptive(dict, "Settings of individual batch sizes.")

    @model_validator(mode="after")
    def _fits_together(self) -> "Training":
        for name in self.run:
            if name not in self.platforms:
                raise undefined("run", name, "training.platforms", self.platforms)
        ran = [self.platforms[name] for name in self.run]
        if self.model is None and any(platform.trains for platform in ran):
            raise problem("model", "must name a base params file, such as config/models/llama_small.yaml")
        if isinstance(self.eval_frequency, float) and self.eval_frequency != 1.0:
            raise problem("eval_frequency", "must be an integer (every k steps), 1.0 (after training) or null")
        for size in self.sizes:
            if size not in self.batch_sizes:
                raise problem("sizes", f"has settings for {size}, which is not among batch_sizes")
        self._check_micro_batches()
        self._check_sequence_lengths(ran)
        for size in self.batch_sizes:
            micro = self.settings(size).micro_batch_size
            if micro is not None and size % micro:
                raise problem(
                    "batch_sizes",
                    f"has {size}, which is not a multiple of the micro batch {micro}; "
                    f"write {size - size % micro or micro} or another micro_batch_size",
                )
        for name in self.run:
            self.platforms[name].check_sweep(name, self)
        return self

    def _check_micro_batches(self) -> None:
        axis = self.micro_batch_sizes
        if axis is None:
            return
        single = ["micro_batch_size"] if self.micro_batch_size else []
        single += [f"sizes.{size}.micro_batch_size" for size, own in self.sizes.items() if own.micro_batch_size]
        if single:
            raise problem("micro_batch_sizes", f"and training.{single[0]} exclude each other; remove one of them")
        for micro in axis:
            if all(size % micro for size in self.batch_sizes):
                raise problem("micro_batch_sizes", f"has {micro}, which divides none of batch_sizes; remove it")
        for size in self.batch_sizes:
            if not self.micro_batches(size):
                raise problem("batch_sizes", f"has {size}, which none of micro_batch_sizes divides; remove or add one")

    def _check_sequence_lengths(self, ran: Sequence[Platform]) -> None:
        if self.sequence_lengths is None:
            return
        if self.corpus is None:
            raise problem("sequence_lengths", "needs training.corpus, which is cut into samples of each length")
        if others := [platform.backend for platform in ran if not isinstance(platform, TorchPlatform)]:
            raise problem("sequence_lengths", f"is for the torch backend; training.run has one of {others[0]}")

    def micro_batches(self, batch_size: int) -> list[int] | list[None]:
        """Return the micro batches that a batch size is run with; [None] if the sweep doesn't vary them."""
        if self.micro_batch_sizes is None:
            return [None]
        return [micro for micro in self.micro_batch_sizes if batch_size % micro == 0]

    @property
    def lengths(self) -> list[int] | list[None]:
        """The sequence lengths that each size is run with; [None] if the sweep doesn't vary them."""
        return self.sequence_lengths or [None]

    def seed_of(self, repeat: int) -> int:
        """Return the seed that a repeat trains with."""
        return self.seed + repeat - 1 if self.vary_seed else self.seed

    def settings(self, batch_size: int, micro: int | None = None) -> BatchSettings:
        """Return the settings in force for one batch size: its own over the sweep's; `micro` when it is an axis."""
        own = self.sizes.get(batch_size, BatchSettings())
        return BatchSettings(
            max_steps=own.max_steps or self._steps(batch_size),
            log_steps=own.log_steps or self.log_steps,
            micro_batch_size=micro or own.micro_batch_size or self.micro_batch_size,
        )

    def lr_factor(self, batch_size: int) -> float:
        """Return what the learning rates of one batch size are multiplied by."""
        ratio = batch_size / self._base_size
        return {"none": 1.0, "linear": ratio, "sqrt": math.sqrt(ratio)}[self.lr_scaling]

    def schedule_factor(self, batch_size: int) -> Fraction:
        """Return what the schedule's iteration counts of one batch size are multiplied by."""
        unit = self.schedule_unit or self.match
        return Fraction(self._base_size, batch_size) if unit == "samples" else Fraction(1)

    def _steps(self, batch_size: int) -> int:
        samples = self.max_steps * self._base_size
        return self.max_steps if self.match == "steps" else -(-samples // batch_size)

    @property
    def _base_size(self) -> int:
        return self.base_batch_size or min(self.batch_sizes)
