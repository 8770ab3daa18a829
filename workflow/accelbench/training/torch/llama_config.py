"""ModelZoo's `trainer.init.model` of a Llama as the arguments of transformers' LlamaConfig.

What would be another model is refused: the value of a key that a Llama fixes, also where it is left out and
ModelZoo's own default is a GPT-2's; and any key that isn't known here.
Source: ModelZoo 2.6.0, models/nlp/gpt2/gpt2_model.py (GPT2LMHeadModelConfig, which the Llama inherits).
How its weights are drawn is the platform's to say (initial_weights).
"""

from typing import Any

from accelbench.errors import UserError
from accelbench.training.torch.settings import Settings, name_of

# key: (what a Llama has, what ModelZoo takes when the key is left out)
FIXED: dict[str, tuple[Any, Any]] = {
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
# Keys that choose a kernel or a number format, not the model: named as not honoured, never refused.
HARMLESS = (
    "attention_kernel",
    "attention_softmax_fp32",
    "dtype",
    "fold_rope_consts",
    "fp16_type",
    "mixed_precision",
)


def read_llama(model: Settings) -> dict[str, Any]:
    """Return the arguments of LlamaConfig."""
    model.only("name", "llama", "LlamaModel", default=None)
    for key, (llama, default) in FIXED.items():
        model.only(key, llama, default=default)
    hidden_size, heads = model.integer("hidden_size"), model.integer("num_heads")
    if hidden_size % heads:
        raise model.refusal("num_heads", wanted=f"must divide hidden_size, {hidden_size}")
    model.only("rotary_dim", hidden_size // heads, default=None)
    grouped = model.only("attention_module", "aiayn_attention", "multiquery_attention", default="aiayn_attention")
    key_value_heads = (
        model.at("extra_attention_params").integer("num_kv_groups") if grouped == "multiquery_attention" else heads
    )
    config = {
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
        if asked or key in HARMLESS:
            continue
        if value is None or value is False:  # switched off: what this backend does
            model.value(key)
            continue
        raise UserError(
            f"{model.file}: {name_of((*model.here, key))} changes the model in a way that this backend doesn't "
            "support; remove it, or use another backend."
        )
