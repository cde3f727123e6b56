"""Where the checks run, and what they found: rows of one table."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.hosts.diffusers.pipelines import texts_of
from tinv_ext.hosts.dtypes import DTYPES


@dataclass(frozen=True)
class Place:
    """A device, whether everything is small there, a folder for files, and when to begin nothing more."""

    device: torch.device
    tiny: bool
    folder: Path
    deadline: float = float("inf")  # of time.monotonic

    @property
    def on_cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def seconds_left(self) -> float:
        return self.deadline - time.monotonic()

    def wait(self) -> None:
        """Until the device has done all it was given."""
        if self.on_cuda:
            torch.cuda.synchronize(self.device)

    def forget(self) -> None:
        """Give the allocator's memory back, that of garbage too, and start measuring its peak again."""
        gc.collect()
        if self.on_cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak(self) -> int | None:
        """Most bytes of tensors on the device since `forget`; None where nobody counts."""
        return int(torch.cuda.max_memory_allocated(self.device)) if self.on_cuda else None


@dataclass(frozen=True)
class Row:
    """One thing that was measured: its figures by name, and whether its bar is met; None where it has none."""

    what: str
    figures: Mapping[str, Any] = field(default_factory=dict)
    bar: str = ""
    good: bool | None = None


def at_most(what: str, figures: Mapping[str, float], **bars: float) -> Row:
    """A row that is good where each figure with a bar is no larger than it."""
    bar = ", ".join(f"{name} ≤ {most:g}" for name, most in bars.items())
    return Row(what, figures, bar, all(figures[name] <= most for name, most in bars.items()))


def at_least(what: str, figures: Mapping[str, Any], **bars: float) -> Row:
    """A row that is good where each figure with a bar is no smaller than it."""
    bar = ", ".join(f"{name} ≥ {least:g}" for name, least in bars.items())
    return Row(what, figures, bar, all(figures[name] >= least for name, least in bars.items()))


def table(sections: Mapping[str, Sequence[Row]]) -> str:
    """All rows as one Markdown table."""
    lines = ["| part | what | figures | bar | |", "| --- | --- | --- | --- | --- |"]
    for section, rows in sections.items():
        for row in rows:
            figures = ", ".join(f"{name} {_shown(value)}" for name, value in row.figures.items())
            lines.append(f"| {section} | {row.what} | {figures} | {row.bar} | {_MARKS[row.good]} |")
    return "\n".join(lines)


_MARKS = {None: "", True: "met", False: "**NOT MET**"}


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def as_json(sections: Mapping[str, Iterable[Row]]) -> dict[str, list[dict[str, Any]]]:
    """The same for a file."""
    return {section: [asdict(row) for row in rows] for section, rows in sections.items()}


def placed(
    pipeline: Any, place: Place, precision: str, folder: str = "embeddings", graphs: bool = False
) -> DiffusersHost:
    """A host of a pipeline, its UNet and text encoders moved in this precision; "fp64" is for references."""
    dtype = torch.float64 if precision == "fp64" else DTYPES[precision]
    parts: list[nn.Module] = [pipeline.unet, *texts_of(pipeline)]
    for part in parts:
        part.to(place.device, dtype)
    pipeline.vae.to(place.device)
    if place.on_cuda:  # as DiffusersHost.placed
        pipeline.unet.to(memory_format=torch.channels_last)
    return DiffusersHost(pipeline, place.folder / folder, {"model_name": "measured"}, graphs)


class PlainFloat32(ExitStack):
    """While open, float32 is float32 on CUDA: no TF32, which rounds to ten bits."""

    def __enter__(self) -> PlainFloat32:
        for backend in (torch.backends.cuda.matmul, torch.backends.cudnn):
            self.callback(setattr, backend, "allow_tf32", backend.allow_tf32)
            backend.allow_tf32 = False
        return self


@contextmanager
def deterministic() -> Iterator[None]:
    """While open, torch takes kernels that give the same bits each time."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
