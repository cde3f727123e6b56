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
from safetensors.torch import save_file

from tests.core.formats.files_made_wrong import TENSOR, coded, legacy, picture, safetensors, text, zipped
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import FormatError
from tinv_ext.core.formats import FOLDER, FORMATS, read_all, read_embedding, write_embedding
from tinv_ext.core.formats.image_write import image_with_embedding, save_png_with_embedding


def _good(chosen: str, folder: Path) -> bytes:
    embedding = Embedding("word", {"clip_l": torch.linspace(-1, 1, 32).reshape(2, 16)}, 5, facts={"a": [1, {"b": "c"}]})
    write_embedding(embedding, folder / "word", format=chosen)
    return (folder / "word").read_bytes()


def _pair() -> Embedding:
    numbers = torch.linspace(-1, 1, 32).reshape(2, 16)
    return Embedding("word", {"clip_l": numbers, "clip_g": numbers * 2}, 5, facts={"a": [1, {"b": "c"}]})


def _in_torch(values: Any, zipped: bool) -> bytes:
    file = io.BytesIO()
    torch.save(values, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


GOOD = [*FORMATS, "zip", "pair", "pair png", "webp", "bundle", "original", "original zip"]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A small good file of each format; the picture is small as well."""
    folder = tmp_path_factory.mktemp("good")
    files = {chosen: _good(chosen, folder) for chosen in FORMATS if chosen != "png"}
    numbers = torch.linspace(-1, 1, 32).reshape(2, 16)
    embedding, scene = Embedding("word", {"clip_l": numbers}), Image.new("RGB", (16, 16), (90, 80, 70))
    save_png_with_embedding(scene, embedding, folder / "word.png")
    save_png_with_embedding(scene, _pair(), folder / "pair.png")
    image_with_embedding(scene, embedding).save(folder / "word.webp", lossless=True)
    write_embedding(_pair(), folder / "pair.safetensors")
    bundled = {f"bundle_emb.{name}.string_to_param.*": numbers.clone() for name in ("one", "two")}
    save_file(bundled, str(folder / "bundle.safetensors"))
    parameters = torch.nn.ParameterDict({"*": torch.nn.Parameter(numbers)})
    original = {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": parameters}
    return {
        **files,
        "png": (folder / "word.png").read_bytes(),
        "zip": _in_torch({"string_to_param": {"*": numbers}, "name": "word"}, zipped=True),
        "pair": (folder / "pair.safetensors").read_bytes(),
        "pair png": (folder / "pair.png").read_bytes(),
        "webp": (folder / "word.webp").read_bytes(),
        "bundle": (folder / "bundle.safetensors").read_bytes(),
        "original": _in_torch(original, zipped=False),
        "original zip": _in_torch(original, zipped=True),
    }


def _survives(data: bytes, path: Path) -> None:
    """Either embeddings with finite numbers or a FormatError: nothing else."""
    path.write_bytes(data)
    sentence = str(path)
    try:
        for embedding in read_all(path).values():
            assert all(torch.isfinite(value).all() for value in embedding.vectors.values())
        read_embedding(path)
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


SIZES = st.integers(-1, 9) | st.sampled_from([768, 1 << 20, 1 << 62])
ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "BF16", "F64", "I64", "F8", ""]),
        "shape": st.lists(SIZES, max_size=4),
        "data_offsets": st.tuples(st.integers(-8, 80), st.integers(-8, 80)).map(list),
    }
)
NAMED = st.sampled_from(
    [
        "emb_params",
        "clip_l",
        "clip_g",
        "clip_h",
        "<w>",
        "bundle_emb.a.clip_l",
        "bundle_emb.a.clip_g",
        "bundle_emb.b",
        "__metadata__",
    ]
)


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(header=st.dictionaries(NAMED, ENTRIES, max_size=4))
def test_any_shapes_and_places_in_a_header_are_survived(
    header: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Right keys, entries of the right form, any shapes, types and places; so also unequal counts, wrong widths."""
    _survives(safetensors(header, bytes(64)), tmp_path_factory.getbasetemp() / "header")


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(
    changes=st.lists(st.tuples(st.booleans(), st.floats(0, 0.999), st.integers(0, 255)), max_size=6),
    cut=st.floats(0, 1),
)
def test_a_folder_of_damaged_files_is_survived(
    changes: list[tuple[bool, float, int]], cut: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """diffusers' pair, either file changed, the second cut off."""
    folder = tmp_path_factory.getbasetemp() / "pair folder"
    write_embedding(_pair(), folder, format=FOLDER)
    for other, place, value in changes:
        path = folder / ("learned_embeds_2.safetensors" if other else "learned_embeds.safetensors")
        data = bytearray(path.read_bytes())
        data[int(place * len(data))] = value
        path.write_bytes(bytes(data))
    second = (folder / "learned_embeds_2.safetensors").read_bytes()
    (folder / "learned_embeds_2.safetensors").write_bytes(second[: int(cut * len(second))])
    sentence = str(folder)
    try:
        embedding = read_embedding(folder)
        assert all(torch.isfinite(value).all() for value in embedding.vectors.values())
    except FormatError as error:
        sentence = str(error)
    assert sentence.startswith(str(folder))
