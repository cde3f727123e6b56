"""What a step costs the host beside the model: each operation is a call of Python and, on a GPU, mostly a kernel."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bench.models import pipeline
from bench.sides import Ours, work

MOST = 130  # operations of a step beside text encoder and UNet, forward and backward


class Counting(TorchDispatchMode):
    """Counts the operations that reach tensors, and those that read a value back."""

    def __init__(self) -> None:
        super().__init__()
        self.count = self.read_back = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        self.read_back += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_a_step_adds_few_operations_to_those_of_the_model() -> None:
    """Drawing, assembling, injecting the vectors, loss, clipping, optimizer, and what is shown."""
    pipe = pipeline("toy", torch.device("cpu"), torch.float32)
    with ExitStack() as stack:
        it = work(pipe, 64, 2)
        step = Ours(it).steps(stack)
        step()
        with Counting() as whole:
            step()
    rng = torch.Generator().manual_seed(1)
    noisy, context = torch.randn(2, 4, 8, 8, generator=rng), torch.randn(2, 77, 64, generator=rng).requires_grad_()
    pipe.unet.requires_grad_(False)
    pipe.text_encoder.requires_grad_(False)
    ids, table = torch.full((2, 77), 7), pipe.text_encoder.get_input_embeddings()
    handle = table.register_forward_hook(lambda module, given, output: output.detach().requires_grad_())
    with Counting() as model:
        pipe.unet(noisy, torch.tensor([3, 4]), context, return_dict=False)[0].sum().backward()
        pipe.text_encoder(input_ids=ids)[0].sum().backward()
    handle.remove()
    assert whole.count - model.count <= MOST
    assert whole.read_back - model.read_back <= 3  # of the generator, and the list of what is shown
