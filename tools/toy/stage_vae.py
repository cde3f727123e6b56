"""Stage one: the autoencoder, on freshly drawn images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import muon
import numpy as np
import torch
from stage import FIRST, Average, Budget, Lessons, load, rate_at, save, set_rate
from torch import Tensor

from tinv_ext.toy import parts, world

BATCH = 8
KL = 2e-4
RATE = 3e-3


def images(seed: int, batch: int, lessons: Lessons = FIRST) -> Iterator[Tensor]:
    """Batches (batch, 3, 64, 64) in -1…1 of the training stream."""
    rng = np.random.default_rng(seed)
    scenes = lessons.scenes(rng)
    while True:
        drawn = [
            world.draw(scene, world.sample_pose(scene, rng)) for scene, _ in zip(scenes, range(batch), strict=False)
        ]
        yield to_tensor(np.stack(drawn))


def to_tensor(drawn: np.ndarray) -> Tensor:
    """(n, 64, 64, 3) bytes → (n, 3, 64, 64) in -1…1."""
    return (
        torch.from_numpy(drawn)
        .permute(0, 3, 1, 2)
        .float()
        .div(127.5)
        .sub(1)
        .contiguous(memory_format=torch.channels_last)
    )


def edges(image: Tensor) -> tuple[Tensor, Tensor]:
    """Differences to the neighbour on the right and below."""
    return image[..., 1:] - image[..., :-1], image[..., 1:, :] - image[..., :-1, :]


def loss_of(vae: torch.nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
    """(loss, mean squared error): absolute and squared error, of edges too, and a little KL."""
    posterior = vae.encode(image).latent_dist
    seen = vae.decode(posterior.sample()).sample
    error = seen - image
    across, down = edges(error)
    squared = error.pow(2).mean()
    loss = error.abs().mean() + squared + 0.5 * (across.abs().mean() + down.abs().mean())
    return loss + KL * posterior.kl().mean() / 256, squared


def train(folder: Path, budget: Budget, seed: int, resume: bool, lessons: Lessons = FIRST) -> None:
    """Train until the budget is spent; leaves folder/vae.pt with the averaged weights under "ema"."""
    torch.manual_seed(seed)
    path = folder / "vae.pt"
    vae = parts.vae().to(memory_format=torch.channels_last)
    rate = RATE if lessons.world is world.FIRST else RATE / 3  # it starts from trained weights
    lessons.begin(vae, "vae")
    average = Average(vae, 0.995)
    optimizers = muon.optimizers(vae, rate, plain=("conv_in", "conv_out"))
    step = 0
    if (old := load(path, resume)) is not None:
        vae.load_state_dict(old["model"])
        for optimizer, state in zip(optimizers, old["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        average.values, average.count = old["ema"], old["step"]
        budget.spent, step = old["minutes"], old["step"]
    mean = 0.0
    for image in images(seed + 1000 * (step + 1), BATCH, lessons):
        if budget.part(step) >= 1:
            break
        loss, squared = loss_of(vae, image)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        for optimizer in optimizers:
            set_rate(optimizer, rate_at(budget.part(step), step, rate, warm=30))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        average.update(vae)
        step += 1
        mean += (squared.item() - mean) / min(step, 50)
        if step % 50 == 0:
            print(
                f"vae step {step} minute {budget.used():.1f} dB {10 * np.log10(4 / mean):.2f} loss {loss.item():.4f}",
                flush=True,
            )
        if step % 200 == 0:
            keep(path, vae, average, optimizers, step, budget)
    keep(path, vae, average, optimizers, step, budget)


def keep(
    path: Path,
    vae: torch.nn.Module,
    average: Average,
    optimizers: list[torch.optim.Optimizer],
    step: int,
    budget: Budget,
) -> None:
    """Write the checkpoint."""
    values = {
        "model": vae.state_dict(),
        "ema": average.values,
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
    }
    save(path, {**values, "step": step, "minutes": budget.used()})
