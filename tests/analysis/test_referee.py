"""A small part of the referee's sessions, each within its bound as far as so few can tell; `make coverage` runs all."""

import math

import pytest

from .referee import MODELS, Model, run

QUICK = [model for model in MODELS if model.quick]


@pytest.mark.parametrize("model", QUICK, ids=[f"{model.what}: {model.asked}" for model in QUICK])
def test_a_claim_is_seldom_untrue(model: Model) -> None:
    found = run(model, model.quick)
    if math.isnan(found.share):  # never claimed
        return
    claimed = max(1.0, found.given * found.simulations)
    chance = 3 * max(model.least * (1 - model.least), model.most * (1 - model.most)) ** 0.5 / claimed**0.5
    assert model.least - chance <= found.share <= model.most + chance
