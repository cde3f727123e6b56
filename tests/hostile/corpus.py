"""Hostile files of every format that is read, made from seeds, so that they are the same everywhere."""

from __future__ import annotations

import io
import json
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from PIL import Image

from tests.core.formats.files_made_wrong import HOSTILE
from tinv_ext.core.checksum import checksum
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.formats import write_embedding
from tinv_ext.core.formats.image_write import save_png_with_embedding
from tinv_ext.core.formats.safetensors_file import safetensors_bytes
from tinv_ext.core.training.state import new_state, save_state

PIECES = (b"", b"\0", b"\xff" * 8, b"[" * 3000, b"{" * 3000, b'"', b"\n", b"\x80\x02", b"PK\x03\x04", b"1e999", b"NaN")
PIECES += (
    b"\x1b[2J",
    "\u202e".encode(),
    b"\xed\xa0\x80",
    struct.pack("<Q", 1 << 62),
    struct.pack(">I", 1 << 31),
    b"{name}",
)


def good_files(folder: Path) -> dict[str, bytes]:
    """A small good file of each format, by the kind of its reader."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = torch.linspace(-1, 1, 32).reshape(2, 16)
    embedding = Embedding("word", {"clip_l": numbers}, 5, facts={"a": [1, {"b": "c"}]})
    files: dict[str, bytes] = {}
    for kind in ("a1111", "safetensors", "kohya", "diffusers-bin"):
        write_embedding(embedding, folder / kind, format=kind)
        files[f"embedding {kind}"] = (folder / kind).read_bytes()
    save_png_with_embedding(Image.new("RGB", (16, 16), (90, 80, 70)), embedding, folder / "word.png")
    files["embedding png"] = (folder / "word.png").read_bytes()
    state = new_state({"word": {"clip_l": numbers}}, 0, torch.device("cpu"), 3)
    config = {"version": 2, "settings": {"name": "word", "images": "images", "steps": 9}, "facts": {}}
    save_state(state, folder / "state.safetensors", {"settings": {}, "config": config})
    files["state"] = (folder / "state.safetensors").read_bytes()
    latent = {"mean": torch.zeros(4, 8, 8), "std": torch.ones(4, 8, 8)}
    texts = {"format": "pt", "of": "x"}
    files["latent"] = safetensors_bytes(latent, {**texts, "checksum": checksum(latent, texts)})
    files["config"] = json.dumps(config).encode()
    files["status"] = json.dumps({"status": "stopped", "steps": 3, "file": None, "reason": "x", "total": 9}).encode()
    files["curve"] = b"step,epoch,loss,learn_rate\n" + b"".join(b"%d,0,0.5,1e-05\n" % step for step in range(9))
    files["index"] = json.dumps({"format": 2, "checksum": "0", "images": {"/a.png": {"width": 64}}}).encode()
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"):
        data = io.BytesIO()
        Image.effect_noise((24, 24), 60).convert("RGB").save(data, kind)
        files[f"image {kind}"] = data.getvalue()
    for new in (True, False):
        data = io.BytesIO()
        weights = {"model.diffusion_model.x": numbers, "first_stage_model.y": numbers.half()}
        torch.save({"state_dict": weights}, data, _use_new_zipfile_serialization=new)
        files[f"checkpoint {'zip' if new else 'legacy'}"] = data.getvalue()
    files["checkpoint safetensors"] = safetensors_bytes({"model.diffusion_model.x": numbers}, {})
    files["caption"] = "a photo of (a: thing), ünïcode".encode()
    files["template"] = b"a photo of [name]\na [name], [filewords]\n"
    return files


def _flipped(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def _inserted(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data) + 1)
    return data[:place] + rng.choice(PIECES) + data[place:]


def _replaced(data: bytes, rng: random.Random) -> bytes:
    piece, place = rng.choice(PIECES[1:]), rng.randrange(len(data))
    return data[:place] + piece + data[place + len(piece) :]


def _repeated(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.randrange(1, 64))
    return data[:end] + data[start:end] * rng.randrange(1, 200) + data[end:]


def _noise(data: bytes, rng: random.Random) -> bytes:
    head = data[: rng.choice((0, 2, 8, 16, 40))]
    return head + rng.randbytes(rng.randrange(400))


def _counts(data: bytes, rng: random.Random) -> bytes:
    """A number in the head becomes another: lengths, sizes, counts."""
    place = rng.randrange(min(len(data), 64))
    return data[:place] + rng.choice((b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\xff" * 4, b"\x01\0\0\0")) + data[place + 4 :]


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...]
MUTATIONS = (_flipped, _flipped, _cut, _inserted, _replaced, _repeated, _noise, _counts)


def hostile_files(folder: Path, each: int, made: bool) -> Iterator[tuple[str, str, bytes]]:
    """`each` hostile files of every kind: the kind, a name that says how it was made, and its bytes.

    With those that are `made` for readers of embeddings, given to other readers as well.
    """
    for kind, data in good_files(folder).items():
        for seed in range(each):
            rng = random.Random(zlib.crc32(f"{kind} {seed}".encode()))
            change = MUTATIONS[seed % len(MUTATIONS)]
            yield kind, f"{kind} {change.__name__[1:]} {seed}", change(data, rng)
    for name, data in HOSTILE.items() if made else ():
        for kind in ("embedding made", "checkpoint zip", "checkpoint safetensors", "state", "latent", "image PNG"):
            yield kind, f"{kind}: {name}", data
