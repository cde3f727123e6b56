"""A run on a disk that is really full, until the run says so and something is removed from it.

    python -m tests.faults.full_disk FOLDER

FOLDER is an empty file system of some 24 MB; a larger one is left as it is, to compare with. Tells, as JSON, how the
run ended, why it paused, and its vectors.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import torch

from tests.faults.killing import NAME, fake_place
from tinv_ext.core.formats import read_embedding
from tinv_ext.core.training.trainer import Step
from tinv_ext.run import runner
from tinv_ext.run.events import Event
from tinv_ext.run.status import Status


def fill(path: Path) -> None:
    """Take all the room there is."""
    size = 1 << 20
    with path.open("wb", buffering=0) as file:
        while size:
            try:
                file.write(b"x" * size)
            except OSError:
                size //= 2


def main() -> int:
    """Carry out the run."""
    torch.set_num_threads(1)
    runner._RECHECK = 0.0  # seconds between two looks at whether there is room
    folder = Path(sys.argv[1])
    small = shutil.disk_usage(folder).total < 64 * 2**20  # nobody's own disk
    place, filler, paused = fake_place(folder / "place"), folder / "filler", []

    def report(event: Event) -> None:
        if small and isinstance(event, Step) and event.number == 3:
            fill(filler)
        if isinstance(event, Status) and event.status == "paused":
            paused.append(event.reason)
            filler.unlink()

    status = runner.run(place.config, place.host, report)
    vectors = read_embedding(place.folder / "embeddings" / f"{NAME}.pt").vectors["clip_l"]
    print(json.dumps({"status": status.status, "paused": paused, "vectors": vectors.tolist()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
