"""Writing a file so that nobody ever sees a half of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import tinv_ext.core.files.atomic as atomic
from tinv_ext.core.errors import HostError, NotNowError
from tinv_ext.core.files import atomic_write, replace_file


def test_a_file_appears_whole_at_the_end(tmp_path: Path) -> None:
    """Until the block ends the old content stands; afterwards the new, and nothing else is in the folder."""
    target = tmp_path / "file.pt"
    target.write_bytes(b"old")
    with atomic_write(target) as file:
        file.write(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    """What raised goes on, the temporary file goes away."""
    target = tmp_path / "file.pt"
    target.write_bytes(b"old")

    def fail() -> None:
        with atomic_write(target) as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_temporary_file_is_none_that_the_webui_loads(tmp_path: Path) -> None:
    """It lies in the embeddings folder for a moment: its suffix is nobody's."""
    with atomic_write(tmp_path / "word.pt") as file:
        assert file.name.endswith(".tmp")
        assert Path(file.name).parent == tmp_path


def test_the_file_has_the_usual_rights(tmp_path: Path) -> None:
    """Not the closed ones of temporary files: other users' programs may read it if the umask lets them."""
    (tmp_path / "plain").write_bytes(b"")
    with atomic_write(tmp_path / "file") as file:
        file.write(b"x")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """The file that it points to is replaced."""
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with atomic_write(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    """The sentence names the file."""
    with pytest.raises(HostError, match=r"file\.pt could not be made"), atomic_write(tmp_path / "no" / "file.pt"):
        pass


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    """With what to do, and whether there is room again."""
    with pytest.raises(NotNowError, match=r"the disk is full: free 16 MB") as told, atomic_write(tmp_path / "file.pt"):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []
    assert told.value.mended()


class Busy:
    """os.replace as on Windows while readers hold the target open, for the first `times` calls."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.replace = os.replace

    def __call__(self, source: Path, target: Path) -> None:
        self.times -= 1
        if self.times >= 0:
            raise PermissionError(13, "Access is denied")
        self.replace(source, target)


def test_a_file_that_somebody_reads_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replacing is tried again until the reader lets go."""
    pauses: list[float] = []
    monkeypatch.setattr(atomic.os, "replace", Busy(3))
    monkeypatch.setattr(atomic.time, "sleep", pauses.append)
    (tmp_path / "new").write_bytes(b"new")
    replace_file(tmp_path / "new", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert len(pauses) == 3


def test_waiting_ends_after_two_seconds_with_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the person is told to close the program that holds the file."""
    pauses: list[float] = []
    monkeypatch.setattr(atomic.os, "replace", Busy(1000))
    monkeypatch.setattr(atomic.time, "sleep", pauses.append)
    with pytest.raises(HostError, match="another program"), atomic_write(tmp_path / "file") as file:
        file.write(b"x")
    assert 1.9 <= sum(pauses) <= 2.1
    assert list(tmp_path.iterdir()) == []
