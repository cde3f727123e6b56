"""Embeddings in images: the text, the pixels, and what survives when one of them is lost."""

from __future__ import annotations

import base64
import io
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.messages import refused
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import FormatError
from tinv_ext.core.formats import read_contents, read_embedding
from tinv_ext.core.formats.image_pixels import embed_payload, extract_payload, noise_bytes
from tinv_ext.core.formats.image_write import image_with_embedding, save_png_with_embedding


def make(count: int = 2, width: int = 768) -> Embedding:
    """Numbers of many digits."""
    numbers = torch.linspace(-0.3, 0.4, count * width).reshape(count, width)
    return Embedding("wörd", {"clip_l": numbers}, 500, "0123456789", "model", {"rate": [0.005, "1e-3"]})


def pair(count: int = 2) -> Embedding:
    """An embedding for SDXL."""
    return Embedding("xl", {"clip_l": make(count).vectors["clip_l"], "clip_g": torch.ones(count, 1280) / 3}, 5)


def scene(kind: str, width: int, height: int) -> Image.Image:
    """Pictures with and without black places."""
    if kind == "noise":
        return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))
    pixels = np.full((height, width, 3), 0 if kind == "black" else 255, np.uint8)
    if kind == "stripes":
        pixels[:, ::3] = 0
    return Image.fromarray(pixels)


def test_the_noise_is_the_webuis() -> None:
    """The facts of v1.10.1's own self-test: the first numbers, and the sum of those from 101 to 100100."""
    assert noise_bytes(10).tolist() == [253, 242, 127, 44, 157, 27, 239, 133, 38, 79]
    assert int(noise_bytes(100_100)[100:].sum(dtype=np.int64)) == 12731374


@pytest.mark.parametrize("kind", ["noise", "black", "white", "stripes"])
@pytest.mark.parametrize("width, height", [(512, 512), (64, 64), (100, 37), (96, 640)])
@pytest.mark.parametrize("count", [1, 16])
def test_the_pixels_alone_carry_it(kind: str, width: int, height: int, count: int, tmp_path: Path) -> None:
    """Without any text, numbers and facts come back from every kind and size of picture."""
    image_with_embedding(scene(kind, width, height), make(count)).save(tmp_path / "plain.png")
    again = read_embedding(tmp_path / "plain.png")
    assert torch.equal(again.vectors["clip_l"], make(count).vectors["clip_l"])
    assert (again.name, again.step, again.facts) == ("wörd", 500, make().facts)
    assert "pixels" in read_contents(tmp_path / "plain.png").container


def test_the_picture_itself_is_unchanged() -> None:
    """Its pixels stand between the two blocks, a black column at each side."""
    image = scene("noise", 64, 64)
    pixels = np.asarray(image_with_embedding(image, make()))
    block = (pixels.shape[1] - 64 - 2) // 2
    assert np.array_equal(pixels[:, block + 1 : block + 65], np.asarray(image))
    assert not pixels[:, block].any()
    assert not pixels[:, block + 65].any()


def test_the_blocks_of_two_vectors_are_eleven_columns_wide() -> None:
    """v1.10.1 makes 536×512 from 512×512 with two vectors of 768 random numbers."""
    numbers = torch.randn(2, 768, generator=torch.Generator().manual_seed(0), dtype=torch.float64).float()
    assert image_with_embedding(Image.new("RGB", (512, 512)), Embedding("a", {"clip_l": numbers})).size == (536, 512)


def test_the_low_bits_are_as_documented() -> None:
    """Half-bytes of the zlib stream exclusive-or'ed with the noise, in the order of rows, columns, colours."""
    payload = b'{"a": 1}' * 5
    data = np.frombuffer(zlib.compress(payload, 9), np.uint8)
    pixels = np.asarray(embed_payload(Image.new("RGB", (8, 4)), payload, np.array([255], np.uint8)))
    low = pixels[:, : (pixels.shape[1] - 10) // 2].reshape(-1)[: len(data)] & 0x0F
    high = pixels[:, -((pixels.shape[1] - 10) // 2) :].reshape(-1)[: len(data)] & 0x0F
    mask = noise_bytes(len(data)) & 0x0F
    assert np.array_equal((high ^ mask) << 4 | (low ^ mask), data)


def test_the_text_is_the_webuis(tmp_path: Path) -> None:
    """Base64 of JSON, a tensor as TORCHTENSOR of nested lists, uncompressed; further texts beside it."""
    save_png_with_embedding(scene("white", 64, 64), make(), tmp_path / "a.png", text={"parameters": "größe, 汉"})
    with Image.open(tmp_path / "a.png") as image:
        texts = dict(image.text)
    values = json.loads(base64.b64decode(texts["sd-ti-embedding"]))
    assert values["name"] == "wörd"
    assert values["string_to_token"] == {"*": 265}
    assert values["string_to_param"]["*"]["TORCHTENSOR"] == make().vectors["clip_l"].tolist()
    assert texts["parameters"] == "größe, 汉"
    assert b"tEXtsd-ti-embedding\0" in (tmp_path / "a.png").read_bytes()


@pytest.mark.parametrize("place", ["text", "pixels"])
def test_for_sdxl_both_places_hold_two_tensors_only(place: str, tmp_path: Path) -> None:
    """The WebUI takes every value for a tensor; the rest rides in a text of our own."""
    save_png_with_embedding(scene("noise", 64, 256), pair(), tmp_path / "xl.png")
    with Image.open(tmp_path / "xl.png") as image:
        found = base64.b64decode(image.text["sd-ti-embedding"]) if place == "text" else extract_payload(image)
    assert found is not None
    values = json.loads(found)
    assert sorted(values) == ["clip_g", "clip_l"]
    assert all(list(value) == ["TORCHTENSOR"] for value in values.values())
    again = read_embedding(tmp_path / "xl.png")
    assert (again.name, again.step) == ("xl", 5)
    assert torch.equal(again.vectors["clip_g"], pair().vectors["clip_g"])


def test_a_damaged_text_is_mended_by_the_pixels(tmp_path: Path) -> None:
    """Two copies: one is enough."""
    save_png_with_embedding(scene("noise", 64, 64), make(), tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        from PIL import PngImagePlugin

        chunks = PngImagePlugin.PngInfo()
        chunks.add_text("sd-ti-embedding", image.text["sd-ti-embedding"][:1001])
        image.save(tmp_path / "b.png", pnginfo=chunks)
    assert torch.equal(read_embedding(tmp_path / "b.png").vectors["clip_l"], make().vectors["clip_l"])


def test_a_lossless_webp_carries_it_in_its_pixels(tmp_path: Path) -> None:
    """WebP has no such text; the WebUI reads the pixels."""
    image_with_embedding(scene("noise", 64, 64), make()).save(tmp_path / "a.webp", lossless=True)
    assert torch.equal(read_embedding(tmp_path / "a.webp").vectors["clip_l"], make().vectors["clip_l"])


def test_the_pictures_name_counts_unless_it_is_none(tmp_path: Path) -> None:
    """v1.10.1 takes a picture's inner name; one that could not be a file's is replaced by the stem."""
    odd = Embedding("../up", {"clip_l": torch.ones(1, 64)})
    save_png_with_embedding(scene("noise", 64, 64), odd, tmp_path / "stem.png")
    assert read_embedding(tmp_path / "stem.png").name == "stem"


def test_a_vector_of_zeros_is_carried(tmp_path: Path) -> None:
    """The decoration takes its grey from the largest number, of which there is none."""
    save_png_with_embedding(
        scene("noise", 64, 64), Embedding("zero", {"clip_l": torch.zeros(1, 768)}), tmp_path / "a.png"
    )
    assert read_embedding(tmp_path / "a.png").vectors["clip_l"].abs().sum() == 0


@pytest.mark.parametrize("mode", ["RGBA", "L", "P", "CMYK", "1", "I;16"])
def test_pictures_of_every_mode_can_carry_one(mode: str, tmp_path: Path) -> None:
    """They become RGB."""
    image = Image.new("RGB", (64, 64), (200, 10, 90)).convert("I" if mode == "I;16" else mode)
    save_png_with_embedding(image.convert(mode), make(1, 64), tmp_path / "a.png")
    assert read_embedding(tmp_path / "a.png").count == 1


def test_a_compressed_picture_is_told_apart_from_a_damaged_file(tmp_path: Path) -> None:
    """A JPEG, an ordinary PNG and a missing file each get their own sentence."""
    image_with_embedding(scene("white", 64, 64), make()).save(tmp_path / "a.jpg")
    scene("stripes", 64, 64).save(tmp_path / "b.png")
    with refused("formats.is_jpeg", FormatError):
        read_embedding(tmp_path / "a.jpg")
    with refused("formats.image_without_embedding", FormatError):
        read_embedding(tmp_path / "b.png")
    with refused("formats.no_file", path=tmp_path / "c.png"):
        read_embedding(tmp_path / "c.png")


def test_pixels_are_not_inflated_without_end() -> None:
    """A payload beyond the limit is refused before it is parsed."""
    image = embed_payload(scene("white", 64, 256), b"0" * 20_000_000, np.ones(4, np.uint8))
    with refused("formats.pixels_truncated", FormatError):
        extract_payload(image)
