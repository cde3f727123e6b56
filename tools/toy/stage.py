"""What every stage of the toy's training shares: a budget, a rate that ends at zero, checkpoints."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import repository  # noqa: F401  (where tinv_ext is)
import torch

from tinv_ext.toy import captions, heldout, model, world


@dataclass(frozen=True)
class Lessons:
    """What a model is trained on: scenes and captions of a world, without its held-out concepts."""

    world: world.World

    def scenes(self, rng: np.random.Generator) -> Iterator[world.Scene]:
        """Scenes without end."""
        concepts = heldout.read(heldout.FILES[self.world])
        return world.stream(rng, lambda scene: heldout.is_held_out(scene, concepts), self.world)

    def caption(self, scene: world.Scene, rng: np.random.Generator) -> captions.Caption:
        """A random caption."""
        return (captions.wide_caption if self.world is world.WIDE else captions.caption)(scene, rng)

    def begin(self, module: torch.nn.Module, part: str) -> None:
        """The wide world's models start from the weights of the toy that is shipped."""
        if self.world is world.WIDE:
            model.fill(module, model.part(model.read(model.FILE)[0], f"{part}."), part)


FIRST = Lessons(world.FIRST)


@dataclass
class Budget:
    """How long a stage trains, counted over all its resumed sessions: minutes, or steps where those are given."""

    minutes: float = 0.0
    steps: int = 0  # the same work on any machine, as a test needs it
    spent: float = 0.0  # minutes of earlier sessions
    started: float = field(default_factory=time.monotonic)

    def used(self) -> float:
        """Minutes used so far."""
        return self.spent + (time.monotonic() - self.started) / 60

    def part(self, step: int) -> float:
        """How much of the budget is used at a step, 0…1."""
        used, given = (step, self.steps) if self.steps else (self.used(), self.minutes)
        return min(1.0, used / given) if given > 0 else 1.0


def rate_at(part: float, step: int, top: float, warm: int = 100, flat: float = 0.3) -> float:
    """`top` after `warm` steps, held until `flat` of the budget, then half a cosine to zero."""
    if step < warm:
        return top * (step + 1) / warm
    bent = max(0.0, part - flat) / (1 - flat)
    return top * 0.5 * (1 + math.cos(math.pi * bent))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Every group's rate, times its own `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("factor", 1.0)


def save(path: Path, value: dict[str, Any]) -> None:
    """Write, then move into place, so that a kill leaves the last complete checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    torch.save(value, fresh)
    os.replace(fresh, path)


def load(path: Path, resume: bool) -> dict[str, Any] | None:
    """The checkpoint to resume from, or None to start."""
    if not (resume and path.exists()):
        return None
    value: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=False)
    return value


class Average:
    """A running mean of a module's weights (exponential, shorter at the beginning)."""

    def __init__(self, module: torch.nn.Module, decay: float) -> None:
        self.decay, self.count = decay, 0
        self.values = {name: value.detach().clone() for name, value in module.state_dict().items()}

    def update(self, module: torch.nn.Module) -> None:
        """Include the module's current weights."""
        self.count += 1
        keep = min(self.decay, (1 + self.count) / (10 + self.count))
        now = module.state_dict()
        names = [name for name, value in now.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.values[n] for n in names], [now[n].detach() for n in names], 1 - keep)
