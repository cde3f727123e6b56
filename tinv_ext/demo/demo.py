"""The demo: the toy model learns a thing it has never seen from twelve pictures, and shows it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from tinv_ext.demo import concept_test
from tinv_ext.run import run_folder
from tinv_ext.core.errors import InputError
from tinv_ext.core.settings import TrainConfig
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.cli.progress import Progress
from tinv_ext.toy import heldout
from tinv_ext.toy.model import pipeline

_MARGIN, _LINE = 6, 14

CONCEPT = "purple-moon"  # it has a description, so that what was learnt can be compared with what words reach


def run(folder: Path, concept_name: str | None = None) -> concept_test.ConceptTest:
    """Teach one concept and write the embedding, the curve, a before/after sheet and report.json into `folder`."""
    name = concept_name or CONCEPT
    there = sorted(path.name for path in concept_test.SAMPLES.iterdir() if path.is_dir())
    if name not in there:
        raise InputError(f'There are no sample pictures of "{name}". Choose one of: {", ".join(there)}.')
    concept = heldout.read()[name]
    word = "zibbo"
    shutil.rmtree(folder / "log", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    settings = {**concept_test.SETTINGS, "name": word, "images": str(concept_test.SAMPLES / name), "output": str(folder / "log")}
    host = DiffusersHost(pipeline(), folder / "log" / "embeddings", {"family": "SD1", "model_name": "toy"})
    with Progress(sys.stderr) as progress:
        learnt = concept_test.teach(host, concept, TrainConfig.from_dict(settings), progress.report)
    shutil.copyfile(str(learnt.status.file), folder / f"{word}.pt")
    run_folder.write_json(folder / "report.json", learnt.report)
    sheet(learnt, word).save(folder / "before-after.png")
    curve(learnt).save(folder / "curve.png")
    return learnt


def sheet(learnt: concept_test.ConceptTest, word: str) -> Image.Image:
    """Rows of pictures: before, after with the same seeds, and on other backgrounds."""
    rows = {
        f'"a photo of {word}" before training': learnt.before[:8],
        f'"a photo of {word}" after {learnt.status.steps} steps, the same seeds': learnt.after[:8],
        f'"a photo of {word} on a ({", ".join(learnt.edited)}) background"': list(learnt.edited.values())[:8],
    }
    size = learnt.before[0].width * 2
    height = len(rows) * (size + _LINE + 2 * _MARGIN) + _MARGIN
    canvas = Image.new("RGB", (8 * (size + _MARGIN) + _MARGIN, height), "white")
    pen = ImageDraw.Draw(canvas)
    for number, (title, pictures) in enumerate(rows.items()):
        top = _MARGIN + number * (size + _LINE + 2 * _MARGIN)
        pen.text((_MARGIN, top), title, fill="black")
        for index, picture in enumerate(pictures):
            large = picture.resize((size, size), Image.Resampling.NEAREST)
            canvas.paste(large, (_MARGIN + index * (size + _MARGIN), top + _LINE))
    return canvas


def curve(learnt: concept_test.ConceptTest) -> Image.Image:
    """The evaluation loss over the steps, beside what a full description of the concept reaches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    steps, losses = zip(*learnt.curve)
    axes.plot(steps, losses, marker="o", label=f'"{learnt.report["word"]}"')
    if "evaluation_description" in learnt.report:
        axes.axhline(learnt.report["evaluation_description"], color="grey", linestyle="--", label="a full description")
    axes.set(xlabel="step", ylabel="evaluation loss", title=f"Learning {learnt.report['concept']}")
    axes.legend()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
