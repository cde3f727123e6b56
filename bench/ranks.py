"""How well the steps of a training are shared out: two processes, each on a core of its own, against one on one core.

    python bench/ranks.py [--size 128] [--batch-size 4] [--steps 40] [--rounds 3]

Each process has one thread and is pinned to a core. One process takes steps of two batches, two processes the same
steps together, in turns; ideal is half the time. Of each step's time the least over all rounds counts, as other
programs on the machine only ever add to it. The time of the processor is told beside it: what is computed twice shows
there, on however busy a machine, but not the waiting. `--link` measures what goes between the processes alone.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
_WARM = 3  # steps that nobody looks at
_IMAGES = ROOT / "tinv_ext" / "toy" / "samples" / "clover"


def work(options: argparse.Namespace) -> None:
    """Train as one of the processes; the first prints what each step took."""
    import torch

    from tinv_ext.cli import launched
    from tinv_ext.core.settings import TrainConfig
    from tinv_ext.core.training.trainer import Step
    from tinv_ext.models import open_host
    from tinv_ext.run import runner
    from tinv_ext.run.events import Event, RunControls
    from tinv_ext.run.follower import follow
    from tinv_ext.run.preflight import prepare_run
    from tinv_ext.run.torch_ranks import TorchRanks

    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(os.environ.get("LOCAL_RANK", "0")) % len(cores)]})
    torch.set_num_threads(1)
    ranks, marks = launched.meet(), list[tuple[float, float]]()
    if options.link and isinstance(ranks, TorchRanks):
        print(json.dumps(link(ranks)), flush=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig.from_dict(settings(options, folder))
        host = open_host("toy", Path(folder) / "embeddings", device="cpu")
        prepared = prepare_run(config, host)

        def report(event: Event) -> None:
            if isinstance(event, Step):
                marks.append((time.perf_counter(), time.process_time()))

        if isinstance(ranks, TorchRanks):
            ranks.begin()
            if not ranks.leads:
                follow(prepared, host, ranks)
                return
        runner.start(prepared, host, report, RunControls(ranks=ranks))
        if isinstance(ranks, TorchRanks):
            ranks.quit()
    kinds = [[after - before for before, after in pairwise(column)] for column in zip(*marks[_WARM:])]
    print(json.dumps(dict(zip(("clock", "processor"), kinds))), flush=True)


def link(ranks: Any) -> dict[str, float]:
    """Milliseconds of what a step sends: agreeing, the sum of 1536 numbers, agreeing again."""
    import torch

    taken, gradient = [], torch.ones(1536)
    for _ in range(300):
        begun = time.perf_counter()
        with ranks.agreed():
            ranks.sum([gradient])
        taken.append(1000 * (time.perf_counter() - begun))
    return {"least": min(taken), "median": statistics.median(taken)}


def settings(options: argparse.Namespace, folder: str) -> dict[str, Any]:
    """Steps of two batches, and nothing beside them."""
    return {
        "name": "zworble",
        "images": str(_IMAGES),
        "output": folder,
        "steps": options.steps,
        "batch_size": options.batch_size,
        "gradient_accumulation_steps": 2,
        "micro_batch_size": options.batch_size,  # passes of one size, however many processes there are
        "width": options.size,
        "height": options.size,
        "optimizer": "adamw",
        "learning_rate": "0.001",
        "evaluate_every": 0,
        "preview_every": 0,
        "save_state_every": 0,
        "stop_when_done": False,
        "result": "last",
    }


def measured(count: int, arguments: list[str]) -> dict[str, Any]:
    """What the first of `count` processes says."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    processes = []
    for rank in range(count):
        about = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **{name: str(value) for name, value in about.items()}}
        line = [sys.executable, __file__, "--worker", *arguments]
        processes.append(subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, text=True))
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit("a process has failed")
    found: dict[str, Any] = json.loads(outputs[0].splitlines()[-1])
    return found


def main() -> None:
    """Print the efficiency."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("size", 128), ("batch-size", 4), ("steps", 40), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--link", action="store_true")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options)
        return
    arguments = [text for text in sys.argv[1:] if text != "--link"]
    if options.link:
        for count in (2, 4):
            found = measured(count, ["--link"])
            print(f"{count} processes: {found['least']:.2f} ms at least, median {found['median']:.2f} ms")
        return
    rounds = [(measured(1, arguments), measured(2, arguments)) for _ in range(options.rounds)]
    for kind in ("clock", "processor"):
        one, two = (min(min(pair[side][kind]) for pair in rounds) for side in (0, 1))
        middle = [statistics.median(value for pair in rounds for value in pair[side][kind]) for side in (0, 1)]
        print(
            f"{kind}: one process {1000 * one:.1f} ms a step, two {1000 * two:.1f} ms: {one / (2 * two):.2f} of ideal"
            f" (medians {1000 * middle[0]:.1f} and {1000 * middle[1]:.1f} ms: {middle[0] / (2 * middle[1]):.2f})"
        )


if __name__ == "__main__":
    main()
