"""Every format of embeddings: written as documented, read from what others write, the same byte for byte."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.messages import refused
from tinv_ext.core.embedding import PRECISIONS, Embedding
from tinv_ext.core.errors import FormatError, NumericError
from tinv_ext.core.formats import (
    FOLDER,
    FOLDERS,
    FORMATS,
    read_all,
    read_contents,
    read_embedding,
    read_words,
    suffix_of,
    write_embedding,
)
from tinv_ext.core.formats.image_pixels import extract_payload, remove_payload

SUFFIX = {"a1111": ".pt", "diffusers-bin": ".bin", "png": ".png"}
FACTS = {
    "rate": "0.005:100, 1e-3",
    "steps": 500,
    "loss": 0.125,
    "shuffle": True,
    "seed": None,
    "nested": {"画": [1, 2]},
}


def make(count: int = 2, width: int = 768, encoder: str = "clip_l", **details: Any) -> Embedding:
    """Numbers that need no random generator: the same on every machine."""
    numbers = (torch.arange(count * width, dtype=torch.float32).reshape(count, width) % 97 - 48) / 64
    return Embedding("word", {encoder: numbers}, 500, "0123456789", "model", details.get("facts", FACTS))


def make_pair(count: int = 2) -> Embedding:
    """An embedding for SDXL."""
    first, second = make(count, 768), make(count, 1280, "clip_g")
    return Embedding("word", {**first.vectors, **second.vectors}, 500, "0123456789", "model", FACTS)


def same(one: Embedding, other: Embedding) -> bool:
    """Whether the numbers are equal bit for bit."""
    keys = list(one.vectors) == list(other.vectors)
    return keys and all(torch.equal(one.vectors[key], other.vectors[key]) for key in one.vectors)


def written(embedding: Embedding, folder: Path, chosen: str) -> Path:
    """The file of the format `chosen`, its stem the embedding's name."""
    path = folder / f"{embedding.name}{SUFFIX.get(chosen, '.safetensors')}"
    write_embedding(embedding, path, format=chosen)
    return path


@pytest.mark.parametrize("width, encoder", [(768, "clip_l"), (1024, "clip_h"), (96, "clip_l")])
@pytest.mark.parametrize("chosen", list(FORMATS))
def test_what_is_written_is_read(chosen: str, width: int, encoder: str, tmp_path: Path) -> None:
    """Numbers come back bit for bit, and all that is known where the format can hold it."""
    embedding = make(3, width, encoder)
    again = read_embedding(written(embedding, tmp_path, chosen))
    assert same(again, embedding)
    assert again.name == "word"
    if chosen != "diffusers-bin":  # a dictionary of one tensor and nothing else
        details = (again.step, again.model_hash, again.model_name, again.facts)
        assert details == (500, "0123456789", "model", FACTS)


@pytest.mark.parametrize("chosen", ["safetensors", "png", FOLDER])
def test_an_embedding_of_two_encoders_is_read_as_it_was(chosen: str, tmp_path: Path) -> None:
    """SDXL: both tensors and the facts, in the formats that hold them."""
    path = tmp_path / ("word" if chosen == FOLDER else f"word{SUFFIX.get(chosen, '.safetensors')}")
    write_embedding(make_pair(), path, format=chosen)
    again = read_embedding(path)
    assert same(again, make_pair())
    assert (again.name, again.step, again.facts) == ("word", 500, FACTS)


@pytest.mark.parametrize("chosen", ["a1111", "kohya", "diffusers", "diffusers-bin", "onetrainer"])
def test_formats_of_one_tensor_refuse_two_encoders(chosen: str, tmp_path: Path) -> None:
    """The sentence names a format that works, and no file is left."""
    id = "formats.webui_several_encoders" if chosen == "a1111" else "formats.several_encoders"  # noqa: A001
    with refused(id, name="word", count=2) as caught:
        written(make_pair(), tmp_path, chosen)
    assert "png" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    """Neither the suffix nor the format tells how to write it."""
    with refused("formats.unknown_format", format=".xyz"):
        write_embedding(make(), tmp_path / "word.xyz")


GOLDEN = {
    "a1111": "70374b284e86baad",
    "safetensors": "db4733b6ffef5e37",
    "kohya": "db4733b6ffef5e37",
    "diffusers": "9f48f77f2d63f4d9",
    "diffusers-bin": "3be01650a6ce94be",
    "onetrainer": "04d5e5cfba811846",
    "png": "99cf78d11a991c4b",
    FOLDER: "2b1bade3dd50a5e9",
    "diffusers-folder-bin": "db179b84dc71db69",
}
GOLDEN_PAIR = {"safetensors": "2250848149f7a8a1", "png": "87d3a1af881a7a99", FOLDER: "33c62adf660fce40"}


def digest(embedding: Embedding, folder: Path, chosen: str) -> str:
    """Of every byte of a file, or of a folder's files; of a picture, of its texts and of what its pixels hold."""
    path = folder / f"{embedding.name}{suffix_of(chosen)}"
    write_embedding(embedding, path, format=chosen)
    if chosen == "png":
        with Image.open(path) as picture:
            parts = [f"{key}={value}".encode() for key, value in sorted(picture.text.items())]
            parts += [extract_payload(picture) or b"", remove_payload(picture).tobytes()]
    else:
        parts = [file.name.encode() + file.read_bytes() for file in sorted(path.iterdir())] if path.is_dir() else []
    return hashlib.sha256(b"".join(parts) or path.read_bytes()).hexdigest()[:16]


def test_files_are_the_same_byte_for_byte(tmp_path: Path) -> None:
    """The same embedding gives the same bytes in every process, on every torch and platform, in every format."""
    assert GOLDEN.keys() == {*FORMATS, *FOLDERS}
    assert {chosen: digest(make(2, 8), tmp_path, chosen) for chosen in GOLDEN} == GOLDEN
    assert {chosen: digest(make_pair(), tmp_path, chosen) for chosen in GOLDEN_PAIR} == GOLDEN_PAIR


def test_the_webui_file_is_the_dictionary_that_the_webui_writes(tmp_path: Path) -> None:
    """torch's own reader, in its safe mode, finds v1.10.1's keys in its types, and our facts under one more key."""
    values = torch.load(written(make(), tmp_path, "a1111"), weights_only=True)
    vectors = values.pop("string_to_param")
    assert list(vectors) == ["*"]
    assert torch.equal(vectors["*"], make().vectors["clip_l"])
    assert values == {
        "string_to_token": {"*": 265},
        "name": "word",
        "step": 500,
        "sd_checkpoint": "0123456789",
        "sd_checkpoint_name": "model",
        "tinv": FACTS,
    }


def test_the_webui_file_is_no_zip(tmp_path: Path) -> None:
    """The WebUI v1.10.1 refuses the zip records of newer torch, so the container is the legacy one of protocol 2."""
    assert written(make(), tmp_path, "a1111").read_bytes()[:4] == b"\x80\x02\x8a\x0a"


def test_the_diffusers_pickle_holds_one_tensor_only(tmp_path: Path) -> None:
    """diffusers takes a dictionary of length one: the word and its vectors."""
    values = torch.load(written(make(), tmp_path, "diffusers-bin"), weights_only=True)
    assert list(values) == ["word"]
    assert torch.equal(values["word"], make().vectors["clip_l"])


@pytest.mark.parametrize("chosen, key", [("kohya", "emb_params"), ("onetrainer", "emp_params"), ("diffusers", "word")])
def test_the_library_reads_our_safetensors(chosen: str, key: str, tmp_path: Path) -> None:
    """The safetensors library finds exactly one tensor, under the program's key."""
    tensors = load_file(written(make(), tmp_path, chosen))
    assert list(tensors) == [key]
    assert torch.equal(tensors[key], make().vectors["clip_l"])


def test_the_sdxl_file_holds_two_tensors_only(tmp_path: Path) -> None:
    """The WebUI takes every value for a tensor of the embedding: the rest is in the metadata."""
    path = written(make_pair(), tmp_path, "safetensors")
    assert sorted(load_file(path)) == ["clip_g", "clip_l"]
    length = struct.unpack("<Q", path.read_bytes()[:8])[0]
    metadata = json.loads(path.read_bytes()[8 : 8 + length])["__metadata__"]
    assert metadata["format"] == "pt"
    assert metadata["modelspec.architecture"] == "stable-diffusion-xl-v1-base/textual-inversion"
    assert length % 8 == 0


def metadata_in(path: Path) -> tuple[dict[str, str], bytes]:
    """The texts of a safetensors file, and all bytes behind its header."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length])["__metadata__"], data[8 + length :]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_metadata_is_that_of_modelspec(precision: str, tmp_path: Path) -> None:
    """The keys that the standard demands, as kohya writes them; the hash is of all bytes behind the header."""
    facts = {
        "made_by": "tinv_ext 1.2",
        "prediction": "v_prediction",
        "date": "2024-05-06T07:08:09",
        "settings": {"width": 768, "height": 512, "clip_skip": 2},
        "title": "A word",
        "author": "Ada",
        "description": "what it is",
        "license": "CC0",
        "tags": "a, b",
        "usage_hint": "write it",
    }
    embedding = replace(make(2, 1024, "clip_h", facts=facts), precision=precision)
    write_embedding(embedding, tmp_path / "word.safetensors")
    metadata, numbers = metadata_in(tmp_path / "word.safetensors")
    spec = {key.partition(".")[2]: value for key, value in metadata.items() if key.startswith("modelspec.")}
    assert spec == {
        "sai_model_spec": "1.0.1",
        "architecture": "stable-diffusion-v2-768-v/textual-inversion",
        "implementation": "https://github.com/Stability-AI/generative-models",
        "implementation_version": "tinv_ext/1.2",
        "title": "A word",
        "author": "Ada",
        "date": "2024-05-06T07:08:09",
        "description": "what it is",
        "license": "CC0",
        "tags": "a, b",
        "usage_hint": "write it",
        "trigger_phrase": "word",
        "prediction_type": "v",
        "resolution": "768x512",
        "encoder_layer": "2",
        "hash_sha256": f"0x{hashlib.sha256(numbers).hexdigest()}",
    }
    assert read_embedding(tmp_path / "word.safetensors").facts == facts
    write_embedding(make_pair(), tmp_path / "pair.safetensors")
    metadata, numbers = metadata_in(tmp_path / "pair.safetensors")
    assert metadata["modelspec.hash_sha256"] == f"0x{hashlib.sha256(numbers).hexdigest()}"
    assert metadata["modelspec.title"] == "word"


@pytest.mark.parametrize("precision, dtype", [("fp16", torch.float16), ("bf16", torch.bfloat16)])
@pytest.mark.parametrize("chosen", [*FORMATS, *FOLDERS])
def test_numbers_are_rounded_to_the_precision_that_is_asked_for(
    precision: str, dtype: torch.dtype, chosen: str, tmp_path: Path
) -> None:
    """As torch rounds them; other programs find that type in the file; the run's own vectors stay as they are."""
    exact = torch.linspace(-1, 1, 2 * 768).reshape(2, 768)
    embedding = Embedding("word", {"clip_l": exact}, precision=precision)
    path = tmp_path / f"word{suffix_of(chosen)}"
    write_embedding(embedding, path, format=chosen)
    assert torch.equal(read_embedding(path).vectors["clip_l"], exact.to(dtype).float())
    assert not torch.equal(read_embedding(path).vectors["clip_l"], exact)
    if chosen != "png":
        file = next(path.glob("learned*")) if path.is_dir() else path
        values = load_file(file) if file.suffix == ".safetensors" else torch.load(file, weights_only=True)
        (vectors,) = values.get("string_to_param", values).values()
        assert vectors.dtype == dtype
        assert torch.equal(vectors, exact.to(dtype))


def test_what_does_not_fit_a_precision_is_told() -> None:
    """Numbers beyond those of float16."""
    with refused("embedding.too_large", NumericError, precision="fp16"):
        Embedding("word", {"clip_l": torch.full((1, 768), 1e6)}, precision="fp16")
    assert Embedding("word", {"clip_l": torch.full((1, 768), 1e6)}, precision="bf16").dtype == torch.bfloat16


def test_a_folder_of_another_suffix_is_replaced(tmp_path: Path) -> None:
    """Loaders would take the old files for the embedding's."""
    write_embedding(make_pair(), tmp_path / "word", format=FOLDER)
    write_embedding(make(), tmp_path / "word", format="diffusers-folder-bin")
    names = ["learned_embeds.bin", "token_identifier.txt", "type_of_concept.txt"]
    assert sorted(path.name for path in (tmp_path / "word").iterdir()) == names
    assert same(read_embedding(tmp_path / "word"), make())


def test_the_folder_is_what_diffusers_leaves(tmp_path: Path) -> None:
    """Two files of one tensor each, the word and the kind of concept as text."""
    write_embedding(make_pair(), tmp_path / "word", format=FOLDER)
    names = [
        "learned_embeds.safetensors",
        "learned_embeds_2.safetensors",
        "token_identifier.txt",
        "type_of_concept.txt",
    ]
    assert sorted(path.name for path in (tmp_path / "word").iterdir()) == names
    assert load_file(tmp_path / "word" / names[1])["word"].shape == (2, 1280)
    assert (tmp_path / "word" / names[2]).read_text() == "word"


VECTORS = make().vectors["clip_l"]
PARAMETER = torch.nn.Parameter(VECTORS.clone())
THEIRS: dict[str, Any] = {
    "A1111": {"string_to_token": {"*": 265}, "string_to_param": {"*": VECTORS}, "name": "other", "step": 7},
    "A1111 Parameter": {"string_to_token": {"*": 265}, "string_to_param": {"*": PARAMETER}},
    "A1111 half": {"string_to_param": {"*": VECTORS.half()}},
    "A1111 view of a larger tensor": {"string_to_param": {"*": torch.cat([VECTORS[1:], VECTORS])[1:]}},
    "A1111 by columns": {"string_to_param": {"*": VECTORS.t().contiguous().t()}},
    "original": {
        "string_to_token": {"*": torch.tensor(265)},
        "string_to_param": torch.nn.ParameterDict({"*": PARAMETER}),
    },
    "diffusers": {"<cat-toy>": VECTORS},
    "kohya": {"emb_params": VECTORS.bfloat16().float()},
    "bare tensor": VECTORS,
    "numpy step": {"string_to_param": {"*": VECTORS}, "step": np.int64(3), "loss": np.float64(0.5)},
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", list(THEIRS))
def test_what_torch_saves_is_read(kind: str, zipped: bool, tmp_path: Path) -> None:
    """A1111's, the original's, diffusers' and kohya's files, in both containers of torch."""
    torch.save(THEIRS[kind], tmp_path / "file.pt", _use_new_zipfile_serialization=zipped)
    again = read_embedding(tmp_path / "file.pt")
    assert again.vectors["clip_l"].shape == (2, 768)
    assert torch.allclose(again.vectors["clip_l"], VECTORS, atol=1e-2)
    assert again.name == "file"
    assert again.step == {"A1111": 7, "numpy step": 3}.get(kind)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_of_pickles_is_read(protocol: int, tmp_path: Path) -> None:
    """torch.save lets its caller choose."""
    torch.save(THEIRS["A1111"], tmp_path / "file.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    assert torch.equal(read_embedding(tmp_path / "file.pt").vectors["clip_l"], VECTORS)


def test_a_tensor_pickled_by_way_of_numpy_is_read(tmp_path: Path) -> None:
    """So torch saves tensors of DirectML; here an array and a dtype are in the pickle as numpy writes them."""

    class OnDevice:
        def __reduce__(self) -> tuple[Any, ...]:
            return torch._utils._rebuild_device_tensor_from_numpy, (VECTORS.numpy(), torch.float32, "cpu", False)

    torch.save({"string_to_param": {"*": OnDevice()}}, tmp_path / "file.pt")
    assert torch.equal(read_embedding(tmp_path / "file.pt").vectors["clip_l"], VECTORS)


def test_one_dimension_is_one_vector(tmp_path: Path) -> None:
    """Old files of diffusers and concept libraries hold (768,)."""
    torch.save({"<cat>": VECTORS[0].clone()}, tmp_path / "learned_embeds.bin")
    again = read_embedding(tmp_path / "learned_embeds.bin")
    assert torch.equal(again.vectors["clip_l"], VECTORS[:1])
    assert again.name == "cat"


def test_the_suffix_does_not_matter(tmp_path: Path) -> None:
    """A safetensors file named .pt, a picture named .bin: the content tells."""
    for chosen in ("kohya", "png", "a1111"):
        path = written(make(), tmp_path, chosen)
        path = path.rename(tmp_path / "renamed.xyz")
        assert same(read_embedding(path), make())


def test_onetrainers_output_vectors_are_left_aside_and_told(tmp_path: Path) -> None:
    """`emp_params_out` belongs to no host's prompt; it is listed as left out."""
    save_file({"emp_params": VECTORS, "emp_params_out": VECTORS + 1}, tmp_path / "file.safetensors")
    assert same(read_embedding(tmp_path / "file.safetensors"), make())
    assert read_contents(tmp_path / "file.safetensors").embeddings[0].left_out == ("emp_params_out",)


def test_another_programs_metadata_become_facts(tmp_path: Path) -> None:
    """kohya's modelspec and the like are kept as texts."""
    save_file({"emb_params": VECTORS}, tmp_path / "file.safetensors", metadata={"modelspec.title": "t", "format": "pt"})
    assert read_embedding(tmp_path / "file.safetensors").facts == {"modelspec.title": "t"}


def _bundle(*names: str) -> dict[str, torch.Tensor]:
    tensors = {"lora_unet_a.lora_up.weight": torch.ones(4, 4)}
    for index, name in enumerate(names):
        tensors[f"bundle_emb.{name}.string_to_param.*"] = VECTORS + index
    return tensors


def test_an_embedding_in_a_lora_is_read_under_its_name(tmp_path: Path) -> None:
    """One embedding bundled with a LoRA needs no choice."""
    save_file(_bundle("inside"), tmp_path / "lora.safetensors")
    again = read_embedding(tmp_path / "lora.safetensors")
    assert again.name == "inside"
    assert same(again, make())


def test_a_bundle_of_several_asks_which_one(tmp_path: Path) -> None:
    """The sentence lists the names; a name picks; all can be had at once."""
    save_file(_bundle("one", "two"), tmp_path / "lora.safetensors")
    with refused("formats.several", FormatError, names=['"one"', '"two"']):
        read_embedding(tmp_path / "lora.safetensors")
    with refused("formats.not_among", FormatError, name="three"):
        read_embedding(tmp_path / "lora.safetensors", name="three")
    assert torch.equal(read_embedding(tmp_path / "lora.safetensors", name="two").vectors["clip_l"], VECTORS + 1)
    assert list(read_all(tmp_path / "lora.safetensors")) == ["one", "two"]


def test_a_bundle_for_sdxl_is_read(tmp_path: Path) -> None:
    """`bundle_emb.<name>.clip_l` and `.clip_g`."""
    vectors = make_pair().vectors
    save_file({f"bundle_emb.word.{key}": value for key, value in vectors.items()}, tmp_path / "lora.safetensors")
    assert same(read_embedding(tmp_path / "lora.safetensors"), make_pair())


def test_a_file_of_several_placeholders_asks_which_one(tmp_path: Path) -> None:
    """The original repository's files may hold several words."""
    torch.save({"string_to_param": {"*": VECTORS, "@": VECTORS}}, tmp_path / "file.pt")
    with refused("formats.several", FormatError, names=['"*"', '"@"']):
        read_embedding(tmp_path / "file.pt")


def test_a_name_that_is_given_counts(tmp_path: Path) -> None:
    """`name` renames a file's only embedding."""
    assert read_embedding(written(make(), tmp_path, "a1111"), name="new").name == "new"


def test_nothing_is_written_that_cannot_be_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If what was written reads differently, the old file stays and a sentence tells."""
    path = written(make(), tmp_path, "a1111")
    before = path.read_bytes()
    monkeypatch.setitem(FORMATS, "a1111", lambda embedding: before[:-4] + b"\0\0\0\0")
    with refused("formats.written_wrong", FormatError, path=path):
        written(make(), tmp_path, "a1111")
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("chosen", ["diffusers", "diffusers-folder"])
def test_a_token_in_angle_brackets_is_kept_inside(chosen: str, tmp_path: Path) -> None:
    """From diffusers' file to the WebUI's, under a legal name, and back to the token; renamed, the new name counts."""
    save_file({"<cat-toy>": VECTORS}, str(tmp_path / "learned_embeds.safetensors"))
    brought = read_embedding(tmp_path / "learned_embeds.safetensors")
    assert (brought.name, brought.facts["token"]) == ("cat-toy", "<cat-toy>")
    write_embedding(brought, tmp_path / "cat-toy.pt")
    assert set(read_words(tmp_path / "cat-toy.pt")) == {"cat-toy", "<cat-toy>"}
    for name, token in (("cat-toy", "<cat-toy>"), ("dog", "dog")):
        out = tmp_path / name / ("" if chosen.endswith("folder") else f"{name}.safetensors")
        out.parent.mkdir(exist_ok=True)
        write_embedding(replace(read_embedding(tmp_path / "cat-toy.pt"), name=name), out, format=chosen)
        file = out / "learned_embeds.safetensors" if out.is_dir() else out
        assert list(load_file(file)) == [token]
