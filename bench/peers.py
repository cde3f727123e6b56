"""Our training step beside the WebUI's built-in way, diffusers' and kohya's: time, memory, and the machine's limit.

    python bench/peers.py [--models toy sd15 …] [--narrow sd15 …] [--full] [--precisions fp32 bf16] [--rounds 3]

All in one run on one machine, so that ratios can be read: each way is a process of its own, and in each round every one
takes steps in turn, in alternating order. bench/sides.py and bench/scripts.py say what the ways are, bench/floor.py
what the limit is. `--narrow` has all layers of a family with next to no arithmetic: what is left is the host's own
cost. By default the toy, and the families narrow; `--full` has their real shapes as well, one family after
the other: all ways of it are in memory at once (SD1.5's take some 25 GB together, SDXL's more than 60), or some of
them (`--ways kohya`: ours and that).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.step import SAME, Side, Times, apart, gradients_in_float32  # noqa: E402  (the path first)

FAMILIES = ("sd15", "sd2", "sdxl")
WAYS = ("builtin", "diffusers", "kohya", "kohya, recomputing")
NAMES = {
    "ours": "ours",
    "builtin": "the built-in trainer's",
    "diffusers": "diffusers'",
    "kohya": "kohya's, latents cached",
    "kohya, recomputing": "kohya's, with gradient checkpointing as documented",
}


@dataclass(frozen=True)
class Case:
    """One model in one precision."""

    model: str
    narrow: bool
    precision: str
    size: int
    batch_size: int
    beside: tuple[str, ...] = WAYS

    @property
    def title(self) -> str:
        """As a heading."""
        shapes = f"{self.model}'s layers, narrow" if self.narrow else self.model
        return f"{shapes}, {self.size}×{self.size}, batch {self.batch_size}, {self.precision}"

    def ways(self) -> tuple[str, ...]:
        """Ours first. The built-in trainer knows neither SDXL nor, in its weights, half precision on a CPU."""
        known = self.model != "sdxl" and self.precision == "fp32"
        return ("ours", *(way for way in self.beside if known or way != "builtin"))


@dataclass(frozen=True)
class Measured:
    """Milliseconds of a step by way in the order taken, bytes by way, how gradients differ in float32, the limit."""

    case: Case
    times: dict[str, list[Times]]
    memory: dict[str, int]
    differ: dict[str, float]
    limit: Times
    facts: dict[str, Any]

    def ratios(self, way: str) -> list[float]:
        """Ours over it, of each round: of processor time on a CPU, else by the clock."""
        by = "processor" if self.facts["device"] == "cpu" else "clock"
        return [ours[by] / its[by] for ours, its in zip(self.times["ours"], self.times[way])]

    def problems(self) -> list[str]:
        """Ways whose gradient is another one, so that they did not take the same step."""
        return [f"{NAMES[way]}: {apart:.1e}" for way, apart in self.differ.items() if not apart <= SAME]


def measure(case: Case, options: argparse.Namespace) -> Measured:
    """Start every way, compare gradients, then rounds in which each takes its steps."""
    narrow = ["--narrow"] if case.narrow else []
    shape = (case.model, options, case.size, case.batch_size, *narrow)
    sides: dict[str, Side] = {}
    gradients = {} if case.precision == "fp32" else gradients_in_float32(case.ways(), *shape)
    try:
        for way in case.ways():
            sides[way] = Side(way, *shape, "--precision", case.precision)
        facts = sides["ours"].ask("facts")
        differ = apart(gradients or {way: side.ask("gradient") for way, side in sides.items()})
        for side in sides.values():
            side.ask("step steps")
        memory = {way: side.ask("memory")["peak"] for way, side in sides.items()}
        times: dict[str, list[Times]] = {way: [] for way in sides}
        for number in range(options.rounds):
            for way in sides if number % 2 == 0 else reversed(sides):
                steps = [sides[way].ask("step steps") for _ in range(options.repeat)]
                times[way].append({by: statistics.median(step[by] for step in steps) for by in steps[0]})
        limit = {} if case.narrow else sides["ours"].ask("floor")
    finally:
        for side in sides.values():
            side.close()
    return Measured(case, times, memory, differ, limit, facts)


def table(found: Measured) -> str:
    """The figures as Markdown."""
    lines = [
        f"### {found.case.title}",
        "",
        "| way | ms a step | processor ms | ours ÷ it | peak, MiB |",
        "|---" * 5 + "|",
    ]
    for way, taken in found.times.items():
        clock, processor = (statistics.median(each[by] for each in taken) for by in ("clock", "processor"))
        ratio = "1" if way == "ours" else _spread(found.ratios(way))
        cells = (NAMES[way], f"{clock:.3g}", f"{processor:.3g}", ratio, f"{found.memory[way] >> 20}")
        lines.append(f"| {' | '.join(cells)} |")
    if found.limit:
        by = "processor" if found.facts["device"] == "cpu" else "clock"
        ours = statistics.median(each[by] for each in found.times["ours"])
        lines += ["", f"The limit is {found.limit[by]:.3g} ms: ours is at {found.limit[by] / ours:.0%} of it."]
    lines += [f"\nNOT THE SAME STEP, by the gradient: {problem}" for problem in found.problems()]
    return "\n".join(lines)


def _spread(ratios: Sequence[float]) -> str:
    return f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f} … {max(ratios):.2f})"


def precisions_of(device: str) -> list[str]:
    """Those that the device computes in by itself."""
    import torch

    from tinv_ext.hosts.diffusers.auto_precision import candidates

    return list(candidates(torch.device(device)))


def cases(options: argparse.Namespace) -> list[Case]:
    """What is measured."""
    precisions = options.precisions or precisions_of(options.device)
    models = ["toy", *FAMILIES] if options.full else ["toy"]
    models = models if options.models is None else options.models
    sizes = {"toy": 64, "sd15": 256, "sd2": 256, "sdxl": 512}
    sizes = {name: size if name == "toy" else options.size or size for name, size in sizes.items()}
    beside = tuple(options.ways)
    found = [Case(name, True, precisions[0], 64, 1, beside) for name in options.narrow]
    wide = [Case(name, False, precision, sizes[name], 1, beside) for name in models for precision in precisions]
    return [*wide, *found]


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--models", nargs="*", choices=("toy", *FAMILIES), help="at their real shapes")
    parser.add_argument("--narrow", nargs="*", choices=FAMILIES, default=list(FAMILIES), help="families, narrow")
    parser.add_argument("--full", action="store_true", help="all families at their real shapes")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="those beside ours; by default all")
    parser.add_argument("--precisions", nargs="+", help="fp32, fp16, bf16; by default those of the device")
    parser.add_argument("--size", type=int, help="pixels of the families' images (256; SDXL 512)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=3, help="steps of which each figure is the median")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each way")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Measure and print; 1 where a way did not take the same step."""
    options = arguments(given)
    results: list[Measured] = []
    for case in cases(options):
        results.append(measure(case, options))
        if len(results) == 1:
            print(_machine(results[0].facts), end="\n\n", flush=True)
        print(table(results[-1]), end="\n\n", flush=True)
    if options.json:
        rows = [{**vars(one), "case": vars(one.case)} for one in results]
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return 1 if any(one.problems() for one in results) else 0


def _machine(facts: dict[str, Any]) -> str:
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    versions = ", ".join(f"{name} {facts[name]}" for name in ("torch", "diffusers", "transformers"))
    return (
        f"{facts['device']}, {facts['cores']} cores, {facts['threads']} threads for each way, {versions}, Python "
        f"{facts['python']}, load {load}"
    )


if __name__ == "__main__":
    sys.exit(main())
