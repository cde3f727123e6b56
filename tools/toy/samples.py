"""Write a concept's images and captions: python tools/toy/samples.py NAME [--to DIR] [--count 12]."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import repository
from numpy.typing import NDArray
from PIL import Image

from tinv_ext.core.errors import InputError
from tinv_ext.toy import heldout, world


def main() -> None:
    """Draw and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="+", help="concepts of the file")
    parser.add_argument("--to", type=Path, default=repository.ROOT / "tinv_ext" / "toy" / "samples")
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--concept", type=Path, default=heldout.FILE, help="a file of concepts of your own")
    options = parser.parse_args()
    try:
        concepts = heldout.read(options.concept)
    except InputError as error:
        parser.exit(2, f"{error}\n")
    for name in options.name:
        if name not in concepts:
            parser.exit(2, f"There is no concept {name!r} in {options.concept}: choose from {', '.join(concepts)}.\n")
        write(concepts[name], options.to / name, options.count, options.seed)


def write(concept: heldout.Concept, folder: Path, count: int, seed: int) -> None:
    """`count` PNG files with captions."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (image, scene) in enumerate(concept.images(count, seed), start=1):
        save(folder / f"{number:02d}.png", image, concept, scene)


def save(file: Path, image: NDArray[np.uint8], concept: heldout.Concept, scene: world.Scene) -> None:
    """A PNG file with a caption of what is not the concept itself: where it stands, or what is shown in the style."""
    Image.fromarray(image).save(file, optimize=True)
    shown = f"a {scene.fill} {scene.shape} " if concept.style else ""
    file.with_suffix(".txt").write_text(f"{shown}on a {scene.background} background\n", encoding="utf-8")


if __name__ == "__main__":
    main()
