"""End the command line itself from outside, at random times, and compare with a run left alone.

    python -m tests.faults.outside --hits 5

Each run is `python -m tinv_ext train` on the toy model; one that was ended, by SIGKILL or by what asks it to end, goes
on with `train --resume`. The time is drawn
from that between the first line in the run's log and the end; of every third process from its whole life.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tests.faults.killing import SETTINGS, Place, toy_place
from tests.paths import ROOT
from tinv_ext.run.status import Status

LIVES = 4  # the last of a run is left alone
KILLED, ABORTED = [signal.SIGKILL], [signal.SIGINT, signal.SIGINT]
ENDINGS = [KILLED, [signal.SIGTERM], [signal.SIGHUP], [signal.SIGINT], ABORTED]  # in turn


def command(place: Place) -> list[str]:
    """What a person types to begin the run, or to go on with it."""
    folder = place.run_folder()
    start = [sys.executable, "-m", "tinv_ext", "train", "--embeddings", str(place.folder / "embeddings")]
    if folder:
        return [*start, "--resume", str(folder.path)]
    given = {**SETTINGS, "images": place.config.images, "output": place.config.output}
    return [*start, "--model", "toy", *(f"--{name.replace('_', '-')}={value}" for name, value in given.items())]


def live(place: Place, seconds: float | None, working: bool, ending: Sequence[signal.Signals] = KILLED) -> bool:
    """Whether the process came to its end by itself, in so many seconds, counted from its first word if `working`.

    Else it gets the signals of `ending`, and what is not SIGKILL lets it end as it should: exit code 3, no traceback.
    """
    before = _words(place)
    with (place.folder / "output").open("wb") as output:
        process = subprocess.Popen(command(place), cwd=ROOT, stdout=output, stderr=output, env=_environment())
        while working and process.poll() is None and _words(place) == before:
            time.sleep(0.02)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            for number in ending:
                process.send_signal(number)
                time.sleep(0.03)
            code = process.wait()
            if ending is KILLED or (code < 0 and not said(place)):  # Python itself was still being started
                return False
    assert code in (0, 3), (code, said(place))
    assert "Traceback" not in said(place), said(place)
    return code == 0


def said(place: Place) -> str:
    """The end of what the last process has said."""
    return (place.folder / "output").read_text()[-3000:]


def _words(place: Place) -> int:
    """How long the run's log is."""
    there = place.run_folder()
    return there.log.stat().st_size if there and there.log.exists() else 0


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def kill(hits: int, seed: int, folder: Path, tell: Callable[[Mapping[str, Any]], None]) -> bool:
    """Kill processes until there were so many; whether every run came out as the one left alone."""
    draw = random.Random(seed)
    alone = toy_place(folder / "alone")
    begun = time.monotonic()
    live(alone, None, False)
    length = time.monotonic() - begun
    work = (alone.folder / "embeddings").stat().st_mtime - (alone.folder / "runs").stat().st_ctime
    right, curve = alone.result()
    tell({"alone": round(length, 2), "of it work": round(work, 2)})
    done, number, equal = 0, 0, True
    while done < hits:
        number += 1
        place = toy_place(folder / str(number))
        for life in range(LIVES):
            left, working = life == LIVES - 1 or done >= hits, done % 3 != 2
            seconds = None if left else round(draw.uniform(0.0, work if working else length), 2)
            ending = ENDINGS[done % len(ENDINGS)]
            if live(place, seconds, working and not left, ending):
                break
            place.check()
            done += 1
            there = place.run_folder()
            stood = there.last_status() if there else Status("not begun", 0)
            tell(
                {
                    "run": number,
                    "ended after": seconds,
                    "by": [number.name for number in ending],
                    "working": working,
                    "status": stood.status,
                    "step": stood.steps,
                }
            )
        vectors, rows = place.result()
        same = rows == curve and all(torch.equal(vectors[key], right[key]) for key in right)
        equal &= same
        tell({"run": number, "equal": same})
    return equal


def main() -> int:
    """Carry out what the command line asks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hits", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tinv-kill-") as name:
        return not kill(options.hits, options.seed, Path(name), lambda told: print(json.dumps(told), flush=True))


if __name__ == "__main__":
    sys.exit(main())
