"""Writing a file so that nobody ever sees a half of it."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

import pytest
import torch

import tinv_ext.core.atomic as atomic
from tests.boundaries.sources import files, tree
from tests.messages import refused
from tinv_ext.core.atomic import atomic_copy, atomic_write, replace_file
from tinv_ext.core.errors import HostError, NotNowError
from tinv_ext.core.training.state import load_state, new_state, save_state


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
    path = tmp_path / "no" / "file.pt"
    with refused("files.not_created", HostError, path=path), atomic_write(path):
        pass


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    """With what to do, and whether there is room again."""
    with refused("files.disk_full", NotNowError, megabytes=16) as told, atomic_write(tmp_path / "file.pt"):
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
    with refused("files.not_replaced", HostError), atomic_write(tmp_path / "file") as file:
        file.write(b"x")
    assert 1.9 <= sum(pauses) <= 2.1
    assert list(tmp_path.iterdir()) == []


def test_what_windows_does_not_have_is_not_used() -> None:
    """No fcntl, no opened or synced folder, no rename over a file: all that is asked is what Windows can do."""
    used = {node.attr for path in files() for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)}
    names = {
        name.name.partition(".")[0]
        for path in files()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Import)
        for name in node.names
    }
    assert not names & {"fcntl", "pwd", "grp", "resource"}
    assert not used & {"O_DIRECTORY", "fork", "SIGKILL", "mkfifo", "chown", "geteuid"}


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux tells what is mapped")
def test_a_state_that_was_read_is_not_mapped(tmp_path: Path) -> None:
    """Windows replaces no file that is mapped into memory: a run that goes on could never keep its state again."""
    state = new_state({"word": {"clip_l": torch.ones(2, 768)}}, 1, torch.device("cpu"))
    state.vectors["word"]["clip_l"].grad = torch.ones(2, 768)
    state.update(0.1)
    save_state(state, tmp_path / "state.safetensors", {})
    again, _ = load_state(tmp_path / "state.safetensors", torch.device("cpu"), "word")
    assert "state.safetensors" not in Path("/proc/self/maps").read_text()
    moments = again.optimizer.state[again.vectors["word"]["clip_l"]]
    assert torch.equal(moments["exp_avg"], state.optimizer.state[state.vectors["word"]["clip_l"]]["exp_avg"])


def test_a_temporary_file_that_is_held_hides_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a virus scanner: what went wrong is told all the same."""

    def held(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Access is denied")

    monkeypatch.setattr(Path, "unlink", held)
    with pytest.raises(KeyError), atomic_write(tmp_path / "file"):
        raise KeyError


def test_a_copy_is_whole_and_keeps_its_time(tmp_path: Path) -> None:
    """Or there is none."""
    (tmp_path / "old").write_bytes(b"data")
    os.utime(tmp_path / "old", (5, 5))
    atomic_copy(tmp_path / "old", tmp_path / "new")
    assert (tmp_path / "new").read_bytes() == b"data"
    assert (tmp_path / "new").stat().st_mtime == 5
    with pytest.raises(FileNotFoundError):
        atomic_copy(tmp_path / "gone", tmp_path / "other")
    assert {path.name for path in tmp_path.iterdir()} == {"old", "new"}


def test_a_folder_that_is_written_to_is_swept(tmp_path: Path) -> None:
    """Whatever file it is that a killed writer left there, in any folder; not what may still be being written."""
    for name in (".a.pt.0123abcd.tmp", ".b.txt.89abcdef.tmp", ".mine.tmp", "c.0123abcd.tmp"):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (0, 0))
    (tmp_path / ".d.pt.0123abcd.tmp").write_bytes(b"half")
    with atomic_write(tmp_path / "file") as file:
        file.write(b"whole")
    assert {path.name for path in tmp_path.iterdir()} == {"file", ".mine.tmp", "c.0123abcd.tmp", ".d.pt.0123abcd.tmp"}


def test_what_is_no_file_is_never_replaced(tmp_path: Path) -> None:
    """A folder, a pipe, and what a link leads to (for root, /dev/null as well); nothing is left there."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    names = ["folder", "link"]
    if sys.platform != "win32":
        os.mkfifo(tmp_path / "pipe")
        names += ["pipe"]
    before = sorted(tmp_path.iterdir())
    for name in names:
        with refused("files.not_a_file", HostError), atomic_write(tmp_path / name) as file:
            file.write(b"x")
    assert sorted(tmp_path.iterdir()) == before
