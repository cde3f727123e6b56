"""How a recording is made on CUDA, as far as a CPU can tell: its streams, its device, and what comes from the CPU."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from tinv_ext.hosts import cuda_graphs
from tinv_ext.hosts.cuda_graphs import Graphs, KeptCopies, graphs_of


def table_on_the_device() -> Tensor:
    """As upstream's embedding of a timestep; "meta" is the device that is everywhere."""
    table = torch.arange(4.0).exp().to("meta")
    return table.add_(1) + torch.ones(4, device="meta").to(torch.float64)


def test_what_is_copied_from_the_cpu_is_kept_and_given_again() -> None:
    """In its order, each time a copy of its own; what is on the device or stays on the CPU is left alone."""
    copies = KeptCopies()
    for _ in range(2):
        with copies.collected():
            table_on_the_device()
            torch.arange(3).to(torch.float16)
    assert [one is not None for one in copies._kept] == [True, False]
    with copies.given():
        assert table_on_the_device().shape == (4,)
        assert torch.arange(3).to(torch.float16).dtype == torch.float16
        with pytest.raises(RuntimeError, match="copies more"):
            table_on_the_device()


class FakeCuda:
    """What recording asks of torch.cuda, done by nobody: notes the streams, and refuses the first `refused` graphs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, refused: int) -> None:
        self.made: list[tuple[int, object]] = []
        self.used: list[object] = []
        self.replayed = 0
        self._left = refused
        self.current = 0
        monkeypatch.setattr(cuda_graphs, "_stream", cache(cuda_graphs._stream.__wrapped__))
        fakes = {
            "Stream": self._stream,
            "stream": self._on,
            "graph": self._graph,
            "device": self._device,
            "current_stream": lambda: SimpleNamespace(wait_stream=self.used.append),
            "current_device": lambda: self.current,
            "CUDAGraph": lambda: SimpleNamespace(replay=self._replay),
        }
        for name, fake in fakes.items():
            monkeypatch.setattr(torch.cuda, name, fake)
        monkeypatch.setattr(cuda_graphs, "_end_recording", self.used.append)

    def _stream(self, device: int) -> object:
        made = SimpleNamespace(wait_stream=lambda other: None)
        self.made.append((device, made))
        return made

    @contextmanager
    def _on(self, stream: object) -> Iterator[None]:
        self.used.append(stream)
        yield

    @contextmanager
    def _graph(self, graph: object, pool: object, stream: object, capture_error_mode: str) -> Iterator[None]:
        self.used.append(stream)
        yield
        self._left -= 1
        if self._left >= 0:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    @contextmanager
    def _device(self, device: torch.device) -> Iterator[None]:
        before, self.current = self.current, device.index
        try:
            yield
        finally:
            self.current = before

    def _replay(self) -> None:
        self.replayed += 1


def test_what_is_kept_lives_as_long_as_its_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph reads it: were it freed, it would read what others have put there since."""
    cuda = FakeCuda(monkeypatch, refused=1)
    kept: list[Any] = []

    class Noted(KeptCopies):
        def __init__(self) -> None:
            super().__init__()
            kept.append(weakref.ref(self))

    monkeypatch.setattr(cuda_graphs, "KeptCopies", Noted)
    replay, _ = cuda_graphs.capture_on_cuda(lambda: (table_on_the_device(),), lambda: None, None)
    gc.collect()
    assert kept[0]()._kept[0].device.type == "meta"
    replay()
    assert cuda.replayed == 1
    del replay
    gc.collect()
    assert kept[0]() is None


def test_all_recordings_of_a_device_are_made_on_one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """cuBLAS keeps some megabytes for every stream; warming up is on it, too, and so is the end of one that failed."""
    cuda = FakeCuda(monkeypatch, refused=1)
    for device in (0, 0, 1):
        cuda.current = device
        cuda_graphs.capture_on_cuda(lambda: (torch.ones(1),), lambda: None, None)
    assert [device for device, _ in cuda.made] == [0, 1]
    first, second = (stream for _, stream in cuda.made)
    assert set(map(id, cuda.used)) == {id(first), id(second)}


def test_a_recording_is_made_on_the_device_of_what_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not on the current one, as with --device cuda:1 or the WebUI's --device-id: of what another device computes, a
    stream records nothing."""
    cuda = FakeCuda(monkeypatch, refused=0)
    seen: list[int] = []

    def recorded(*given: Any) -> Any:
        seen.append(cuda.current)
        raise RuntimeError("enough")

    monkeypatch.setattr(cuda_graphs, "_Graph", recorded)
    with FakeTensorMode():
        given = torch.ones(2, device="cuda:1", requires_grad=True)
        graphs = Graphs((), cuda_graphs.capture_on_cuda, lambda told: None)
        graphs.call("part", lambda value: (value.detach(),), (given,))
    assert (seen, cuda.current) == ([1], 0)


def causal_mask(value: float, device: str) -> Tensor:
    """As CLIP of transformers 4.30 makes it (modeling_clip.py, _make_causal_mask)."""
    return torch.full((3, 3), torch.tensor(value, device=device), device=device)


def test_a_mask_that_is_filled_with_a_tensor_is_not_read_back() -> None:
    """transformers 4.30, which AUTOMATIC1111's WebUI has; a read-back from "meta" is an error, as in a recording."""
    copies = KeptCopies()
    with copies.collected():
        causal_mask(-2.5, "meta")
    with copies.given():
        assert causal_mask(-2.5, "meta").shape == (3, 3)
    right = causal_mask(-2.5, "cpu")
    with copies.collected():
        assert torch.equal(causal_mask(-2.5, "cpu"), right)
        whole = torch.full((2,), torch.tensor(3))
    assert whole.dtype == torch.full((2,), torch.tensor(3)).dtype


def pooled(states: Tensor, ids: Tensor) -> Tensor:
    """As sgm's OpenCLIP takes the end's state of each row (sgm/modules/encoders/modules.py, pool)."""
    return states[torch.arange(len(states)), ids.argmax(dim=-1)]


def test_numbers_of_rows_are_copied_once() -> None:
    """They are made on the CPU, and indexing copies them by itself: in forward, and again in backward."""
    copies = KeptCopies()
    states, ids = torch.randn(2, 5, 3, device="meta"), torch.zeros(2, 5, dtype=torch.int64, device="meta")
    with copies.collected():
        assert pooled(states, ids).shape == (2, 3)
        assert states[0, 1:3].shape == (2, 3)
    (kept,) = copies._kept
    assert kept is not None
    assert (kept.device.type, kept.dtype) == ("meta", torch.int64)
    with copies.given():
        pooled(states, ids)
        with pytest.raises(RuntimeError, match="copies more"):
            pooled(states, ids)
    states, ids = torch.randn(2, 5, 3), torch.tensor([[1, 9, 0, 0, 0], [3, 2, 1, 9, 0]])
    with copies.collected():
        assert torch.equal(pooled(states, ids), torch.stack([states[0, 1], states[1, 3]]))
    assert copies._kept == []


@pytest.mark.parametrize(
    ("backend", "card", "recorded"),
    [
        ("native", "NVIDIA GeForce RTX 3060", True),
        ("cudaMallocAsync", "NVIDIA GeForce RTX 3060", False),
        ("native", "AMD Radeon RX 6800 [ZLUDA]", False),
    ],
)
def test_what_has_not_been_tried_is_not_recorded(
    monkeypatch: pytest.MonkeyPatch, backend: str, card: str, recorded: bool
) -> None:
    """Forge's --cuda-malloc, where graphs of a part could not share their memory, and to let it go would be an error;
    a card of AMD's, which would be left in the midst of a recording."""
    monkeypatch.setattr(torch.cuda, "get_allocator_backend", lambda: backend)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: card)
    assert graphs_of(torch.device("cuda"), (), ExitStack()).at_work == recorded
