"""Stage five: the judge, on drawn images only, made a little worse (blur, noise, tint)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from stage import FIRST, Average, Budget, Lessons, load, rate_at, save, set_rate
from torch import Tensor
from torch.nn import functional

from tinv_ext.toy import heldout, judge, world

BATCH = 128
DRAWN = 24_000
TEST = 1200


def scene_for(
    rng: np.random.Generator, concepts: dict[str, heldout.Concept], of: world.World = world.FIRST
) -> tuple[world.Scene, str]:
    """(scene, shape class): the whole world without a hold-out, and the nameless shapes in every paint."""
    scene = next(world.stream(rng, world=of))
    if of is world.FIRST:
        scene = dataclasses.replace(scene, mark=str(rng.choice(of.judged_marks, p=[0.76, 0.14, 0.05, 0.05])))
    if rng.random() < 0.35:
        concept = concepts[str(rng.choice(judge.nameless(of)))]
        weights = np.array(concept.outline) + rng.normal(size=len(concept.outline)) * 0.02
        return dataclasses.replace(scene, shape="odd", outline=tuple(weights)), concept.name
    nameless = {name: concept for name, concept in concepts.items() if concept.words is None}
    while heldout.is_held_out(scene, nameless):  # an odd one too near a nameless one
        scene = dataclasses.replace(scene, outline=world.sample_outline(rng))
    return scene, scene.shape


def drawings(count: int, seed: int, of: world.World = world.FIRST) -> tuple[Tensor, dict[str, Tensor]]:
    """(images (n, 3, 64, 64) bytes, class numbers by attribute)."""
    rng = np.random.default_rng([seed, 13])
    concepts, options = heldout.read(heldout.FILES[of]), judge.classes(of)
    images, wanted = (
        np.empty((count, 64, 64, 3), np.uint8),
        {name: torch.zeros(count, dtype=torch.long) for name in options},
    )
    for row in range(count):
        scene, shape = scene_for(rng, concepts, of)
        images[row] = world.draw(scene, world.sample_pose(scene, rng))
        for name, choices in options.items():
            wanted[name][row] = choices.index(shape if name == "shape" else getattr(scene, name))
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), wanted


def worsen(images: Tensor) -> Tensor:
    """Images (n, 3, 64, 64) in -1…1: half of them blurred by a smaller copy, all a little noisy and tinted."""
    count = len(images)
    coarse = functional.interpolate(functional.avg_pool2d(images, 2), scale_factor=2.0, mode="bilinear")
    share = torch.rand(count, 1, 1, 1) * (torch.rand(count, 1, 1, 1) < 0.6)
    images = images + share * (coarse - images)
    tint = torch.randn(count, 3, 1, 1) * 0.06
    rough = (
        functional.interpolate(torch.randn(count, 3, 16, 16), scale_factor=4.0, mode="bilinear")
        * 0.1
        * torch.rand(count, 1, 1, 1)
    )
    return images + tint + rough + torch.randn_like(images) * 0.08 * torch.rand(count, 1, 1, 1)


@torch.no_grad()
def test(model: judge.Judge, images: Tensor, wanted: dict[str, Tensor]) -> dict[str, float]:
    """The share right by attribute."""
    logits = model(images.float() / 127.5 - 1)
    return {name: (logits[name].argmax(1) == wanted[name]).float().mean().item() for name in wanted}


def train(folder: Path, budget: Budget, seed: int, resume: bool, lessons: Lessons = FIRST) -> None:
    """Train until the budget is spent; leaves folder/judge.pt and folder/judge.safetensors (fp16)."""
    torch.manual_seed(seed + 3)
    path = folder / "judge.pt"
    count = int(min(DRAWN, max(1000, 5000 * budget.minutes)))
    images, wanted = drawings(count, seed, lessons.world)
    fresh, truth = drawings(min(TEST, count), seed + 1, lessons.world)
    model = judge.Judge(lessons.world)
    average = Average(model, 0.99)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    step = 0
    if (old := load(path, resume)) is not None:
        model.load_state_dict(old["model"])
        optimizer.load_state_dict(old["optimizer"])
        average.values, average.count = old["ema"], old["step"]
        budget.spent, step = old["minutes"], old["step"]
    while budget.part(step) < 1:
        set_rate(optimizer, rate_at(budget.part(step), step, 2e-3))
        rows = torch.randint(0, count, (BATCH,))
        logits = model(worsen(images[rows].float() / 127.5 - 1))
        losses = [functional.cross_entropy(logits[name], wanted[name][rows]) for name in wanted]
        loss = torch.stack(losses).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        average.update(model)
        step += 1
        if step % 200 == 0:
            figures = " ".join(f"{name} {value:.4f}" for name, value in test(model, fresh, truth).items())
            print(f"judge step {step} minute {budget.used():.1f} loss {loss.item():.4f} {figures}", flush=True)
            values = {"model": model.state_dict(), "ema": average.values, "optimizer": optimizer.state_dict()}
            save(path, {**values, "step": step, "minutes": budget.used()})
    save_file({name: value.half() for name, value in average.values.items()}, str(folder / "judge.safetensors"))
