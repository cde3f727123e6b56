"""What cannot be written or read at one place of a run: what it does, what it says, and what lies there afterwards.

No fault changes what is learnt, and none leaves half a file.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.core.fake import WIDTH
from tests.fake_host import FakeHost
from tests.faults.refusing import Refusing
from tests.messages import ids, refused, said
from tests.run.test_runner import Configure, Watch, contents, learnt
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import HostError
from tinv_ext.core.formats import read_embedding, write_embedding
from tinv_ext.core.training.state import load_state
from tinv_ext.run import runner
from tinv_ext.run.curve import read_curve
from tinv_ext.run.events import Event, Noticed, RunControls
from tinv_ext.run.status import Status

pytestmark = pytest.mark.once
GIVEN: dict[str, Any] = {
    "save_state_every": 2,
    "save_every": 2,
    "preview_every": 3,
    "preview_at_first": True,
    "thumbnail": "new",
    "overwrite": True,
}
PLACES = {  # what is written, and a part of its path, which is that of the temporary file
    "state": "/.state.safetensors.",
    "snapshot": "/embeddings/.zworble-",
    "preview": "/images/.zworble-",
    "image that carries": "/image_embeddings/",
    "curve": "loss.csv",
    "status": "/.status.json.",
    "log": "/log.txt",
    "latents": "/latents/",
    "thumbnail": ".preview.png",
    "backup": "/replaced/",
    "embedding": "/.zworble.pt.",
}
GOES_ON: dict[str, list[str]] = {  # what is said; nothing where the log says it, which may be what fails
    "preview": ["run.no_preview", "run.no_preview", "run.previews_off"],
    "image that carries": ["run.no_preview", "run.no_preview", "run.previews_off"],
    "curve": ["run.curve_not_written"],
    "status": [],
    "log": [],
    "latents": ["latents.not_cached"],
    "thumbnail": [],
}
SAVED_LATER = ("state", "snapshot")
ENDS = ("backup", "embedding")


class Listening(Watch):
    """Also keeps what was noticed and why it paused; frees the disk when it pauses."""

    def __init__(self, mend: Callable[[], None] = lambda: None, controls: RunControls | None = None) -> None:
        super().__init__()
        self.mend, self.controls = mend, controls or RunControls()
        self.paused: list[str] = []

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        if isinstance(event, Status) and event.status == "paused":
            self.paused.append(event.reason)
            self.mend()
            self.controls.pause.clear()

    @property
    def notices(self) -> list[str]:
        """What its owner was told."""
        return [event.text for event in self.events if isinstance(event, Noticed)]


@pytest.fixture
def right(config: Configure, tmp_path: Path) -> torch.Tensor:
    """The vectors of a run without trouble; an older file of the name lies where the next run will write."""
    host = FakeHost(tmp_path / "embeddings")
    runner.run(config(**GIVEN), host)
    found = learnt(tmp_path / "embeddings")
    shutil.rmtree(tmp_path / "embeddings")
    shutil.rmtree(tmp_path / "runs")
    (tmp_path / "embeddings").mkdir()
    write_embedding(Embedding("zworble", {"clip_l": torch.ones(1, WIDTH)}), tmp_path / "embeddings" / "zworble.pt")
    return found


def nothing_half(folder: Path) -> None:
    """No temporary file, and every embedding can be read."""
    assert list(folder.rglob("*.tmp")) == []
    for path in folder.rglob("embeddings/*.pt"):
        learnt_from(path)


def learnt_from(path: Path) -> torch.Tensor:
    """The vectors in a file."""
    return read_embedding(path).vectors["clip_l"]


@pytest.mark.parametrize("code", [errno.EACCES, errno.ENOSPC])
@pytest.mark.parametrize("place", GOES_ON)
def test_the_run_goes_on_without(
    host: FakeHost,
    config: Configure,
    right: torch.Tensor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    code: int,
) -> None:
    """What a run can do without is told once and done without; rights and a full disk alike."""
    refusing, watch = Refusing(monkeypatch, PLACES[place], code), Listening()
    assert runner.run(config(**GIVEN), host, watch).status == "finished"
    assert refusing.refused
    assert torch.equal(learnt(tmp_path / "embeddings"), right)
    assert watch.paused == []
    assert ids(watch.notices) == GOES_ON[place]
    nothing_half(tmp_path)


@pytest.mark.parametrize("place", SAVED_LATER)
def test_a_state_or_snapshot_that_is_refused_is_told_once(
    host: FakeHost,
    config: Configure,
    right: torch.Tensor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    """The run goes on; what was refused is written when it can be."""
    refusing = Refusing(monkeypatch, PLACES[place], errno.EACCES)
    watch = Listening()
    watch.at = {5: refusing.mend}
    assert runner.run(config(**GIVEN), host, watch).status == "finished"
    assert refusing.refused == 2
    assert len(watch.notices) == 1
    assert said(watch.notices, "run.not_saved", what=place, step=2)
    assert torch.equal(learnt(tmp_path / "embeddings"), right)
    assert load_state(watch.folder.state, torch.device("cpu"))[0].step == 6
    assert watch.folder.snapshot("zworble", 6).is_file()
    nothing_half(tmp_path)


@pytest.mark.parametrize("place", [*SAVED_LATER, *ENDS])
def test_a_full_disk_makes_the_run_wait(
    host: FakeHost,
    config: Configure,
    right: torch.Tensor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    """At the state, a snapshot, the backup of the old file, and the embedding; then everything is there."""
    refusing = Refusing(monkeypatch, PLACES[place], errno.ENOSPC)
    controls = RunControls()
    watch = Listening(refusing.mend, controls)
    assert runner.run(config(**GIVEN), host, watch, controls).status == "finished"
    assert refusing.refused == 1
    assert len(watch.paused) == 1
    assert said(watch.paused, "files.disk_full", megabytes=16)
    assert torch.equal(learnt(tmp_path / "embeddings"), right)
    assert len(learnt_from(watch.folder.path / "replaced" / "zworble.pt")) == 1
    nothing_half(tmp_path)


@pytest.mark.parametrize("place", ENDS)
def test_a_file_that_cannot_be_written_at_the_end_is_written_later(
    host: FakeHost,
    config: Configure,
    right: torch.Tensor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    """The run has failed and says so, the old file lies untouched; resumed, it takes no step and is finished."""
    before = contents(tmp_path / "embeddings")
    refusing, watch = Refusing(monkeypatch, PLACES[place], errno.EACCES), Listening()
    with refused("files.not_created", HostError) as error:
        runner.run(config(**GIVEN), host, watch)
    assert watch.folder.status().status == "failed"
    assert watch.folder.status().reason == str(error.value)
    assert contents(tmp_path / "embeddings") == before
    nothing_half(tmp_path)
    refusing.mend()
    more = Watch()
    assert runner.resume(watch.folder.path, host, report=more).status == "finished"
    assert more.steps == []
    assert torch.equal(learnt(tmp_path / "embeddings"), right)


def test_a_stop_wished_while_the_disk_is_full_gives_up(
    host: FakeHost, config: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first stop ends the steps, and the run waits for room to write its file; a second one ends the waiting."""
    Refusing(monkeypatch, PLACES["embedding"], errno.ENOSPC)
    controls, paused = RunControls(), []

    def report(event: Event) -> None:
        watch(event)
        if isinstance(event, Status) and event.status == "paused":
            paused.append(event.reason)
            controls.stop.set()

    watch = Watch({3: controls.stop.set})
    with refused("files.disk_full", HostError):
        runner.run(config(), host, report, controls)
    assert len(paused) == 1
    assert (watch.folder.status().status, watch.folder.status().steps) == ("failed", 3)
    assert load_state(watch.folder.state, torch.device("cpu"))[0].step == 3


def test_a_run_that_cannot_be_kept_does_not_begin(
    host: FakeHost, config: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """config.json refused: a sentence, and no folder that looks like a run."""
    Refusing(monkeypatch, "/.config.json.", errno.ENOSPC)
    with refused("run.not_recorded") as error:
        runner.run(config(), host)
    assert said([message.values["reason"] for message in error.value.problems], "files.disk_full")
    assert [path for path in (tmp_path / "runs").rglob("*") if path.is_file() or "zworble" in path.name] == []


def test_the_runs_folder_deleted_while_it_goes_on(
    host: FakeHost, config: Configure, right: torch.Tensor, tmp_path: Path
) -> None:
    """It is made again and said; the run ends well, can go on, and the curve has the rows from there."""
    watch = Listening()
    watch.at = {3: lambda: shutil.rmtree(watch.folder.path)}
    assert runner.run(config(**GIVEN), host, watch).status == "finished"
    assert torch.equal(learnt(tmp_path / "embeddings"), right)
    assert ids(watch.notices) == ["run.folder_deleted"]
    assert [row["step"] for row in read_curve(watch.folder.curve)] == ["4", "5", "6"]
    assert watch.folder.status().status == "finished"
    assert runner.resume(watch.folder.path, host, {"steps": 8}).steps == 8


def test_the_whole_log_directory_deleted_at_the_end(host: FakeHost, config: Configure, tmp_path: Path) -> None:
    """Though no state is kept on the way."""
    watch = Listening()
    watch.at = {6: lambda: shutil.rmtree(tmp_path / "runs")}
    assert runner.run(config(save_state_every=0), host, watch).status == "finished"
    assert learnt(tmp_path / "embeddings") is not None


@pytest.mark.parametrize("data", [b"", b"\0" * 90, b"{", b'{"status": 3}', b"\xff\xfe"])
def test_a_status_that_cannot_be_read_hinders_no_resume(
    host: FakeHost, config: Configure, right: torch.Tensor, tmp_path: Path, data: bytes
) -> None:
    """As a power cut may leave it: the state is what counts."""
    controls = RunControls()
    watch = Watch({4: controls.stop.set})
    runner.run(config(**GIVEN), host, watch, controls)
    (watch.folder.path / "status.json").write_bytes(data)
    more = Watch()
    assert runner.resume(watch.folder.path, host, report=more).status == "finished"
    assert more.steps == [5, 6]
    assert torch.equal(learnt(tmp_path / "embeddings"), right)


@pytest.mark.parametrize("data", [b"", b"\0" * 90, b"nonsense\n\xff,,\n", b"step,loss\n1,2,3,4,5,6,7,8,9,10,11\n"])
def test_a_spoilt_curve_hinders_no_resume(
    host: FakeHost, config: Configure, right: torch.Tensor, tmp_path: Path, data: bytes
) -> None:
    """What can be read of it stays."""
    controls = RunControls()
    watch = Watch({4: controls.stop.set})
    runner.run(config(**GIVEN), host, watch, controls)
    whole = watch.folder.curve.read_bytes()
    watch.folder.curve.write_bytes(whole[:-20] + data)
    assert runner.resume(watch.folder.path, host).status == "finished"
    steps = [row["step"] for row in read_curve(watch.folder.curve)]
    assert steps == ["0", "1", "2", "3", "5", "6"]
    assert torch.equal(learnt(tmp_path / "embeddings"), right)


def test_images_that_vanish_between_check_and_encoding(
    host: FakeHost, config: Configure, right: torch.Tensor, tmp_path: Path
) -> None:
    """The run has failed and names the file; with the pictures back it begins again and comes out the same."""
    kept, images = tmp_path / "kept", tmp_path / "images"
    settings = config(**GIVEN)

    def vanish(event: Event) -> None:
        watch(event)
        if isinstance(event, Status) and event.status == "preparing":
            images.rename(kept)

    watch = Watch()
    with refused("images.gone", path=images / "0 a thing.png"):
        runner.run(settings, host, vanish)
    assert watch.folder.status().status == "failed"
    with refused("images.folder_missing", folder=images):
        runner.resume(watch.folder.path, host)
    kept.rename(images)
    assert runner.resume(watch.folder.path, host).status == "finished"
    assert torch.equal(learnt(tmp_path / "embeddings"), right)


def test_images_that_vanish_between_runs(
    host: FakeHost, config: Configure, right: torch.Tensor, tmp_path: Path
) -> None:
    """Nothing is touched, and what to do is said; back again, the run goes on."""
    controls = RunControls()
    watch = Watch({3: controls.stop.set})
    runner.run(config(**GIVEN), host, watch, controls)
    (tmp_path / "images").rename(tmp_path / "kept")
    before = contents(tmp_path)
    with refused("images.folder_missing"):
        runner.resume(watch.folder.path, host)
    assert contents(tmp_path) == before
    (tmp_path / "kept").rename(tmp_path / "images")
    assert runner.resume(watch.folder.path, host).status == "finished"
    assert torch.equal(learnt(tmp_path / "embeddings"), right)


def test_a_thumbnail_whose_preview_fails_spoils_no_finished_run(
    host: FakeHost, config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedding is written by then."""

    def fail(*asked: object) -> Image.Image:
        raise ZeroDivisionError("the sky fell")

    monkeypatch.setattr(host, "generate", fail)
    watch = Listening()
    assert runner.run(config(thumbnail="new"), host, watch).status == "finished"
    assert "no thumbnail was made: the sky fell" in watch.folder.log.read_text("utf-8")


def test_changes_made_on_resume_are_kept_for_the_next(host: FakeHost, config: Configure) -> None:
    """A run that was given more steps and then dies goes on to these."""
    watch = Watch()
    runner.run(config(), host, watch)
    controls = RunControls()
    runner.resume(watch.folder.path, host, {"steps": 9}, Watch({7: controls.stop.set}), controls)
    assert runner.resume(watch.folder.path, host).steps == 9


def test_what_killed_writers_left_is_swept_when_a_run_goes_on(
    host: FakeHost, config: Configure, tmp_path: Path
) -> None:
    """Temporary files of an hour ago; not those of another pattern, nor of a writer who may be at work."""
    controls = RunControls()
    watch = Watch({3: controls.stop.set})
    runner.run(config(), host, watch, controls)
    made = tmp_path / "embeddings"
    old = [made / ".zworble.pt.0123abcd.tmp", watch.folder.path / ".state.safetensors.0123abcd.tmp"]
    stays = [made / ".zworble.pt.tmp"]
    for path in old + stays:
        path.write_bytes(b"half")
        os.utime(path, (0, 0))
    (made / ".zworble.pt.89abcdef.tmp").write_bytes(b"half")
    runner.resume(watch.folder.path, host)
    assert {path.name for path in tmp_path.rglob("*.tmp")} == {
        ".zworble.pt.89abcdef.tmp",
        *(path.name for path in stays),
    }


def test_a_resumed_run_prunes_the_snapshots_of_before(host: FakeHost, config: Configure) -> None:
    """As one that was never stopped would: the last two, and the best by the evaluation known when each was saved."""
    settings = {"save_every": 1, "keep_snapshots": 2, "evaluate_every": 1, "save_state_every": 1}
    whole = Watch()
    runner.run(config(**settings), host, whole)
    controls = RunControls()
    watch = Watch({3: controls.stop.set})
    runner.run(config(**settings, overwrite=True), host, watch, controls)
    runner.resume(watch.folder.path, host)
    kept = [{path.name for path in one.folder.path.glob("embeddings/*")} for one in (whole, watch)]
    assert kept[0] == kept[1]
    assert 2 <= len(kept[0]) <= 3
