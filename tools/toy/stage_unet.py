"""Stage four: the UNet, on the pool's latents and fresh captions, the text encoder frozen.

The loss is eps's, weighted 1/ᾱ (capped), with more draws where the shape is decided: plain eps loss starves the
text in latents this small (docs/toy.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import muon
import numpy as np
import torch
from stage import FIRST, Average, Budget, Lessons, load, rate_at, save, set_rate
from stage_text import Reader, batch_of
from torch import Tensor, nn

from tinv_ext.toy import captions, parts, world

BATCH = 48
RATE = 2.5e-3
DROPPED = 0.1  # of the captions, for guidance
CAP = 40.0
PROBED = 192  # images at the pool's end, reserved for the probe


@dataclass
class Pool:
    """Scenes and their latents (n, 4, 8, 8)."""

    scenes: list[world.Scene]
    latents: Tensor


def read_pool(path: Path) -> Pool:
    """The pool of stage three."""
    held = load(path, True)
    if held is None:
        raise SystemExit(f"{path} is missing: run the stage pool first.")
    return Pool([world.Scene(*scene) for scene in held["scenes"]], held["latents"])


def alphas() -> Tensor:
    """ᾱ (1000,)."""
    return parts.scheduler().alphas_cumprod


def sample_timesteps(count: int, generator: torch.Generator) -> Tensor:
    """Two thirds of the timesteps in 400…999, the rest anywhere."""
    low = torch.randint(0, 1000, (count,), generator=generator)
    high = torch.randint(400, 1000, (count,), generator=generator)
    return torch.where(torch.rand(count, generator=generator) < 0.67, high, low)


def contexts(reader: Reader, caption_list: list[captions.Caption]) -> Tensor:
    """The captions' hidden states (n, 77, 64), without gradient."""
    with torch.no_grad():
        return reader(batch_of(caption_list))


def weighted_loss(
    unet: nn.Module, latents: Tensor, times: Tensor, noise: Tensor, context: Tensor, table: Tensor
) -> Tensor:
    """Squared error of eps by example (n,), unweighted."""
    alpha = table[times][:, None, None, None]
    noisy = (alpha.sqrt() * latents + (1 - alpha).sqrt() * noise).contiguous(memory_format=torch.channels_last)
    return (unet(noisy, times, context).sample - noise).pow(2).mean((1, 2, 3))


def examples(pool: Pool, seed: int, lessons: Lessons = FIRST) -> Iterator[tuple[Tensor, list[captions.Caption]]]:
    """Shuffled batches of latents with fresh captions, some of them empty."""
    rng = np.random.default_rng([seed, 5])
    empty = captions.Caption("", {})
    count = len(pool.scenes) - PROBED
    while True:
        order = rng.permutation(count)
        for start in range(0, count - BATCH + 1, BATCH):
            rows = order[start : start + BATCH]
            caption_list = [lessons.caption(pool.scenes[row], rng) for row in rows]
            told = [caption if rng.random() >= DROPPED else empty for caption in caption_list]
            yield pool.latents[torch.from_numpy(rows)].float(), told


@torch.no_grad()
def probe(unet: nn.Module, reader: Reader, pool: Pool) -> str:
    """Eps loss at t = 500 and 850 with the right, the neighbour's and no caption, on the pool's end."""
    latents, scenes = pool.latents[-PROBED:].float(), pool.scenes[-PROBED:]
    right = [captions.Caption(captions.full(scene), {}) for scene in scenes]
    empty = [captions.Caption("", {})] * len(right)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(3))
    table, found = alphas(), []
    for time in (500, 850):
        times = torch.full((len(latents),), time)
        for told in (right, right[1:] + right[:1], empty):
            found.append(weighted_loss(unet, latents, times, noise, contexts(reader, told), table).mean().item())
    return "t500 {:.4f}/{:.4f}/{:.4f} t850 {:.4f}/{:.4f}/{:.4f}".format(*found)


def frozen_reader(path: Path) -> Reader:
    """The text encoder of stage two, frozen."""
    held = load(path, True)
    if held is None:
        raise SystemExit(f"{path} is missing: run the stage text first.")
    reader = Reader()
    reader.load_state_dict(held["reader"])
    return reader.requires_grad_(False)


def train(folder: Path, budget: Budget, seed: int, resume: bool, lessons: Lessons = FIRST) -> None:
    """Train until the budget is spent; leaves folder/unet.pt with the averaged weights under "ema"."""
    torch.manual_seed(seed + 2)
    path = folder / "unet.pt"
    pool, reader, table = read_pool(folder / "pool.pt"), frozen_reader(folder / "text.pt"), alphas()
    unet = parts.unet().to(memory_format=torch.channels_last)
    lessons.begin(unet, "unet")
    average = Average(unet, 0.998)
    optimizers = muon.optimizers(unet, RATE, plain=("conv_in", "conv_out", "time_embedding"))
    step = 0
    if (old := load(path, resume)) is not None:
        unet.load_state_dict(old["model"])
        for optimizer, state in zip(optimizers, old["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        average.values, average.count = old["ema"], old["step"]
        budget.spent, step = old["minutes"], old["step"]
    generator = torch.Generator().manual_seed(seed + 1000 * (step + 1))
    mean = 0.0
    for latents, caption_list in examples(pool, seed + 1000 * (step + 1), lessons):
        if budget.part(step) >= 1:
            break
        times = sample_timesteps(len(latents), generator)
        noise = torch.randn(latents.shape, generator=generator)
        errors = weighted_loss(unet, latents, times, noise, contexts(reader, caption_list), table)
        loss = (errors * (1 / table[times]).clamp(max=CAP)).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        for optimizer in optimizers:
            set_rate(optimizer, rate_at(budget.part(step), step, RATE, warm=50))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        average.update(unet)
        step += 1
        mean += (loss.item() - mean) / min(step, 50)
        if step % 50 == 0 or step == 10:
            print(f"unet step {step} minute {budget.used():.1f} loss {mean:.4f}", flush=True)
        if step % 250 == 0:
            keep(path, unet, average, optimizers, step, budget)
            print("unet probe, right/shuffled/empty:", probe(averaged(average), reader, pool), flush=True)
    keep(path, unet, average, optimizers, step, budget)
    print(f"unet step {step} minute {budget.used():.1f} loss {mean:.4f}", flush=True)
    print("unet probe, right/shuffled/empty:", probe(averaged(average), reader, pool), flush=True)


def averaged(average: Average) -> nn.Module:
    """A UNet with the running mean's weights."""
    unet = parts.unet().to(memory_format=torch.channels_last)
    unet.load_state_dict(average.values)
    return unet


def keep(
    path: Path, unet: nn.Module, average: Average, optimizers: list[torch.optim.Optimizer], step: int, budget: Budget
) -> None:
    """Write the checkpoint."""
    values = {"model": unet.state_dict(), "ema": average.values}
    save(path, {**values, "optimizers": [o.state_dict() for o in optimizers], "step": step, "minutes": budget.used()})
