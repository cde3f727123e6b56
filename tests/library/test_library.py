"""A folder of embeddings: what changes keeps words equal inside and out, can be undone, and is never half done."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.core.fake import WIDTH
from tests.fake_host import FakeHost
from tests.messages import ids, refused
from tinv_ext.core.embedding import PRECISIONS, Embedding
from tinv_ext.core.errors import HostError, InputError
from tinv_ext.core.formats import FOLDER, read_embedding, suffix_of, write_embedding
from tinv_ext.core.formats.image_write import save_png_with_embedding
from tinv_ext.core.names import name_problems
from tinv_ext.library import moves, rename
from tinv_ext.library.convert import ConvertOptions
from tinv_ext.library.library import Library

VECTORS = torch.linspace(-1, 1, 2 * WIDTH).view(2, WIDTH)


def contents(folder: Path) -> dict[str, bytes]:
    """Every byte of a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def put(folder: Path, name: str, step: int = 5, vectors: torch.Tensor = VECTORS) -> Path:
    """An embedding of the WebUI in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_embedding(Embedding(name, {"clip_l": vectors}, step), folder / f"{name}.pt")
    return folder / f"{name}.pt"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two embeddings, one of them below, a card's picture and notes beside one, and a picture that is none."""
    folder = tmp_path / "embeddings"
    put(folder, "one")
    put(folder / "more", "two", 9)
    (folder / "one.preview.png").write_bytes(b"card")
    (folder / "one.json").write_text("{}")
    (folder / "one.pt.optim").write_bytes(b"optim")
    Image.new("RGB", (8, 8)).save(folder / "holiday.png")
    (folder / "broken.pt").write_bytes(b"junk")
    return folder


@pytest.fixture
def library(folder: Path) -> Library:
    """That folder, with a host that reads it."""
    host = FakeHost(folder)
    return Library(folder, lambda: host)


def test_the_list_has_every_embedding_and_says_what_is_broken(library: Library) -> None:
    """By key, those of folders below too; no pictures that carry nothing."""
    assert [item.key for item in library.items()] == ["broken.pt", "more/two.pt", "one.pt"]
    broken, two, _ = library.items()
    assert ids([broken.problem]) == ["formats.unknown"]
    assert (two.name, two.vectors, two.step, two.problem) == ("two", 2, 9, "")


def test_a_file_out_of_reach_is_listed_with_the_reason(library: Library, folder: Path) -> None:
    """It stays in sight, and can be deleted; an image, which may carry none, stays out."""
    for name in ("lost.pt", "lost.png"):
        (folder / name).symlink_to(folder / name)
    (item,) = [item for item in library.items() if item.name == "lost"]
    assert (item.key, ids([item.problem])) == ("lost.pt", ["library.out_of_reach"])
    library.delete("lost.pt")
    assert not [item for item in library.items() if item.name == "lost"]


def test_a_folder_that_is_not_there_is_empty(tmp_path: Path) -> None:
    """Before the first training."""
    library = Library(tmp_path / "none")
    assert (library.items(), library.deleted()) == ([], [])


@pytest.mark.parametrize(
    "key", ["../outside.pt", "none.pt", "", "holiday.jpg", "/etc/passwd", "more/../one.pt", "a\0b"]
)
def test_a_key_never_leads_out_of_the_folder(key: str, library: Library, folder: Path, tmp_path: Path) -> None:
    """Only what the list gives is a key, whatever is done with it."""
    put(tmp_path, "outside")
    before = contents(tmp_path)
    acts = [
        library.inspect,
        library.delete,
        lambda key: library.rename(key, "x"),
        lambda key: library.average([key, key], "x"),
    ]
    for act in (*acts, lambda key: library.convert(key, tmp_path / "out", ConvertOptions())):
        with refused("library.no_embedding", key=key):
            act(key)
    assert contents(tmp_path) == before


def test_a_link_in_a_circle_is_walked_once(library: Library, folder: Path) -> None:
    """The WebUI follows links, too."""
    (folder / "circle").symlink_to(folder, target_is_directory=True)
    assert len(library.items()) == 3


def test_a_name_that_is_not_utf8_is_listed_and_can_be_put_right(library: Library, folder: Path) -> None:
    """With its reason, in text that can be sent; a link to nothing beside it stops nothing."""
    (folder / "gone.pt").symlink_to("/media/unplugged/x.pt")
    put(folder, "x").rename(folder / os.fsdecode(b"na\xefve.pt"))
    items = {item.key: item for item in library.items()}
    assert json.dumps([*items], ensure_ascii=False).encode("utf-8")
    assert ids([items["na\\udcefve.pt"].problem]) == ["library.name_not_utf8"]
    assert library.rename("na\\udcefve.pt", "naive") == folder / "naive.pt"
    assert [item.key for item in library.items()] == ["broken.pt", "more/two.pt", "naive.pt", "one.pt"]


def test_renaming_moves_all_that_belongs_and_the_name_inside(library: Library, folder: Path) -> None:
    """File, name inside, card, notes, optimizer; the WebUI knows the new word and not the old."""
    assert library.rename("one.pt", "new.v2") == folder / "new.v2.pt"
    names = {"new.v2.pt", "new.v2.preview.png", "new.v2.json", "new.v2.pt.optim", "holiday.png", "broken.pt"}
    assert set(contents(folder)) == {*names, "more/two.pt"}
    assert torch.load(folder / "new.v2.pt", weights_only=True)["name"] == "new.v2"
    assert torch.equal(read_embedding(folder / "new.v2.pt").vectors["clip_l"], VECTORS)
    assert {word.name for word in library._host().known_words()} == {"new.v2"}  # type: ignore[misc]


def test_what_belongs_to_a_longer_name_stays(library: Library, folder: Path) -> None:
    """`one.v2.preview.png` is the card of one.v2, not of one."""
    put(folder, "one.v2")
    (folder / "one.v2.preview.png").write_bytes(b"other card")
    library.rename("one.pt", "new")
    assert (folder / "one.v2.preview.png").read_bytes() == b"other card"
    assert (folder / "new.preview.png").read_bytes() == b"card"
    library.rename("one.v2.pt", "one")
    assert (folder / "one.preview.png").read_bytes() == b"other card"


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("chosen", ["diffusers", "kohya", "onetrainer", "diffusers-bin", "a1111"])
def test_every_format_that_holds_a_name_is_renamed_in_itself(chosen: str, precision: str, tmp_path: Path) -> None:
    """The same format with the same facts and as exact numbers, under the new word."""
    path = tmp_path / "e" / f"old{suffix_of(chosen)}"
    path.parent.mkdir()
    about: dict[str, Any] = {"vectors": {"clip_l": VECTORS}, "step": 5, "facts": {"a": 1}, "precision": precision}
    write_embedding(Embedding("old", **about), path, format=chosen)
    new = Library(path.parent).rename(path.name, "new")
    write_embedding(Embedding("new", **about), tmp_path / "expected", format=chosen)
    assert new.read_bytes() == (tmp_path / "expected").read_bytes()


def test_a_picture_is_renamed_without_a_change_to_what_it_shows(tmp_path: Path) -> None:
    """Name in the text and in the pixels; the parameters stay."""
    folder = tmp_path / "e"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(1, 256, (64, 64, 3), dtype=np.uint8)
    old = Embedding("old", {"clip_l": VECTORS}, 5)
    save_png_with_embedding(Image.fromarray(pixels), old, folder / "old.png", text={"parameters": "a cat"})
    Library(folder).rename("old.png", "new")
    save_png_with_embedding(
        Image.fromarray(pixels),
        Embedding("new", {"clip_l": VECTORS}, 5),
        tmp_path / "b.png",
        text={"parameters": "a cat"},
    )
    assert list(contents(folder)) == ["new.png"]
    assert (folder / "new.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_file_without_a_name_inside_keeps_every_byte(tmp_path: Path) -> None:
    """kohya's own files go by their file's name."""
    path = tmp_path / "e" / "old.safetensors"
    path.parent.mkdir()
    save_file({"emb_params": VECTORS.half()}, str(path))
    before = path.read_bytes()
    assert Library(path.parent).rename("old.safetensors", "new").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "problem"),
    [("one", "same_name"), ("taken", "name_taken"), ("TAKEN", "name_taken"), ("", ""), ("a/b", ""), ("..", "")],
)
def test_a_name_that_cannot_be_is_refused(name: str, problem: str, library: Library, folder: Path) -> None:
    """And nothing moves."""
    put(folder, "taken")
    (folder / "taken.preview.png").write_bytes(b"its picture")
    before = contents(folder)
    with pytest.raises(InputError) as caught:
        library.rename("one.pt", name)
    if problem:
        assert ids(caught.value.problems) == [f"library.{problem}"]
        assert "preview" not in caught.value.problems[0]  # an embedding has the name, not its picture alone
    else:
        assert caught.value.problems == tuple(name_problems(name))
    assert contents(folder) == before


def test_a_name_that_another_folder_has_is_refused(library: Library, folder: Path) -> None:
    """Whichever prompts would find; not of one for another family, nor where a renaming is taken back."""
    before = contents(folder)
    acts: list[Callable[[], object]] = [
        lambda: library.rename("one.pt", "Two"),
        lambda: library.extend("one.pt", 5, "zeros", "two"),
        lambda: library.average(["one.pt"] * 2, "two"),
    ]
    for act in acts:
        with refused("library.name_elsewhere", key="more/two.pt"):
            act()
    assert contents(folder) == before
    assert library.rename("one.pt", "two", anyway=True) == folder / "two.pt"
    for place, widths in (("sd1", {"clip_l": 768}), ("sdxl", {"clip_l": 768, "clip_g": 1280})):
        (folder / place).mkdir()
        vectors = {key: torch.ones(1, width) for key, width in widths.items()}
        write_embedding(Embedding(place, vectors, 1), folder / place / f"{place}.safetensors")
    assert library.rename("sd1/sd1.safetensors", "sdxl") == folder / "sd1" / "sdxl.safetensors"


def test_a_rename_that_fails_midway_is_undone(library: Library, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the writing of the new name, or in moving the third file: every file is where it was."""
    before = contents(folder)

    def full(*_: object, **__: object) -> None:
        raise HostError("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(rename, "write_embedding", full)
        with pytest.raises(HostError, match="full"):
            library.rename("one.pt", "new")
    assert contents(folder) == before
    move, moved = moves.shutil.move, []

    def moving(old: str, new: str) -> None:
        if old.endswith(".preview.png") and not moved.append(old):  # type: ignore[func-returns-value]
            raise PermissionError(13, "held open")
        move(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(moves.shutil, "move", moving)
        with refused("library.move_failed", HostError, error="held open"):
            library.rename("one.pt", "new")
    assert moved
    assert contents(folder) == before


def test_what_is_deleted_comes_back_as_it_was(library: Library, folder: Path) -> None:
    """With all that belongs to it, also from a folder below that is gone by then; the word is gone meanwhile."""
    before = contents(folder)
    library.delete("one.pt")
    library.delete("more/two.pt")
    (folder / "more").rmdir()
    assert set(contents(folder)) == {"holiday.png", "broken.pt"}
    assert [one.key for one in library.deleted()] == ["more/two.pt", "one.pt"]
    assert library._host().known_words() == []  # type: ignore[misc]
    for one in library.deleted():
        library.undelete(one.id)
    assert contents(folder) == before
    assert library.deleted() == []
    assert list(library.trash.path.iterdir()) == []


def test_an_embedding_called_deleted_comes_back_too(library: Library, folder: Path) -> None:
    """Its notes are called as our record is."""
    put(folder, "deleted")
    (folder / "deleted.json").write_text('{"notes": 1}')
    before = contents(folder)
    library.undelete(library.delete("deleted.pt").id)
    assert contents(folder) == before


def test_what_is_deleted_lies_beside_and_not_below(library: Library, folder: Path) -> None:
    """The WebUI loads every folder below its own."""
    library.delete("one.pt")
    assert library.trash.path.parent == folder.parent
    assert folder not in library.trash.path.parents


def test_what_a_run_replaced_is_put_back_and_what_was_there_can_be_undeleted(library: Library, folder: Path) -> None:
    """`restore_replaced` is not `undelete`: it copies, and what has the name goes into the trash."""
    backup = put(folder.parent / "replaced", "one", 3)
    now = (folder / "one.pt").read_bytes()
    assert library.restore_replaced(backup, "one.pt") == folder / "one.pt"
    assert (folder / "one.pt").read_bytes() == backup.read_bytes()
    (gone,) = library.deleted()
    (folder / "one.pt").unlink()
    assert library.undelete(gone.id).read_bytes() == now
    with refused("library.backup_unreadable", HostError, path=folder / "none.pt"):
        library.restore_replaced(folder / "none.pt", "one.pt")


def test_the_webuis_picture_of_an_embedding_is_no_second_one(library: Library, folder: Path, tmp_path: Path) -> None:
    """Its button "Replace preview" makes <name>.png: it goes with the file that is replaced, and comes back with it."""
    put(tmp_path, "one", 7)
    Image.new("RGB", (8, 8)).save(folder / "one.png")
    assert library.add(tmp_path / "one.pt", overwrite=True) == [folder / "one.pt"]
    assert read_embedding(folder / "one.pt").step == 7
    Image.new("RGB", (8, 8)).save(folder / "one.png")
    put(tmp_path, "one", 3)
    assert library.restore_replaced(tmp_path / "one.pt", "one.pt") == folder / "one.pt"
    assert read_embedding(folder / "one.pt").step == 3
    assert [gone.key for gone in library.deleted()] == ["one.pt", "one.pt"]
    put(tmp_path, "holiday")  # a picture of that name is no embedding either
    assert library.add(tmp_path / "holiday.pt") == [folder / "holiday.pt"]
    assert (folder / "holiday.png").is_file()


def test_the_trash_has_nothing_but_what_was_moved_there_and_is_there_still(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not what could not be moved, nor what somebody has deleted from it by hand."""

    def refuse(old: str, new: str) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched, refused("library.move_failed", HostError):
        patched.setattr("shutil.move", refuse)
        library.delete("one.pt")
    assert library.deleted() == []
    assert list(library.trash.path.iterdir()) == []
    gone = library.delete("one.pt")
    shutil.rmtree(library.trash.path / gone.id / "files")
    assert library.deleted() == []
    with refused("library.not_in_trash"):
        library.undelete(gone.id)


def test_nothing_is_overwritten_by_undeleting(library: Library, folder: Path) -> None:
    """A new file of the name, or its card's picture, stays; the deleted one, too."""
    gone = library.delete("one.pt")
    (folder / "one.preview.png").write_bytes(b"new card")
    with refused("library.exists_by_now", files=["one.preview.png"]):
        library.undelete(gone.id)
    assert (folder / "one.preview.png").read_bytes() == b"new card"
    assert [one.key for one in library.deleted()] == ["one.pt"]
    with refused("library.not_in_trash"):
        library.undelete("../../x")


def test_a_record_that_leads_elsewhere_is_not_shown(library: Library) -> None:
    """The folder of what is deleted may have been tampered with."""
    for index, key in enumerate(("../up.pt", "/etc/x.pt", None)):
        place = library.trash.path / str(index)
        place.mkdir(parents=True)
        (place / "deleted.json").write_text(json.dumps({"key": key, "when": ""}) if key else "[")
    assert library.deleted() == []


def test_the_card_stays_with_a_twin(library: Library, folder: Path) -> None:
    """Two files of one word: what belongs to both goes with the last."""
    write_embedding(read_embedding(folder / "one.pt"), folder / "one.safetensors")
    library.delete("one.pt")
    assert (folder / "one.preview.png").exists()
    library.delete("one.safetensors")
    assert not (folder / "one.preview.png").exists()


def test_extending_and_averaging_make_new_words(library: Library, folder: Path) -> None:
    """Beside the old; a word that is taken is refused."""
    longer = library.extend("more/two.pt", 5, "zeros", "longer")
    assert longer.path == folder / "more" / "longer.pt"
    assert read_embedding(longer.path).count == 5
    put(folder, "three", 7, VECTORS * 3)
    mean = library.average(["one.pt", "three.pt"], "mean", [1, 1])
    assert torch.allclose(read_embedding(mean.path).vectors["clip_l"], VECTORS * 2)
    for act in (lambda: library.extend("one.pt", 5, "repeat", "three"), lambda: library.average(["one.pt"] * 2, "ONE")):
        with refused("library.name_taken"):
            act()


def test_snapshots_of_runs_are_averaged(tmp_path: Path, folder: Path) -> None:
    """Of every log directory, the latest run first, by steps; the mean lies in the folder of embeddings."""
    for day, run in (("2026-01-30", "old-09-00-00"), ("2026-01-31", "word-10-00-00")):
        for step in (900, 1000, 800):
            put(tmp_path / "log" / day / run / "embeddings", f"word-{step}", step, VECTORS * step)
        config = tmp_path / "log" / day / run / "config.json"
        config.write_text("{}")
        os.utime(config, (int(day[-2:]) * 1e5,) * 2)
    (tmp_path / "log" / "latents").mkdir()
    library = Library(folder, logs=lambda: [tmp_path / "log", tmp_path / "log" / ".." / "log", tmp_path / "none"])
    keys = list(library.snapshots())
    assert keys[:3] == [f"2026-01-31/word-10-00-00/word-{step}.pt" for step in (800, 900, 1000)]
    assert len(keys) == 6
    mean = library.average([*keys[:3], "one.pt"], "mean", [1, 1, 1, 0])
    assert mean.path == folder / "mean.pt"
    assert torch.allclose(read_embedding(mean.path).vectors["clip_l"], VECTORS * 900)
    assert read_embedding(mean.path).step == 1000
    with refused("library.no_embedding", key="../up.pt"):
        library.average([keys[0], "../up.pt"], "other")


def test_a_file_that_changed_is_read_anew(library: Library, folder: Path) -> None:
    """What is known of it is kept for as long as the file stays."""
    assert [item.vectors for item in library.items()] == [0, 2, 2]
    put(folder, "one", 6, VECTORS[:1])
    assert [(item.vectors, item.step) for item in library.items()] == [(0, None), (2, 9), (1, 6)]
    (folder / "gone.pt").symlink_to(folder / "nothing.pt")
    assert len(library.items()) == 3


def test_converting_leaves_the_folder_as_it_is(library: Library, folder: Path, tmp_path: Path) -> None:
    """The files made lie elsewhere."""
    before = contents(folder)
    (tmp_path / "out").mkdir()
    (path,) = library.convert("one.pt", tmp_path / "out", ConvertOptions("safetensors", license="CC0"))
    assert path == tmp_path / "out" / "one.safetensors"
    assert torch.equal(load_file(path)["emb_params"], VECTORS)
    several = library.convert("one.pt", tmp_path / "out", ConvertOptions(FOLDER))
    assert [path.name for path in several] == [
        "learned_embeds.safetensors",
        "token_identifier.txt",
        "type_of_concept.txt",
    ]
    assert contents(folder) == before


def test_files_of_other_programs_are_added(library: Library, folder: Path, tmp_path: Path) -> None:
    """In the family's format, under the file's name; a bundle's under their own; what is replaced can be had back."""
    save_file({"one": VECTORS * 2}, str(tmp_path / "one.safetensors"))
    with refused("library.exists", file="one.pt"):
        library.add(tmp_path / "one.safetensors")
    assert library.add(tmp_path / "one.safetensors", overwrite=True) == [folder / "one.pt"]
    assert torch.equal(read_embedding(folder / "one.pt").vectors["clip_l"], VECTORS * 2)
    assert [one.key for one in library.deleted()] == ["one.pt"]
    save_file(
        {f"bundle_emb.{name}.string_to_param.*": VECTORS.clone() for name in "ab"}, str(tmp_path / "lora.safetensors")
    )
    assert [path.name for path in library.add(tmp_path / "lora.safetensors")] == ["a.pt", "b.pt"]
    save_file(
        {f"bundle_emb.{name}.clip_l": VECTORS.clone() for name in ("c", "a/up")}, str(tmp_path / "bad.safetensors")
    )
    with pytest.raises(InputError) as caught:
        library.add(tmp_path / "bad.safetensors")
    assert caught.value.problems == tuple(name_problems("a/up"))
    assert not (folder / "c.pt").exists()
    (tmp_path / "junk.pt").write_bytes(b"junk")
    with refused("formats.unknown"):
        library.add(tmp_path / "junk.pt")


def test_inspecting_names_the_nearest_words_of_the_loaded_model(library: Library, folder: Path) -> None:
    """Where there is one that can be asked; without it the rest is told."""

    def nothing() -> FakeHost:
        raise HostError("No model is loaded.")

    (told,) = Library(folder, nothing).inspect("one.pt")["embeddings"]
    assert (told["vectors"], "nearest" in told) == (2, False)


def test_a_word_of_the_vocabulary_is_no_name_for_an_embedding(
    library: Library, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Rename, Extend, Average and Add refuse it as Train does, and nothing changes; brackets are taken off."""
    tokenizer = library._host().token_table.tokenizer  # type: ignore[misc]
    monkeypatch.setattr(type(tokenizer), "spellings", lambda self, ids: [f"{token}</w>" for token in ids])
    put(folder, "zworble")
    before = contents(folder)
    acts = (
        lambda: library.rename("one.pt", "cat"),
        lambda: library.extend("one.pt", 5, "repeat", "cat"),
        lambda: library.average(["one.pt", "zworble.pt"], "cat"),
        lambda: library.add(put(tmp_path, "cat")),
    )
    for act in acts:
        with refused("preflight.name_is_a_token", name="cat"):
            act()
    assert contents(folder) == before
    assert library.rename("one.pt", "<zworble-toy>") == folder / "zworble-toy.pt"
