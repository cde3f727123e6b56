"""A process in the place of a training: it tells of itself as one does, and ends as its settings file says.

    python stand_in.py FILE OUTPUT EVENTS [RUN]

The file's first word: "good" finishes, "bad" fails, "crash" is gone at once, "wait" goes on until it is told to stop.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path


def main(file: str, output: str, events: str, resumed: str = "") -> int:
    """End with the exit code that the command line would have."""
    what = Path(file).read_text().split()[0]
    name = Path(events).parent.name
    run = Path(resumed or Path(output, "2026-01-01", f"{name}-00-00-0{len(list(Path(output).glob('20*/*')))}"))
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.json").write_text(json.dumps({"version": 2, "settings": {"name": name, "steps": 9}, "facts": {}}))

    def tell(status: str, step: int, reason: str = "") -> None:
        word = {"status": status, "steps": step, "total": 9, "reason": reason, "file": None, "file_step": None}
        (run / "status.json").write_text(json.dumps(word))
        head = json.dumps({"__metadata__": {"step": str(step)}}).encode()  # a safetensors file without tensors
        (run / "state.safetensors").write_bytes(len(head).to_bytes(8, "little") + head)
        add(event="status", status=status, step=step, steps=9)

    def add(**values: object) -> None:
        with open(events, "a") as lines:
            lines.write(json.dumps({"time": time.time(), **values}) + "\n")

    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: told.append(1))
    add(event="prepared", run=str(run.absolute()), steps=9)
    tell("training", 1)
    add(event="evaluated", step=1, evaluation=0.5)
    (run / "loss.csv").write_text("step,loss,evaluation,best\n0,,0.25,0\n1,0.9,0.5,1\n")
    print(f"{os.environ.get('CUDA_VISIBLE_DEVICES')} {os.environ.get('OMP_NUM_THREADS')}", flush=True)
    if what == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "bad":
        tell("failed", 2, "numeric: the loss is not finite")
        return 4
    while what == "wait" and not told:
        time.sleep(0.02)
    if told:
        tell("stopped", 3)
        return 3
    tell("finished", 9)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
