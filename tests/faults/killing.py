"""Kill runs with SIGKILL at chosen moments, resume them until they are finished, and compare with a run left alone.

    python -m tests.faults.killing --hits 200 --host toy

The moments are spread evenly over the phases of a run; within a phase, which of its calls (of Python or C: a tensor
operation, a write, an fsync, a replace …) is the last one is drawn. Each run is a process of its own, forked from one
that has only imported: so 200 of them do not import torch 200 times. The first line told is the run left alone, then
one line of JSON for each hit, then the summary. Exit code 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from PIL import Image

from tinv_ext.core import atomic
from tinv_ext.core.formats import read_embedding
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.suffixes import PREVIEW
from tinv_ext.core.training import trainer
from tinv_ext.core.training.state import load_state
from tinv_ext.hosts.base import Host
from tinv_ext.run import (
    evaluations,
    final_embedding,
    previews,
    run_folder,
    runner,
    snapshots,
    state_saver,
)
from tinv_ext.run.curve import read_curve

NAME = "zworble-k"
PHASES: dict[str, tuple[Any, str]] = {  # what is wrapped; the innermost counts
    "check": (runner, "prepare_run"),
    "encode": (runner, "encoded_examples"),
    "step": (trainer, "take_step"),
    "evaluation": (evaluations, "draw_losses"),
    "state write": (state_saver, "save_state"),
    "snapshot": (snapshots.Snapshots, "save"),
    "preview": (previews.Previews, "generate"),
    "replacing a file": (atomic, "replace_file"),
    "curve": (evaluations.CurveRows, "add"),
    "final save": (final_embedding.FinalEmbedding, "write"),
}
SETTINGS: dict[str, Any] = {
    "name": NAME,
    "num_vectors": 2,
    "steps": 9,
    "batch_size": 2,
    "width": 64,
    "height": 64,
    "learning_rate": "0.02",
    "save_state_every": 2,
    "save_every": 4,
    "preview_every": 4,
    "preview_steps": 2,
    "preview_at_first": True,
    "evaluate_every": 3,
    "evaluation_timesteps": 1,
}
LIVES = 4  # a run is killed at most so often, then left alone


@dataclass
class Reaper:
    """Counts the calls within each phase, and ends the process at the one that is `due`: (phase, visit, call)."""

    due: tuple[str, int, int] | None
    tell: Callable[[Mapping[str, Any]], None]
    inside: list[tuple[str, int]] = field(default_factory=list)
    visits: Counter[str] = field(default_factory=Counter)
    calls: Counter[tuple[str, int]] = field(default_factory=Counter)

    def watch(self) -> None:
        """Wrap the phases; for a process that does nothing else."""
        for phase, (owner, name) in PHASES.items():
            setattr(owner, name, self._wrapped(phase, getattr(owner, name)))
        sys.setprofile(self._seen)

    def _wrapped(self, phase: str, act: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(act)
        def watched(*args: Any, **kwargs: Any) -> Any:
            self.inside.append((phase, self.visits[phase]))
            self.visits[phase] += 1
            try:
                return act(*args, **kwargs)
            finally:
                self.inside.pop()

        return watched

    def _seen(self, frame: FrameType, event: str, arg: Any) -> None:
        if not self.inside:
            return
        self.calls[self.inside[-1]] += 1
        if self.due and self.inside[-1] == self.due[:2] and self.calls[self.inside[-1]] == self.due[2]:
            what = getattr(arg, "__qualname__", "") if event.startswith("c_") else frame.f_code.co_name
            where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
            self.tell({"hit": self.due[0], "visit": self.due[1], "call": self.due[2], "at": f"{event} {what}, {where}"})
            os.kill(os.getpid(), signal.SIGKILL)


def in_a_process(act: Callable[[], Any], due: tuple[str, int, int] | None, output: Path) -> dict[str, Any]:
    """Do it in a forked process, watched; what that told before it ended: a hit, or how many calls it counted."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _be_the_child(act, due, writer, output)
    os.close(writer)
    with os.fdopen(reader) as said:
        told = said.read()
    _, code = os.waitpid(child, 0)
    found: dict[str, Any] = json.loads(told) if told else {}
    if "hit" in found:
        assert os.WIFSIGNALED(code), "it told a hit and lived on"
    elif os.waitstatus_to_exitcode(code) != 0:
        raise AssertionError(f"A run failed where it should not:\n{output.read_text()[-3000:]}")
    return found


def _be_the_child(act: Callable[[], Any], due: tuple[str, int, int] | None, writer: int, output: Path) -> None:
    """Never returns."""
    code = 1
    try:
        log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        reaper = Reaper(due, lambda said: os.write(writer, json.dumps(said).encode()) and None)
        reaper.watch()
        act()
        sys.setprofile(None)
        counted = [[phase, visit, calls] for (phase, visit), calls in reaper.calls.items()]
        os.write(writer, json.dumps({"calls": counted}).encode())
        code = 0
    except BaseException:  # noqa: BLE001 (told by the exit code and in the output)
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


@dataclass(frozen=True)
class Place:
    """A folder with pictures, and a host whose embeddings lie there."""

    folder: Path
    host: Host
    config: TrainConfig

    def begin(self) -> None:
        """A run from its beginning."""
        runner.run(self.config, self.host)

    def go_on(self) -> None:
        """The only run there, or a new one where none has come so far as to be one."""
        there = self.run_folder()
        self.host.refresh_embeddings()
        if there is None:
            return self.begin()
        runner.resume(there.path, self.host)
        return None

    def run_folder(self) -> run_folder.RunFolder | None:
        """The run's, if it has begun."""
        found = run_folder.find_runs(self.folder / "runs")
        assert len(found) <= 1
        return found[0] if found else None

    def check(self) -> None:
        """Nothing half lies where a run keeps its files, whatever has been killed there."""
        there = self.run_folder()
        if there is None:
            return
        for name in ("status.json", "config.json"):
            path = there.path / name
            assert not path.exists() or json.loads(path.read_text("utf-8")), path
        if there.state.exists():
            load_state(there.state, torch.device("cpu"))
        for path in (self.folder / "embeddings", there.path / "embeddings"):
            for file in path.glob("[!.]*"):
                if not file.stem.endswith(PREVIEW):
                    read_embedding(file)
        for file in (*there.path.glob("images/[!.]*"), *self.folder.glob(f"embeddings/*{PREVIEW}.png")):
            Image.open(file).load()

    def result(self) -> tuple[dict[str, torch.Tensor], list[dict[str, str]]]:
        """The vectors and the curve of the finished run."""
        there = self.run_folder()
        assert there is not None
        assert there.status().status == "finished", there.status()
        return read_embedding(self.folder / "embeddings" / f"{NAME}.pt").vectors, read_curve(there.curve)


def fake_place(folder: Path) -> Place:
    """With the model of a few lines."""
    from tests.fake_host import FakeHost

    return _place(folder, FakeHost(folder / "embeddings"))


def toy_place(folder: Path) -> Place:
    """With the toy model, loaded once."""
    from tinv_ext.hosts.diffusers.host import DiffusersHost

    if not _TOY:
        from tinv_ext.toy import pipeline

        _TOY.append(pipeline())
    return _place(folder, DiffusersHost(_TOY[0], folder / "embeddings", {"model_name": "toy"}))


_TOY: list[Any] = []
PLACES: dict[str, Callable[[Path], Place]] = {"fake": fake_place, "toy": toy_place}


def _place(folder: Path, host: Host) -> Place:
    images = folder / "images"
    images.mkdir(parents=True)
    for index in range(3):
        Image.new("RGB", (64, 64), (80 * index, 200 - 60 * index, 30)).save(images / f"{index}.png")
    given = {**SETTINGS, "images": str(images), "output": str(folder / "runs")}
    return Place(folder, host, TrainConfig.from_dict(given))


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tinv-kill-") as name:
        yield Path(name)


def kill(make: Callable[[Path], Place], hits: int, seed: int, tell: Callable[[Mapping[str, Any]], None]) -> bool:
    """Kill runs until there were so many hits; whether every run came out as the one left alone."""
    draw = random.Random(seed)
    with _folder() as folder:
        alone = make(folder / "alone")
        begun = time.monotonic()
        calls = in_a_process(alone.begin, None, folder / "output")["calls"]
        vectors, curve = alone.result()
        tell({"alone": round(time.monotonic() - begun, 2), "calls": {f"{p} {v}": n for p, v, n in calls}})
        phases = [phase for phase in PHASES if any(phase == counted[0] for counted in calls)]
        counts: Counter[str] = Counter()
        number, equal = 0, True
        while sum(counts.values()) < hits:
            number += 1
            place = make(folder / str(number))
            struck = []
            for life in range(LIVES + 1):
                rare = min(phases, key=lambda phase: (counts[phase], draw.random()))
                options = [one for one in calls if one[0] == rare]
                phase, visit, most = draw.choice(options[:1] if life else options)
                due = (phase, visit, draw.randint(1, most)) if life < LIVES else None
                said = in_a_process(place.go_on, due, folder / "output")
                place.check()
                if "hit" not in said:
                    # A later run has fewer calls to be killed at: what one imports on demand the next has from us.
                    calls = said["calls"] if not life else calls
                    break
                counts[phase] += 1
                there = place.run_folder()
                stood = there.last_status().steps if there else None
                tell({"run": number, "life": life + 1, **said, "status": stood})
                struck.append(phase)
            same = _same(place.result(), (vectors, curve))
            equal &= same
            tell({"run": number, "killed": len(struck), "equal": same})
        tell({"hits": sum(counts.values()), "runs": number, "by phase": dict(counts), "equal": equal})
    return equal


def _same(one: Any, other: Any) -> bool:
    (vectors, curve), (right, rows) = one, other
    return curve == rows and all(torch.equal(vectors[key], right[key]) for key in right)


def main() -> int:
    """Carry out what the command line asks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hits", type=int, default=200)
    parser.add_argument("--host", choices=PLACES, default="toy")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    return not kill(PLACES[options.host], options.hits, options.seed, lambda said: print(json.dumps(said), flush=True))


if __name__ == "__main__":
    sys.exit(main())
