"""Damaged files of every kind: an embedding with finite numbers or a sentence, whatever the bytes are."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.core.files_made_wrong import TENSOR, coded, legacy, picture, safetensors, text, zipped
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import FormatError
from tinv_ext.core.files import FORMATS, read_embedding, write_embedding
from tinv_ext.core.files.png import save_png_with_embedding


def _good(chosen: str, folder: Path) -> bytes:
    embedding = Embedding("word", {"clip_l": torch.linspace(-1, 1, 32).reshape(2, 16)}, 5, facts={"a": [1, {"b": "c"}]})
    write_embedding(embedding, folder / "word", format=chosen)
    return (folder / "word").read_bytes()


GOOD = [*FORMATS, "zip"]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A small good file of each format; the picture is small as well."""
    folder = tmp_path_factory.mktemp("good")
    files = {chosen: _good(chosen, folder) for chosen in FORMATS if chosen != "png"}
    embedding = Embedding("word", {"clip_l": torch.linspace(-1, 1, 32).reshape(2, 16)})
    save_png_with_embedding(Image.new("RGB", (16, 16), (90, 80, 70)), embedding, folder / "word.png")
    file = io.BytesIO()
    torch.save({"string_to_param": {"*": torch.linspace(-1, 1, 32).reshape(2, 16)}, "name": "word"}, file)
    return {**files, "png": (folder / "word.png").read_bytes(), "zip": file.getvalue()}


def _survives(data: bytes, path: Path) -> None:
    """Either an embedding with finite numbers or a FormatError: nothing else."""
    path.write_bytes(data)
    sentence = str(path)
    try:
        embedding = read_embedding(path)
        assert all(torch.isfinite(value).all() for value in embedding.vectors.values())
    except FormatError as error:
        sentence = str(error)
    assert sentence.startswith(str(path))


@pytest.mark.parametrize("chosen", GOOD)
def test_a_file_cut_off_anywhere_is_survived(chosen: str, good: dict[str, bytes], tmp_path: Path) -> None:
    """Every length of the head, then steps through the rest."""
    data = good[chosen]
    for length in [*range(min(len(data), 120)), *range(120, len(data), max(1, len(data) // 80))]:
        _survives(data[:length], tmp_path / "file")


@pytest.mark.parametrize("chosen", GOOD)
@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=6))
def test_changed_bytes_are_survived(
    chosen: str, changes: list[tuple[float, int]], good: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any bytes replaced by any others."""
    data = bytearray(good[chosen])
    for place, value in changes:
        data[int(place * len(data))] = value
    _survives(bytes(data), tmp_path_factory.getbasetemp() / "changed")


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(program=st.binary(max_size=80), container=st.sampled_from([legacy, zipped, lambda data: data]))
def test_random_programs_are_survived(
    program: bytes, container: Callable[[bytes], bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Random bytes as a pickle in either container, or as the whole file."""
    _survives(container(b"\x80\x02" + program + b"."), tmp_path_factory.getbasetemp() / "random")


OPCODES = [bytes([code]) for code in (0x80, 0x85, 0x86, 0x87, 0x88, 0x89, 0x93, 0x94)] + [
    *(bytes([code]) for code in b"N]}()tldaesuRbQ."),
    *(b"K\x01", b"q\x00", b"h\x00", text("string_to_param"), text("storage"), text("*"), text("latin1"), b"\x81"),
    *(
        b"ccollections\nOrderedDict\n",
        TENSOR,
        b"ctorch\nFloatStorage\n",
        b"ctorch.nn.modules.container\nParameterDict\n",
    ),
    *(b"c_codecs\nencode\n", b"cnumpy\ndtype\n", b"cnumpy.core.multiarray\n_reconstruct\n", b"cbuiltins\nset\n"),
]


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(parts=st.lists(st.sampled_from(OPCODES), max_size=40))
def test_programs_of_known_opcodes_are_survived(parts: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Known opcodes and names in any order."""
    _survives(legacy(b"\x80\x02" + b"".join(parts) + b"."), tmp_path_factory.getbasetemp() / "opcodes")


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
KEYS = st.sampled_from(["TORCHTENSOR", "*", "a", "dtype", "shape"])
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=8
)
TABLES = st.dictionaries(
    st.sampled_from(["string_to_param", "clip_l", "clip_g", "emb_params", "tinv", "name", "step"]), VALUES
)


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(values=TABLES)
def test_any_json_in_a_picture_or_header_is_survived(
    values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Right keys, any values."""
    path = tmp_path_factory.getbasetemp() / "json"
    _survives(picture(coded(json.dumps(values))), path)
    _survives(safetensors(values, b"\0" * 64), path)


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(values=TABLES)
def test_any_plain_values_in_a_pickle_are_survived(
    values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Right keys, any values, written by Python's own pickler in the containers of torch."""
    path = tmp_path_factory.getbasetemp() / "plain"
    _survives(legacy(pickle.dumps(values, 2)), path)
    _survives(zipped(pickle.dumps({**values, "x": 1}, 4)), path)
