"""Compare presets on the toy: python tools/toy/recipes.py [--presets …] [--concepts …] [--seeds …] [--variant …]
[--condition …] [--json FILE] [--docs].

Each run is judged at several numbers of images by samples of its snapshots, as `tinv_ext/demo/concept_test.py` says.
Every preset sees a step's images from the same folders with the same seeds; how far each goes is in learn.json. Runs
are saved beside docs/toy.md, each with its commit, so that the next call goes on where the last one ended. The table
has, over all runs of a preset, median and quartiles of the images until identity reaches nine tenths of its last, and
until it reaches the last one of `classic` with the same concept and seed; and what a preset has with an eighth of the
images that `classic` is judged at last.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import concepts
import conditions
import pages
from learn import PLAN, config_for, host_in
from repository import ROOT

from tinv_ext.core.formats import read_embedding
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.settings.presets import PRESETS, preset_values
from tinv_ext.demo import concept_test
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.run import events, runner
from tinv_ext.run.odd_images import named_odd
from tinv_ext.run.run_folder import RunFolder
from tinv_ext.toy import heldout, variants

MARKS: Mapping[str, list[int]] = PLAN["recipes"]["images"]
SHARE = 0.9  # of the last identity that has to be reached
TOLERANCE = 0.02  # of an identity that is as good
EIGHTH = MARKS["classic"][-1] // 8
Run = dict[str, Any]


def config_of(folder: Path, preset: str, concept: heldout.Concept, seed: int) -> TrainConfig:
    """The preset, until its last mark, on images of the concept."""
    values = preset_values(preset, "object")
    per_step = values["batch_size"] * values["gradient_accumulation_steps"]
    apart = MARKS[preset][0] // per_step  # all marks are multiples of the first
    own = {"preset": preset, "steps": MARKS[preset][-1] // per_step, "save_every": apart, "evaluate_every": 0}
    if concept.style:
        own |= {"template": "style_filewords", "init_text": "style"}
    config = config_for(folder, concept, seed, {})
    return TrainConfig.from_dict({**concept_test.SHARED, **own, **{name: getattr(config, name) for name in _KEPT}})


_KEPT = ("name", "overwrite", "seed", "images", "output")


def measure(host: DiffusersHost, concept: heldout.Concept, config: TrainConfig, planted: str | None) -> Run:
    """Identity at the preset's marks; at the last one editability, and how often the planted background is seen."""
    folders: list[RunFolder] = []
    odd: list[str] = []  # images of which the run says that they do not go with the others

    def listen(event: events.Event) -> None:
        if isinstance(event, events.Prepared):
            folders.append(event.folder)
        elif isinstance(event, events.Noticed):
            odd.extend(named_odd(event.text))

    status = runner.run(config, host, listen)
    snapshots, curve = folders[0].snapshots(config.name), {}
    for images in MARKS[config.preset]:
        step = images // config.examples_per_step
        file = Path(str(status.file)) if step == status.steps else snapshots[step][0]
        word = {config.name: read_embedding(file).vectors}
        photos = concept_test.shown(host, concept, config.name, word)
        curve[str(images)] = concept_test.identity(photos, concept)
    edited = concept_test.edited(host, concept, config.name, word)
    return {
        "preset": config.preset,
        "concept": concept.name,
        "seed": config.seed,
        "curve": curve,
        "editability": edited,
        "leak": None if planted is None else concept_test.on_background(photos, planted),
        "odd": odd,
        "commit": commit(),
    }


def commit() -> str:
    """Of the code that a run is made with, as git names it; with a mark where files have changed since."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    return told.stdout.strip() or "unknown"


def part_of(options: argparse.Namespace) -> str:
    """The name of these figures, of their file and of their place in docs/toy.md."""
    usual = options.condition == conditions.CONDITIONS[0]
    return "-".join(["recipes", *filter(None, (options.variant, None if usual else options.condition))])


def save(runs: Sequence[Run], path: Path) -> None:
    """A run a line, so that a commit shows which are new."""
    path.write_text("[\n" + ",\n".join(json.dumps(run) for run in runs) + "\n]\n", encoding="utf-8")


def until(run: Run, wanted: float) -> float:
    """Images until the run has this identity, in a straight line between marks; ∞ if it never has, or it is none."""
    points = [(0, 0.0), *((int(images), value) for images, value in run["curve"].items())]
    for (before, low), (after, high) in itertools.pairwise(points):
        if high >= wanted > 0:
            return before + (after - before) * max(0.0, wanted - low) / (high - low)
    return float("inf")


def reached(run: Run) -> float:
    """Images until `SHARE` of the run's last identity."""
    return until(run, SHARE * _last(run))


def table(runs: Sequence[Run]) -> str:
    """All presets as Markdown."""
    lines = [
        "| preset | runs | images to 90 % of its last identity: median (quartiles) | to the last identity of `classic` "
        f"| identity at {EIGHTH} images: mean (worst) | at how many images judged last | identity there: mean (worst) "
        "| editability | background learned |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    aims = {(run["concept"], run["seed"]): _last(run) - TOLERANCE for run in runs if run["preset"] == "classic"}
    for preset in dict.fromkeys(run["preset"] for run in runs):
        own = [run for run in runs if run["preset"] == preset]
        lasts = [_last(run) for run in own]
        early = [run["curve"][str(EIGHTH)] for run in own if str(EIGHTH) in run["curve"]]
        pairs = [(run, (run["concept"], run["seed"])) for run in own]
        caught = [until(run, aims[pair]) for run, pair in pairs if pair in aims]
        editable = statistics.mean(run["editability"] for run in own)
        leaks = [run["leak"] for run in own if run.get("leak") is not None]
        lines.append(
            f"| {preset} | {len(own)} | {_spread([reached(run) for run in own])} | {_spread(caught)} "
            f"| {_mean(early)} | {MARKS[preset][-1]} | {_mean(lasts)} | {editable:.2f} "
            f"| {f'{statistics.mean(leaks):.2f}' if leaks else ''} |"
        )
    return "\n".join(lines)


def _last(run: Run) -> float:
    return float(list(run["curve"].values())[-1])


def _mean(values: Sequence[float]) -> str:
    """And the worst, in brackets."""
    return f"{statistics.mean(values):.2f} ({min(values):.2f})" if values else ""


def _spread(values: Sequence[float]) -> str:
    """Median and quartiles: each the next value that was seen, as some can be ∞."""
    if not values:
        return ""
    ordered = sorted(values)
    low, middle, high = (ordered[math.ceil(share * (len(ordered) - 1))] for share in (0.25, 0.5, 0.75))
    return f"{middle:.0f} ({low:.0f}–{high:.0f})".replace("inf", "∞")


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
    judged = sorted({mark for preset in {run["preset"] for run in runs} for mark in MARKS[preset]})
    axes.set_xticks(judged, [str(mark) for mark in judged])
    axes.set_xticks([], minor=True)
    axes.legend()
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=100)


def run_all(options: argparse.Namespace, folder: Path) -> list[Run]:
    """Every concept, seed and preset that the options ask for, saved one by one; what the file has is not run again."""
    known = concepts.read(options.concept, options.variant)
    runs: list[Run] = []
    if options.json.is_file():
        runs = json.loads(options.json.read_text(encoding="utf-8"))
    done = {(run["preset"], run["concept"], run["seed"]) for run in runs}
    host = host_in(folder / "embeddings", options.variant)
    names = options.concepts or concepts.judged(known)
    for seed, name, preset in itertools.product(options.seeds, names, options.presets):
        if (preset, name, seed) in done:
            continue
        concept, other = known[name], known[names[names.index(name) - 1]]
        config = config_of(folder, preset, concept, seed)
        conditions.write(options.condition, Path(config.images), concept, other, seed)
        planted = conditions.planted(concept, seed) if options.condition == conditions.ONE_BACKGROUND else None
        runs.append(measure(host, concept, config, planted))
        print(json.dumps(runs[-1]), flush=True)
        save(runs, options.json)
    return runs


def main() -> None:
    """Measure, print the table and, if asked, put it and the figure into docs/toy.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--presets", nargs="+", choices=tuple(PRESETS), default=tuple(MARKS))
    parser.add_argument("--concepts", nargs="+", help="some of them only")
    parser.add_argument("--seeds", nargs="+", type=int, default=PLAN["seeds"])
    parser.add_argument("--concept", type=Path, help="a file of concepts of your own")
    parser.add_argument("--variant", choices=variants.VARIANTS, help="use this variant of the toy")
    parser.add_argument("--condition", choices=conditions.CONDITIONS, default=conditions.CONDITIONS[0], help="images")
    parser.add_argument(
        "--json",
        type=Path,
        help="where runs are saved, beside docs/toy.md by default; those that it has are not run again",
    )
    parser.add_argument("--docs", action="store_true", help="put table and figure into docs/toy.md")
    options = parser.parse_args()
    part = part_of(options)
    options.json = options.json or pages.PAGE.with_name(f"toy-{part}.json")
    with tempfile.TemporaryDirectory() as temporary:
        runs = run_all(options, Path(temporary))
    print(table(runs))
    if options.docs:
        pages.put(part, table(runs))
        draw(runs, pages.PAGE.with_name(f"toy-{part}.png"))


if __name__ == "__main__":
    main()
