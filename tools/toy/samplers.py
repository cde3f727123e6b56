"""Which sampler needs how few steps on the toy: python tools/toy/samplers.py [--count 40] [--variant NAME].

Every sampler draws the same full captions from the same noise. The judge says in how many images what they name is
right; beside it stands how far the images are from those of the first sampler (root mean square, of 255).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from report import scenes
from torch import Tensor

from tinv_ext import toy
from tinv_ext.core.generation import ImageRequest
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.toy import captions, judge

TRIED = (("DDIM", 20), ("DPM++ 2M", 12), ("DPM++ 2M", 10), ("DPM++ 2M", 8))
_TOGETHER = 32


def images(host: DiffusersHost, prompts: list[str], sampler: str, steps: int, cfg_scale: float) -> Tensor:
    """(n, 3, 64, 64) in 0…1."""
    asked = [
        ImageRequest(prompt, "", steps, cfg_scale, 1000 + seed, 64, 64, sampler) for seed, prompt in enumerate(prompts)
    ]
    parts = (asked[first : first + _TOGETHER] for first in range(0, len(asked), _TOGETHER))
    made = [np.asarray(image, np.float32) / 255 for part in parts for image in host.generate_many(part, {})]
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).contiguous()


def main() -> None:
    """Draw, judge, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--variant", default="", choices=("", *toy.VARIANTS))
    parser.add_argument("--cfg-scale", type=float, default=7.0)
    given = parser.parse_args()
    host = DiffusersHost(toy.pipeline(given.variant), Path("no-embeddings"), {})
    wanted = scenes(given.count, 5)
    prompts = [captions.full(scene) for scene in wanted]
    seen = [judge.expected(scene) for scene in wanted]
    names = ("all", "background", "shape", "pattern")
    print(f"| sampler | steps | {' | '.join(names)} | from the first |\n|{' --- |' * (3 + len(names))}")
    first = None
    for sampler, steps in TRIED:
        made = images(host, prompts, sampler, steps, given.cfg_scale)
        first = made if first is None else first
        shares = judge.right(judge.look(judge.load(), made), seen)
        apart = float((made - first).pow(2).mean().sqrt()) * 255
        cells = [sampler, str(steps), *(f"{shares[name]:.2f}" for name in names), f"{apart:.1f}"]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
