"""A run from its settings to its file, on a model of a few lines: what is written, and when nothing is."""

from __future__ import annotations

import csv
import errno
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.core.fake import WIDTH
from tests.fake_host import FakeHost, FakeModel
from tests.messages import ids, refused, said
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import InputError, NotNowError, NumericError
from tinv_ext.core.formats import read_embedding, write_embedding
from tinv_ext.core.model import Model
from tinv_ext.core.preflight.prepare import PreparedRun
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.training.state import State, load_state
from tinv_ext.core.training.trainer import Step
from tinv_ext.core.training.word_rates import Moves
from tinv_ext.run import evaluations, preflight, run_folder, runner
from tinv_ext.run.curve import COLUMNS
from tinv_ext.run.events import Event, Noticed, Prepared, RunControls, Wrote
from tinv_ext.run.provenance import run_facts
from tinv_ext.run.resume import prepare_resume
from tinv_ext.run.run_lock import FILE, RunLock, TakenOverError
from tinv_ext.run.status import Status

Configure = Callable[..., TrainConfig]


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """A host with an empty folder of embeddings."""
    return FakeHost(tmp_path / "embeddings")


@pytest.fixture
def config(tmp_path: Path) -> Configure:
    """Settings of a short run on three pictures, but for those given."""
    images = tmp_path / "images"
    images.mkdir()
    for index in range(3):
        Image.new("RGB", (64, 64), (80 * index, 200 - 60 * index, 30)).save(images / f"{index} a thing.png")

    def make(**given: Any) -> TrainConfig:
        values = {
            "name": "zworble",
            "preset": "classic",  # whose optimizer a state is read with where none is named
            "num_vectors": 2,
            "images": str(images),
            "output": str(tmp_path / "runs"),
            "steps": 6,
        }
        few = {
            "width": 64,
            "height": 64,
            "preview_steps": 1,
            "preview_every": 0,
            "preview_at_first": True,
            "evaluation_timesteps": 1,
            "evaluate_every": 0,
        }
        return TrainConfig.from_dict({**values, **few, **given})

    return make


class Watch:
    """Keeps what a run reports; with `at`, does something when a step is reported."""

    def __init__(self, at: Mapping[int, Callable[[], None]] | None = None) -> None:
        self.events: list[Event] = []
        self.at = dict(at or {})

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Step) and event.number in self.at:
            self.at.pop(event.number)()

    @property
    def folder(self) -> run_folder.RunFolder:
        """Of the run."""
        return next(event.folder for event in self.events if isinstance(event, Prepared))

    @property
    def steps(self) -> list[int]:
        """Numbers of the steps that were taken."""
        return [event.number for event in self.events if isinstance(event, Step)]


def files(folder: Path) -> set[str]:
    """What lies in a folder and below."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def contents(folder: Path) -> dict[str, bytes]:
    """Every byte of a folder."""
    return {name: (folder / name).read_bytes() for name in files(folder)}


def rows(folder: run_folder.RunFolder) -> list[dict[str, str]]:
    """The curve."""
    with folder.curve.open(newline="") as file:
        return list(csv.DictReader(file))


def fail() -> None:
    """Something that nobody expected."""
    raise ZeroDivisionError("the sky fell")


def test_a_run_writes_these_files_and_no_others(host: FakeHost, config: Configure, tmp_path: Path) -> None:
    """The embedding with its thumbnail, the run folder, and the cache of latents; files named N hold step N."""
    watch = Watch()
    given = {"save_every": 4, "preview_every": 3, "evaluate_every": 5, "save_state_every": 2}
    status = runner.run(config(preview_prompt="a [name]\n[name] too", **given), host, watch)
    name = watch.folder.path.relative_to(tmp_path).as_posix()
    previews = [f"zworble-{step}{number}.png" for step in (0, 3, 6) for number in ("", "-2")]
    inside = {"config.json", "status.json", "log.txt", "loss.csv", "state.safetensors", "embeddings/zworble-4.pt"}
    inside |= {"state.previous.safetensors"}
    inside |= {f"{kind}/{preview}" for kind in ("images", "image_embeddings") for preview in previews}
    expected = {"embeddings/zworble.pt", "embeddings/zworble.preview.png", *(f"{name}/{file}" for file in inside)}
    written = {file for file in files(tmp_path) if not file.startswith(("images/", "runs/latents/"))}
    assert written == expected
    assert len([name for name in files(tmp_path / "runs" / "latents") if name.endswith(".safetensors")]) == 3
    assert status == Status("finished", 6, str(tmp_path / "embeddings" / "zworble.pt"), total=6, file_step=6)
    assert watch.folder.status() == status
    for path in [*watch.folder.path.glob("embeddings/*.pt"), *watch.folder.path.glob("image_embeddings/*.png")]:
        number = int(path.stem.split("-")[1])
        found = read_embedding(path)
        assert (found.step, found.count) == (number, 2)
    last = read_embedding(tmp_path / "embeddings" / "zworble.pt")
    assert (last.step, last.name, last.model_hash, last.model_name) == (6, "zworble", "0123456789", "fake")
    state, _ = load_state(watch.folder.state, torch.device("cpu"))
    assert torch.equal(state.values("zworble")["clip_l"], last.vectors["clip_l"])
    infotext = Image.open(watch.folder.path / "images" / "zworble-3-2.png").text["parameters"]
    assert infotext.startswith("zworble too\nSteps: 1")
    assert "Model: fake" in infotext


def test_the_least_that_a_run_writes(host: FakeHost, config: Configure) -> None:
    """With nothing on the way there are five files, and no state to go on from."""
    watch = Watch()
    runner.run(config(save_state_every=0, cache_latents=False), host, watch)
    assert files(watch.folder.path) == {"config.json", "status.json", "log.txt", "loss.csv"}
    assert not (watch.folder.path.parents[1] / "latents").exists()


def test_the_curve_has_a_row_for_each_step(host: FakeHost, config: Configure) -> None:
    """Step 0 with the evaluation before; epochs by pictures seen; rates as scheduled; the last step is evaluated."""
    watch = Watch()
    runner.run(config(learning_rate="0.1:4, 0.01", batch_size=2, evaluate_every=4), host, watch)
    table = rows(watch.folder)
    assert list(table[0]) == list(COLUMNS)
    assert [row["step"] for row in table] == [str(step) for step in range(7)]
    assert [row["epoch"] for row in table] == ["0", "0", "0", "1", "2", "2", "3"]
    assert [row["learn_rate"] for row in table[1:]] == ["0.1"] * 4 + ["0.01"] * 2
    assert [step for step, row in enumerate(table) if row["evaluation"]] == [0, 4, 6]
    assert all(float(row["loss"]) > 0 and float(row["gradient_norm"]) > 0 for row in table[1:])
    assert len({row["vector_norm"] for row in table}) == 7


def test_the_run_can_be_repeated_from_its_config(host: FakeHost, config: Configure, tmp_path: Path) -> None:
    """config.json holds all settings; the same run gives the same vectors bit for bit."""
    watch = Watch()
    runner.run(config(), host, watch)
    again = TrainConfig.from_dict({**watch.folder.config().to_dict(), "name": "zworble-b"})
    runner.run(again, host)
    one, other = (read_embedding(tmp_path / "embeddings" / f"{name}.pt") for name in ("zworble", "zworble-b"))
    assert torch.equal(one.vectors["clip_l"], other.vectors["clip_l"])


def test_no_path_of_this_machine_is_in_the_embedding(host: FakeHost, config: Configure, tmp_path: Path) -> None:
    """Neither the folders nor the file of a template nor that of the vectors begun with, in any file that is shared."""
    (tmp_path / "my template.txt").write_text("a [name]")
    write_embedding(Embedding("begun", {"clip_l": torch.zeros(2, WIDTH)}, step=1), tmp_path / "begun.pt")
    given = {"template": str(tmp_path / "my template.txt"), "init_embedding": str(tmp_path / "begun.pt")}
    watch = Watch()
    runner.run(config(save_every=5, preview_every=5, **given), host, watch)
    shared = [tmp_path / "embeddings" / "zworble.pt", *watch.folder.path.glob("*/*.*")]
    assert len(shared) == 8
    for path in shared:
        assert str(tmp_path).encode() not in path.read_bytes()
    for path in (path for path in shared if path.parent.name != "images"):
        assert str(tmp_path) not in json.dumps(dict(read_embedding(path).facts))
    assert (
        run_facts(preflight.prepare_run(config(overwrite=True, **given), host), host)["settings"]["template"]
        == "my template.txt"
    )


@pytest.mark.parametrize(
    "given",
    [
        {"images": "/not/there"},
        {"template": "none"},
        {"name": "cat"},
        {"init_embedding": "gone.pt"},
        {"template": "nope"},
    ],
)
def test_nothing_is_written_when_something_is_wrong(
    host: FakeHost, config: Configure, tmp_path: Path, given: dict[str, Any]
) -> None:
    """Not a folder."""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError):
        runner.run(config(**given), host)
    assert sorted(tmp_path.rglob("*")) == before


def test_values_and_what_they_name_are_told_together(host: FakeHost, tmp_path: Path) -> None:
    """A wrong number, an unknown name and a missing folder: three sentences."""
    with pytest.raises(InputError) as caught:
        preflight.parse_settings({"name": "zworble", "steps": "0", "stepps": 1, "images": str(tmp_path / "gone")}, host)
    assert len(caught.value.problems) == 3


def test_a_place_that_cannot_be_written_is_told(host: FakeHost, config: Configure, tmp_path: Path) -> None:
    """A file stands where the log directory should be."""
    (tmp_path / "taken").write_text("")
    with refused("run.log_directory_not_writable"):
        runner.run(config(output=str(tmp_path / "taken")), host)


def test_an_embedding_that_is_replaced_is_kept(host: FakeHost, config: Configure, tmp_path: Path) -> None:
    """Unasked it is refused; with overwrite all files of the name move into the run folder, byte for byte."""
    folder = tmp_path / "embeddings"
    folder.mkdir()
    write_embedding(Embedding("zworble", {"clip_l": torch.ones(1, WIDTH)}), folder / "zworble.pt")
    write_embedding(Embedding("ZWORBLE", {"clip_l": torch.ones(1, 999)}), folder / "ZWORBLE.safetensors")
    old = contents(folder)
    host.refresh_embeddings()
    with pytest.raises(InputError, match="already an embedding"):
        runner.run(config(), host)
    watch = Watch()
    runner.run(config(overwrite=True), host, watch)
    assert contents(watch.folder.path / "replaced") == old
    assert files(folder) == {"zworble.pt"}
    assert read_embedding(folder / "zworble.pt").step == 6


def test_a_file_of_the_name_for_another_model_is_refused(host: FakeHost, config: Configure, tmp_path: Path) -> None:
    """The host does not know it, as it does not fit; it would be replaced all the same."""
    folder = tmp_path / "embeddings"
    folder.mkdir()
    write_embedding(Embedding("zworble", {"clip_l": torch.ones(1, 768)}), folder / "zworble.pt")
    host.refresh_embeddings()
    with pytest.raises(InputError, match=r'already a file "zworble\.pt"'):
        runner.run(config(), host)


def test_a_run_is_finished_when_prompts_know_its_word(host: FakeHost, config: Configure) -> None:
    """Not a moment before: whoever waits for that status types the word next."""
    known: list[list[str]] = []

    def look(event: Event) -> None:
        if isinstance(event, Status) and event.status == "finished":
            known.append([word.name for word in host.known_words()])

    runner.run(config(), host, look)
    assert known == [["zworble"]]


def test_stopping_writes_the_file(host: FakeHost, config: Configure, tmp_path: Path) -> None:
    """After the step at hand, with the status that says so; the run can go on to its end."""
    controls = RunControls()
    watch = Watch({3: controls.stop.set})
    status = runner.run(config(), host, watch, controls)
    assert (status.status, status.steps) == ("stopped", 3)
    assert read_embedding(tmp_path / "embeddings" / "zworble.pt").step == 3
    assert watch.steps == [1, 2, 3]
    more = Watch()
    assert runner.resume(watch.folder.path, host, report=more).status == "finished"
    assert more.steps == [4, 5, 6]
    assert [row["step"] for row in rows(watch.folder)] == [str(step) for step in range(7)]


def test_a_snapshot_and_a_preview_are_made_once_when_asked_for(host: FakeHost, config: Configure) -> None:
    """At the step at which they were asked for."""
    controls = RunControls()
    watch = Watch({2: controls.snapshot.set, 4: controls.preview.set})
    runner.run(config(), host, watch, controls)
    written = files(watch.folder.path)
    assert {file for file in written if file.startswith(("embeddings", "images"))} == {
        "embeddings/zworble-2.pt",
        "images/zworble-4.png",
    }


def test_a_snapshot_asked_for_while_one_is_written_is_made_after_the_next_step(
    host: FakeHost,
    config: Configure,
) -> None:
    """No request is lost, and none is done twice."""
    controls, written = RunControls(), list[int]()

    def report(event: Event) -> None:
        if isinstance(event, Wrote) and event.kind == "snapshot":
            written.append(event.step)
            if len(written) == 1:
                controls.snapshot.set()

    runner.run(config(save_every=4), host, report, controls)
    assert written == [4, 5]


def test_a_paused_run_waits_outside_of_training(host: FakeHost, config: Configure) -> None:
    """It reports that it rests and goes on where it stood."""
    controls = RunControls()
    watch = Watch({2: controls.pause.set})

    def report(event: Event) -> None:
        watch(event)
        if isinstance(event, Status) and event.status == "paused":
            assert watch.folder.status() == event
            controls.pause.clear()

    assert runner.run(config(), host, report, controls).status == "finished"
    told = [(event.status, event.steps) for event in watch.events if isinstance(event, Status)]
    assert told[:4] == [("preparing", 0), ("training", 0), ("paused", 2), ("training", 2)]
    assert told[-2:] == [("stopping", 6), ("finished", 6)]
    assert watch.steps == [1, 2, 3, 4, 5, 6]


class Away(FakeHost):
    """A host whose model others have at the visits of these numbers, counted from 1."""

    def __init__(self, folder: Path, *visits: int, comes_back: bool = False) -> None:
        super().__init__(folder)
        self.visits, self.comes_back, self.count = visits, comes_back, 0

    @contextmanager
    def training(self, clip_skip: int) -> Iterator[Model]:
        self.count += 1
        if self.count in self.visits:
            raise NotNowError("Another model is loaded.", lambda: self.comes_back)
        yield FakeModel()

    def wanted(self) -> bool:
        return True


def learnt(folder: Path) -> torch.Tensor:
    """The vectors in the file."""
    return read_embedding(folder / "zworble.pt").vectors["clip_l"]


def test_a_run_whose_model_is_gone_pauses_and_can_be_resumed(config: Configure, tmp_path: Path) -> None:
    """At its beginning and in its midst; it says why, and the vectors are those of an undisturbed run."""
    runner.run(config(overwrite=True), FakeHost(tmp_path / "embeddings"))
    right = learnt(tmp_path / "embeddings")
    controls, paused = RunControls(), []

    def report(event: Event) -> None:
        if isinstance(event, Status) and event.status == "paused":
            paused.append((event.steps, event.reason))
            controls.pause.clear()  # somebody presses Resume

    status = runner.run(config(overwrite=True), Away(tmp_path / "embeddings", 1, 4, 5), report, controls)
    assert (status.status, status.reason) == ("finished", "")
    assert paused == [(step, "Another model is loaded.") for step in (0, 1, 1)]
    assert torch.equal(learnt(tmp_path / "embeddings"), right)


def test_a_run_goes_on_by_itself_when_the_trouble_is_over(
    config: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where that can be known."""
    monkeypatch.setattr(runner, "_RECHECK", 0.0)
    assert runner.run(config(), Away(tmp_path / "embeddings", 3, comes_back=True)).status == "finished"


def test_a_run_that_waits_can_be_stopped(config: Configure, tmp_path: Path) -> None:
    """With what it has learnt; before the first step with nothing written."""
    for visit, steps in ((4, 2), (1, 0)):
        controls = RunControls()

        def report(event: Event, controls: RunControls = controls) -> None:
            if isinstance(event, Status) and event.status == "paused":
                controls.stop.set()

        folder = tmp_path / str(visit)
        status = runner.run(config(), Away(folder, visit), report, controls)
        assert (status.status, status.steps) == ("stopped", steps)
        assert folder.exists() == bool(steps)


def test_the_hosts_interrupt_stops_the_run(host: FakeHost, config: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saved, and said by whom."""
    watch = Watch({3: lambda: monkeypatch.setattr(host, "interrupted", lambda: True)})
    status = runner.run(config(), host, watch)
    assert (status.status, status.steps) == ("stopped", 3)
    assert said([status.reason], "run.interrupted")


def test_a_full_disk_pauses_the_run_until_there_is_room(
    host: FakeHost, config: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state that was due is written then; the result is that of a run with room enough."""
    runner.run(config(overwrite=True), host)
    right, full, real = learnt(tmp_path / "embeddings"), [2, 6], os.fsync

    def sync(number: int) -> None:
        if watch.steps and watch.steps[-1] in full:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(number)

    monkeypatch.setattr(os, "fsync", sync)
    controls, paused = RunControls(), []

    class Freed(Watch):
        """Somebody makes room when the run says that it waits."""

        def __call__(self, event: Event) -> None:
            super().__call__(event)
            if isinstance(event, Status) and event.status == "paused":
                paused.append(event)
                full.remove(event.steps)
                controls.pause.clear()

    watch = Freed()
    assert runner.run(config(overwrite=True, save_state_every=2), host, watch, controls).status == "finished"
    assert [event.steps for event in paused] == [2, 6]
    assert ids(event.reason for event in paused) == ["files.disk_full"] * 2
    assert torch.equal(learnt(tmp_path / "embeddings"), right)


def test_what_has_changed_is_told_when_a_run_goes_on(host: FakeHost, config: Configure, tmp_path: Path) -> None:
    """Settings, and pictures added, removed and changed; what changes no step is not worth a word."""
    watch = Watch()
    runner.run(config(steps=3), host, watch)
    images = tmp_path / "images"
    (images / "0 a thing.png").unlink()
    Image.new("RGB", (64, 64), "white").save(images / "1 a thing.png")
    Image.new("RGB", (64, 64), "black").save(images / "9 a thing.png")
    more = Watch()
    changes = {"steps": 6, "learning_rate": "0.01", "save_every": 2}
    assert runner.resume(watch.folder.path, host, changes, more).status == "finished"
    (notice,) = [event.text for event in more.events if isinstance(event, Noticed)]
    assert said([notice], "run.differs", step=3)
    changes = notice.values["changes"]
    assert len(changes) == 4
    assert said(changes, "run.was_and_is", key="learning_rate", before="0.005", now="0.01")
    for what, name in (("added", "9 a thing.png"), ("removed", "0 a thing.png"), ("changed", "1 a thing.png")):
        assert said(changes, f"run.images_{what}", files=name)


def test_only_the_last_snapshots_and_the_best_are_kept(
    host: FakeHost, config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the evaluation loss measured last before each."""
    losses = iter([9.0, 5.0, 1.0, 4.0, 3.0, 2.0, 6.0])  # steps 0 to 6
    monkeypatch.setattr(evaluations, "draw_losses", lambda *given: torch.tensor([next(losses)]))
    watch = Watch()
    runner.run(config(save_every=1, evaluate_every=1, keep_snapshots=2), host, watch)
    copies = {path.stem for path in (watch.folder.path / "embeddings").iterdir()}
    assert copies == {"zworble-2", "zworble-5", "zworble-6"}


def test_a_failure_keeps_what_was_learnt(host: FakeHost, config: Configure, tmp_path: Path) -> None:
    """Status failed with the reason, vectors and state of the last step, no embedding in use; then it can go on."""
    watch = Watch({4: fail})
    with pytest.raises(ZeroDivisionError):
        runner.run(config(save_state_every=100), host, watch)
    assert watch.folder.status() == Status("failed", 4, None, "ZeroDivisionError: the sky fell", 6)
    assert not (tmp_path / "embeddings").exists()
    state, _ = load_state(watch.folder.state, torch.device("cpu"))
    kept = read_embedding(watch.folder.path / "embeddings" / "zworble-4.pt")
    assert (state.step, kept.step) == (4, 4)
    assert torch.equal(state.values("zworble")["clip_l"], kept.vectors["clip_l"])
    assert "failed at step 4" in watch.folder.log.read_text("utf-8")
    assert runner.resume(watch.folder.path, host).steps == 6


def test_vectors_that_are_no_numbers_never_replace_good_ones(
    host: FakeHost, config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fourth update makes them infinite: the error says it, and vectors and state of step 3 are kept."""
    update = State.update

    def overflow(state: State, rate: float, moves: Moves) -> None:
        update(state, rate, moves)
        if state.step == 4:
            state.leaves()[0].data[0, 0] = float("inf")

    monkeypatch.setattr(State, "update", overflow)
    watch = Watch()
    with refused("training.vectors_not_finite", NumericError, step=4):
        runner.run(config(save_state_every=2, save_every=2), host, watch)
    copies = {file for file in files(watch.folder.path) if file.startswith("embeddings")}
    assert copies == {"embeddings/zworble-2.pt", "embeddings/zworble-3.pt"}
    state, _ = load_state(watch.folder.state, torch.device("cpu"))
    assert state.step == 3
    assert torch.isfinite(state.values("zworble")["clip_l"]).all()
    assert (watch.folder.status().status, watch.folder.status().reason[:9]) == ("failed", "numeric: ")


def test_previews_that_fail_end_no_run(host: FakeHost, config: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    """After three in a row no more are drawn, which is said; one that is asked for is tried nevertheless."""
    drawn: list[int] = []
    monkeypatch.setattr(host, "generate", lambda *asked: drawn.append(1) or fail())
    controls = RunControls()
    watch = Watch({5: controls.preview.set})
    assert runner.run(config(preview_every=1), host, watch, controls).status == "finished"
    notices = [event.text for event in watch.events if isinstance(event, Noticed)]
    assert len(drawn) == 4
    assert ids(notices) == ["run.no_preview", "run.no_preview", "run.previews_off", "run.no_preview"]
    assert all("ZeroDivisionError: the sky fell" in text for text in notices)


def test_a_run_that_could_not_write_its_file_writes_it_later(host: FakeHost, config: Configure, tmp_path: Path) -> None:
    """All steps are done, the folder of embeddings cannot be made: mended, the run takes no step and is finished."""
    watch = Watch({6: (tmp_path / "embeddings").touch})
    with pytest.raises(Exception, match=r"embeddings|File exists"):
        runner.run(config(), host, watch)
    assert watch.folder.status().status == "failed"
    (tmp_path / "embeddings").unlink()
    more = Watch()
    status = runner.resume(watch.folder.path, host, report=more)
    assert (status.status, status.steps, more.steps) == ("finished", 6, [])
    assert read_embedding(tmp_path / "embeddings" / "zworble.pt").step == 6


@pytest.mark.parametrize(
    "given, changes",
    [
        ({}, {}),
        ({}, {"steps": 6}),
        ({}, {"steps": "5", "seed": 9}),
        ({"save_state_every": 0}, {}),
        ({"learning_rate": "0.1:4"}, {}),
        ({"learning_rate": "0.1:4"}, {"seed": 9}),  # a setting has changed, but the rates still end there
    ],
)
def test_a_finished_run_is_left_as_it_is(
    host: FakeHost, config: Configure, tmp_path: Path, given: dict[str, Any], changes: dict[str, Any]
) -> None:
    """Not one byte changes, and the status is told again; also where no state was kept."""
    watch = Watch()
    status = runner.run(config(**given), host, watch)
    before = contents(tmp_path)
    assert runner.resume(watch.folder.path, host, changes) == status
    assert contents(tmp_path) == before


def test_a_finished_run_can_be_made_longer(host: FakeHost, config: Configure, tmp_path: Path) -> None:
    """From its last step to the new one; the old file is kept."""
    watch = Watch()
    runner.run(config(), host, watch)
    more = Watch()
    assert runner.resume(watch.folder.path, host, {"steps": 8}, more).steps == 8
    assert more.steps == [7, 8]
    assert read_embedding(watch.folder.path / "replaced" / "zworble.pt").step == 6


def test_a_run_that_is_resumed_stays_where_it_is(host: FakeHost, config: Configure, tmp_path: Path) -> None:
    """Another log directory does not move it, which is told; its own is no news."""
    watch = Watch()
    runner.run(config(), host, watch)
    folder = watch.folder
    for output, told in ((str(tmp_path / "elsewhere"), True), (folder.log_directory, False)):
        prepared = prepare_resume(folder.path, host, {"steps": 8, "output": output})
        assert isinstance(prepared, PreparedRun)
        assert ("run.stays" in ids(prepared.notices)) == told


def test_what_cannot_go_on_is_told(host: FakeHost, config: Configure, tmp_path: Path) -> None:
    """No run, no state, a damaged state, another name, fewer steps than were taken: sentences, and nothing changes."""
    controls = RunControls()
    watch = Watch({3: controls.stop.set})
    runner.run(config(), host, watch, controls)
    folder = watch.folder
    before = contents(tmp_path)
    with refused("run.other_name", before="zworble", name="other-1"):
        runner.resume(folder.path, host, {"name": "other-1"})
    beginning = {"num_vectors": 4, "init_text": "dog", "optimizer": "sgd"}
    with refused("run.cannot_change", name="num_vectors", now=4) as caught:
        runner.resume(folder.path, host, beginning)
    for name in ("init_text", "optimizer"):
        assert said(caught.value.problems, "run.cannot_change", name=name, now=beginning[name])
    assert folder.config().num_vectors == 2
    for changes in ({"steps": 2}, {"x": 1}):
        with pytest.raises(InputError):
            runner.resume(folder.path, host, changes)
    with refused("run.not_a_run", path=tmp_path):
        runner.resume(tmp_path, host)
    assert contents(tmp_path) == before
    folder.state.write_bytes(b"nonsense")
    with refused("run.state_unreadable"):
        runner.resume(folder.path, host)
    folder.state.unlink()
    with refused("run.no_state"):
        runner.resume(folder.path, host)


def test_what_was_edited_in_the_config_of_a_run_is_checked_like_what_is_given(
    host: FakeHost, config: Configure
) -> None:
    """What cannot change is refused, not written down as if it had; more steps are taken."""
    watch = Watch()
    runner.run(config(), host, watch)
    file = watch.folder.path / "config.json"
    content = json.loads(file.read_text("utf-8"))

    def edit(**settings: object) -> None:
        file.write_text(json.dumps({**content, "settings": {**content["settings"], **settings}}), "utf-8")

    edit(name="other-1", steps=8)
    with refused("run.other_name", before="zworble", name="other-1"):
        runner.resume(watch.folder.path, host)
    edit(num_vectors=4, steps=8)
    with refused("run.cannot_change", name="num_vectors", before=2, now=4):
        runner.resume(watch.folder.path, host)
    edit(optimizer="sgd", steps=8)
    with refused("run.cannot_change", name="optimizer", now="sgd"):
        runner.resume(watch.folder.path, host, {"steps": 9})
    edit(steps=8)
    assert runner.resume(watch.folder.path, host).steps == 8


def test_a_model_of_another_family_is_refused(host: FakeHost, config: Configure, tmp_path: Path) -> None:
    """Before anything of the run is changed, with the encoders of both."""
    controls = RunControls()
    watch = Watch({3: controls.stop.set})
    runner.run(config(), host, watch, controls)
    before = contents(tmp_path)
    host.token_table = replace(host.token_table, widths={"clip_l": 8, "clip_g": 10})
    with refused("run.other_encoders", now=["clip_g (10)", "clip_l (8)"]):
        runner.resume(watch.folder.path, host)
    assert contents(tmp_path) == before


def test_a_finished_run_cannot_be_given_another_beginning(host: FakeHost, config: Configure) -> None:
    """As one that has not: it would seem to have been trained with it."""
    watch = Watch()
    runner.run(config(), host, watch)
    with refused("run.cannot_change", name="optimizer", now="sgd"):
        runner.resume(watch.folder.path, host, {"optimizer": "sgd"})
    assert runner.resume(watch.folder.path, host, {"seed": 5}).status == "finished"


def test_a_folder_where_the_embedding_would_be_is_told_before(host: FakeHost, config: Configure) -> None:
    """Also with overwrite, which only takes the place of files."""
    (host.embeddings_folder / "zworble.pt").mkdir(parents=True)
    with refused("run.folder_in_place", path=host.embeddings_folder / "zworble.pt"):
        runner.run(config(overwrite=True), host)


def test_transparent_parts_are_not_learnt(host: FakeHost, config: Configure, tmp_path: Path) -> None:
    """With alpha_as_loss_weight a run on half-transparent pictures goes another way than without; both end well."""
    image = Image.new("RGBA", (64, 64), (200, 30, 30, 255))
    image.paste((0, 0, 0, 0), (32, 0, 64, 64))
    image.save(tmp_path / "images" / "0 a thing.png")
    for name, use in (("zworble", False), ("zworble-b", True)):
        runner.run(config(name=name, alpha_as_loss_weight=use), host)
    one, other = (read_embedding(tmp_path / "embeddings" / f"{name}.pt") for name in ("zworble", "zworble-b"))
    assert not torch.equal(one.vectors["clip_l"], other.vectors["clip_l"])


def test_a_run_that_another_program_has_taken_over_writes_nothing_more(
    host: FakeHost, config: Configure, tmp_path: Path
) -> None:
    """As after a machine slept, on a shared disk: it ends, and every file is the other's."""
    before: dict[str, bytes] = {}

    def taken() -> None:
        lock = watch.folder.path / FILE
        lock.write_text(lock.read_text().replace('"token": "', '"token": "not '))
        RunLock.touch(locks[0])
        before.update(contents(watch.folder.path))

    watch, locks = Watch({3: taken}), list[RunLock]()
    create = RunLock.create

    def created(lock: RunLock) -> None:
        locks.append(lock)
        create(lock)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunLock, "create", created)
        with refused("run.taken_over", TakenOverError):
            runner.run(config(save_state_every=5), host, watch)
    assert watch.steps == [1, 2, 3]
    assert contents(watch.folder.path) == before
    last = watch.events[-1]
    assert isinstance(last, Status)
    assert last.status == "failed"
    assert not (tmp_path / "embeddings" / "zworble.pt").exists()
