"""Tags by an ONNX model: what it is given, what becomes of its numbers, and what is said where it cannot be used."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.messages import refused
from tinv_ext.prepare.wd14 import TAGS, TagRules, Wd14, pixels_of, read_tags, tags_of

SCORES = {"1girl": 0.9, "long_hair": 0.6, "^_^": 0.5, "cat_(animal)": 0.4, "hat": 0.34}
CSV = "tag_id,name,category,count\n1,general,9,5\n2,blue_(sky),0,5\n3,green,0,5\n4,red,4,5\n"


@pytest.mark.parametrize(
    ("rules", "wanted"),
    [
        (TagRules(), r"1girl, long hair, ^_^, cat \(animal\)"),
        (TagRules(threshold=0.5), "1girl, long hair, ^_^"),
        (TagRules(threshold=0.0, sort_alpha=True), r"1girl, ^_^, cat \(animal\), hat, long hair"),
        (TagRules(use_spaces=False, escape=False), "1girl, long_hair, ^_^, cat_(animal)"),
        (TagRules(filter_tags="long hair, ^_^"), r"1girl, cat \(animal\)"),
        (TagRules(threshold=1.0), ""),
    ],
)
def test_tags_as_the_rules_say(rules: TagRules, wanted: str) -> None:
    """Threshold, order, spaces, escapes, filter."""
    assert tags_of(SCORES, rules) == wanted


def test_the_image_lies_in_a_white_square_in_bgr() -> None:
    """From 0 to 255, neither stretched nor cropped."""
    given = pixels_of(Image.new("RGB", (200, 100), (255, 0, 10)), 448)
    assert (given.shape, given.dtype) == ((1, 448, 448, 3), np.float32)
    assert given[0, 224, 224].tolist() == [10, 0, 255]
    assert given[0, 50, 224].tolist() == [255, 255, 255]
    assert given[0, 224, 4].tolist() == [10, 0, 255]


def test_tags_are_read_in_their_order(tmp_path: Path) -> None:
    """Those of ratings keep their place and are none."""
    (tmp_path / TAGS).write_text(CSV)
    assert read_tags(tmp_path / TAGS) == ["", "blue_(sky)", "green", "red"]
    (tmp_path / TAGS).write_text("no table")
    with refused("prepare.no_tags", path=tmp_path / TAGS):
        read_tags(tmp_path / TAGS)


def test_every_reason_why_it_cannot_be_used_is_told(tmp_path: Path) -> None:
    """Files that are missing, and a threshold that is none."""
    with refused("prepare.tagger_file_missing", path=tmp_path / "model.onnx") as caught:
        Wd14(tmp_path / "model.onnx", TagRules(threshold=2.0)).check()
    assert len(caught.value.problems) >= 3


def test_without_onnxruntime_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the package is missing."""
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    for name in ("model.onnx", TAGS):
        (tmp_path / name).write_text(CSV)
    with refused("prepare.no_onnxruntime"):
        Wd14(tmp_path / "model.onnx").check()


@pytest.fixture
def tagger(tmp_path: Path) -> Path:
    """A model whose scores are the mean blue, green and red of the image from 0 to 1, after a rating."""
    pytest.importorskip("onnxruntime", reason="it is optional")
    (tmp_path / TAGS).write_text(CSV)
    (tmp_path / "model.onnx").write_bytes(mean_colors())
    return tmp_path / "model.onnx"


def test_a_real_model_tags_an_image(tagger: Path) -> None:
    """By onnxruntime."""
    with Wd14(tagger)() as caption:
        assert caption(Image.new("RGB", (60, 60), (0, 128, 255))) == r"blue \(sky\), green"
        assert caption(Image.new("RGB", (60, 60), (255, 0, 0))) == "red"


def test_a_model_that_is_none_or_has_other_tags_is_refused(tagger: Path) -> None:
    """With the file."""
    from tinv_ext.core.errors import HostError

    (tagger.parent / TAGS).write_text(CSV + "5,more,0,5\n")
    with Wd14(tagger)() as caption, refused("prepare.tags_do_not_fit", HostError, count=5, scores=4):
        caption(Image.new("RGB", (60, 60)))
    tagger.write_bytes(mean_colors().replace(number(1, 3), number(1, 4)))
    with refused("prepare.other_input", path=tagger), Wd14(tagger)():
        pass
    tagger.write_bytes(b"no model")
    with refused("prepare.not_onnx", path=tagger), Wd14(tagger)():
        pass


# --- an ONNX file without the package onnx: protocol buffers by hand (onnx.proto3) -----------------------------------


def number(field: int, value: int) -> bytes:
    """A varint field."""
    out = bytearray()
    for part in (field << 3, value):
        while part > 127:
            out.append(part & 127 | 128)
            part >>= 7
        out.append(part)
    return bytes(out)


def block(field: int, data: bytes | str) -> bytes:
    """A field of bytes, a text or a message."""
    data = data.encode() if isinstance(data, str) else data
    head = number(field, len(data))
    return bytes([head[0] | 2]) + head[1:] + data


def tensor_type(name: str, *shape: int | str) -> bytes:
    """A ValueInfoProto of floats."""
    sizes = b"".join(block(1, number(1, size) if isinstance(size, int) else block(2, size)) for size in shape)
    return block(1, name) + block(2, block(1, number(1, 1) + block(2, sizes)))


def node(kind: str, inputs: list[str], output: str, *attributes: bytes) -> bytes:
    """A NodeProto."""
    fields = b"".join(block(1, name) for name in inputs) + block(2, output) + block(4, kind)
    return fields + b"".join(block(5, attribute) for attribute in attributes)


def mean_colors() -> bytes:
    """ReduceMean over height and width, divided by 255, after a score of 1 for the rating."""
    axes = block(1, "axes") + number(8, 1) + number(8, 2) + number(20, 7)
    flat = block(1, "keepdims") + number(3, 0) + number(20, 2)
    along = block(1, "axis") + number(3, 1) + number(20, 2)
    numbers = [
        number(1, 1) + number(2, 1) + block(8, "most") + block(9, struct.pack("<f", 255.0)),
        number(1, 1) + number(1, 1) + number(2, 1) + block(8, "rating") + block(9, struct.pack("<f", 1.0)),
    ]
    graph = block(1, node("ReduceMean", ["image"], "mean", axes, flat))
    graph += block(1, node("Div", ["mean", "most"], "colors"))
    graph += block(1, node("Concat", ["rating", "colors"], "scores", along)) + block(2, "tagger")
    graph += b"".join(block(5, one) for one in numbers)
    graph += block(11, tensor_type("image", 1, 448, 448, 3)) + block(12, tensor_type("scores", 1, 4))
    return number(1, 8) + block(7, graph) + block(8, block(1, "") + number(2, 13))
