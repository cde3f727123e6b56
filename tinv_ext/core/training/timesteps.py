"""At which timesteps a step trains. A law is added as one function and one row of `TIMESTEPS`.

What settings give it as options is a row of `OPTIONS`. A step draws with it in `objective.py: Objective.sample`.

torch is imported by the laws that run, not here: `--help` lists the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# (timesteps of the schedule, how many are wanted, generator, options of the law by name) -> (B,) int64 from 0 on
SampleTimesteps = Callable[..., "Tensor"]


def uniform(timesteps: int, count: int, rng: torch.Generator) -> Tensor:
    """Every timestep as likely (Ho et al. 2020, arXiv 2006.11239, algorithm 1)."""
    import torch

    return torch.randint(timesteps, (count,), generator=rng)


def logit_normal(timesteps: int, count: int, rng: torch.Generator, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """The sigmoid of normal numbers, as a share of the schedule: those in the middle are preferred.

    Esser et al. 2024, arXiv 2403.03206, section 3.1; as diffusers' `compute_density_for_timestep_sampling`.
    """
    import torch

    shares = torch.sigmoid(torch.normal(mean, std, (count,), generator=rng))
    return (shares * timesteps).to(torch.int64).clamp(max=timesteps - 1)


def stratified(timesteps: int, count: int, rng: torch.Generator) -> Tensor:
    """One from each of `count` equal parts of the schedule, in their order: as likely as `uniform`, less chance.

    Kingma et al. 2021 (arXiv 2107.00630, appendix I.1) spread those of a batch likewise.
    """
    import torch

    places = (torch.arange(count) + torch.rand(count, generator=rng)) / count
    return (places * timesteps).to(torch.int64).clamp(max=timesteps - 1)


def shifted(timesteps: Tensor, shift: float, of: int) -> Tensor:
    """Timesteps `of` a schedule moved by N·s·t / ((s - 1)·t + N): towards more noise for s above 1.

    As OneTrainer's `timestep_shift` (modules/modelSetup/mixin/ModelSetupNoiseMixin.py); Esser et al. 2024, section 5.3.
    """
    if shift == 1.0:
        return timesteps
    moved = of * shift * timesteps / ((shift - 1) * timesteps + of)
    return moved.to(timesteps.dtype).clamp(max=of - 1)


TIMESTEPS: Mapping[str, SampleTimesteps] = {"uniform": uniform, "logit_normal": logit_normal, "stratified": stratified}
OPTIONS: Mapping[str, Mapping[str, str]] = {"logit_normal": {"mean": "logit_mean", "std": "logit_std"}}
"""Of laws that take options, the settings that give them, by the option's name."""
