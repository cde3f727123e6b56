"""What the processes of a run must agree on before it starts, and the sentences where they do not.

Their problems are told by the first of them, so that each is told once.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tinv_ext.core.messages import Message, message
from tinv_ext.core.preflight.prepare import PreparedRun
from tinv_ext.hosts.base import Host
from tinv_ext.run.provenance import state_facts


@dataclass(frozen=True)
class Seat:
    """Where a process runs: its machine, its number there, how many GPUs it finds, and the device that is asked for."""

    machine: str
    local_rank: int
    gpus: int
    device: str


def seat_of(local_rank: int, device: str) -> Seat:
    """That of this process. GPUs are counted where the device may be one."""
    wants_gpu = device in ("auto", "cuda") and torch.cuda.is_available()
    return Seat(socket.gethostname(), local_rank, torch.cuda.device_count() if wants_gpu else 0, device)


def use_gpu(number: int) -> str:
    """Compute on the GPU of this number from here on; its name as a device."""
    torch.cuda.set_device(number)
    return f"cuda:{number}"


def seat_problems(seats: Sequence[Seat]) -> list[Message]:
    """Why processes that sit so cannot train together."""
    problems: list[Message] = []
    some_have = any(seat.gpus for seat in seats)
    for number, seat in enumerate(seats, 1):
        about = {"number": number, "count": len(seats), "machine": seat.machine}
        if seat.device.startswith("cuda:"):
            problems.append(
                message(
                    "ranks.device_given",
                    "Each of the {count} processes takes a GPU of its own, so --device {device} cannot be given. Leave "
                    "it out, and choose GPUs with CUDA_VISIBLE_DEVICES.",
                    count=len(seats),
                    device=seat.device,
                )
            )
        elif some_have and not seat.gpus:
            problems.append(
                message(
                    "ranks.no_gpu",
                    'Process {number} of {count} finds no GPU on "{machine}", while others have one. Repair the driver '
                    "there or start no process there; or give all of them --device cpu.",
                    **about,
                )
            )
        elif seat.gpus and seat.local_rank >= seat.gpus:
            problems.append(
                message(
                    "ranks.more_than_gpus",
                    'Process {number} of {count} is the {local}. on "{machine}", which has {gpus:GPU|GPUs}. Start as '
                    "many processes as there are GPUs (--num_processes, --nproc-per-node).",
                    **about,
                    local=seat.local_rank + 1,
                    gpus=seat.gpus,
                )
            )
    return list(dict.fromkeys(problems))


def compared(prepared: PreparedRun, host: Host) -> dict[str, dict[str, Any]]:
    """What all processes must have alike, by kind and name."""
    facts = state_facts(prepared, host, torch.device("cpu"))
    subsets = {f"{name}: {key}": value for name, own in facts["subsets"].items() for key, value in own.items()}
    return {"settings": {**facts["settings"], **subsets}, "images": facts["pictures"], "model": facts["model"]}


def problems_of_all(everyone: Sequence[Sequence[str]]) -> list[str]:
    """The problems of every process; what is one of the first is told once."""
    first, *others = everyone
    theirs = [
        _of_process(number, problem)
        for number, problems in enumerate(others, 2)
        for problem in problems
        if problem not in first
    ]
    return [*first, *theirs]


def differences(everyone: Sequence[Mapping[str, Any]]) -> list[str]:
    """In what processes differ from the first, by what they are `compared`."""
    first, *others = everyone
    return [
        _of_process(number, difference)
        for number, facts in enumerate(others, 2)
        for difference in _differences(first, facts)
    ]


def _of_process(number: int, problem: str) -> Message:
    return message("ranks.problem", "Process {number}: {problem}", number=number, problem=problem)


def _differences(first: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[Message]:
    for kind in first:
        one, two = first[kind], other.get(kind, {})
        names = [name for name in {**one, **two} if one.get(name) != two.get(name)]
        if names:
            yield _difference(kind, names, [f"{name} {two.get(name)!r} ≠ {one.get(name)!r}" for name in names])


def _difference(kind: str, names: list[str], compared_values: list[str]) -> Message:
    if kind == "images":
        return message(
            "ranks.other_images",
            "Its images or captions are not those of process 1: {names:, }. Give all machines the same folder.",
            names=_some(names),
        )
    if kind == "model":
        return message(
            "ranks.other_model",
            "Its model is not that of process 1: {names:, }. Give all machines the same model.",
            names=_some(compared_values),
        )
    return message(
        "ranks.other_settings",
        "Its settings are not those of process 1: {names:, }. Start all with the same settings.",
        names=_some(compared_values),
    )


def _some(names: list[str]) -> list[str]:
    return [*names[:_SHOWN], *(["…"] if len(names) > _SHOWN else [])]


_SHOWN = 5
