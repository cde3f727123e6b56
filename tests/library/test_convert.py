"""From file to file: every format to every other, names kept equal, nothing overwritten unasked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.messages import ids, refused, said
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import InputError
from tinv_ext.core.formats import FOLDER, FOLDERS, FORMATS, read_embedding, write_embedding
from tinv_ext.core.formats.image_write import save_png_with_embedding
from tinv_ext.core.messages import translated
from tinv_ext.core.names import name_problems
from tinv_ext.library.convert import ConvertOptions, convert, open_embedding
from tinv_ext.library.inspect import inspect, lines

ONE = {"clip_l": torch.linspace(-1, 1, 1536).view(2, 768)}
TWO = {**ONE, "clip_g": torch.linspace(-2, 1, 2560).view(2, 1280)}


def embedding(name: str = "word", vectors: dict[str, torch.Tensor] = ONE) -> Embedding:
    """An embedding with everything that can be known of it."""
    return Embedding(name, vectors, 500, "0123456789", "model", {"settings": {"template": "style"}})


def source(folder: Path, one: Embedding | None = None) -> Path:
    """A file to convert."""
    one = one or embedding()
    path = folder / "source" / (f"{one.name}.pt" if len(one.vectors) == 1 else f"{one.name}.safetensors")
    path.parent.mkdir(exist_ok=True)
    write_embedding(one, path)
    return path


def same(path: Path, one: Embedding) -> bool:
    """Whether a file holds exactly these vectors."""
    again = read_embedding(path)
    return all(torch.equal(again.vectors[key], one.vectors[key]) for key in one.vectors)


@pytest.mark.parametrize("to", [*FORMATS, *FOLDERS])
def test_every_format_becomes_every_other(to: str, tmp_path: Path) -> None:
    """By way of each, and back again: the same numbers, the same word."""
    there = convert(source(tmp_path), tmp_path / "word" if to in FOLDERS else tmp_path, ConvertOptions(to))
    assert there.embedding.name == "word"
    for back in FORMATS:
        (tmp_path / back).mkdir()
        again = convert(there.path, tmp_path / back, ConvertOptions(back, name="word"))
        assert again.path.stem == "word"
        assert same(again.path, embedding())


@pytest.mark.parametrize("precision, dtype", [("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_numbers_are_rounded_on_request(precision: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """Nowhere else: what is read from a rounded file and written again stays as it is."""
    path = source(tmp_path)
    exact = read_embedding(path).vectors["clip_l"]
    rounded = convert(path, tmp_path / "small.safetensors", ConvertOptions(precision=precision))
    assert load_file(rounded.path)["emb_params"].dtype == dtype
    again = convert(rounded.path, tmp_path / "again.pt", ConvertOptions())
    assert torch.equal(read_embedding(again.path).vectors["clip_l"], exact.to(dtype).float())
    assert torch.equal(read_embedding(path).vectors["clip_l"], exact)


@pytest.mark.parametrize("to", ["safetensors", "png", FOLDER])
def test_the_formats_of_sdxl(to: str, tmp_path: Path) -> None:
    """Both encoders; the folder's kind of concept is that of the run's template."""
    two = embedding(vectors=TWO)
    written = convert(source(tmp_path, two), tmp_path / ("word" if to == FOLDER else ""), ConvertOptions(to))
    assert same(written.path, two)
    assert read_embedding(written.path).step == 500
    if to == FOLDER:
        assert (written.path / "type_of_concept.txt").read_text() == "style"


def test_a_folder_gets_the_familys_usual_file(tmp_path: Path) -> None:
    """`.pt` for one encoder, `.safetensors` for two."""
    (tmp_path / "out").mkdir()
    assert convert(source(tmp_path), tmp_path / "out", ConvertOptions()).path.name == "word.pt"
    two = source(tmp_path, embedding("xl", TWO))
    assert convert(two, tmp_path / "out", ConvertOptions()).path.name == "xl.safetensors"


def test_the_word_is_the_files_name(tmp_path: Path) -> None:
    """For each loader by what it goes by: the stem, or diffusers' key, also in a file called learned_embeds."""
    path = source(tmp_path)
    assert read_embedding(convert(path, tmp_path / "new.pt", ConvertOptions()).path).name == "new"
    assert torch.load(tmp_path / "new.pt", weights_only=True)["name"] == "new"
    assert convert(path, tmp_path / "made" / "v2.1", ConvertOptions("a1111")).path.name == "v2.1.pt"
    convert(path, tmp_path / "learned_embeds.safetensors", ConvertOptions("diffusers"))
    with safe_open(str(tmp_path / "learned_embeds.safetensors"), "pt") as file:
        assert list(file.keys()) == ["word"]
    with refused("library.two_names", name="other", file="new2.pt", wanted="other.pt"):
        convert(path, tmp_path / "new2.pt", ConvertOptions(name="other"))


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    """The old bytes stay; with overwrite they are replaced, even when a file becomes itself."""
    path = source(tmp_path)
    (tmp_path / "new.pt").write_bytes(b"mine")
    with refused("library.target_exists", path=tmp_path / "new.pt"):
        convert(path, tmp_path / "new.pt", ConvertOptions())
    assert (tmp_path / "new.pt").read_bytes() == b"mine"
    convert(path, tmp_path / "new.pt", ConvertOptions(overwrite=True))
    convert(path, path, ConvertOptions(overwrite=True, license="CC0"))
    assert same(tmp_path / "new.pt", embedding())
    assert read_embedding(path).facts["license"] == "CC0"
    with refused("library.target_exists", path=path.parent):
        convert(path, path.parent, ConvertOptions(FOLDER))


def test_author_and_licence_ride_in_the_file(tmp_path: Path) -> None:
    """As facts, and in a safetensors file under the standard's keys."""
    written = convert(
        source(tmp_path), tmp_path / "word.safetensors", ConvertOptions(author="Ada ", license="CC BY 4.0")
    )
    assert {"author": "Ada", "license": "CC BY 4.0"}.items() <= read_embedding(written.path).facts.items()
    with safe_open(str(written.path), "pt") as file:
        metadata = file.metadata()
    assert (metadata["modelspec.author"], metadata["modelspec.license"]) == ("Ada", "CC BY 4.0")


def test_a_picture_keeps_showing_what_it_shows(tmp_path: Path) -> None:
    """From picture to picture, and a picture that is given, of any kind; its texts stay, its old burden goes."""
    pixels = np.random.default_rng(0).integers(1, 256, (64, 80, 3), dtype=np.uint8)
    scene = Image.fromarray(pixels)
    save_png_with_embedding(scene, embedding("old"), tmp_path / "old.png", text={"parameters": "a cat"})
    written = convert(tmp_path / "old.png", tmp_path / "new.png", ConvertOptions())
    with Image.open(written.path) as image:
        block = (image.width - 82) // 2
        assert np.array_equal(np.asarray(image)[:, block + 1 : block + 81], pixels)
        assert image.text["parameters"] == "a cat"
    assert read_embedding(written.path).name == "new"
    scene.save(tmp_path / "scene.jpg")
    other = convert(source(tmp_path), tmp_path / "other.png", ConvertOptions(image=tmp_path / "scene.jpg"))
    with Image.open(other.path) as image:
        assert (image.height, image.width > 82) == (64, True)
    with refused("library.image_damaged", path=source(tmp_path)):
        convert(source(tmp_path), tmp_path / "c.png", ConvertOptions(image=source(tmp_path)))
    with refused("library.image_unreadable", path=tmp_path / "none.png"):
        convert(source(tmp_path), tmp_path / "c.png", ConvertOptions(image=tmp_path / "none.png"))


@pytest.mark.parametrize(
    ("target", "options", "problem", "values"),
    [
        ("word", ConvertOptions(), "no_format", {}),
        ("word.safetensors", ConvertOptions("a1111"), "wrong_suffix", {"format": "a1111", "suffix": ".pt"}),
        ("word.pt", ConvertOptions("tar"), "unknown_format", {"format": "tar"}),
    ],
)
def test_what_cannot_be_is_told_and_nothing_written(
    target: str, options: ConvertOptions, problem: str, values: dict[str, str], tmp_path: Path
) -> None:
    """A sentence each."""
    (tmp_path / "out").mkdir()
    with refused(f"library.{problem}", **values):
        convert(source(tmp_path), tmp_path / "out" / target, options)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(("target", "name"), [("con.pt", ""), ("", "a/b"), ("", "../up")])
def test_a_name_that_cannot_be_is_refused(target: str, name: str, tmp_path: Path) -> None:
    """What is wrong with the name, and nothing is written."""
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError) as caught:
        convert(source(tmp_path), tmp_path / "out" / target, ConvertOptions(name=name))
    assert caught.value.problems == tuple(name_problems(name or "con"))
    assert list((tmp_path / "out").iterdir()) == []


def test_what_a_person_should_know_is_told(tmp_path: Path) -> None:
    """A twin under the same word, facts that a format cannot hold, tensors left out, half a pair."""
    path = source(tmp_path)
    assert convert(path, tmp_path / "word.pt", ConvertOptions()).notices == ()
    twin = convert(path, tmp_path / "word.safetensors", ConvertOptions())
    assert said(twin.notices, "library.twins", file="word.safetensors", twins=["word.pt"])
    assert ids(convert(path, tmp_path / "x.bin", ConvertOptions()).notices) == ["library.without_facts"]
    save_file({"emp_params": ONE["clip_l"], "emp_params_out": ONE["clip_l"] + 1}, str(tmp_path / "one.safetensors"))
    assert said(open_embedding(tmp_path / "one.safetensors")[1], "library.left_out", keys=["emp_params_out"])
    convert(source(tmp_path, embedding("xl", TWO)), tmp_path / "xl", ConvertOptions(FOLDER))
    halves = open_embedding(tmp_path / "xl" / "learned_embeds.safetensors")[1]
    assert said(halves, "library.half", file="learned_embeds.safetensors", folder=tmp_path / "xl")
    (tmp_path / "xl" / "learned_embeds.safetensors").unlink()
    alone = convert(tmp_path / "xl" / "learned_embeds_2.safetensors", tmp_path / "alone.pt", ConvertOptions())
    assert said(alone.notices, "library.only_half", file="learned_embeds_2.safetensors")
    save_file({"word": ONE["clip_l"][:1]}, str(tmp_path / "xl" / "learned_embeds.safetensors"))  # TWO has two vectors
    _, notices = open_embedding(tmp_path / "xl" / "learned_embeds.safetensors")
    assert said(notices, "library.only_half", file="learned_embeds.safetensors")


def test_a_damaged_file_is_bad_input(tmp_path: Path) -> None:
    """One sentence with its path."""
    (tmp_path / "bad.pt").write_bytes(b"\x80\x02junk")
    with refused("formats.in_file", path=tmp_path / "bad.pt"):
        convert(tmp_path / "bad.pt", tmp_path / "new.pt", ConvertOptions())
    with refused("formats.no_file", path=tmp_path / "none.pt"):
        inspect(tmp_path / "none.pt")


def test_inspecting_says_family_lengths_and_facts(tmp_path: Path) -> None:
    """As values, and in lines for people."""
    inspected = inspect(source(tmp_path, embedding("xl", TWO)))
    (one,) = inspected["embeddings"]
    assert (inspected["container"], one["family"], one["vectors"], one["step"]) == ("safetensors", "SDXL", 2, 500)
    assert one["norms"]["clip_g"] == pytest.approx(TWO["clip_g"].norm(dim=1).tolist())
    text = "\n".join(lines(inspected))
    for part in ("SDXL (clip_l 768 + clip_g 1280)", "model [0123456789]", "settings.template style", "clip_g: length"):
        assert part in text, part


def test_every_embedding_of_a_bundle_is_told(tmp_path: Path) -> None:
    """Each with its own word."""
    tensors = {f"bundle_emb.{name}.string_to_param.*": ONE["clip_l"].clone() for name in ("one", "two")}
    save_file(tensors, str(tmp_path / "lora.safetensors"))
    assert [one["name"] for one in inspect(tmp_path / "lora.safetensors")["embeddings"]] == ["one", "two"]
    assert same(convert(tmp_path / "lora.safetensors", tmp_path, ConvertOptions(), pick="two").path, embedding())
    assert (tmp_path / "two.pt").is_file()
    with refused("library.pick_of_one", name="two", pick="one"):
        convert(tmp_path / "two.pt", tmp_path / "x.pt", ConvertOptions(), pick="one")


def test_nothing_in_a_file_steers_the_terminal(tmp_path: Path) -> None:
    """Control characters in facts, names and keys are written out, in answers as in errors."""
    evil = "\x1b]0;caught\x07\r\n\u202e"
    hostile = Embedding("word", ONE, 5, evil, evil, {evil: {"made_by": evil, "list": [evil]}})
    text = "\n".join(lines(inspect(source(tmp_path, hostile))))
    assert all(line.isprintable() for line in text.split("\n"))
    assert "\\x1b]0;caught" in text
    save_file({evil: torch.ones(1, 1, 1)}, str(tmp_path / "bad.safetensors"))
    save_file({"emp_params": ONE["clip_l"], f"a{evil}": ONE["clip_l"] + 1}, str(tmp_path / "more.safetensors"))
    with pytest.raises(InputError) as caught:
        convert(tmp_path / "bad.safetensors", tmp_path / "x.pt", ConvertOptions())
    told = [str(caught.value), *open_embedding(tmp_path / "more.safetensors")[1]]
    told += [translated(text, "zh_CN") for text in caught.value.problems]
    assert all(line.isprintable() for line in told)
