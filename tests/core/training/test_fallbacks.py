"""What a step does where memory or precision runs out: it is taken again with the same draws, or told why not."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.core.fake import Fake, dataset, initial
from tests.messages import ids, refused, said
from tinv_ext.core.data.latents import LatentDistribution
from tinv_ext.core.errors import HostError, MemoryShortError, NumericError
from tinv_ext.core.training.fallbacks import Fallbacks, encode_with_retry, first_sentence, is_out_of_memory
from tinv_ext.core.training.schedules import parse_schedule
from tinv_ext.core.training.state import load_state, save_state
from tinv_ext.core.training.trainer import Plan, Step, train

PLAN = Plan(4, 3, 2, parse_schedule("0.05").at)


class Scarce(TorchDispatchMode):
    """Tensor operations of which those of certain numbers, counted from 1, find no memory, or fail otherwise."""

    def __init__(self, *fail: int, error: BaseException | None = None) -> None:
        super().__init__()
        self.fail, self.count = fail, 0
        self.error = error or RuntimeError("CUDA out of memory. Tried to allocate 8.09 GiB")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        if self.count in self.fail:
            raise self.error
        return func(*args, **(kwargs or {}))


def run(model: Fake | None = None, told: list[str] | None = None, mode: Scarce | None = None) -> torch.Tensor:
    """The vectors after the plan, trained under a scarcity of memory."""
    state, fallbacks, pictures = initial(), Fallbacks((told if told is not None else []).append), dataset()
    model = model or Fake()
    with mode or nothing():
        steps = list(train(state, PLAN, model, pictures, fallbacks))
    assert [step.number for step in steps] == [1, 2, 3, 4]
    return state.values("it")["clip_l"]


@contextmanager
def nothing() -> Iterator[None]:
    """No scarcity."""
    yield


def operations() -> int:
    """How many tensor operations the whole run has."""
    counting = Scarce()
    run(mode=counting)
    return counting.count


@pytest.mark.once
@pytest.mark.parametrize("parts", [12, pytest.param(200, marks=pytest.mark.full)])
def test_memory_that_runs_out_once_changes_nothing(parts: int) -> None:
    """At any tensor operation of a run, forward, backward or update: the same vectors, bit for bit.

    They are compared with a run under the same mode, as torch takes some operations apart for it.
    """
    right, count = run(mode=Scarce()), operations()
    for number in {1, 2, 3, *range(4, count + 1, max(1, count // parts)), count - 1, count}:
        assert torch.equal(run(mode=Scarce(number)), right), f"operation {number} of {count}"


ERRORS = [KeyboardInterrupt(), SystemExit(3), ValueError("a bug"), OSError(5, "input/output error"), HostError("gone")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_any_error_leaves_the_state_of_the_last_good_step(error: BaseException, tmp_path: Path) -> None:
    """At 20 places inside the run, whatever is raised: what is then saved resumes to the very run, bit for bit."""
    counting, right = Scarce(), initial()
    with counting:
        whole = list(train(right, PLAN, Fake(), dataset()))
    for number in range(3, counting.count, max(1, counting.count // 20)):
        state, taken = initial(), list[Step]()
        with pytest.raises(type(error)), Scarce(number, error=error):
            taken.extend(train(state, PLAN, Fake(), dataset()))
        assert state.step == len(taken)
        save_state(state, tmp_path / "state", {})
        resumed, _ = load_state(tmp_path / "state", torch.device("cpu"))
        with Scarce():
            assert taken + list(train(resumed, PLAN, Fake(), dataset())) == whole, f"operation {number}"
        assert torch.equal(resumed.values("it")["clip_l"], right.values("it")["clip_l"])


def test_each_rung_is_climbed_and_told_once() -> None:
    """Released, then batch by batch, then recomputed, then in pieces of one; the same gradient but for rounding."""
    model, told = Fake(), list[Any]()
    model.most = 1  # the model has room for one picture at a time
    assert torch.allclose(run(model, told), run(), atol=1e-6)
    assert model.recomputes == 1
    assert ids(told) == ["training.pieces", "training.checkpointing", "training.pieces", "training.pieces"]
    assert [text.values["pieces"] for text in told if "pieces" in text.values] == [2, 4, 6]


def test_weights_are_the_last_thing_that_leaves_the_device() -> None:
    """Once pieces of one and recomputing do not suffice, and where the model can; the same gradient."""
    model, told = Fake(most=0, can_offload=True), list[Any]()
    assert torch.allclose(run(model, told), run(), atol=1e-6)
    assert model.offloads == 1
    assert ids(told)[-1] == "training.offloaded"
    assert ids(told).index("training.checkpointing") < ids(told).index("training.offloaded")


def test_what_was_given_up_stays_so_on_a_fresh_model() -> None:
    """A run that left the model and takes it again does not have to learn it again."""
    fallbacks = Fallbacks(gradient_checkpointing=True, precise=2, offloaded=True)
    model = Fake(remedies=["a", "b", "c"], can_offload=True)
    fallbacks.begin(model)
    assert (model.recomputes, model.offloads, model.remedies) == (1, 1, ["c"])
    assert fallbacks.offloaded
    fallbacks.begin(Fake(remedies=["a", "b"]))  # one that cannot
    assert not fallbacks.offloaded


def test_memory_that_never_suffices_is_told() -> None:
    """With the step, what was tried and what to do; the state is that of the last good step."""
    model = Fake()
    model.most = 0
    state = initial()
    with refused("training.no_memory", MemoryShortError, step=1) as error:
        list(train(state, PLAN, model, dataset(), Fallbacks()))
    assert "out of memory" in str(error.value)
    assert torch.equal(state.values("it")["clip_l"], initial().values("it")["clip_l"])
    assert (state.step, state.order.numbers()) == (0, [])


def test_numbers_that_are_not_finite_are_tried_more_precisely() -> None:
    """The same draws on a more precise model; without one, the error names the step."""
    told: list[str] = []
    assert torch.equal(run(Fake(poison_at=2, remedies=["full precision"]), told), run())
    assert len(told) == 1
    assert said(told, "training.more_precise", step=2, what="full precision")
    with pytest.raises(NumericError, match="Step 2 "):
        run(Fake(poison_at=2))


def test_precision_that_memory_lacks_for_is_told() -> None:
    """It is not said to have been tried; the state is that of the last good step."""

    class Full(Fake):
        def upcast(self) -> str | None:
            raise RuntimeError("CUDA out of memory. Tried to allocate 8.09 GiB")

    state = initial()
    with refused("training.no_memory_for_precision", NumericError) as error:
        list(train(state, PLAN, Full(poison_at=1), dataset(), Fallbacks()))
    assert said(error.value.problems, "training.not_finite", step=1)
    assert state.step == 0
    with refused("training.not_finite", NumericError, step=1) as error:
        list(train(initial(), PLAN, Fake(poison_at=1), dataset(), Fallbacks()))
    assert not said(error.value.problems, "training.no_memory_for_precision")


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    """They go through as they are."""
    assert not is_out_of_memory(RuntimeError("shapes do not fit"))
    assert not is_out_of_memory(ValueError("out of memory"))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.cuda.OutOfMemoryError("x"))
    assert is_out_of_memory(RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: not enough memory"))


SAID_BY_LIBRARIES = [
    RuntimeError("could not create a primitive"),
    RuntimeError("could not create a primitive descriptor iterator"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("GET was unable to find an engine to execute this computation"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("unable to mmap 4265146304 bytes from file <x>: Cannot allocate memory (12)"),
    RuntimeError("HIP error: hipErrorOutOfMemory"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    OSError("The paging file is too small for this operation to complete. (os error 1455)"),
    SafetensorError("Error while mapping: Cannot allocate memory (os error 12)"),
    MemoryError(),
]


@pytest.mark.parametrize("error", SAID_BY_LIBRARIES, ids=str)
def test_what_libraries_say_when_memory_runs_out_is_known(error: Exception) -> None:
    """Below the allocators, too; other errors of the same types are not meant."""
    assert is_out_of_memory(error)
    if not isinstance(error, MemoryError):
        assert not is_out_of_memory(type(error)("the shapes do not match"))


CUDA = (
    "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.10 GiB of which 1 MiB is free."
    "\nProcess 1 has 12 GiB memory in use. Including non-PyTorch memory, this process has 66 GiB memory in use."
)
CPU = (
    "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 "
    "bytes. Error code 12 (Cannot allocate memory)"
)


@pytest.mark.parametrize(
    "text, first",
    [
        (CUDA, "CUDA out of memory"),
        (CPU, "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        ("", "out of memory"),
        ("x" * 1000, "x" * 200),
    ],
)
def test_a_long_message_of_torch_is_cut_after_its_first_sentence(text: str, first: str) -> None:
    """It goes into a sentence of ours."""
    assert first_sentence(text) == first


def test_images_that_cannot_be_encoded_together_are_encoded_one_by_one() -> None:
    """Where memory does not suffice for one either, that is told with its size."""

    class Small:
        """A VAE with memory for so many images."""

        def __init__(self, room: int) -> None:
            self._room = room
            self.calls: list[int] = []

        def release_memory(self) -> None:
            """Nothing is kept."""

        def encode_images(self, pixels: Tensor) -> LatentDistribution:
            self.calls.append(len(pixels))
            if len(pixels) > self._room:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
            return LatentDistribution(pixels, 2 * pixels)

    pixels = torch.randn(3, 3, 8, 16)
    model: Any = Small(1)
    latents = encode_with_retry(model, pixels)
    assert torch.equal(latents.mean, pixels)
    assert torch.equal(latents.std, 2 * pixels)
    assert model.calls == [3, 1, 1, 1]
    nothing: Any = Small(0)
    with pytest.raises(MemoryShortError) as caught:
        encode_with_retry(nothing, pixels)
    assert said(caught.value.problems, "training.no_memory_to_encode", width=16, height=8)


def test_the_machines_own_memory_that_is_short_is_told() -> None:
    """It is the last thing that a run can give up; a run that resumes without it tries to do without."""

    class Full(Fake):
        def offload_weights(self) -> bool:
            raise MemoryError

    with refused("training.no_memory", MemoryShortError, step=1):
        run(Full(most=0))
    fallbacks = Fallbacks(offloaded=True)
    fallbacks.begin(Full())
    assert not fallbacks.offloaded


def test_what_a_model_keeps_is_given_up_for_memory_alone() -> None:
    """Numbers that are not finite need more precision: CUDA graphs, for one, go on."""
    given_up: list[int] = []

    class Keeping(Fake):
        def release_memory(self) -> None:
            given_up.append(self.calls)

    run(Keeping(poison_at=2, remedies=["full precision"]))
    assert given_up == []
    run(Keeping(most=1))
    assert given_up
