"""What a params file asks of the torch backend: read, checked and refused before torch is imported.

Learning rates follow ModelZoo's own formulas (cerebras-pytorch 2.6.0, optim/scheduler.py, `_get_closed_form`). Steps
count from 0: the first update of the weights takes the rate of step 0.
"""

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from accelbench.errors import UserError
from accelbench.training.torch.batches import Loader, read_loader
from accelbench.training.torch.settings import Settings, name_of, read_settings

Schedule = Callable[[int], float]


def linear(initial: float, end: float, total_iters: int) -> Schedule:
    """LinearLR: a straight line, then `end`."""
    return lambda step: end if step >= total_iters else end + (initial - end) * (1 - step / total_iters)


def cosine_decay(initial: float, end: float, total_iters: int) -> Schedule:
    """CosineDecayLR: half a cosine, then `end`."""
    return lambda step: end + (initial - end) * (1 + math.cos(math.pi * min(step, total_iters) / total_iters)) / 2


def constant(rate: float) -> Schedule:
    """ConstantLR: one rate."""
    return lambda _: rate


def sequential(schedules: list[Schedule], milestones: list[int]) -> Schedule:
    """SequentialLR: from each milestone on the next schedule, counting from 0 again."""
    starts = [0, *milestones]

    def rate(step: int) -> float:
        stage = bisect_right(milestones, step)
        return schedules[stage](step - starts[stage])

    return rate


def read_schedule(init: Settings, own_rate: float | None) -> Schedule:
    """Return the schedule of `trainer.init.schedulers`; without one, the optimizer's own learning rate.

    Raises UserError for schedulers that this backend does not follow, or if there is no learning rate at all.
    """
    schedulers = init.each("schedulers")
    if len(schedulers) > 1:
        raise UserError(
            f"{init.file}: {name_of(init.here)}.schedulers lists {len(schedulers)}; this backend follows "
            "one. Join those that follow each other in a SequentialLR."
        )
    if schedulers:
        return _read(schedulers[0])[0]
    if own_rate is None:
        raise UserError(f"{init.file}: there is no learning rate; write {name_of(init.here)}.schedulers.")
    return constant(own_rate)


def _read(scheduler: Settings) -> tuple[Schedule, int | None]:
    """Return a schedule and its length in steps, which a SequentialLR needs of all but its last."""
    name = scheduler.only_key("scheduler")
    own = scheduler.at(name)
    own.only("param_group_tags", None, default=None)
    if name == "ConstantLR":
        steps = own.value("total_iters")
        return constant(own.number("learning_rate")), None if steps is None else own.integer("total_iters")
    if name in ("LinearLR", "CosineDecayLR"):
        own.only("cycle", False, default=False)
        steps = own.integer("total_iters")
        shape = linear if name == "LinearLR" else cosine_decay
        return shape(own.number("initial_learning_rate"), own.number("end_learning_rate"), steps), steps
    if name == "SequentialLR":
        return _read_sequential(own), None
    raise UserError(
        f"{scheduler.file}: {name_of(scheduler.here)} is {name}; this backend knows SequentialLR, LinearLR, "
        "CosineDecayLR and ConstantLR."
    )


def _read_sequential(own: Settings) -> Schedule:
    stages = [_read(stage) for stage in own.each("schedulers")]
    lengths = [steps for _, steps in stages[:-1] if steps is not None]
    if not stages or len(lengths) < len(stages) - 1:
        raise own.refusal("schedulers", wanted="must list schedulers with total_iters (except for the last)")
    milestones = list(accumulate(lengths))
    own.only("milestones", milestones, default=milestones)
    return sequential([schedule for schedule, _ in stages], milestones)


DEVICES = {"cpu": "CPU", "cuda": "GPU", "xpu": "GPU", "mps": "GPU"}
"""Ours, and ModelZoo's name for it."""
COLLECTIVES = {"cuda": "nccl", "xpu": "xccl"}
"""The GPUs of which several can train together, and by which library."""
INITIAL_WEIGHTS = ("normal", "modelzoo")
FOR_MEMORY = ("auto", "none", "full")
_MICRO_BATCH = "csx.performance.micro_batch_size"


_FIXED: dict[str, tuple[Any, Any]] = {
    "position_embedding_type": ("rotary", "learned"),
    "norm_type": ("rmsnorm", "layernorm"),
    "nonlinearity": ("swiglu", "gelu"),
    "attention_type": ("scaled_dot_product", "scaled_dot_product"),
    "dropout_rate": (0.0, 0.1),
    "embedding_dropout_rate": (0.0, 0.0),  # ModelZoo: the same as dropout_rate
    "attention_dropout_rate": (0.0, 0.1),
    "use_projection_bias_in_attention": (False, True),
    "use_ffn_bias_in_attention": (False, True),
    "use_ffn_bias": (False, True),
    "use_bias_in_output": (False, False),
    "loss_scaling": ("num_tokens", "num_tokens"),
    "loss_weight": (1.0, 1.0),
    "pos_scaling_factor": (1.0, 1.0),
}
"""What a Llama has, and what ModelZoo takes when the key is left out."""
_HARMLESS = (
    "attention_kernel", "attention_softmax_fp32", "dtype", "fold_rope_consts", "fp16_type", "mixed_precision",
)  # fmt: skip
"""Keys that choose a kernel or a number format, not the model: named as not honoured, never refused."""


class RopeParameters(TypedDict):
    """The rotary embedding of a LlamaConfig."""

    rope_type: str
    rope_theta: float


class LlamaArguments(TypedDict):
    """The arguments of transformers' LlamaConfig."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    max_position_embeddings: int
    rms_norm_eps: float
    rope_parameters: RopeParameters
    tie_word_embeddings: bool
    initializer_range: float
    use_cache: bool


class AdamWArguments(TypedDict):
    """The arguments of torch's AdamW."""

    betas: tuple[float, float]
    eps: float
    weight_decay: float


@dataclass(frozen=True, slots=True)
class Run:
    """One training run."""

    device: str
    dtype: str
    seed: int | None
    model: LlamaArguments
    adamw: AdamWArguments
    learning_rate: Schedule
    max_gradient_norm: float | None
    train: Loader
    micro_batch_size: int
    grad_accum_steps: int
    loops: tuple[range, ...]
    """Steps, counted from 1; after each loop the held-out loss is taken."""
    held_out: Loader | None
    held_out_batches: int
    log_steps: int
    checkpoint_steps: int
    """0: none."""
    save_initial_checkpoint: bool
    autoload_last_checkpoint: bool
    not_honoured: list[str]
    initial_weights: str = "normal"
    sharding: str = "none"
    activation_checkpointing: str = "none"
    compile: bool = False

    @property
    def max_steps(self) -> int:
        """The last step."""
        return self.loops[-1][-1]

    def saves(self, step: int) -> bool:
        """Tell whether a checkpoint is taken after a step."""
        return self.checkpoint_steps > 0 and (step % self.checkpoint_steps == 0 or step == self.max_steps)

    def after(self, step: int) -> "Run":
        """Return what is left after a step; an evaluation that was due there is left out, as in ModelZoo."""
        left = tuple(range(max(loop[0], step + 1), loop[-1] + 1) for loop in self.loops if loop[-1] > step)
        return replace(self, loops=left)


def read_run(params: Path, device: str | None) -> Run:
    """Read a params file; a device given here beats the file's."""
    file = read_settings(params)
    init, fit = file.at("trainer", "init"), file.at("trainer", "fit")
    model = read_llama(init.at("model"))
    data = {"vocab_size": model["vocab_size"], "sequence_length": model["max_position_embeddings"]}
    train = read_loader(fit.at("train_dataloader"), **data)
    checkpoint = init.at("checkpoint")
    held_out, held_out_batches, loops = _loops(init.at("loop"), fit, data)
    adamw, own_rate = _adamw(init)
    dtype, max_gradient_norm = _precision(init)
    run = Run(
        device=_device(init, device),
        dtype=dtype,
        seed=None if init.value("seed") is None else init.integer("seed", at_least=0),
        model=model,
        adamw=adamw,
        learning_rate=read_schedule(init, own_rate),
        max_gradient_norm=max_gradient_norm,
        train=train,
        micro_batch_size=_micro_batch(init, train),
        grad_accum_steps=init.at("loop").integer("grad_accum_steps", 1),
        loops=loops,
        held_out=held_out,
        held_out_batches=held_out_batches,
        log_steps=init.at("logging").integer("log_steps", 1),
        checkpoint_steps=checkpoint.integer("steps", 0, at_least=0),
        save_initial_checkpoint=checkpoint.flag("save_initial_checkpoint", False),
        autoload_last_checkpoint=checkpoint.flag("autoload_last_checkpoint", True),
        not_honoured=[],
    )
    _what_is_done_anyway(file)
    run.not_honoured.extend(file.unasked())
    return run


def read_llama(model: Settings) -> LlamaArguments:
    """Return ModelZoo's `trainer.init.model` of a Llama as the arguments of transformers' LlamaConfig.

    What would be another model is refused: the value of a key that a Llama fixes, also where it is left out and
    ModelZoo's own default is a GPT-2's; and any key that isn't known here. How weights are drawn is the platform's to
    say (initial_weights). Source: ModelZoo 2.6.0, models/nlp/gpt2/gpt2_model.py (GPT2LMHeadModelConfig).
    """
    model.only("name", "llama", "LlamaModel", default=None)
    for key, (llama, default) in _FIXED.items():
        model.only(key, llama, default=default)
    hidden_size, heads = model.integer("hidden_size"), model.integer("num_heads")
    if hidden_size % heads:
        raise model.refusal("num_heads", wanted=f"must divide hidden_size, {hidden_size}")
    model.only("rotary_dim", hidden_size // heads, default=None)
    grouped = model.only("attention_module", "aiayn_attention", "multiquery_attention", default="aiayn_attention")
    key_value_heads = (
        model.at("extra_attention_params").integer("num_kv_groups") if grouped == "multiquery_attention" else heads
    )
    config: LlamaArguments = {
        "vocab_size": model.integer("vocab_size"),
        "hidden_size": hidden_size,
        "intermediate_size": model.integer("filter_size"),
        "num_hidden_layers": model.integer("num_hidden_layers"),
        "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads,
        "max_position_embeddings": model.integer("max_position_embeddings"),
        "rms_norm_eps": model.number("layer_norm_epsilon", 1e-5),
        "rope_parameters": {"rope_type": "default", "rope_theta": model.number("rope_theta", 10_000.0)},
        "tie_word_embeddings": model.flag("share_embedding_weights", True),
        "initializer_range": model.number("initializer_range", 0.02),
        "use_cache": False,
    }
    _refuse_unknown(model)
    return config


def _refuse_unknown(model: Settings) -> None:
    for key, value in model.values.items():
        asked = any(known[: len(model.here) + 1] == (*model.here, key) for known in model.asked)
        if asked or key in _HARMLESS:
            continue
        if value is None or value is False:  # switched off: what this backend does
            model.value(key)
            continue
        raise UserError(
            f"{model.file}: {name_of((*model.here, key))} changes the model in a way that this backend doesn't "
            "support; remove it, or use another backend."
        )


def loops_of(max_steps: int, eval_frequency: int | float) -> tuple[range, ...]:
    """Cut steps 1 … max_steps into loops, each k steps or a fraction of them; an evaluation follows each.

    Source: ModelZoo 2.6.0, trainer/callbacks/run_schedule.py (`_build_train_schedule`).
    """
    length = math.ceil(eval_frequency * max_steps) if isinstance(eval_frequency, float) else eval_frequency
    return tuple(range(first, min(first + length, max_steps + 1)) for first in range(1, max_steps + 1, length))


def _loops(loop: Settings, fit: Settings, data: dict[str, int]) -> tuple[Loader | None, int, tuple[range, ...]]:
    """Return the held-out data, how many of its batches are evaluated, and the loops of training between."""
    for other_length in ("num_epochs", "steps_per_epoch"):
        loop.only(other_length, None, default=None)
    limits = [loop.integer(key) for key in ("num_steps", "max_steps") if loop.value(key) is not None]
    if not limits:
        raise loop.refusal("max_steps", wanted="must be an integer, 1 or more")
    max_steps = min(limits)
    frequency = loop.value("eval_frequency", None if "eval_frequency" in loop.values else 1.0)
    known = type(frequency) is int or (type(frequency) is float and frequency <= 1)
    if frequency is not None and not (known and frequency >= 0):
        raise loop.refusal(
            "eval_frequency",
            wanted="must be an integer (every k steps), a fraction of the run (1.0: after it) or null",
        )
    eval_steps = loop.value("eval_steps")
    section = _val_dataloader(fit)
    if not frequency or section is None:
        return None, 0, (range(1, max_steps + 1),)
    held_out = read_loader(section, **data)
    batches = held_out.n_batches if eval_steps is None else loop.integer("eval_steps")
    return held_out, batches, loops_of(max_steps, frequency)


def _val_dataloader(fit: Settings) -> Settings | None:
    found = fit.values.get("val_dataloader")
    if not isinstance(found, list):
        return fit.at("val_dataloader") if found else None
    if len(found) > 1:
        raise UserError(
            f"{fit.file}: {name_of(fit.here)}.val_dataloader lists {len(found)}; this backend evaluates one."
        )
    return next(iter(fit.each("val_dataloader")), None)


def _adamw(init: Settings) -> tuple[AdamWArguments, float | None]:
    """Return AdamW's arguments (the defaults are ModelZoo's), and a learning rate of its own.

    ModelZoo adds eps before the bias is corrected, torch after: the same but for the first few steps.
    Weight decay reaches all weights, the norms' too, as in ModelZoo (common/optim_utils.py).
    """
    name = init.at("optimizer").only_key("optimizer")
    if name != "AdamW":
        raise UserError(f"{init.file}: {name_of(init.here)}.optimizer is {name}; this backend knows AdamW.")
    own = init.at("optimizer", name)
    own.only("correct_bias", True, default=True)
    own.only("amsgrad", False, default=False)
    own.only("adjust_learning_rate", None, default=None)
    betas = own.value("betas", [0.9, 0.999])
    if not (isinstance(betas, list) and len(betas) == 2 and all(type(b) is float and 0 <= b < 1 for b in betas)):
        raise own.refusal("betas", wanted="must be two numbers from 0.0 to below 1")
    arguments: AdamWArguments = {
        "betas": (betas[0], betas[1]),
        "eps": own.number("eps", 1e-6),
        "weight_decay": own.number("weight_decay", 0.0),
    }
    if init.values.get("schedulers"):
        return arguments, None  # the schedule sets the learning rate; one in here is not honoured
    rate = next((own.number(key) for key in ("learning_rate", "lr") if own.value(key) is not None), None)
    return arguments, rate


def _precision(init: Settings) -> tuple[str, float | None]:
    """Return the number format of the forward pass, and the norm that gradients are clipped to."""
    precision = init.at("precision")
    enabled = precision.flag("enabled", True) if init.values.get("precision") else False
    half = precision.value("fp16_type", "bfloat16")
    if enabled and half not in ("bfloat16", "cbfloat16"):
        raise precision.refusal(
            "fp16_type", wanted="must be bfloat16 (float16 needs loss scaling, which this backend doesn't do)"
        )
    precision.only("max_gradient_value", None, default=None)
    norm = precision.value("max_gradient_norm")
    if norm is not None and precision.number("max_gradient_norm") == 0:
        raise precision.refusal("max_gradient_norm", wanted="must be above 0, or null")
    return "bfloat16" if enabled else "float32", None if norm is None else float(norm)


def _device(init: Settings, given: str | None) -> str:
    """Return the device: the one given, else the one of the backend's type."""
    kind = str(init.at("backend").values.get("backend_type") or init.values.get("device")).upper()
    device = given or {"CPU": "cpu", "GPU": "cuda"}.get(kind)
    if device is None:
        raise UserError(
            f"{init.file}: {name_of(init.here)}.backend.backend_type is {kind}; this backend trains on "
            f"{', '.join(DEVICES)}: choose one with --device."
        )
    if DEVICES[device] == kind:
        init.at("backend").value("backend_type")
        init.value("device")
    return device


def _micro_batch(init: Settings, train: Loader) -> int:
    """Return the samples of one forward pass; gradients are summed until the batch is whole."""
    size: Any = "auto"
    where = _MICRO_BATCH
    for callback in init.each("callbacks"):
        if "ScopedTrainFlags" in callback.values:
            flags = callback.at("ScopedTrainFlags")
            size, where = flags.value(_MICRO_BATCH, "auto"), name_of((*flags.here, _MICRO_BATCH))
    if size in ("auto", "none"):
        return train.batch_size
    if type(size) is not int or size < 1:
        raise UserError(f"{init.file}: {where} is {size}; this backend knows an integer, auto and none.")
    last = 0 if train.drop_last else train.n_samples % train.batch_size
    for batch in (train.batch_size, last):
        if batch % size:
            raise UserError(
                f"{init.file}: {where} is {size}; it must divide the batch, {batch} samples"
                f"{' at the end of an epoch (drop_last: false)' if batch == last else ''}."
            )
    return size


def _what_is_done_anyway(file: Settings) -> None:
    """Count as honoured what asks for nothing, and what is for other commands than fit."""
    trainer = file.at("trainer")
    for other_command in ("validate", "validate_all"):
        trainer.value(other_command)
    init, fit = trainer.at("init"), trainer.at("fit")
    init.value("model_dir")  # --model_dir beats it, for cszoo too
    init.only("sparsity", None, default=None)
    fit.only("ckpt_path", None, default=None)
    if init.at("loop").values.get("eval_frequency", 1.0) in (None, 0):
        fit.value("val_dataloader")
    for loader in ("train_dataloader", "val_dataloader"):
        if isinstance(fit.values.get(loader), dict):
            fit.at(loader).honours("num_workers", None, 0)
