"""The precision "auto": the fastest one here whose gradient of a small step agrees with float32's on this very model.

On CUDA float16 with its loss scale is as fast as bfloat16 and more exact (docs/gpu.md), so it is tried first; bfloat16
comes where float16 overflows, float32 last. A CPU takes bfloat16 where it has instructions for it and is really faster
with it. What was found is kept in a file, so that each model is tested once on each device.
"""

from __future__ import annotations

import gc
import itertools
import math
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DiffusionPipeline

from tinv_ext.core.messages import Message, message
from tinv_ext.core.training.fallbacks import NO_ENGINE, first_sentence, is_out_of_memory
from tinv_ext.hosts.diffusers.gradient_test import LEAST, SmallStep, cosine, small_step
from tinv_ext.hosts.diffusers.placing import device_of, dtype_of, place
from tinv_ext.hosts.diffusers.verdicts import Verdict, Verdicts

FASTER = 0.8
"""Of float32's time, at most, for a CPU to take bfloat16."""
QUICK = 0.5
"""Seconds of a processor for float32's small step, below which a CPU tries nothing else. There is little to gain, and a
time so short can be any: the tiny model took bfloat16 in one of 200 runs on a busy machine, and learned another word.
"""
CPUINFO = Path("/proc/cpuinfo")
_AMPERE = 8  # the compute capability of the first NVIDIA cards that have bfloat16; AMD's in use count from 9 on
_NATIVE = {"avx512_bf16", "amx_bf16", "bf16"}  # as Linux calls them, on x86 and on ARM


@dataclass(frozen=True)
class Source:
    """A model on the disk: reads its pipeline in a type; `digest` tells it from others."""

    read: Callable[[torch.dtype], DiffusionPipeline]
    digest: Callable[[], str]


@dataclass(frozen=True)
class Placed:
    """A pipeline on its device, whether it had room for all weights, and what a person is told of its precision.

    `verdicts`, of which some are new, are to be written when the pipeline is trained on.
    """

    pipeline: DiffusionPipeline
    fits: bool
    notes: tuple[Message, ...]
    verdicts: Verdicts


def candidates(device: torch.device, cpuinfo: Path = CPUINFO) -> tuple[str, ...]:
    """The precisions to try on a device, the best first; the last is float32, which needs no test."""
    if device.type == "cuda":
        # not torch's is_bf16_supported: it asks the current device, and since 2.4 says yes where bfloat16 is imitated
        has_bf16 = torch.cuda.get_device_capability(device)[0] >= _AMPERE
        return ("fp16", "bf16", "fp32") if has_bf16 else ("fp16", "fp32")
    return ("bf16", "fp32") if device.type == "cpu" and _has_bf16(cpuinfo) else ("fp32",)


def _has_bf16(cpuinfo: Path) -> bool:
    """Whether the CPU computes in bfloat16 by itself, as far as the system tells, which is on Linux.

    What torch 2.1 can be asked says yes to any AVX-512, where bfloat16 may only be imitated, slowly.
    """
    try:
        lines = cpuinfo.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return bool(_NATIVE & set(flags.partition(":")[2].split()))


def placed_by_test(model: Source, device: str, verdicts: Path | None, order: Sequence[str] = ()) -> Placed:
    """The model, placed in the first precision of `order` (by default the device's `candidates`) that is good.

    Where that is known, it is read in it and never in another. Else it is read in float32, compared and converted
    weight by weight, and read again after each precision that is not good. `verdicts` is the file of what was found
    before; what is new is not written yet (`Placed.verdicts`). InputError where the device cannot be used.
    """
    on, notes = device_of(device), list[Message]()
    order = tuple(order) or candidates(on)
    known = Verdicts(verdicts, _key(model, on) if len(order) > 1 else "")
    reference: SmallStep | None = None
    for precision, slower in itertools.pairwise(order):
        verdict = known.of(precision)
        if verdict and _good(verdict):
            pipeline = model.read(dtype_of(precision))
            told = (*notes, *_told(precision, slower, verdict))
            return Placed(pipeline, place(pipeline, on, precision), told, known)
        if verdict is None:
            pipeline = model.read(dtype_of(precision if reference else "fp32"))
            reference = reference or _tried(pipeline, on)  # while the weights are those of the file
            if on.type == "cpu" and reference and reference.seconds < QUICK:
                break
            fits = place(pipeline, on, precision)
            verdict = _compared(pipeline, on, reference)
            if verdict is None:
                return Placed(pipeline, fits, (*notes, _unverified(precision)), known)
            known.keep(precision, verdict)
            if _good(verdict):
                return Placed(pipeline, fits, (*notes, *_told(precision, slower, verdict)), known)
            del pipeline
            _free(on)
        notes += _told(precision, slower, verdict)
    pipeline = model.read(dtype_of(order[-1]))
    return Placed(pipeline, place(pipeline, on, order[-1]), tuple(notes), known)


def _key(model: Source, device: torch.device) -> str:
    """Names the model, what computes, and with what."""
    if device.type == "cuda":
        where = torch.cuda.get_device_name(device)
    else:
        where = f"{device.type} {platform.processor() or platform.machine()} {torch.get_num_threads()}"
    return f"{model.digest()} {where} torch {torch.__version__}"


def _tried(pipeline: DiffusionPipeline, device: torch.device) -> SmallStep | None:
    """The small step, timed on a CPU; None where memory does not suffice for it."""
    try:
        return small_step(pipeline, timed=device.type == "cpu")
    except Exception as error:
        if not is_out_of_memory(error) or NO_ENGINE in str(error):  # which is rather that it cannot: the step is small
            raise
    _free(device)
    return None


def _compared(pipeline: DiffusionPipeline, device: torch.device, reference: SmallStep | None) -> Verdict | None:
    """The precision that the pipeline is in beside float32; None where memory does not suffice to tell."""
    if reference is None:
        return None
    try:
        step = _tried(pipeline, device)
    except (RuntimeError, NotImplementedError) as error:  # of a driver or device that lacks an operation
        return Verdict(math.nan, trouble=first_sentence(str(error)))
    if step is None:
        return None
    slowness = step.seconds / reference.seconds if device.type == "cpu" else None
    return Verdict(cosine(step.gradient, reference.gradient), slowness)


def _good(verdict: Verdict) -> bool:
    return verdict.cosine >= LEAST and (verdict.slowness is None or verdict.slowness <= FASTER)


def _free(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


# --- what a person is told -------------------------------------------------------------------------------------------


def _told(precision: str, slower: str, verdict: Verdict) -> Iterator[Message]:
    """Nothing of a precision that would only be no faster."""
    if _good(verdict):
        yield message(
            "hosts.precision_verified",
            "Precision: {precision}. On this model its gradient of a small step agrees with that of fp32 (cosine "
            "{cosine:.5f}).",
            precision=precision,
            cosine=verdict.cosine,
        )
    elif not verdict.cosine >= LEAST:
        yield message(
            "hosts.precision_rejected",
            "Precision: {slower}, not {precision}, whose gradient of a small step does not agree with that of fp32 on "
            "this model ({found}). --precision {precision} takes it nevertheless.",
            precision=precision,
            slower=slower,
            found=_found(verdict),
        )


def _found(verdict: Verdict) -> str:
    if verdict.trouble:
        return verdict.trouble
    if math.isnan(verdict.cosine):
        return message("hosts.gradient_overflows", "it overflows")
    return message(
        "hosts.gradient_differs",
        "cosine {cosine:.5f}, at least {least} is needed",
        cosine=verdict.cosine,
        least=LEAST,
    )


def _unverified(precision: str) -> Message:
    return message(
        "hosts.precision_unverified",
        "Precision: {precision}. There is not enough memory to compare it with fp32 beforehand; a step whose numbers "
        "are not finite is taken again with more precision.",
        precision=precision,
    )
