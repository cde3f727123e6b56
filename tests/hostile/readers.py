"""Every reader, as a function of one file: it gives what it should, or raises an error that has a sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from tinv_ext.core.data.captions import read_text
from tinv_ext.core.data.image_fit import FitRules
from tinv_ext.core.data.image_index import read_index
from tinv_ext.core.data.images import TrainingImage, scan_images
from tinv_ext.core.data.latents import EncodeRules, LatentDistribution, encode_images
from tinv_ext.core.formats import read_all, read_contents
from tinv_ext.core.training.state import load_last_state
from tinv_ext.core.training.state_contents import facts_of, step_of
from tinv_ext.hosts.diffusers.checkpoint.read_tensors import read_tensors
from tinv_ext.run.curve import open_curve, read_curve
from tinv_ext.run.run_folder import RunFolder


def _embedding(data: bytes, folder: Path) -> None:
    path = _written(data, folder / "file.pt")
    for embedding in read_all(path).values():
        assert all(torch.isfinite(vectors).all() for vectors in embedding.vectors.values())
    read_contents(path)


def _state(data: bytes, folder: Path) -> None:
    path = _written(data, folder / "state.safetensors")
    step, facts = step_of(path), facts_of(path)
    assert step is None or isinstance(step, int)
    assert isinstance(facts, dict)
    state, _, _ = load_last_state(path, torch.device("cpu"), "word")
    assert all(torch.isfinite(leaf).all() for leaf in state.leaves())


def _latent(data: bytes, folder: Path) -> None:
    image = folder / "images" / "a.png"
    picture = TrainingImage(image, 64, 64, "digest", False, length=image.stat().st_size)
    picture = TrainingImage(**{**picture.__dict__, "modified": image.stat().st_mtime_ns})
    rules, cache, zeros = EncodeRules(FitRules(((64, 64),)), "vae"), folder / "latents", torch.zeros(1, 4, 8, 8)

    def encode(pixels: torch.Tensor) -> LatentDistribution:
        return LatentDistribution(zeros, zeros)

    encode_images([picture], rules, encode, cache)
    entry = next(cache.glob("??/*.safetensors"))
    _written(data, entry)
    ((latents,),) = encode_images([picture], rules, encode, cache)
    assert torch.equal(latents.latent.mean, zeros[0])  # never what the file says


def _config(data: bytes, folder: Path) -> None:
    _written(data, folder / "config.json")
    RunFolder(folder).config()


def _status(data: bytes, folder: Path) -> None:
    _written(data, folder / "status.json")
    run = RunFolder(folder)
    assert run.last_status().steps >= 0
    assert isinstance(run.can_resume, bool)
    run.status()


def _curve(data: bytes, folder: Path) -> None:
    path = _written(data, folder / "loss.csv")
    for row in read_curve(path):
        assert all(not value or isinstance(float(value), float) for value in row.values())
    with open_curve(path, 5) as curve:
        curve.add(6, 0.0, 0.5, 1e-5, 0.1, 0.1, 0.1, "", "")
    assert read_curve(path)[-1]["step"] == "6"


def _index(data: bytes, folder: Path) -> None:
    _written(data, folder / "images.json")
    assert read_index(folder) == {}


def _image(data: bytes, folder: Path) -> None:
    path = _written(data, folder / "scanned" / "file.png")
    for image in scan_images(path.parent, FitRules([(64, 64)]), room=1 << 24).pictures:
        assert image.width > 0


def _checkpoint(suffix: str) -> Callable[[bytes, Path], None]:
    return lambda data, folder: (read_tensors(_written(data, folder / f"model{suffix}")), None)[1]


def _text(data: bytes, folder: Path) -> None:
    read_text(_written(data, folder / "text.txt"))


def _written(data: bytes, path: Path) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(data)
    return path


READERS: dict[str, Callable[[bytes, Path], None]] = {
    "embedding": _embedding,
    "state": _state,
    "latent": _latent,
    "config": _config,
    "status": _status,
    "curve": _curve,
    "index": _index,
    "image": _image,
    "checkpoint zip": _checkpoint(".ckpt"),
    "checkpoint legacy": _checkpoint(".ckpt"),
    "checkpoint safetensors": _checkpoint(".safetensors"),
    "caption": _text,
    "template": _text,
}


def reader_of(kind: str) -> Callable[[bytes, Path], None]:
    """The reader of a kind of `corpus`."""
    return READERS.get(kind) or READERS[kind.split()[0]]
