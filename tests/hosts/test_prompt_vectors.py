"""What encoding a prompt does beside the text encoder."""

from __future__ import annotations

import pytest
import torch

from tinv_ext.hosts.prompt_vectors import emphasized


def test_emphasis_keeps_the_mean() -> None:
    """As AUTOMATIC1111's "Original"."""
    output = torch.randn(2, 77, 32, generator=torch.Generator().manual_seed(0)) + 0.1
    weights = torch.ones(2, 77)
    weights[0, 3:9] = 1.5
    found = emphasized(output, weights)
    assert torch.allclose(found.mean((1, 2)), output.mean((1, 2)), rtol=1e-4)
    assert torch.equal(found[1], output[1])
    assert not torch.allclose(found[0], output[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_mean_of_rounding_is_not_kept(dtype: torch.dtype) -> None:
    """An untrained SD2's LayerNorm makes the mean 0, but for rounding: 0/0, or a row blown up beyond all measure."""
    output = torch.randn(3, 77, 64, generator=torch.Generator().manual_seed(0))
    output = torch.nn.functional.layer_norm(output, (64,)).to(dtype)
    output[2] = 0
    weights = torch.ones(3, 77)
    weights[0, 3:9] = 1.5
    found = emphasized(output.requires_grad_(), weights)
    assert torch.equal(found, output * weights.to(dtype).unsqueeze(-1))
    (gradient,) = torch.autograd.grad(found.float().sum(), output)
    assert bool(torch.isfinite(gradient).all())
