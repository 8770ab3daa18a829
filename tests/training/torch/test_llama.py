"""The Llama of the torch backend: its loss and gradients are those of the whole logits."""

import ast
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from torch.nn import functional  # noqa: E402

from accelbench.training.torch import llama  # noqa: E402
from accelbench.training.torch.llama import Llama  # noqa: E402
from tests.training.conftest import ROOT, VOCABULARY  # noqa: E402

CONFIG = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 8,
    "tie_word_embeddings": False,
    "use_cache": False,
}
TRAINER_NEEDS = {"torch", "transformers", "numpy", "yaml", "pydantic", "pydantic_core", "h5py", "psutil", "orjson"}


def samples_of(n: int) -> Any:
    tokens = torch.randint(VOCABULARY, (n, 3, 8), generator=torch.Generator().manual_seed(1))
    tokens[:, 1] = tokens[:, 1] % 3 > 0
    return tokens


def plain_loss(model: Any, samples: Any) -> Any:
    hidden = model.model(input_ids=samples[:, 0]).last_hidden_state
    each = functional.cross_entropy(
        model.lm_head(hidden).float().flatten(0, 1), samples[:, 2].flatten(), reduction="none"
    )
    return (each * samples[:, 1].flatten()).sum()


def gradients(model: Any, loss: Any) -> list[Any]:
    model.zero_grad()
    (loss / 7).backward()
    return [weights.grad.clone() for weights in model.parameters()]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("chunk_tok", [5, 8, 4096])
def test_the_loss_and_the_gradients_are_those_of_the_whole_logits(
    monkeypatch: pytest.MonkeyPatch, chunk_tok: int, tied: bool
) -> None:
    monkeypatch.setattr(llama, "CHUNK_TOK", chunk_tok)
    torch.manual_seed(1)
    model, samples = Llama(CONFIG | {"tie_word_embeddings": tied}), samples_of(3)
    loss, plain = model(samples), plain_loss(model, samples)
    assert loss.item() == pytest.approx(plain.item(), rel=1e-6)
    for own, other in zip(gradients(model, loss), gradients(model, plain), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-6)


def test_chunks_under_autocast_share_the_weights_they_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama, "CHUNK_TOK", 5)
    torch.manual_seed(1)
    model, samples = Llama(CONFIG), samples_of(3)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(samples)
    with torch.autocast("cpu", torch.bfloat16):
        plain = plain_loss(model, samples)
    assert loss.item() == pytest.approx(plain.item(), rel=1e-5)
    for own, other in zip(gradients(model, loss), gradients(model, plain), strict=True):
        torch.testing.assert_close(own, other, rtol=0.05, atol=0.02)  # bfloat16 has 8 bits


def test_a_chunk_of_logits_is_all_that_there_is_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama, "CHUNK_TOK", 10)
    whole, shapes = functional.cross_entropy, []

    def watched(logits: Any, *rest: Any, **options: Any) -> Any:
        shapes.append(len(logits))
        return whole(logits, *rest, **options)

    monkeypatch.setattr(functional, "cross_entropy", watched)
    Llama(CONFIG)(samples_of(3))
    assert shapes == [10, 10, 4]


def test_weights_drawn_as_modelzoo_have_its_standard_deviations() -> None:
    """A normal that is cut at two standard deviations has 0.88 of one; two kinds of weights are narrower by √8."""
    torch.manual_seed(1)
    sizes = {"vocab_size": 512, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4}
    model = Llama(CONFIG | sizes, "modelzoo")
    for name, weights in model.named_parameters():
        std, cut = 0.02, 0.04
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            std, cut = std / 8**0.5, cut / 8**0.5
        if name == "lm_head.weight":
            assert weights.std().item() == pytest.approx(std, rel=0.02)
            assert weights.abs().max() > 2.5 * std
        elif name.endswith("norm.weight"):
            assert (weights == 1).all()
        else:
            assert weights.std().item() == pytest.approx(0.8796 * std, rel=0.02), name
            assert weights.abs().max() <= cut


def test_tied_weights_are_drawn_as_embeddings() -> None:
    model = Llama(CONFIG | {"tie_word_embeddings": True}, "modelzoo")
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.lm_head.weight.abs().max() <= 0.04


def test_weights_of_a_normal_are_those_of_transformers() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    own = Llama(CONFIG).state_dict()
    torch.manual_seed(1)
    others = LlamaForCausalLM(LlamaConfig(**CONFIG)).state_dict()
    assert all(torch.equal(own[name], others[name]) for name in others)


def test_an_evaluation_takes_no_gradient() -> None:
    model = Llama(CONFIG)
    with torch.no_grad():
        assert model(samples_of(2)).item() == pytest.approx(plain_loss(model, samples_of(2)).item(), rel=1e-6)
    assert all(weights.grad is None for weights in model.parameters())


def test_a_checkpoint_is_one_of_a_llama_for_causal_lm() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    assert Llama(CONFIG).state_dict().keys() == LlamaForCausalLM(LlamaConfig(**CONFIG)).state_dict().keys()


def test_the_trainer_needs_few_packages() -> None:
    """A GPU node may have no more than these: nothing that the trainer imports imports another."""
    package = ROOT / "workflow" / "accelbench"
    waiting = [package / "training" / f"torch_{name}.py" for name in ("trainer", "loop", "processes")]
    seen: set[Path] = set()
    foreign = set()
    while waiting:
        path = waiting.pop()
        if path in seen or not path.exists():
            continue
        seen.add(path)
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                first, *rest = name.split(".")
                if first != "accelbench":
                    foreign.add(first)
                waiting += [package.joinpath(*rest).with_suffix(".py"), package.joinpath(*rest, "__init__.py")]
    assert foreign - set(sys.stdlib_module_names) <= TRAINER_NEEDS
