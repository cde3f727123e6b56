"""Stage three: many scenes drawn and encoded once, so that the UNet's training only reads latents.

Takes COUNT scenes, or as many as the budget allows.

Also measures the latents' mean and spread, to be folded into the autoencoder so that SD1's scale factor fits it.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from stage import FIRST, Budget, Lessons, load, save
from stage_vae import to_tensor

from tinv_ext.toy import parts, world

COUNT = 32_000
LEAST = 1024
CHUNK = 64


def train(folder: Path, budget: Budget, seed: int, resume: bool, lessons: Lessons = FIRST) -> None:
    """Leaves folder/pool.pt: scenes, latents (n, 4, 8, 8) of mean 0 and spread 1 (fp16), and what these were."""
    path = folder / "pool.pt"
    if load(path, resume) is not None:
        return
    trained = load(folder / "vae.pt", True)
    if trained is None:
        raise SystemExit(f"{folder / 'vae.pt'} is missing: run the stage vae first.")
    vae = parts.vae()
    vae.load_state_dict(trained["ema"])
    vae.eval().to(memory_format=torch.channels_last)
    rng = np.random.default_rng([seed, 11])
    scenes = lessons.scenes(rng)
    kept, latents = [], []
    with torch.no_grad():
        while len(kept) < COUNT and (budget.part(len(kept)) < 1 or len(kept) < LEAST):
            some = [scene for scene, _ in zip(scenes, range(CHUNK), strict=False)]
            drawn = np.stack([world.draw(scene, world.sample_pose(scene, rng)) for scene in some])
            latents.append(vae.encode(to_tensor(drawn)).latent_dist.mode())
            kept += [dataclasses.astuple(scene) for scene in some]
            if len(kept) % (CHUNK * 100) == 0:
                print(f"pool {len(kept)} of {COUNT}", flush=True)
    every = torch.cat(latents)
    mean, spread = every.mean((0, 2, 3)), every.std((0, 2, 3))
    print(f"pool mean {mean.tolist()} spread {spread.tolist()}", flush=True)
    every = ((every - mean[:, None, None]) / spread[:, None, None]).half()
    save(path, {"scenes": kept, "latents": every, "mean": mean, "spread": spread})
