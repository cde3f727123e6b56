"""Weights that were made for inference, as Forge's are, replaced by ordinary ones."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch import Tensor, nn

from tinv_ext.hosts.patchers import weights
from tinv_ext.hosts.patchers.weights import frozen


def test_each_weight_is_gone_before_the_next_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """The card has not the room for a model twice. What several modules share, they share afterwards."""
    with torch.inference_mode():
        layers = nn.Sequential(*(nn.Linear(4, 4, bias=False) for _ in range(4)))
        layers[3].weight = layers[0].weight
    originals = [weakref.ref(weight) for weight in layers.parameters()]
    values = [weight.detach().clone() for weight in layers.parameters()]
    alive: list[int] = []
    ordinary = weights._ordinary

    def watched(tensor: Tensor) -> Tensor:
        alive.append(sum(original() is not None for original in originals))
        return ordinary(tensor)

    monkeypatch.setattr(weights, "_ordinary", watched)
    with frozen(layers):
        assert alive == [3, 2, 1]
        assert layers[3].weight is layers[0].weight
        assert all(torch.equal(one, value) for one, value in zip(layers.parameters(), values))
        assert not any(one.is_inference() or one.requires_grad for one in layers.parameters())
