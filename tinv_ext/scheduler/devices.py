"""The devices of this machine that runs are given to, and what a process is told so that it takes the right one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Slot:
    """A place for one run at a time: what people call it, the --device of its process, and that one's environment."""

    name: str
    device: str
    environment: Mapping[str, str] = field(default_factory=dict)


def slots_of(devices: str, jobs: int) -> list[Slot]:
    """`jobs` places on each of the devices ("0,1", "cuda:1", "cpu"; "" is every CUDA device, or the CPU).

    `InputError` for a device that is not there. Of a CUDA device a process sees no other, so that no library takes
    memory on one that is not its own; processes on the CPU share its cores.
    """
    if jobs < 1:
        raise InputError(message("queue.jobs", "--jobs must be 1 or more, not {jobs}.", jobs=jobs))
    names = [name.strip() for name in devices.split(",") if name.strip()]
    there = _cuda_devices()
    names = [f"cuda:{name}" if name.isdecimal() else name for name in names] or [*there] or ["cpu"]
    problems = [
        message(
            "queue.no_device",
            'There is no device "{device}" here. There are: {there:, }.',
            device=name,
            there=[*there, "cpu"],
        )
        for name in names
        if name not in there and name not in ("cpu", "mps", "xpu")
    ]
    twice = sorted({name for name in names if names.count(name) > 1})
    problems += [
        message(
            "queue.device_twice",
            'The device "{device}" is named twice. Use --jobs for several runs on each.',
            device=name,
        )
        for name in twice
    ]
    if problems:
        raise InputError(problems)
    return [_slot(name, there, number, jobs) for number in range(jobs) for name in names]


def _slot(name: str, cuda: Sequence[str], number: int, jobs: int) -> Slot:
    shown = f"{name} #{number + 1}" if jobs > 1 else name
    if name in cuda:
        return Slot(shown, "cuda", {_VISIBLE: _visible()[cuda.index(name)]})
    if name != "cpu" or jobs == 1 or any(variable in os.environ for variable in _THREADS):
        return Slot(shown, name)
    threads = str(max(1, _cores() // jobs))
    return Slot(shown, name, dict.fromkeys(_THREADS, threads))


def _cuda_devices() -> list[str]:
    import torch

    # they are counted also where the driver is too old for this torch to use them
    return [f"cuda:{index}" for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)]


def _visible() -> list[str]:
    """What CUDA calls the devices that this process sees, in their order."""
    told = [name.strip() for name in os.environ.get(_VISIBLE, "").split(",") if name.strip()]
    return told or [str(index) for index in range(len(_cuda_devices()))]


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # Linux has it
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@dataclass(frozen=True)
class Device:
    """A device to choose: its name for programs ("cuda:1") and for people, and the place for a run on it."""

    name: str
    text: str
    slot: Slot


def cuda_devices() -> list[Device]:
    """Every CUDA device of this machine that this program can see."""
    import torch

    names = _cuda_devices()
    slots = slots_of(",".join(names), 1) if names else []
    return [
        Device(name, f"{name} {torch.cuda.get_device_name(index)}", slot)
        for index, (name, slot) in enumerate(zip(names, slots))
    ]
