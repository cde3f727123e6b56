"""The demo: the toy model learns things it has never seen, each from twelve images, and shows what it learned."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message
from tinv_ext.core.settings import TrainConfig
from tinv_ext.demo import concept_test
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.run import events, run_folder
from tinv_ext.toy import heldout
from tinv_ext.toy.model import pipeline

# No caption describes the clover, so no prompt can: only a learned word. The moon has a description to compare with.
WORDS = {"clover": "zibbo", "purple-moon": "quorp"}
OTHER_WORD = "zibbo"
SETTINGS: dict[str, Any] = {**concept_test.SHARED, "preset": "fast", "steps": 120, "evaluate_every": 15}
_COLUMNS, _ROWS = 3, 2  # of images in each group of the sheet
_GAP, _TITLE = 4, 20  # pixels


def run(folder: Path, concept_name: str | None, report: Callable[[events.Event], None]) -> list[concept_test.Result]:
    """Teach `WORDS` (or one concept) and write the embeddings, the sheet, the curve and report.json into `folder`."""
    available = sorted(path.name for path in concept_test.SAMPLES.iterdir() if path.is_dir())
    if concept_name and concept_name not in available:
        raise InputError(
            message(
                "demo.unknown_concept",
                'There are no sample images of "{concept}". Choose one of: {available:, }.',
                concept=concept_name,
                available=available,
            )
        )
    words = {concept_name: WORDS.get(concept_name, OTHER_WORD)} if concept_name else WORDS
    shutil.rmtree(folder / "log", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    host = DiffusersHost(pipeline(), folder / "log" / "embeddings", {"family": "SD1", "model_name": "toy"})
    results = [_teach(host, folder, concept, word, report) for concept, word in words.items()]
    run_folder.write_json(folder / "report.json", {"concepts": [result.report for result in results]})
    sheet(results).save(folder / "before-after.png")
    curves(results).save(folder / "curve.png")
    return results


def _teach(
    host: DiffusersHost, folder: Path, concept: str, word: str, report: Callable[[events.Event], None]
) -> concept_test.Result:
    changes: dict[str, Any] = {"images": str(concept_test.SAMPLES / concept), "output": str(folder / "log")}
    config = TrainConfig.from_dict({**SETTINGS, "name": word, **changes})
    teaching = message(
        "demo.teaching", 'Teaching the toy model "{word}" from images of {concept}.', word=word, concept=concept
    )
    report(events.Noticed(0, teaching))
    result = concept_test.run(host, heldout.read()[concept], config, report)
    shutil.copyfile(str(result.status.file), folder / f"{word}.pt")
    return result


def summary(results: Sequence[concept_test.Result], folder: Path) -> list[Message]:
    """What was learned, and how to use it: sentences for the end of the demo."""
    lines = [
        message(
            "demo.result",
            '"{word}" now means {concept}: {steps} steps in {seconds} seconds. A classifier sees it in {before} of '
            "the images before training, in {after} after training, and in {edited} of those on other backgrounds.",
            word=result.report["word"],
            concept=result.report["concept"],
            steps=result.report["steps"],
            seconds=round(result.report["training_seconds"]),
            before=f"{result.report['identity_before']:.0%}",
            after=f"{result.report['identity_after']:.0%}",
            edited=f"{result.report['editability']:.0%}",
        )
        for result in results
    ]
    word = results[0].report["word"]
    command = f'{_python()} -m tinv_ext generate "a photo of {word}" --embedding "{folder / word}.pt" --cfg-scale 3'
    look = message(
        "demo.look", "Look at {sheet} and {curve}.", sheet=folder / "before-after.png", curve=folder / "curve.png"
    )
    return [*lines, look, message("demo.use", "Use the word:\n  {command}", command=command)]


def _python() -> str:
    """This Python as a shell in the current folder can call it."""
    relative = os.path.relpath(sys.executable) if Path(sys.executable).is_relative_to(Path.cwd()) else sys.executable
    return f'"{relative}"' if " " in relative else relative


def sheet(results: Sequence[concept_test.Result]) -> Image.Image:
    """A row for each word: what it was taught with, before, after with the same seeds, and on other backgrounds."""
    rows = [_beside([_group(title, images) for title, images in _shown(result).items()]) for result in results]
    canvas = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)), "white")
    for number, row in enumerate(rows):
        canvas.paste(row, (0, number * row.height))
    return canvas


def _shown(result: concept_test.Result) -> dict[str, list[Image.Image]]:
    word, paths = result.report["word"], sorted((concept_test.SAMPLES / result.report["concept"]).glob("*.png"))
    return {
        f"{_COLUMNS * _ROWS} of the {len(paths)} training images": [Image.open(path).convert("RGB") for path in paths],
        f'"a photo of {word}" before training': result.before,
        f'"a photo of {word}" after {result.status.steps} steps, same seeds': result.after,
        f'"a photo of {word} on a {" / ".join(list(result.by_background)[:2])} / ... background"': [
            *result.by_background.values()
        ],
    }


def _group(title: str, images: Sequence[Image.Image]) -> Image.Image:
    """The first images in a small grid, twice as large, under a title."""
    size = 2 * images[0].width
    canvas = Image.new("RGB", (_COLUMNS * (size + _GAP) + 3 * _GAP, _ROWS * (size + _GAP) + _TITLE + _GAP), "white")
    ImageDraw.Draw(canvas).text((_GAP, _GAP), title, fill="black")
    for index, image in enumerate(images[: _COLUMNS * _ROWS]):
        row, column = divmod(index, _COLUMNS)
        enlarged = image.resize((size, size), Image.Resampling.NEAREST)
        canvas.paste(enlarged, (_GAP + column * (size + _GAP), _TITLE + row * (size + _GAP)))
    return canvas


def _beside(groups: Sequence[Image.Image]) -> Image.Image:
    canvas = Image.new("RGB", (sum(group.width for group in groups), groups[0].height), "white")
    for number, group in enumerate(groups):
        canvas.paste(group, (number * group.width, 0))
    return canvas


def curves(results: Sequence[concept_test.Result]) -> Image.Image:
    """The evaluation loss of each word over the steps, beside that of a full description where there is one."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for result in results:
        word, concept = result.report["word"], result.report["concept"]
        (line,) = axes.plot(*zip(*result.curve), marker="o", label=f'"{word}" ({concept})')
        if "evaluation_description" in result.report:
            level = result.report["evaluation_description"]
            axes.axhline(level, color=line.get_color(), linestyle="--", label=f"a full description of {concept}")
    axes.set(xlabel="step", ylabel="evaluation loss")
    axes.legend()
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
