"""Measure how good the toy is: python tools/toy/report.py [--count 240] [--variant NAME] [--json FILE] [--docs].

Judges samples of random captions beside the judge's ceiling (drawings) and the autoencoder's (drawings through it),
and measures the loss with the right, another's and no caption. Of a variant whose autoencoder is the toy's: samples.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pages
import repository
import torch
from PIL import Image
from torch import Tensor

from tinv_ext.toy import captions, heldout, judge, model, parts, variants, world

BARS = {"shape": 0.85, "fill": 0.90, "pattern": 0.80, "background": 0.95, "all": 0.65}
SAMPLED = 60  # prompts at a time


def scenes(count: int, seed: int, of: world.World = world.FIRST) -> list[world.Scene]:
    """Scenes of the training stream's kind that words can ask for: no odd shape."""
    concepts = heldout.read(heldout.FILES[of])

    def left_out(scene: world.Scene) -> bool:
        return scene.shape == "odd" or heldout.is_held_out(scene, concepts)

    return list(itertools.islice(world.stream(np.random.default_rng(seed), left_out, of), count))


def drawn(wanted: list[world.Scene], seed: int) -> Tensor:
    """Images (n, 3, 64, 64) in 0…1 of the scenes."""
    rng = np.random.default_rng(seed)
    images = np.stack([world.draw(scene, world.sample_pose(scene, rng)) for scene in wanted])
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def through(vae: Any, images: Tensor) -> Tensor:
    """Images encoded and decoded."""
    chunks = [vae.decode(vae.encode(some * 2 - 1).latent_dist.mode()).sample for some in images.split(32)]
    return (torch.cat(chunks) / 2 + 0.5).clamp(0, 1)


def samples(pipe: Any, prompts: list[str], guidance: float) -> Tensor:
    """Images (n, 3, 64, 64) in 0…1, one for each prompt."""
    starts = range(0, len(prompts), SAMPLED)
    made = [model.sample(pipe, prompts[i : i + SAMPLED], 1000 + i, guidance=guidance) for i in starts]
    return torch.cat([torch.as_tensor(some) for some in made]).float()


@torch.no_grad()
def context(pipe: Any, texts: list[str]) -> Tensor:
    """The captions' hidden states (n, 77, 64)."""
    ids = pipe.tokenizer(texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    return pipe.text_encoder(ids)[0]


@torch.no_grad()
def losses(pipe: Any, images: Tensor, texts: list[str]) -> dict[str, dict[str, float]]:
    """Eps loss by timestep with the right, the neighbour's and no caption, the same noise in all."""
    latents = pipe.vae.encode(images * 2 - 1).latent_dist.mode() * parts.SCALE
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(3))
    asked = {"right": texts, "shuffled": texts[1:] + texts[:1], "empty": [""] * len(texts)}
    found: dict[str, dict[str, float]] = {}
    for time in (200, 500, 850):
        noisy = pipe.scheduler.add_noise(latents, noise, torch.tensor([time]))
        found[str(time)] = {
            name: (pipe.unet(noisy, time, context(pipe, prompts)).sample - noise).pow(2).mean().item()
            for name, prompts in asked.items()
        }
    return found


def concept_ceiling(word: judge.Judge, of: world.World = world.FIRST) -> dict[str, float]:
    """How often the judge names a held-out concept on its own drawings (100 of each)."""
    found = {}
    for concept in heldout.read(heldout.FILES[of]).values():
        images = np.stack([image for image, _ in concept.images(100, 77)])
        seen = judge.look(word, torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
        found[concept.name] = sum(judge.shows(one, concept) for one in seen) / len(seen)
    return found


def sheet(path: Path, pipe: Any, guidance: float, of: world.World = world.FIRST) -> None:
    """A row for each shape, in eight fills and the patterns in turn; in the wide world with marks and balls."""
    shapes, fills = [shape for shape in world.SHAPES if shape != "odd"], list(world.COLOURS)
    marks = of.marks if of is world.WIDE else ("none",)
    asked = [
        world.Scene(
            shape,
            fills[c],
            of.patterns[c % len(of.patterns)],
            marks[(c + r) % len(marks)],
            fills[(c + 3 + r) % 8 if (3 + r) % 8 else (c + 4) % 8],
            ball=fills[(c + 1) % 8] if of.balls and r % 3 == 0 else "none",
        )
        for r, shape in enumerate(shapes)
        for c in range(8)
    ]
    made = samples(pipe, [captions.full(scene) for scene in asked], guidance)
    grid = made.reshape(len(shapes), 8, 3, 64, 64).permute(0, 3, 1, 4, 2).reshape(len(shapes) * 64, 8 * 64, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((grid.numpy() * 255 + 0.5).astype(np.uint8)).save(path, optimize=True)


def measure(count: int, guidance: float, of: world.World = world.FIRST) -> dict[str, Any]:
    """Every figure of the report on the toy of a world."""
    wide = of is world.WIDE
    pipe, word = variants.pipeline("wide") if wide else model.pipeline(), judge.load(of=of)
    wanted = scenes(count, 99, of)
    expected = [judge.expected(scene) for scene in wanted]
    images, texts = drawn(wanted, 5), [captions.full(scene) for scene in wanted]
    seen_through = through(pipe.vae, images)
    error = (seen_through - images).pow(2).mean((1, 2, 3))
    ceiling = scenes(1000, 98, of)
    shares = {
        "drawings": judge.right(judge.look(word, drawn(ceiling, 6)), [judge.expected(s) for s in ceiling]),
        "through the autoencoder": judge.right(judge.look(word, seen_through), expected),
        "samples": judge.right(judge.look(word, samples(pipe, texts, guidance)), expected),
    }
    return {
        "count": count,
        "guidance": guidance,
        "balls": of.balls,
        "shares": shares,
        "autoencoder dB": float((10 * torch.log10(1 / error)).mean()),
        "concepts": concept_ceiling(word, of),
        "losses": losses(pipe, images, texts),
        "made": variants.metadata("wide") if wide else model.metadata(),
    }


def measure_variant(variant: str, count: int, guidance: float) -> dict[str, Any]:
    """Figures of a variant's samples, for the prompts of the toy's own report."""
    wanted = scenes(count, 99)
    made = samples(variants.pipeline(variant), [captions.full(scene) for scene in wanted], guidance)
    shares = {"samples": judge.right(judge.look(judge.load(), made), [judge.expected(scene) for scene in wanted])}
    return {"count": count, "guidance": guidance, "shares": shares, "made": variants.metadata(variant)}


def shares_of(figures: dict[str, Any]) -> list[str]:
    """The shares that the judge finds right, as lines of Markdown."""
    lines = [f"Samples: {figures['count']} prompts, DDIM 25 steps, guidance {figures['guidance']}.", ""]
    named = [key for key in figures["shares"]["samples"] if key != "ball" or figures.get("balls")]
    lines += ["| judged by | " + " | ".join(named) + " |", "|---" * (len(named) + 1) + "|"]
    for name, shares in figures["shares"].items():
        lines.append(f"| {name} | " + " | ".join(f"{shares[key]:.3f}" for key in named) + " |")
    return [*lines, "| bar | " + " | ".join(f"{BARS[key]:.2f}" if key in BARS else "" for key in named) + " |"]


def text_of(figures: dict[str, Any]) -> str:
    """The report as Markdown."""
    lines = [*shares_of(figures), *(more_of(figures) if "losses" in figures else [])]
    return "\n".join([*lines, "", "Weights: " + ", ".join(f"{k} {v}" for k, v in figures["made"].items()) + "."])


def more_of(figures: dict[str, Any]) -> list[str]:
    """What is reported for the toy alone, as lines of Markdown: autoencoder, losses, judge."""
    lines = ["", f"Autoencoder: {figures['autoencoder dB']:.1f} dB (mean over images).", ""]
    lines += ["| eps loss at t | right caption | another's | none |", "|---|---|---|---|"]
    lines += [
        f"| {t} | {v['right']:.4f} | {v['shuffled']:.4f} | {v['empty']:.4f} |" for t, v in figures["losses"].items()
    ]
    lines += ["", "| concept | judge right on its drawings |", "|---|---|"]
    return [*lines, *(f"| {name} | {share:.2f} |" for name, share in figures["concepts"].items())]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=240)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--variant", choices=variants.VARIANTS, help="report on this variant of the toy")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--docs", action="store_true", help="put the figures into docs/toy.md and the sheet beside it")
    options = parser.parse_args()
    of = world.WIDE if options.variant == "wide" else world.FIRST
    if options.variant in (None, "wide"):
        figures = measure(options.count, options.guidance, of)
    else:
        figures = measure_variant(options.variant, options.count, options.guidance)
    print(text_of(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    if options.docs:
        pages.put(f"report-{options.variant}" if options.variant else "report", text_of(figures))
        pipe = variants.pipeline(options.variant) if options.variant else model.pipeline()
        name = f"toy-{options.variant}.png" if options.variant else "toy.png"
        sheet(repository.ROOT / "docs" / name, pipe, options.guidance, of)


if __name__ == "__main__":
    main()
