"""Trackers, read back by their own libraries: TensorBoard's files, and wandb's in its offline mode."""

from __future__ import annotations

import csv
import struct
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.fake_host import FakeHost
from tests.messages import ids, refused
from tests.run.test_runner import Configure, Watch, config, host
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.settings.saving import TRACKERS as NAMES
from tinv_ext.core.settings.saving import trackers_named
from tinv_ext.run import preflight, runner, trackers
from tinv_ext.run.events import Noticed, RunControls
from tinv_ext.run.trackers import TRACKERS, TrackerRow

__all__ = ["config", "host"]  # the fixtures of a short run
NEEDS_TENSORBOARD = pytest.mark.skipif(find_spec("tensorboard") is None, reason="needs tensorboard")
Scalars = dict[str, dict[int, float]]


def test_the_names_that_settings_take_are_those_of_the_table() -> None:
    """Settings do not import the table, for which --help would wait."""
    assert tuple(TRACKERS) == NAMES
    for text in ("tensorboard,wandb", " TensorBoard wandb", "all", "wandb, all"):
        assert sorted(trackers_named(text)) == sorted(NAMES)
    assert trackers_named(" ") == []


def scalars(folder: Path) -> Scalars:
    """What TensorBoard shows of a folder, read by its own reader, with what was purged left out."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder), purge_orphaned_data=True)
    events.Reload()
    return {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def images(folder: Path) -> list[tuple[str, int]]:
    """The images that TensorBoard shows, by name and step."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    return [(tag, event.step) for tag in events.Tags()["images"] for event in events.Images(tag)]


def curve(folder: Path, column: str = "loss") -> dict[int, float]:
    """A column of loss.csv by step; the row before the first step has none."""
    with (folder / "loss.csv").open(encoding="utf-8", newline="") as file:
        return {int(row["step"]): float(row[column]) for row in csv.DictReader(file) if row[column]}


@NEEDS_TENSORBOARD
def test_tensorboard_shows_the_curve_of_the_run(config: Configure, host: FakeHost) -> None:
    """Each number of each step, the evaluation, and the previews."""
    watch = Watch()
    runner.run(config(log_with="tensorboard", evaluate_every=2, preview_every=3, preview_at_first=False), host, watch)
    found = scalars(watch.folder.tensorboard)
    for name in ("loss", "vector_norm"):
        wanted = {step: value for step, value in curve(watch.folder.path, name).items() if step}
        assert found[name] == pytest.approx(wanted, rel=1e-5)
    assert set(found) == {"loss", "learning_rate", "gradient_norm", "vector_norm", "distance", "evaluation_loss"}
    assert list(found["evaluation_loss"]) == [0, 2, 4, 6]
    assert images(watch.folder.tensorboard) == [("preview/1", 3), ("preview/1", 6)]


@NEEDS_TENSORBOARD
def test_a_resumed_run_goes_on_in_the_same_curve(config: Configure, host: FakeHost) -> None:
    """Each step is there once, as in a run that was not stopped."""
    controls = RunControls()
    watch = Watch({3: controls.stop.set})
    runner.run(config(log_with="tensorboard"), host, watch, controls)
    runner.resume(watch.folder.path, host)
    found = scalars(watch.folder.tensorboard)
    assert found["loss"] == pytest.approx(curve(watch.folder.path), rel=1e-5)
    assert list(found["loss"]) == [1, 2, 3, 4, 5, 6]


@NEEDS_TENSORBOARD
def test_its_folder_can_be_chosen(config: Configure, host: FakeHost, tmp_path: Path) -> None:
    """Each run has one of its own below it."""
    watch = Watch()
    runner.run(config(log_with="tensorboard", logging_dir=str(tmp_path / "logs")), host, watch)
    assert set(scalars(tmp_path / "logs" / watch.folder.path.name)["loss"]) == {1, 2, 3, 4, 5, 6}
    assert not watch.folder.tensorboard.exists()


def chunks(contents: bytes) -> Iterator[bytes]:
    """The records of a .wandb file: after 7 bytes, LevelDB's log format (blocks of 32 KiB; crc, length and part)."""
    place, whole = 7, b""
    while place < len(contents):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, part = struct.unpack_from("<HB", contents, place + 4)
        whole += contents[place + 7 : place + 7 + length]
        place += 7 + length
        if part in (1, 4):  # whole, or the last part of one
            yield whole
            whole = b""


def test_wandb_keeps_the_curve_offline(
    config: Configure, host: FakeHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In its own file, with the settings but without a path of this machine; resumed under the same id."""
    records = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    monkeypatch.setenv("WANDB_MODE", "offline")
    controls = RunControls()
    watch, resumed = Watch({3: controls.stop.set}), Watch()
    runner.run(config(log_with="wandb", tracker_project="words"), host, watch, controls)
    runner.resume(watch.folder.path, host, report=resumed)
    told = [event.text for event in (*watch.events, *resumed.events) if isinstance(event, Noticed)]
    assert "run.tracker_off" not in ids(told), told

    def read() -> tuple[list[int], set[tuple[str, str]], bytes]:
        steps, ids_found, contents = [], set(), b""
        for file in sorted(watch.folder.path.glob("wandb/offline-run-*/*.wandb")):
            contents += file.read_bytes()
            for data in chunks(file.read_bytes()):
                record = records.Record()
                record.ParseFromString(data)
                values = {
                    item.nested_key[0] if item.nested_key else item.key: item.value_json for item in record.history.item
                }
                if "loss" in values:
                    steps.append(int(values["step"]))
                if record.run.run_id:
                    ids_found.add((record.run.project, record.run.run_id))
        return steps, ids_found, contents

    end = time.monotonic() + 60
    while len(read()[0]) < 6 and time.monotonic() < end:  # the process of wandb's own writes on after `finish`
        time.sleep(0.1)
    steps, ids_found, contents = read()
    assert steps == [1, 2, 3, 4, 5, 6]
    assert ids_found == {("words", (watch.folder.path / "wandb-id.txt").read_text(encoding="utf-8"))}
    assert str(tmp_path).encode() not in contents


def test_the_run_goes_on_without_a_tracker_that_fails(
    config: Configure, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told once, and the vectors are those of a run without one."""

    class Fails:
        def add_numbers(self, step: int, numbers: object) -> None:
            raise ConnectionError("no route to host")

    row: Callable[..., Any] = lambda *about: Fails()  # noqa: E731
    monkeypatch.setattr(trackers, "TRACKERS", {"tensorboard": TrackerRow(row, "csv")})
    watch = Watch()
    status = runner.run(config(log_with="tensorboard"), host, watch)
    told = [event.text for event in watch.events if isinstance(event, Noticed)]
    assert status.status == "finished"
    assert ids(told).count("run.tracker_off") == 1


def test_what_cannot_be_used_is_said_before_anything_starts(
    config: Configure, host: FakeHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A package that is not there, a key that nobody gave, and a name that nothing has."""
    monkeypatch.setattr(trackers, "TRACKERS", {"tensorboard": TrackerRow(trackers.TensorBoard, "no_such_package")})
    with refused("run.tracker_package", name="tensorboard", package="no_such_package"):
        preflight.prepare_run(config(log_with="tensorboard"), host)
    assert TrainConfig.read({"log_with": "tensorbord"})[1][0].id == "settings.invalid"  # type: ignore[attr-defined]
    monkeypatch.undo()
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with refused("run.tracker_no_key"):
        preflight.prepare_run(config(log_with="wandb"), host)
