"""Compare presets on the toy: python tools/toy/recipes.py [--presets …] [--concepts …] [--seeds …] [--variant …]
[--json FILE] [--docs].

Each run is judged at several numbers of images by samples of its snapshots, as `tinv_ext/demo/concept_test.py` says.
Every preset sees a step's images from the same folders with the same seeds; how far each goes is in learn.json. The
table has, over all runs of a preset, median and quartiles of the images until identity reaches nine tenths of its last.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import concepts
import pages
from learn import PLAN, config_for, host_in

from tinv_ext.core.formats import read_embedding
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.settings.presets import PRESETS, preset_values
from tinv_ext.demo import concept_test
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.run import events, runner
from tinv_ext.run.run_folder import RunFolder
from tinv_ext.toy import heldout, variants

MARKS: Mapping[str, list[int]] = PLAN["recipes"]["images"]
SHARE = 0.9  # of the last identity that has to be reached
Run = dict[str, Any]


def config_of(folder: Path, preset: str, concept: heldout.Concept, seed: int) -> TrainConfig:
    """The preset on the concept's images, until its last mark."""
    values = preset_values(preset, "object")
    per_step = values["batch_size"] * values["gradient_accumulation_steps"]
    apart = MARKS[preset][0] // per_step  # all marks are multiples of the first
    own = {"preset": preset, "steps": MARKS[preset][-1] // per_step, "save_every": apart, "evaluate_every": 0}
    config = config_for(folder, concept, seed, {})
    return TrainConfig.from_dict({**concept_test.SHARED, **own, **{name: getattr(config, name) for name in _KEPT}})


_KEPT = ("name", "overwrite", "seed", "images", "output")


def measure(host: DiffusersHost, concept: heldout.Concept, config: TrainConfig) -> Run:
    """Identity at the preset's marks, editability at the last one."""
    folders: list[RunFolder] = []

    def listen(event: events.Event) -> None:
        if isinstance(event, events.Prepared):
            folders.append(event.folder)

    status = runner.run(config, host, listen)
    snapshots, curve = folders[0].snapshots(config.name), {}
    for images in MARKS[config.preset]:
        step = images // config.examples_per_step
        file = Path(str(status.file)) if step == status.steps else snapshots[step][0]
        word = {config.name: read_embedding(file).vectors}
        curve[images] = concept_test.identity(concept_test.photos(host, config.name, word), concept)
    edited = concept_test.editability(concept_test.on_backgrounds(host, concept, config.name, word), concept)
    return {
        "preset": config.preset,
        "concept": concept.name,
        "seed": config.seed,
        "curve": curve,
        "editability": edited,
    }


def reached(run: Run) -> float:
    """Images until `SHARE` of the run's last identity, in a straight line between marks; ∞ if it has none."""
    points = [(0, 0.0), *((int(images), value) for images, value in run["curve"].items())]
    wanted = SHARE * points[-1][1]
    for (before, low), (after, high) in itertools.pairwise(points):
        if high >= wanted > 0:
            return before + (after - before) * max(0.0, wanted - low) / (high - low)
    return float("inf")


def table(runs: Sequence[Run]) -> str:
    """All presets as Markdown."""
    lines = [
        "| preset | runs | images to 90 % of its last identity: median (quartiles) | at how many images judged last "
        "| identity there: mean (worst) | editability |",
        "|---|---|---|---|---|---|",
    ]
    for preset in dict.fromkeys(run["preset"] for run in runs):
        own = [run for run in runs if run["preset"] == preset]
        lasts = [list(run["curve"].values())[-1] for run in own]
        low, middle, high = _quartiles([reached(run) for run in own])
        editable = statistics.mean(run["editability"] for run in own)
        lines.append(
            f"| {preset} | {len(own)} | {middle:.0f} ({low:.0f}–{high:.0f}) | {MARKS[preset][-1]} "
            f"| {statistics.mean(lasts):.2f} ({min(lasts):.2f}) | {editable:.2f} |"
        )
    return "\n".join(lines)


def _quartiles(values: Sequence[float]) -> list[float]:
    return statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3


def draw(runs: Sequence[Run], path: Path) -> None:
    """Mean identity by images seen, a line for each preset, with the least and the best of its runs behind it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for preset in dict.fromkeys(run["preset"] for run in runs):
        own = [list(run["curve"].values()) for run in runs if run["preset"] == preset]
        marks, columns = MARKS[preset], list(zip(*own))
        axes.plot(marks, [statistics.mean(column) for column in columns], marker="o", label=preset)
        axes.fill_between(marks, [min(column) for column in columns], [max(column) for column in columns], alpha=0.1)
    axes.set(xlabel="images seen", ylabel="identity", xscale="log", ylim=(-0.03, 1.03))
    axes.legend()
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=100)


def run_all(options: argparse.Namespace, folder: Path) -> list[Run]:
    """Every concept, seed and preset that the options ask for, saved one by one; what the file has is not run again."""
    known = concepts.read(options.concept)
    runs: list[Run] = []
    if options.json and options.json.is_file():
        runs = json.loads(options.json.read_text(encoding="utf-8"))
    done = {(run["preset"], run["concept"], run["seed"]) for run in runs}
    host = host_in(folder / "embeddings", options.variant)
    for seed, name, preset in itertools.product(options.seeds, options.concepts or known, options.presets):
        if (preset, name, seed) in done:
            continue
        runs.append(measure(host, known[name], config_of(folder, preset, known[name], seed)))
        print(json.dumps(runs[-1]), flush=True)
        if options.json:
            options.json.write_text(json.dumps(runs, indent=1), encoding="utf-8")
    return runs


def main() -> None:
    """Measure, print the table and, if asked, put it and the figure into docs/toy.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--presets", nargs="+", choices=tuple(PRESETS), default=tuple(MARKS))
    parser.add_argument("--concepts", nargs="+", help="some of them only")
    parser.add_argument("--seeds", nargs="+", type=int, default=PLAN["seeds"])
    parser.add_argument("--concept", type=Path, help="a file of concepts of your own")
    parser.add_argument("--variant", choices=variants.VARIANTS, help="use this variant of the toy")
    parser.add_argument("--json", type=Path, help="where runs are saved; those that it has are not run again")
    parser.add_argument("--docs", action="store_true", help="put table and figure into docs/toy.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        runs = run_all(options, Path(temporary))
    print(table(runs))
    if options.docs:
        part = f"recipes-{options.variant}" if options.variant else "recipes"
        pages.put(part, table(runs))
        draw(runs, pages.PAGE.with_name(f"toy-{part}.png"))


if __name__ == "__main__":
    main()
