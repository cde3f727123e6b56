"""A long run on the toy model with everything that happens beside it, watched for memory and file handles (Linux).

    python -m tests.faults.soaking --steps 2000

Previews, snapshots, evaluations and states on the way; every 100 steps a pause, in which pictures are drawn and an
embedding is read. Tells one line of JSON: the slope of the resident memory in MB per 100 steps and the least and the
most open file handles, both after the warm-up (a quarter of the steps, 200 at most).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.faults.killing import NAME, toy_place
from tinv_ext.core.formats import read_embedding
from tinv_ext.core.generation import ImageRequest
from tinv_ext.core.training.trainer import Step
from tinv_ext.hosts.base import Host
from tinv_ext.run import runner
from tinv_ext.run.events import Event, RunControls, Wrote
from tinv_ext.run.status import Status

BESIDE = {"preview_every": 50, "save_every": 50, "save_state_every": 10, "evaluate_every": 50, "keep_snapshots": 3}
PAUSE = 100  # steps between two pauses


def resident() -> float:
    """Memory of this process, MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass
class Soak:
    """Listens to the run, pauses it, uses the host in between, and measures."""

    host: Host
    controls: RunControls = field(default_factory=RunControls)
    measured: list[tuple[int, float, int]] = field(default_factory=list)  # step, MB, file handles
    copy: Path | None = None
    pauses: int = 0

    def report(self, event: Event) -> None:
        """Hear what the run tells."""
        if isinstance(event, Wrote) and event.kind == "snapshot":
            self.copy = event.path
        elif isinstance(event, Step):
            self.measured.append((event.number, resident(), len(os.listdir("/proc/self/fd"))))
            if event.number % PAUSE == 0:
                self.controls.pause.set()
        elif isinstance(event, Status) and event.status == "paused":
            self.pauses += 1
            self._generate()
            self.controls.pause.clear()

    def _generate(self) -> None:
        assert self.copy is not None
        words = {NAME: read_embedding(self.copy).vectors}
        for seed in range(2):
            self.host.generate(ImageRequest(f"a photo of {NAME}", "", 4, 3.0, seed, 64, 64), words)

    def told(self, seconds: float) -> dict[str, Any]:
        """The figures."""
        steps, memory, handles = (np.array(column) for column in zip(*self.measured))
        late = steps > min(200, len(steps) // 4)
        slope = np.polyfit(steps[late], memory[late], 1)[0] * 100
        return {
            "steps": len(steps),
            "seconds": round(seconds),
            "pauses": self.pauses,
            "MB at the end": round(float(memory[-1]), 1),
            "MB per 100 steps": round(float(slope), 3),
            "file handles": [int(handles[late].min()), int(handles[late].max())],
        }


def main() -> int:
    """Carry out what the command line asks; exit code 1 if it grows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="tinv-soak-") as name:
        place = toy_place(Path(name))
        soak = Soak(place.host)
        begun = time.monotonic()
        status = runner.run(place.config.but(steps=options.steps, **BESIDE), place.host, soak.report, soak.controls)
        assert (status.status, status.steps) == ("finished", options.steps)
        told = soak.told(time.monotonic() - begun)
    print(json.dumps(told))
    return not (told["MB per 100 steps"] < 1 and len(set(told["file handles"])) == 1)


if __name__ == "__main__":
    sys.exit(main())
