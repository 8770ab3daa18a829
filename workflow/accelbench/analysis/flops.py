"""The arithmetic of one training step, from the model section of a run's params file.

6·N·L per sample (a multiply and an add, forward once and backward twice) plus causal attention 6·layers·L²·d,
with N the parameters that are multiplied: all but the input embedding, which is only looked up. Norms and
biases are left out (less than 0.1 %). Nothing is added for recomputation: this is the model's work, not the
machine's. Never guesses: what a params file doesn't say gives no figure, but a reason.
"""

from collections.abc import Mapping
from typing import Any

SIZES = ("hidden_size", "num_hidden_layers", "num_heads", "filter_size", "vocab_size")
UNKNOWN = ("num_experts", "moe_params", "attention_sliding_window_length")
"""Keys of models with other arithmetic: experts, or attention that does not reach back to the first token."""


def why_unknown(model: Mapping[str, Any] | None) -> str | None:
    """Say why the arithmetic of a model can't be counted; None when it can."""
    if model is None:
        return "there is no params file of the run that can be read"
    lacking = [key for key in SIZES if not _size(model.get(key))]
    if lacking:
        return f"the params file does not say {', '.join(lacking)}"
    other = [key for key in UNKNOWN if model.get(key)]
    return f"models with {', '.join(other)} are not counted" if other else None


def multiplied_parameters(model: Mapping[str, Any]) -> int | None:
    """Return N: the parameters of the linear layers and of the output layer, shared with the embedding or not."""
    if why_unknown(model):
        return None
    hidden, layers, heads, filter_size, vocabulary = (int(model[key]) for key in SIZES)
    key_value = hidden * _key_value_heads(model, heads) // heads
    attention = 2 * hidden * hidden + 2 * hidden * key_value
    gated = str(model.get("nonlinearity", "")).endswith("glu")
    feed_forward = (3 if gated else 2) * hidden * filter_size
    return layers * (attention + feed_forward) + hidden * vocabulary


def flop_per_sample(
    model: Mapping[str, Any] | None, sequence_length: int | None, *, attention: bool = True
) -> float | None:
    """Return the floating-point operations of training on one sample of L tokens; None when not known."""
    parameters = multiplied_parameters(model) if model else None
    if model is None or parameters is None or not sequence_length:
        return None
    flop = 6.0 * parameters * sequence_length
    if attention:
        flop += 6.0 * int(model["num_hidden_layers"]) * sequence_length**2 * int(model["hidden_size"])
    return flop


def _key_value_heads(model: Mapping[str, Any], heads: int) -> int:
    """Return the heads of keys and values: fewer than of queries where they are grouped (ModelZoo's names)."""
    for key in ("attention_module_kwargs", "extra_attention_params"):
        kwargs = model.get(key)
        if isinstance(kwargs, Mapping) and _size(kwargs.get("num_kv_groups")):
            return int(kwargs["num_kv_groups"])
    return 1 if model.get("attention_module") == "multiquery_attention" else heads


def _size(value: Any) -> bool:
    return type(value) is int and value > 0
