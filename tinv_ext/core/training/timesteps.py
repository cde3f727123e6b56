"""At which timesteps a step trains. A law is added as one function and one row of `TIMESTEPS`.

A law that prefers some timesteps gives importance weights that undo it in the mean (guided-diffusion's `resample.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

# (timesteps of the schedule, how many are wanted, generator) -> (B,) int64, and their importance weights (B,) or None
SampleTimesteps = Callable[[int, int, torch.Generator], tuple[Tensor, Tensor | None]]


def uniform(timesteps: int, count: int, rng: torch.Generator) -> tuple[Tensor, None]:
    """Every timestep as likely (Ho et al. 2020, arXiv 2006.11239, algorithm 1)."""
    return torch.randint(timesteps, (count,), generator=rng), None


TIMESTEPS: Mapping[str, SampleTimesteps] = {"uniform": uniform}
