"""Forward and backward of a model's parts, recorded once per shape on CUDA and then replayed without Python.

At batch 1 a fast card waits for the host, which has thousands of kernels to launch (docs/gpu.md); a recorded graph
launches them at once. What a call is given is copied into the buffers that were recorded with. A recording is used only
if what it gives, and its gradients, are those of the part itself. Where that is not so, or where recording fails, for
whatever reason, the part is called as before, and that is told once.

Graphs of one part share their memory: what a forward keeps for its backward is overwritten by the next forward of that
part, of whatever shape. So the memory is that of the largest shape, not of all together.
"""

from __future__ import annotations

import gc
import logging
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tinv_ext.core.messages import message
from tinv_ext.core.model import Tensors
from tinv_ext.core.training.fallbacks import first_sentence, is_out_of_memory

log = logging.getLogger(__name__)
Forget = Callable[[], None]  # drops what a computation has left for later
# Carries out a computation in the memory of a part, and gives what repeats it, and its results, which each repetition
# overwrites.
Capture = Callable[[Callable[[], Tensors], Forget, Any], tuple[Callable[[], None], Tensors]]
_MOST = 32  # graphs of a part that are kept: the one that was used least recently goes
_SLOPE = 0.1
_ROUNDING = 1e-2  # relative: TF32 rounds to ten bits, and kernels add up in any order
_HALF_ROUNDING = 5e-2  # two equal steps in bfloat16 differ by up to 1.5e-2 (docs/gpu.md)
_WARM_UP = 3  # calls before recording, in which libraries choose their kernels
_HOOKS_WITHOUT_STATE = ("tinv_ext.", "transformers.")  # modules of their functions
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def capture_on_cuda(act: Callable[[], Tensors], forget: Forget, pool: Any) -> tuple[Callable[[], None], Tensors]:
    """Record; a second time with what is copied from the CPU kept on the device, if CUDA has refused the first."""
    try:
        return _capture(act, forget, pool, None)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
    return _capture(act, forget, pool, KeptCopies())


def _capture(
    act: Callable[[], Tensors], forget: Forget, pool: Any, copies: KeptCopies | None
) -> tuple[Callable[[], None], Tensors]:
    """Record on a stream of its own, as torch's notes on CUDA graphs ask."""
    stream = _stream(torch.cuda.current_device())
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP):
            with copies.collected() if copies else nullcontext():
                act()
    torch.cuda.current_stream().wait_stream(stream)
    forget()  # before recording begins, which gives the allocator's memory back: a graph has memory of its own
    graph = torch.cuda.CUDAGraph()
    try:
        # thread_local: other threads of the program may go on using CUDA meanwhile
        recording = torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local")
        with recording, copies.given() if copies else nullcontext():
            results = act()
    except BaseException:
        _end_recording(stream)
        raise
    return partial(_replay, graph, copies), results


def _replay(graph: torch.cuda.CUDAGraph, copies: KeptCopies | None) -> None:
    """`copies` come along because the graph reads what they keep: it would be gone with them."""
    graph.replay()


@cache
def _stream(device: int) -> torch.cuda.Stream:
    """The only one of a device to record on: cuBLAS keeps memory for each stream that it has ever been called on."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


class KeptCopies(TorchFunctionMode):
    """The tensors that a computation makes on the CPU and copies to the device, so that it can be done without copying.

    CUDA lets no graph copy from ordinary memory, but upstream makes small tables so: ldm's and sgm's embedding of the
    timestep (modules/diffusionmodules/util.py), the mask of transformers 4.30's CLIP, even read back from the device.
    Nothing else can be while a graph is recorded, so what is made on the CPU then depends on shapes alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[Tensor | None] = []  # of each `to` of the CPU's tensors; None where it stays there
        self._next: int | None = None  # of those to be given; None while they are collected

    @contextmanager
    def collected(self) -> Iterator[None]:
        """While open, keep what is copied."""
        self._kept, self._next = [], None
        with self:
            yield

    @contextmanager
    def given(self) -> Iterator[None]:
        """While open, give what was kept, in its order, in place of copying."""
        self._next = 0
        with self:
            yield

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is torch.full and len(args) == 2 and isinstance(args[1], Tensor):
            return _filled(*args, **kwargs)
        if function is Tensor.__getitem__ and args[0].device.type != "cpu" and isinstance(args[1], tuple):
            return function(args[0], tuple(self._moved(one, args[0].device) for one in args[1]))
        copies = function in (Tensor.to, Tensor.cuda) and args[0].device.type == "cpu"
        if not copies and function is not torch.tensor:
            return function(*args, **kwargs)
        if self._next is None:
            result = function(*args, **kwargs)
            self._kept.append(None if result.device.type == "cpu" else result)
            return result if result.device.type == "cpu" else result.clone()  # whoever has it may change it in place
        if self._next >= len(self._kept):
            raise RuntimeError("a part copies more from the CPU than it did before")
        self._next += 1
        kept = self._kept[self._next - 1]
        return function(*args, **kwargs) if kept is None else kept.clone()

    def _moved(self, index: Any, device: torch.device) -> Any:
        """What is copied with no word of it in Python: the numbers of rows that sgm's OpenCLIP pools by."""
        of_cpu = isinstance(index, Tensor) and index.device.type == "cpu" and index.dtype == torch.int64
        return self.__torch_function__(Tensor.to, (), (index, device)) if of_cpu else index


def _filled(size: Any, value: Tensor, dtype: torch.dtype | None = None, **options: Any) -> Tensor:
    """`torch.full`, which would read the value back from the device."""
    dtype = dtype or (torch.get_default_dtype() if value.is_floating_point() else value.dtype)
    return torch.empty(size, dtype=dtype, **options).fill_(value)


def _end_recording(stream: torch.cuda.Stream) -> None:
    """After a recording that failed: torch leaves CUDA's generator of random numbers waiting for its end (2.1 … 2.11,
    `CUDAGraph::capture_end` checks the stream first), and the next image could not be drawn. One that succeeds ends it.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        torch.zeros(1, device="cuda").add_(1)


@dataclass
class _Part:
    """What is recorded of one part: graphs by shape, least recently used first, their memory, and whose turn it is."""

    pool: Any
    graphs: OrderedDict[tuple[Any, ...], _Graph] = field(default_factory=OrderedDict)
    turn: int = 0  # of forward calls: the memory is that of the last


class _Graph:
    """Forward and backward of `call` for inputs like `sample`, whose tensors become the buffers."""

    def __init__(self, call: Callable[..., Tensors], sample: Tensors, part: _Part, capture: Capture) -> None:
        self._call, self._given, self._part = call, sample, part
        self._wanted = [one for one in sample if one.requires_grad]
        self._attached: Tensors = ()
        right, slopes = self._eager()
        self._replay_forward, self._answers = capture(self._forward, self._release, part.pool)
        self._slopes = slopes
        self._replay_forward()  # recording computes nothing: backward is tried out with what forward keeps for it
        self._replay_backward, self._gradients = capture(self._backward, lambda: None, part.pool)
        self._release()
        for result in (*self._answers, *self._gradients):  # right, too, if all was computed but nothing recorded
            result.fill_(math.nan)
        self._replay_forward()
        self._replay_backward()
        _compare((*self._answers, *self._gradients), right)

    def _eager(self) -> tuple[Tensors, Tensors]:
        """Answers and gradients without a graph, and the slopes of the answers that they are for."""
        self._forward()
        answers = tuple(one.detach().clone() for one in self._attached)
        slopes = self._slopes = tuple(_slope(one) for one in answers)
        gradients = self._backward()
        self._release()
        gc.collect()  # nodes of the inputs that lived on would belong to this stream, which recording must not wait for
        return (*answers, *gradients), slopes

    def _forward(self) -> Tensors:
        self._release()  # or two would be kept at a time
        self._attached = self._call(*self._given)
        return tuple(one.detach() for one in self._attached)

    def _backward(self) -> Tensors:
        # kept, because an optimizer may ask for two gradients of one answer, and a graph overwrites what it lets go
        return torch.autograd.grad(self._attached, self._wanted, self._slopes, retain_graph=True)

    def _release(self) -> None:
        """Let the next recording of this part have the memory of what forward keeps for backward."""
        self._attached = ()

    @torch.no_grad()
    def forward(self, given: Tensors) -> Tensors:
        for buffer, value in zip(self._given, given):
            buffer.copy_(value)
        with torch.enable_grad():
            self._replay_forward()
        self._part.turn += 1
        return tuple(one.clone() for one in self._answers)

    @torch.no_grad()
    def backward(self, turn: int, slopes: Tensors) -> list[Tensor | None]:
        """The gradient of each input; None where it wants none."""
        if turn != self._part.turn:
            raise RuntimeError("A recorded part was called again before the gradient of its answer was computed.")
        for buffer, value in zip(self._slopes, slopes):
            buffer.copy_(value)
        self._replay_backward()
        gradients = iter(self._gradients)
        found = [next(gradients) if one.requires_grad else None for one in self._given]
        return [None if one is None else one.clone() for one in found]


def _slope(answer: Tensor) -> Tensor:
    """Numbers of the size that gradients have, without a random number of the program's."""
    numbers = torch.arange(answer.numel(), device=answer.device, dtype=torch.float32).cos().mul_(_SLOPE)
    return numbers.to(answer.dtype).view_as(answer)


def _compare(found: Tensors, right: Tensors) -> None:
    """Raise where a recording does not give what its part gives; what is not finite says nothing."""
    for one, other in zip(found, right):
        one, other = one.double(), other.double()
        size = float(other.norm())
        most = _ROUNDING if found[0].dtype in (torch.float32, torch.float64) else _HALF_ROUNDING
        if math.isfinite(size) and not float((one - other).norm()) <= most * size:
            raise RuntimeError("what was recorded gives other numbers")


class _Replay(torch.autograd.Function):
    """A graph's forward and backward to autograd."""

    @staticmethod
    def forward(ctx: Any, graph: _Graph, *given: Tensor) -> Any:
        answers = graph.forward(given)
        ctx.graph, ctx.turn = graph, graph._part.turn
        return answers

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        return None, *ctx.graph.backward(ctx.turn, slopes)


def _has_hooks(module: nn.Module) -> bool:
    """Whether there is a hook in it besides our own and those by which transformers 5 collects hidden states."""
    hooks = (hook for one in module.modules() for name in _HOOKS for hook in getattr(one, name).values())
    return any(not str(getattr(hook, "__module__", "")).startswith(_HOOKS_WITHOUT_STATE) for hook in hooks)


class Graphs:
    """Calls parts of a model through graphs, one for each part and shape; `capture` records them.

    Only where a gradient is wanted: evaluation and previews go the usual way. `modules` are all that take part. Without
    `capture` nothing is recorded.
    """

    def __init__(
        self, modules: Sequence[nn.Module], capture: Capture | None, tell: Callable[[str], None] = log.warning
    ) -> None:
        self._modules, self._capture, self._tell = tuple(modules), capture, tell
        self._parts: dict[str, _Part] = {}
        self._weights: list[Tensor] = []
        self._addresses: list[int] = []
        self._refused: set[str] = set()  # names of parts
        self._no_memory = False
        self._in_use = False  # whether the latest call was a step's

    def call(self, name: str, part: Callable[..., Tensors], given: Tensors) -> Tensors:
        """What `part(*given)` gives, its gradients too. `name` tells one part from another."""
        self._in_use = wanted = torch.is_grad_enabled() and any(one.requires_grad for one in given)
        if not (wanted and self.at_work) or name in self._refused:
            return part(*given)
        self._notice_moved_weights()
        key = tuple((one.shape, one.dtype, one.requires_grad) for one in given)
        graph = self._parts[name].graphs.get(key) if name in self._parts else None
        graph = graph or self._recorded(name, key, part, given)
        if graph is None:
            return part(*given)
        self._parts[name].graphs.move_to_end(key)
        answers: Tensors = _Replay.apply(graph, *given)  # type: ignore[no-untyped-call]
        return answers

    def _notice_moved_weights(self) -> None:
        """Give everything up where a weight is elsewhere than when it was recorded: a graph knows addresses."""
        if self._parts and [one.data_ptr() for one in self._weights] != self._addresses:
            self.clear()
        if not self._parts:
            self._weights = [one for module in self._modules for one in module.parameters()]
            self._addresses = [one.data_ptr() for one in self._weights]

    def _recorded(self, name: str, key: tuple[Any, ...], call: Callable[..., Tensors], given: Tensors) -> _Graph | None:
        """A graph for inputs like these; None where there can be none, and no other of that part is tried then."""
        assert self._capture is not None  # or `call` had not come here
        try:
            if any(map(_has_hooks, self._modules)):
                raise RuntimeError("a module has hooks, which a recording would leave out")
            if name not in self._parts:
                self._parts[name] = _Part(torch.cuda.graph_pool_handle() if torch.cuda.is_available() else None)
            graphs = self._parts[name].graphs
            while len(graphs) >= _MOST:
                graphs.popitem(last=False)
            sample = tuple(one.detach().clone().requires_grad_(one.requires_grad) for one in given)
            on = given[0]  # its device is the current one meanwhile: a stream of another would record nothing of it
            with torch.cuda.device(on.device) if on.is_cuda else nullcontext():
                graphs[key] = _Graph(call, sample, self._parts[name], self._capture)
            return graphs[key]
        except Exception as error:  # noqa: BLE001 - whatever it is, the step can do without; it is told
            out_of_memory, reason = is_out_of_memory(error), first_sentence(str(error)) or type(error).__name__
        self._forget(name)  # only now: the tensors of what failed hang on the exception, which is gone here
        if out_of_memory:
            self._in_use = True
            self.save_memory()
            return None
        self._refused.add(name)
        self._tell(
            message(
                "hosts.no_cuda_graphs",
                "A CUDA graph of {part} cannot be used here ({reason}); the run goes on without it.",
                part=name,
                reason=reason,
            )
        )
        return None

    @property
    def at_work(self) -> bool:
        """Whether a call may be recorded or replayed."""
        return self._capture is not None and not self._no_memory

    def clear(self) -> None:
        """Give up all graphs and their memory; the next call records again."""
        self._in_use, self._weights = False, []  # others may be put in their place, and these are to be gone then
        for name in tuple(self._parts):
            self._forget(name)

    def _forget(self, name: str) -> None:
        """Give up a part's graphs. They know their part: left together, they would keep each other and their memory."""
        if part := self._parts.pop(name, None):
            part.graphs.clear()

    def renew(self) -> None:
        """The parts compute in another way from here on: record again, also where there was no memory for it before."""
        self.clear()
        self._no_memory = False

    def end(self) -> None:
        """The parts compute in a way that cannot be recorded from here on."""
        self.clear()
        self._capture = None

    def save_memory(self) -> None:
        """Memory ran out: do without until the parts compute in another way, as a graph keeps more than a step needs.

        Where it ran out for something else (evaluation, an image, one that is encoded), they are recorded again.
        """
        in_use = self._in_use and self.at_work
        self.clear()
        if in_use:
            self._no_memory = True
            self._tell(
                message(
                    "hosts.no_memory_for_cuda_graphs",
                    "Memory ran out: the step is computed without CUDA graphs from here (slower, same gradient).",
                )
            )


def graphs_of(device: torch.device, modules: Sequence[nn.Module], undo: ExitStack, wanted: bool = True) -> Graphs:
    """Graphs of a model in training, given up when `undo` closes. None is recorded where the device is not CUDA's."""
    graphs = Graphs(modules, capture_on_cuda if wanted and _can_record(device) else None)
    undo.callback(graphs.clear)
    return graphs


def _can_record(device: torch.device) -> bool:
    """Whether it is an NVIDIA card, and memory comes from torch's own allocator."""
    if device.type != "cuda" or torch.version.hip is not None or "ZLUDA" in torch.cuda.get_device_name(device):
        return False  # AMD's have not been tried; ZLUDA runs CUDA on them
    # Forge's --cuda-malloc: that allocator knows no memory of a part's own, and what a recording lets go it frees at
    # once, before there is any (c10/cuda/CUDAMallocAsyncAllocator.cpp, freeAsync)
    return torch.cuda.get_allocator_backend() == "native"
