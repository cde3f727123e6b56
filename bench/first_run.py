"""What comes before the first step of a first run: files hashed and decoded, images encoded. Ahead by threads or not.

    python bench/first_run.py [--images 40] [--width 2400] [--height 1600] [--encode 30] [--pairs 5]

The VAE is a wait of `--encode` milliseconds an image: a device that computes by itself while the host has nothing to
do, which a CPU's own VAE is not. In each pair the same files are looked at and encoded with threads and without.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from tinv_ext.core.data import ahead
from tinv_ext.core.data.image_fit import FitRules
from tinv_ext.core.data.images import scan_images
from tinv_ext.core.data.latents import EncodeRules, LatentDistribution, encode_images


def write_photos(folder: Path, count: int, size: tuple[int, int]) -> None:
    """JPEG files that are as much work as photographs: noise at several scales."""
    rng = np.random.default_rng(0)
    for number in range(count):
        layers = [Image.fromarray(rng.integers(0, 255, (n, n, 3), dtype=np.uint8)).resize(size) for n in (8, 64, 512)]
        Image.blend(Image.blend(layers[0], layers[1], 0.4), layers[2], 0.2).save(folder / f"{number}.jpg", quality=90)


def first_run(folder: Path, encode_seconds: float) -> tuple[float, float, list[Tensor]]:
    """Seconds of the scan and of the encoding, and the latents."""

    def encode(pixels: Tensor) -> LatentDistribution:
        time.sleep(encode_seconds * len(pixels))
        mean = torch.nn.functional.avg_pool2d(pixels, 8)
        return LatentDistribution(mean, mean)

    rules = FitRules(((512, 512),))
    begun = time.perf_counter()
    scan = scan_images(folder, rules)
    scanned = time.perf_counter()
    found = encode_images(scan.pictures, EncodeRules(rules, "none"), encode, None)
    return scanned - begun, time.perf_counter() - scanned, [image.latent.mean for (image,) in found]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name, default in (("images", 40), ("width", 2400), ("height", 1600), ("encode", 30), ("pairs", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    given = arguments()
    taken: dict[int, list[tuple[float, float]]] = {1: [], ahead.threads(): []}
    with tempfile.TemporaryDirectory() as place:
        write_photos(Path(place), given.images, (given.width, given.height))
        latents = first_run(Path(place), 0)[2]
        for pair in range(given.pairs):
            for threads in sorted(taken, reverse=bool(pair % 2)):
                with patch.object(ahead, "threads", lambda threads=threads: threads):
                    *seconds, again = first_run(Path(place), given.encode / 1000)
                assert all(map(torch.equal, latents, again))
                taken[threads].append((seconds[0], seconds[1]))
    print(f"{given.images} JPEG files of {given.width}×{given.height}, {given.encode} ms of the device for each\n")
    print("| threads | scan, ms an image | encoding, ms an image |\n| --- | --- | --- |")
    for threads, seconds in taken.items():
        shown = (statistics.median(one[part] for one in seconds) * 1000 / given.images for part in (0, 1))
        print(f"| {threads} | {' | '.join(f'{ms:.0f}' for ms in shown)} |")
    for part, name in enumerate(("scan", "encoding")):
        ratios = [many[part] / one[part] for one, many in zip(taken[1], taken[ahead.threads()])]
        print(f"- {name}: {statistics.median(ratios):.2f} ({min(ratios):.2f} … {max(ratios):.2f}) of one thread's time")


if __name__ == "__main__":
    main()
