"""Write a concept's pictures and captions: python tools/toy/samples.py NAME [--to DIR] [--count 12]."""

from __future__ import annotations

import argparse
from pathlib import Path

import repository
from PIL import Image

from tinv_ext.core.errors import InputError
from tinv_ext.toy import heldout


def main() -> None:
    """Draw and write."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("name", nargs="+", help="concepts of the file")
    ask.add_argument("--to", type=Path, default=repository.ROOT / "tinv_ext" / "toy" / "samples")
    ask.add_argument("--count", type=int, default=12)
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--concept", type=Path, default=heldout.FILE, help="a file of concepts of your own")
    given = ask.parse_args()
    try:
        concepts = heldout.read(given.concept)
    except InputError as error:
        ask.exit(2, f"{error}\n")
    for name in given.name:
        if name not in concepts:
            ask.exit(2, f"There is no concept {name!r} in {given.concept}: choose from {', '.join(concepts)}.\n")
        write(concepts[name], given.to / name, given.count, given.seed)


def write(concept: heldout.Concept, folder: Path, count: int, seed: int) -> None:
    """`count` PNG files, each with a caption of what is not the concept itself: where it stands."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (picture, scene) in enumerate(concept.pictures(count, seed), start=1):
        file = folder / f"{number:02d}.png"
        Image.fromarray(picture).save(file, optimize=True)
        file.with_suffix(".txt").write_text(f"on a {scene.background} background\n", encoding="utf-8")


if __name__ == "__main__":
    main()
