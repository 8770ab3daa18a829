"""The Llama that the torch backend trains: transformers' own, which answers samples with their summed loss.

Its parameters are named as transformers names them, so checkpoints are those of a LlamaForCausalLM.

Where memory is short, whole weights are given up on each rank (FSDP2's fully_shard), and activations. Each decoder
layer is a unit: it is gathered when it computes, checkpointed, and compiled, by itself. Weights, gradients and the
optimizer's moments are float32 and divided over the ranks; under bfloat16 the layers compute in it, and gradients are
summed in float32.
"""

from functools import partial
from typing import Any

import torch
import transformers
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from accelbench.training.params.memory import CHUNK_TOK
from accelbench.training.torch import ranks
from accelbench.training.torch.batches import INPUTS, LABELS, MASK
from accelbench.training.torch.run import LlamaArguments, Run


class Llama(transformers.LlamaForCausalLM):  # type: ignore[misc]
    """A Llama with PyTorch's scaled dot product attention."""

    def __init__(self, config: LlamaArguments, initial_weights: str = "normal") -> None:
        """Draw the weights of a model by the arguments of transformers' LlamaConfig."""
        super().__init__(transformers.LlamaConfig(**config, attn_implementation="sdpa"))
        if initial_weights == "modelzoo":
            self._draw_as_modelzoo()

    def _draw_as_modelzoo(self) -> None:
        """Draw all weights but the norms' anew, as ModelZoo does.

        Source: ModelZoo 2.6.0 to 2.10.0, models/nlp/gpt2/gpt2_model.py (`default_initializer`,
        `output_layer_initializer`, `__reset_parameters`) and layers/init.py (TruncatedNormalInitializer).
        """
        std = self.config.initializer_range
        into_the_residual_stream = std / (2 * self.config.num_hidden_layers) ** 0.5
        for name, weights in self.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                _draw_truncated(weights, into_the_residual_stream)
            elif name == "lm_head.weight":
                torch.nn.init.normal_(weights, std=std)
            elif weights.dim() > 1:
                _draw_truncated(weights, std)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Return the cross-entropy, summed over the tokens that count. The data's labels are shifted already."""
        hidden = self.model(input_ids=samples[:, INPUTS]).last_hidden_state.flatten(0, 1)
        labels, counts = samples[:, LABELS].flatten(), samples[:, MASK].flatten()
        return _SummedLoss.apply(hidden, self.lm_head.weight, labels, counts, torch.is_grad_enabled())


def _draw_truncated(weights: torch.Tensor, std: float) -> None:
    torch.nn.init.trunc_normal_(weights, std=std, a=-2 * std, b=2 * std)


class _SummedLoss(torch.autograd.Function):  # type: ignore[misc]
    """The output layer and its loss, some tokens at a time: the logits of all would fill a GPU.

    The gradients are taken on the way forward, while the logits of a chunk are there.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        labels: torch.Tensor,
        counts: torch.Tensor,
        learns: bool,
    ) -> torch.Tensor:
        total = hidden.new_zeros((), dtype=torch.float32)
        layer = weight.detach().requires_grad_(learns)
        of_hidden, of_weight = [], torch.zeros_like(weight if learns else total, dtype=torch.float32)
        chunks = zip(*(tokens.split(CHUNK_TOK) for tokens in (hidden.detach(), labels, counts)), strict=True)
        with torch.set_grad_enabled(learns):
            for states, wanted, count in chunks:
                states.requires_grad_(learns)
                logits = functional.linear(states, layer).float()
                loss = (functional.cross_entropy(logits, wanted, reduction="none") * count).sum()
                del logits
                total += loss.detach()
                if learns:
                    of_states, of_layer = torch.autograd.grad(loss, (states, layer))
                    of_hidden.append(of_states)
                    of_weight += of_layer
        if learns:
            ctx.save_for_backward(torch.cat(of_hidden), of_weight.to(weight.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, of_total: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        of_hidden, of_weight = ctx.saved_tensors
        return of_hidden.mul_(of_total), of_weight.mul_(of_total), None, None, None


def arranged(run: Run, model: Any, device: torch.device) -> Any:
    """Return the model on its device, as the run has it sharded, checkpointed and compiled."""
    layers = model.model.layers
    for layer in layers:
        if run.compile:
            layer.forward = torch.compile(layer.forward)
        if run.activation_checkpointing == "full":
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    if run.sharding == "none" or ranks.world_size() == 1:
        return model.to(device)
    half = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    policy = half if run.dtype == "bfloat16" else MixedPrecisionPolicy()
    mesh = init_device_mesh(device.type, (ranks.world_size(),))
    for part in (*layers, model):
        fully_shard(part, mesh=mesh, mp_policy=policy)
    return model


def is_sharded(model: Any) -> bool:
    """Tell whether the ranks hold parts of the model, and must all take part in what reads or writes its weights."""
    return isinstance(model, FSDPModule)
