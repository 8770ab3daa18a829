"""How much memory of its device a run of the torch trainer needs: an estimate by arithmetic, before anything starts.

What is counted: weights, gradients and AdamW's moments in float32 (16 bytes a parameter); what the layers keep for the
backward pass, by the operations of transformers' LlamaDecoderLayer; and the output layer's logits, a chunk at a time.
A GPU needs some more: for CUDA itself, its libraries, and what lies between blocks (`USABLE`).

Of a sharded model (torch 2.13, distributed/fsdp/_fully_shard/_fsdp_collectives.py) also what FSDP2 gathers and sums: a
layer with its copy-in buffer and the next one; in the backward pass a layer's gradients, and in float32 those of the
layer before, being summed. Embedding and output layer are one unit, gathered all the time. Their gradients are summed
last, in a buffer and, as gloo does it, a copy (NCCL needs none); the output layer's own stay meanwhile.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from accelbench.errors import Finding, fails, ok
from accelbench.training.torch.run import LlamaArguments

USABLE = 0.9
"""The share of a device's memory that a run may be estimated to need."""
CHUNK_TOK = 4096
"""Tokens whose logits are there at a time."""


class Division(NamedTuple):
    """What a run gives up for memory."""

    sharding: str
    activation_checkpointing: str


UNDIVIDED = Division("none", "none")


@dataclass(frozen=True, slots=True)
class MemorySettings:
    """What the need for memory depends on, beside the model."""

    processes: int
    batch_size: int
    micro_batch_size: int
    dtype: str
    division: Division = UNDIVIDED

    @property
    def pass_samples(self) -> int:
        """Samples of one forward pass of one process."""
        return min(self.micro_batch_size, -(-self.batch_size // self.processes))

    @property
    def shards(self) -> int:
        """Parts that the weights are divided into."""
        return self.processes if self.division.sharding == "full" else 1


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Bytes that one process holds, by what they are."""

    weights: int
    gradients: int
    optimizer: int
    gathered: int
    """Weights as the layers compute with them: of a sharded model, or in bfloat16."""
    activations: int
    recomputed: int
    """Activations of the one layer that is computed again, where they are checkpointed."""
    logits: int
    ending: int
    """What a sharded model needs beside its gradients when the backward pass ends."""
    keeps_gradients: bool
    """Whether gradients are there in the forward pass: of the one before, or in DistributedDataParallel's buckets."""

    @property
    def peak(self) -> int:
        """The most at a time: before the backward pass, or when it ends."""
        earlier = self.gradients if self.keeps_gradients else 0
        forward = earlier + self.gathered + self.activations + max(self.logits, self.recomputed)
        return self.weights + self.optimizer + max(forward, self.gradients + self.ending)


def estimate(what: str, model: LlamaArguments, settings: MemorySettings, device_bytes: int | None) -> Finding:
    """Return what one process needs, part by part, and whether its device has it (None: not known)."""
    device = device_bytes or 2**63
    division = division_that_fits(model, settings, settings.division, device)
    settings = replace(settings, division=division)
    need = memory_need(model, settings)
    kept, checkpointed = (
        memory_need(model, replace(settings, division=Division(division.sharding, way))).activations
        for way in ("none", "full")
    )
    has = f" of {_gib(device)}" if device_bytes else ""
    text = (
        f"{_gib(need.peak)}{has} GiB per process (estimated) for micro batches of {settings.pass_samples}: weights "
        f"{_gib(need.weights)}, gradients {_gib(need.gradients)}, optimizer {_gib(need.optimizer)}, gathered "
        f"{_gib(need.gathered)}, activations {_gib(kept)} "
        f"({_gib(checkpointed)} checkpointed), logits {_gib(need.logits)}; "
        f"sharding {division.sharding}, activation checkpointing {division.activation_checkpointing}"
    )
    if need.peak <= USABLE * device:
        return ok(what, text)
    smallest = smallest_that_fits(model, settings, device)
    remedy = (
        f"Set processes: {smallest.processes} with sharding and activation_checkpointing auto, and micro_batch_size: 1."
        if smallest
        else "Use a device with more memory, or train a smaller model."
    )
    return fails(what, f"{text}; {USABLE:.0%} of the memory can be used", remedy)


def _gib(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.3g}"


def division_that_fits(
    model: LlamaArguments, settings: MemorySettings, wanted: Division, device_bytes: int
) -> Division:
    """Return the first division, by what it costs in time, that a device has room for; else the most sparing."""
    ways = [Division("none", "none"), Division("full", "none"), Division("none", "full"), Division("full", "full")]
    open_ways = [
        way
        for way in ways
        if all(asked in ("auto", is_so) for asked, is_so in zip(wanted, way, strict=True))
        and (way.sharding == "none" or settings.processes > 1 or wanted.sharding == "full")
    ]
    fitting = (way for way in open_ways if _fits(model, replace(settings, division=way), device_bytes))
    return next(fitting, open_ways[-1])


def smallest_that_fits(model: LlamaArguments, settings: MemorySettings, device_bytes: int) -> MemorySettings | None:
    """Return the smallest number of processes, in powers of 2, that hold micro batches of one sample, all divided."""
    for processes in (2**power for power in range(settings.batch_size.bit_length())):
        sparing = replace(settings, processes=processes, micro_batch_size=1, division=Division("full", "full"))
        if _fits(model, sparing, device_bytes):
            return sparing
    return None


def _fits(model: LlamaArguments, settings: MemorySettings, device_bytes: int) -> bool:
    return memory_need(model, settings).peak <= USABLE * device_bytes


def memory_need(model: LlamaArguments, settings: MemorySettings) -> MemoryNeed:
    """Return what one process of a run needs."""
    layer, rest = _parameters(model)
    layers = model["num_hidden_layers"]
    share = 4 * (layers * layer + rest) // settings.shards
    half = settings.dtype == "bfloat16"
    sharded = settings.shards > 1
    n_bytes = 2 if half else 4
    cast = 2 * (layers * layer + rest) if half else 0
    n_tok = settings.pass_samples * model["max_position_embeddings"]
    stream = n_tok * model["hidden_size"] * (2 if half and sharded else 4)
    of_layer = n_tok * _bytes_per_token(model, half=half, autocast=half and not sharded)
    checkpointed = settings.division.activation_checkpointing == "full"
    chunk = min(n_tok, CHUNK_TOK) * model["vocab_size"]
    embedding = model["vocab_size"] * model["hidden_size"]
    several_passes = settings.batch_size > settings.pass_samples * settings.processes
    last_layer = n_bytes * (rest + 2 * layer) + of_layer + (n_bytes + 4) * layer
    last_reduced = 8 * rest + n_bytes * (rest - embedding) + several_passes * 4 * rest // settings.shards
    return MemoryNeed(
        weights=share,
        gradients=share,
        optimizer=2 * share,
        gathered=n_bytes * (rest + 3 * layer) if sharded else cast,
        activations=layers * (stream if checkpointed else of_layer),
        recomputed=of_layer if checkpointed else 0,
        logits=chunk * (10 if half else 8) + (4 + n_bytes) * embedding + 4 * stream,
        ending=max(last_layer, last_reduced) if sharded else 0,
        keeps_gradients=several_passes or (settings.processes > 1 and not sharded),
    )


def _parameters(model: LlamaArguments) -> tuple[int, int]:
    """Return the parameters of one layer, and of all the rest."""
    hidden = model["hidden_size"]
    layer = 2 * hidden * (hidden + _key_value_width(model)) + 3 * hidden * model["intermediate_size"] + 2 * hidden
    return layer, model["vocab_size"] * hidden * (1 if model["tie_word_embeddings"] else 2) + hidden


def _key_value_width(model: LlamaArguments) -> int:
    return model["hidden_size"] * model["num_key_value_heads"] // model["num_attention_heads"]


def _bytes_per_token(model: LlamaArguments, *, half: bool, autocast: bool) -> int:
    """Return what a layer keeps of a token: two norms, attention, and the gated feed-forward."""
    hidden, key_value, inner = model["hidden_size"], _key_value_width(model), model["intermediate_size"]
    if not half:
        return 4 * (8 * hidden + 2 * key_value + 4 * inner)
    norms = 26 * hidden if autocast else 16 * hidden
    return norms + 4 * hidden + 4 * key_value + 8 * inner
