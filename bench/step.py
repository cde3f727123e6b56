"""What a training step costs, against the WebUI's built-in way: milliseconds per image and peak memory.

    python bench/step.py [--toy] [--sd15] [--size 256] [--pairs 5] [--json FILE]

Each side runs in its own process and takes steps on command, so that the two take turns on the same machine; the ratio
is the median over the pairs. bench/sides.py describes the sides.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# The built-in's side over the bare loop, at most: in the toy, the text encoder and the optimizer weigh more.
HONEST = {"sd15": 1.15, "toy": 1.25}
SAME = 1e-4  # relative difference of the gradients of ways, in float32
Times = dict[str, float]  # milliseconds by "clock", and of "processor" time over all threads


class Side:
    """A worker process."""

    def __init__(
        self, side: str, model: str, options: argparse.Namespace, size: int, batch_size: int, *more: str
    ) -> None:
        command = [sys.executable, "-m", "bench.worker", "--side", side, "--model", model, "--size", str(size)]
        command += ["--batch-size", str(batch_size), "--threads", str(options.threads), "--device", options.device]
        command += more
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def ask(self, command: str) -> Any:
        """The answer to a command."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"The worker ended with code {self._process.wait()} at the command {command!r}.")
        return json.loads(answer)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def gradients_in_float32(
    ways: Iterable[str], model: str, options: argparse.Namespace, size: int, batch_size: int, *more: str
) -> dict[str, list[float]]:
    """The gradient of each way, by sides started for it, one after the other.

    In half precision rounding decides, with random weights: at SD1.5's narrow layers, in bfloat16, each gradient is off
    from float32's by more than half of its length.
    """
    found: dict[str, list[float]] = {}
    for way in ways:
        side = Side(way, model, options, size, batch_size, *more, "--precision", "fp32")
        found[way] = side.ask("gradient")
        side.close()
    return found


def apart(gradients: Mapping[str, list[float]]) -> dict[str, float]:
    """How far the gradient of each way is from that of the first, relative to its length."""
    first, *others = gradients
    return {way: math.dist(gradients[way], gradients[first]) / math.hypot(*gradients[first]) for way in others}


@dataclass(frozen=True)
class Result:
    """Milliseconds per image by kind of step, in the order taken; bytes by side; relative gradient difference."""

    model: str
    size: int
    batch_size: int
    times: dict[str, list[Times]]
    memory: dict[str, dict[str, int]]
    gradients_differ: float
    facts: dict[str, Any]

    def ratios(self, one: str, other: str, by: str = "clock") -> list[float]:
        """The ratio of each pair."""
        return [a[by] / b[by] for a, b in zip(self.times[one], self.times[other])]

    @property
    def on_cpu(self) -> bool:
        """Whether processor time means anything."""
        return bool(self.facts["device"] == "cpu")

    def problems(self) -> list[str]:
        """Why these figures should not be trusted."""
        slower = statistics.median(self.ratios("builtin", "bare", "processor" if self.on_cpu else "clock"))
        found = []
        if slower > (limit := HONEST[self.model]):
            found.append(f"The built-in's side takes {slower:.2f} times as long as the bare loop (at most {limit}).")
        if not self.gradients_differ <= SAME:
            found.append(f"The gradients of the two sides differ by {self.gradients_differ:.1e} (at most {SAME:.0e}).")
        return found


def measure(model: str, options: argparse.Namespace) -> Result:
    """Warm up, compare gradients, then rounds in which each kind of step is taken, forwards and backwards in turn."""
    size = options.size if model == "sd15" else 64
    batch_size = options.batch_size or (1 if model == "sd15" else 4)
    repeat = options.repeat or (1 if model == "sd15" else 5)
    ours, builtin = (Side(side, model, options, size, batch_size) for side in ("ours", "builtin"))
    kinds = [("ours", ours, "steps"), ("builtin", builtin, "steps")]
    kinds += [("frozen", ours, "frozen"), ("bare", builtin, "bare")]
    times: dict[str, list[Times]] = {name: [] for name, _, _ in kinds}
    try:
        facts = ours.ask("facts")
        both = {"ours": ours, "builtin": builtin}
        if facts["precision"] == "float32":
            gradients = {way: side.ask("gradient") for way, side in both.items()}
        else:
            gradients = gradients_in_float32(both, model, options, size, batch_size)
        (differ,) = apart(gradients).values()
        for side in (ours, builtin):
            side.ask("step steps")
        memory = {"ours": ours.ask("memory"), "builtin": builtin.ask("memory")}
        for _, side, kind in kinds:  # a kernel's first call loads it
            side.ask(f"step {kind}")
        for pair in range(options.pairs):
            for name, side, kind in kinds if pair % 2 == 0 else reversed(kinds):
                times[name].append(_per_picture(side, kind, repeat, batch_size))
    finally:
        ours.close()
        builtin.close()
    return Result(model, size, batch_size, times, memory, differ, facts)


def _per_picture(side: Side, kind: str, repeat: int, batch_size: int) -> Times:
    steps = [side.ask(f"step {kind}") for _ in range(repeat)]
    return {by: statistics.median(step[by] for step in steps) / batch_size for by in steps[0]}


def table(result: Result) -> str:
    """The figures as Markdown."""
    facts = result.facts
    lines = [
        f"### {result.model}, {result.size}×{result.size}, batch {result.batch_size}, {facts['precision']}",
        "",
        f"{facts['device']}, {facts['cores']} cores, {facts['threads']} threads, torch {facts['torch']}, "
        f"diffusers {facts['diffusers']}, Python {facts['python']}, load {_load()}",
        "",
        "| step | ms per image, median (least … most) | peak memory | of it before the first step |",
        "| --- | --- | --- | --- |",
        _row("ours", result.times["ours"], result.memory["ours"]),
        _row("built-in's way", result.times["builtin"], result.memory["builtin"]),
        _row("frozen diffusers UNet, nothing recomputed, no text encoder", result.times["frozen"]),
        _row("bare diffusers UNet, unfrozen, its own checkpointing, no text encoder", result.times["bare"]),
        "",
        f"- **ours ÷ built-in's way: {_both(result, 'ours', 'builtin')}** over {len(result.times['ours'])} "
        "alternating pairs",
        f"- memory: {result.memory['ours']['peak'] / max(1, result.memory['builtin']['peak']):.2f}",
        f"- ours ÷ frozen: {_both(result, 'ours', 'frozen')}",
        f"- built-in's way ÷ bare: {_both(result, 'builtin', 'bare')}",
        f"- gradients on the vectors differ by {result.gradients_differ:.1e} (relative, in float32)",
    ]
    return "\n".join([*lines, *(f"- **NOT TO BE TRUSTED**: {problem}" for problem in result.problems())])


def _row(name: str, taken: Sequence[Times], memory: dict[str, int] | None = None) -> str:
    times = [each["clock"] for each in taken]
    text = f"{statistics.median(times):.0f} ({min(times):.0f} … {max(times):.0f})"
    if not memory:
        return f"| {name} | {text} | | |"
    return f"| {name} | {text} | {memory['peak'] / 2**20:.0f} MiB | {memory['before'] / 2**20:.0f} MiB |"


def _both(result: Result, one: str, other: str) -> str:
    """Median and spread of the pairs' ratios by the clock and, on a CPU, of processor time."""
    text = _spread(result.ratios(one, other))
    return f"{text}, of processor time {_spread(result.ratios(one, other, 'processor'))}" if result.on_cpu else text


def _spread(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f} … {max(ratios):.3f})"


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--toy", action="store_true", help="measure the toy (both, if neither is named)")
    parser.add_argument("--sd15", action="store_true", help="measure SD1.5's shapes; needs 13 GB of memory")
    parser.add_argument("--size", type=int, default=256, help="pixels of SD1.5's images (512 is usual on a GPU)")
    parser.add_argument("--pairs", type=int, default=5, help="alternating pairs")
    parser.add_argument("--repeat", type=int, default=0, help="steps of which each figure is the median")
    parser.add_argument("--batch-size", type=int, default=0, help="images in a step (toy 4, SD1.5 1)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="CPU threads of each side")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (then in float16)")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return parser.parse_args()


def main() -> int:
    """Measure and print; 1 if the figures cannot be trusted."""
    options = arguments()
    chosen = [name for name in ("toy", "sd15") if getattr(options, name)] or ["toy", "sd15"]
    results = []
    for model in chosen:
        results.append(measure(model, options))
        print(table(results[-1]), end="\n\n", flush=True)
    if options.json:
        options.json.write_text(json.dumps([vars(result) for result in results], indent=1), encoding="utf-8")
    return 1 if any(result.problems() for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
