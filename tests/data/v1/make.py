"""Make the samples of version 1 beside this file, with the code of commit bdb63b5, which wrote that version.

    git worktree add /somewhere bdb63b5
    PYTHONPATH=/somewhere python tests/data/v1/make.py

A run of the toy model that was stopped at step 4 of 8, and in `resumed.safetensors` the vectors that the old code
reaches when it resumes it. {here} stands for the folder of the samples in config.json.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import diffusers
import torch
import transformers
from PIL import Image, ImageDraw
from processor import processor
from safetensors.torch import save_file
from tinv_ext.core.files import read_embedding, write_embedding
from tinv_ext.core.trainer import Step
from tinv_ext.events import Wishes

from tinv_ext import checking, conversion, job
from tinv_ext.core.embedding import Embedding
from tinv_ext.hosts.diffusers import DiffusersHost
from tinv_ext.toy import pipeline

HERE = Path(__file__).parent
FACTS = {"model_name": "toy", "model_hash": None, "source": "toy"}
SETTINGS = {
    "name": "zworble-v1",
    "weights": "{here}/start.pt",
    "vectors": 2,
    "images": "{here}/images",
    "output": "{here}/log",
    "fit": "stretch",
    "template": "subject_filewords",
    "word_in_front": True,
    "use_alpha": True,
    "width": 64,
    "height": 64,
    "shuffle_tags": True,
    "steps": 8,
    "learn_rate": "0.05:6, 0.01",
    "batch_size": 1,
    "accumulate": 2,
    "seed": 5,
    "evaluate_every": 2,
    "evaluation_pictures": 1,
    "evaluation_draws": 2,
    "preview_every": 4,
    "preview_steps": 2,
    "save_every": 2,
    "checkpoint_every": 2,
    "checkpoint_seconds": 0,
    "keep_copies": 2,
    "card_picture": "new",
    "cache_latents": False,
    "author": "Ada",
    "license": "CC0",
}


def host(folder: Path) -> DiffusersHost:
    """The toy, with its embeddings in a folder."""
    return DiffusersHost.placed(pipeline(""), folder / "embeddings", FACTS, "cpu", "fp32")


def inputs(folder: Path) -> None:
    """Four images with captions, one of them half transparent, and an embedding to start from."""
    (folder / "images").mkdir()
    for index, colour in enumerate(("red", "green", "blue", "white")):
        image = Image.new("RGBA", (96, 64), colour)
        ImageDraw.Draw(image).ellipse((20, 8, 60 + 9 * index, 56), fill=(200, 200, 40, 90 if index == 1 else 255))
        image.save(folder / "images" / f"{index}.png", optimize=True)
        (folder / "images" / f"{index}.txt").write_text(f"{colour}, round, shape\n", "utf-8")
    width = host(folder).lexicon.widths["clip_l"]
    start = torch.randn(2, width, generator=torch.Generator().manual_seed(3)) * 0.05
    write_embedding(Embedding("start", {"clip_l": start}), folder / "start.pt")


def make(folder: Path) -> None:
    """The run, stopped at step 4, then resumed in a copy."""
    inputs(folder)
    settings = {key: str(value).replace("{here}", str(folder)) for key, value in SETTINGS.items()}
    wishes = Wishes()

    def stop(event: object) -> None:
        if isinstance(event, Step) and event.number == 4:
            wishes.stop.set()

    ours = host(folder)
    job.run(checking.configure(settings, ours), ours, stop, wishes)
    (run,) = (folder / "log").glob("20*/*")
    embedding = folder / "embeddings" / "zworble-v1.pt"
    conversion.convert(embedding, folder / "zworble-v1.safetensors", conversion.Wish())
    again = Path(tempfile.mkdtemp()) / run.parent.name / run.name
    shutil.copytree(run, again)
    kept = embedding.read_bytes()
    job.resume(again, ours)
    vectors = read_embedding(embedding).vectors
    here = {library.__name__: library.__version__ for library in (torch, diffusers, transformers)}
    here["cpu"] = processor()
    save_file(dict(vectors), folder / "resumed.safetensors", here)
    embedding.write_bytes(kept)
    for file in (run / "config.json", run / "status.json"):
        text = file.read_text("utf-8").replace(json.dumps(str(folder))[1:-1], "{here}")
        file.write_text(text, "utf-8")
    (run / "log.txt").unlink()
    shutil.move(run, folder / "run")
    shutil.rmtree(folder / "log")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        made = Path(place) / "v1"
        made.mkdir()
        make(made)
        for item in made.iterdir():
            target = HERE / item.name
            if target.is_dir():
                shutil.rmtree(target)
            shutil.move(str(item), target)
