"""Undoing: whatever was written goes, whatever was there comes back, and what a person changed since stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.messages import refused
from tinv_ext.core.errors import HostError
from tinv_ext.prepare import undo
from tinv_ext.prepare.undo import Record, records, undo_last


def content(folder: Path) -> dict[str, bytes]:
    """Every file with its bytes, those of records apart."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and undo.FOLDER not in path.parts
    }


def test_new_files_go_and_former_ones_come_back(tmp_path: Path) -> None:
    """To the byte, though one was written twice; then nothing is left of the record."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_bytes(b"mine\r\n")
    before = content(tmp_path)
    record = Record.begin(tmp_path)
    record.write(tmp_path / "b.png", b"image")
    record.write(tmp_path / "sub" / "a.txt", b"theirs")
    record.write(tmp_path / "sub" / "a.txt", b"theirs again")
    assert content(tmp_path) == {"b.png": b"image", "sub/a.txt": b"theirs again"}
    done = undo_last(tmp_path)
    assert (done.removed, done.restored, done.changed) == (1, 1, ())
    assert content(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sub"]


def test_a_folder_made_for_it_goes_too(tmp_path: Path) -> None:
    """Unless somebody has put a file of their own there."""
    for name in ("out", "kept"):
        record = Record.begin(tmp_path / name)
        record.write(tmp_path / name / "b.png", b"image")
    (tmp_path / "kept" / "own.txt").write_text("mine")
    undo_last(tmp_path / "out")
    undo_last(tmp_path / "kept")
    assert content(tmp_path) == {"kept/own.txt": b"mine"}
    assert not (tmp_path / "out").exists()


def test_what_was_changed_since_stays(tmp_path: Path) -> None:
    """It is named, and what was there before stays in the record."""
    (tmp_path / "a.txt").write_text("first")
    record = Record.begin(tmp_path)
    record.write(tmp_path / "a.txt", b"captioned")
    record.write(tmp_path / "b.txt", b"captioned")
    record.write(tmp_path / "c.txt", b"captioned")
    (tmp_path / "a.txt").write_text("edited")
    (tmp_path / "b.txt").write_text("edited, too")
    done = undo_last(tmp_path)
    assert (done.removed, done.restored) == (1, 0)
    assert [path.name for path in done.changed] == ["a.txt", "b.txt"]
    assert content(tmp_path) == {"a.txt": b"edited", "b.txt": b"edited, too"}
    assert (record.place / "former" / "a.txt").read_text() == "first"
    with refused("prepare.nothing_to_undo", folder=tmp_path):
        undo_last(tmp_path)


def test_preparations_are_undone_one_by_one_from_the_last(tmp_path: Path) -> None:
    """Each brings back what the one before has written."""
    for text in (b"one", b"two", b"three"):
        Record.begin(tmp_path).write(tmp_path / "a.txt", text)
    assert len(records(tmp_path)) == 3
    for text in (b"two", b"one"):
        undo_last(tmp_path)
        assert content(tmp_path) == {"a.txt": text}
    undo_last(tmp_path)
    assert content(tmp_path) == {}


def test_a_killed_preparation_can_be_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the note and the file, and with a note that is cut short."""
    (tmp_path / "a.txt").write_text("mine")
    record = Record.begin(tmp_path)
    record.write(tmp_path / "b.txt", b"new")
    monkeypatch.setattr(undo, "atomic_write", _killed)
    with pytest.raises(KeyboardInterrupt):
        record.write(tmp_path / "a.txt", b"theirs")
    monkeypatch.undo()
    with (record.place / "written.jsonl").open("ab") as file:
        file.write(b'{"file": "never')
    undo_last(tmp_path)
    assert content(tmp_path) == {"a.txt": b"mine"}


def test_a_record_that_cannot_be_read_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is undone and nothing forgotten, as the former files lie beside it; later it can be undone."""
    (tmp_path / "a.txt").write_bytes(b"former")
    Record.begin(tmp_path).write(tmp_path / "a.txt", b"new")
    real = Path.open

    def refused_to_open(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == "written.jsonl":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", refused_to_open)
        assert [record.edit for record in records(tmp_path)] == [""]
        with refused("prepare.not_undone", HostError, reason="Permission denied"):
            undo_last(tmp_path)
    assert (tmp_path / "a.txt").read_bytes() == b"new"
    assert undo_last(tmp_path).restored == 1
    assert (tmp_path / "a.txt").read_bytes() == b"former"


def _killed(target: Path) -> None:
    raise KeyboardInterrupt


def test_a_record_reaches_nothing_outside_of_its_folder(tmp_path: Path) -> None:
    """It may come with a dataset from anywhere."""
    outside, folder = tmp_path / "outside.txt", tmp_path / "folder"
    outside.write_text("x")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.txt").write_text("x")
    record = Record.begin(folder)
    (folder / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    digest = undo._digest(b"x")
    names = ["../outside.txt", str(outside), "link/x.txt", "sub/../../outside.txt", 5, None]
    with (record.place / "written.jsonl").open("a") as file:
        for name in names:
            file.write(json.dumps({"file": name, "sha256": digest}) + "\n")
        file.write("[]\n\x00\xff\n" + "[" * 100_000 + "\n")
    assert undo_last(folder).removed == 0
    assert outside.exists()
    assert (tmp_path / "elsewhere" / "x.txt").exists()


def test_what_cannot_be_noted_is_not_written(tmp_path: Path) -> None:
    """Without a record there would be no way back."""
    record = Record.begin(tmp_path)
    (record.place / "written.jsonl").unlink()
    (record.place / "written.jsonl").mkdir()
    with refused("prepare.no_record", HostError):
        record.write(tmp_path / "a.txt", b"new")
    assert content(tmp_path) == {}
