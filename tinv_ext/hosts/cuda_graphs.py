"""A UNet whose forward and backward are recorded once per shape on CUDA and then replayed without Python.

At batch 1 a fast card waits for the host, which has thousands of kernels to launch (docs/gpu.md); a recorded graph
launches them at once. What a call is given is copied into the buffers that were recorded with. Where recording fails,
for whatever reason, the UNet is called as before, and that is told once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tinv_ext.core.messages import message

log = logging.getLogger(__name__)
Tensors = tuple[Tensor, ...]
# Carries out a computation and gives what repeats it, and its results, which each repetition overwrites.
Capture = Callable[[Callable[[], Tensors]], tuple[Callable[[], None], Tensors]]
_MOST = 16  # graphs that are kept, as each keeps the intermediate results of its shape
_WARM_UP = 3  # calls before recording, in which libraries choose their kernels
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def capture_on_cuda(act: Callable[[], Tensors]) -> tuple[Callable[[], None], Tensors]:
    """Record on a stream of its own, as torch's notes on CUDA graphs ask."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP):
            act()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = act()
    return graph.replay, results


class _Graph:
    """Forward and backward of `call` for inputs like `sample`, whose tensors become the buffers."""

    def __init__(self, call: Callable[..., Tensor], sample: Tensors, capture: Capture) -> None:
        self._call, self._given = call, sample
        self._wanted = [one for one in sample if one.requires_grad]
        self._replay_forward, (self._answer,) = capture(self._forward)
        self._slope = torch.zeros_like(self._answer)
        self._replay_backward, self._slopes = capture(self._backward)
        self.calls = 0

    def _forward(self) -> Tensors:
        self._attached = self._call(*self._given)
        return (self._attached.detach(),)

    def _backward(self) -> Tensors:
        # kept, because an optimizer may ask for two gradients of one answer, and a graph overwrites what it lets go
        return torch.autograd.grad(self._attached, self._wanted, self._slope, retain_graph=True)

    @torch.no_grad()
    def forward(self, given: Tensors) -> Tensor:
        for buffer, value in zip(self._given, given):
            buffer.copy_(value)
        with torch.enable_grad():
            self._replay_forward()
        self.calls += 1
        return self._answer.clone()

    @torch.no_grad()
    def backward(self, slope: Tensor) -> list[Tensor | None]:
        """The gradient of each input; None where it wants none."""
        self._slope.copy_(slope)
        self._replay_backward()
        slopes = iter(self._slopes)
        return [next(slopes).clone() if one.requires_grad else None for one in self._given]


class _Replay(torch.autograd.Function):
    """A graph's forward and backward to autograd."""

    @staticmethod
    def forward(ctx: Any, graph: _Graph, *given: Tensor) -> Tensor:
        ctx.graph, answer = graph, graph.forward(given)
        ctx.call = graph.calls
        return answer

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Any:
        if ctx.call != ctx.graph.calls:
            raise RuntimeError("A recorded graph was called again before the gradient of its answer was computed.")
        return None, *ctx.graph.backward(slope)


class GraphedUnet:
    """Calls a UNet through graphs, one for each shape; `capture` records them.

    Only where a gradient is wanted of the context: evaluation and previews go the usual way.
    """

    def __init__(
        self, unet: nn.Module, tell: Callable[[str], None] = log.warning, capture: Capture = capture_on_cuda
    ) -> None:
        self._unet, self._tell, self._capture = unet, tell, capture
        self._graphs: dict[tuple[Any, ...], _Graph] = {}
        self._refused = False

    def __call__(self, noisy: Tensor, timesteps: Tensor, context: Tensor, added: Mapping[str, Tensor] | None) -> Tensor:
        names, tensors = tuple(added or ()), (noisy, timesteps, context, *(added or {}).values())

        def eager(noisy: Tensor, timesteps: Tensor, context: Tensor, *others: Tensor) -> Tensor:
            given = dict(zip(names, others)) if names else None
            answer: Tensor = self._unet(noisy, timesteps, context, added_cond_kwargs=given, return_dict=False)[0]
            return answer

        if self._refused or not (torch.is_grad_enabled() and context.requires_grad):
            return eager(*tensors)
        key = (names, *((one.shape, one.dtype, one.requires_grad) for one in tensors))
        if key not in self._graphs and not self._recorded(key, eager, tensors):
            return eager(*tensors)
        answer: Tensor = _Replay.apply(self._graphs[key], *tensors)  # type: ignore[no-untyped-call]
        return answer

    def _recorded(self, key: tuple[Any, ...], eager: Callable[..., Tensor], given: Tensors) -> bool:
        """Whether there is a graph for inputs like these now; if not, no other is tried."""
        if len(self._graphs) >= _MOST:
            self.clear()
        try:
            if any(getattr(part, name) for part in self._unet.modules() for name in _HOOKS):
                raise RuntimeError("a module of the UNet has hooks, which a recording would leave out")
            sample = tuple(one.detach().clone().requires_grad_(one.requires_grad) for one in given)
            self._graphs[key] = _Graph(eager, sample, self._capture)
        except Exception as error:  # noqa: BLE001 - whatever it is, the step can do without; it is told
            self._refused = True
            self.clear()
            self._tell(
                message(
                    "hosts.no_cuda_graphs",
                    "CUDA graphs cannot be used here ({reason}); the run goes on without them.",
                    reason=(str(error).strip().splitlines() or [type(error).__name__])[0],
                )
            )
            return False
        return True

    def clear(self) -> None:
        """Give up all graphs and their memory; the next call records anew."""
        self._graphs.clear()
