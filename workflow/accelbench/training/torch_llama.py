"""The Llama that the torch backend trains: transformers' own, which answers samples with their summed loss.

Its parameters are named as transformers names them, so checkpoints are those of a LlamaForCausalLM.
"""

from typing import Any

import torch
import transformers
from torch.nn import functional

from accelbench.training.batches import INPUTS, LABELS, MASK

CHUNK_TOK = 4096  # with a vocabulary of 32,000 its logits are 0.5 GB


class Llama(transformers.LlamaForCausalLM):  # type: ignore[misc]
    """A Llama with PyTorch's scaled dot product attention."""

    def __init__(self, config: dict[str, Any]) -> None:
        """Draw the weights of a model by the arguments of transformers' LlamaConfig."""
        super().__init__(transformers.LlamaConfig(**config, attn_implementation="sdpa"))

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Return the cross-entropy, summed over the tokens that count. The data's labels are shifted already."""
        hidden = self.model(input_ids=samples[:, INPUTS]).last_hidden_state.flatten(0, 1)
        labels, counts = samples[:, LABELS].flatten(), samples[:, MASK].flatten()
        return _SummedLoss.apply(hidden, self.lm_head.weight, labels, counts, torch.is_grad_enabled())


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
        of_hidden, of_weight = [], torch.zeros_like(weight) if learns else None
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
            ctx.save_for_backward(torch.cat(of_hidden), of_weight)
        return total

    @staticmethod
    def backward(ctx: Any, of_total: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        of_hidden, of_weight = ctx.saved_tensors
        return of_hidden.mul_(of_total), of_weight.mul_(of_total), None, None, None
