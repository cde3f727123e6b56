"""Epochs beside steps: how long a run is, when snapshots and previews are due, with repeats and held-out images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fake_host import FakeHost
from tests.messages import refused, said
from tests.run.test_subsets import Write, host, settings, write  # noqa: F401 (fixtures)
from tinv_ext.core.data.epochs import Epochs
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.settings.adopt import adopt
from tinv_ext.core.training.trainer import Step
from tinv_ext.run import preflight, runner
from tinv_ext.run.curve import read_curve
from tinv_ext.run.events import Event, Prepared, RunControls, Wrote
from tinv_ext.run.resume import prepare_resume


def test_epochs_end_where_they_are_over() -> None:
    """Also between two steps, and several with one step; every so many of them."""
    assert [Epochs(10, 4).over(step) for step in range(6)] == [0, 0, 0, 1, 1, 2]
    assert [step for step in range(1, 11) if Epochs(10, 4).ends(step, 1)] == [3, 5, 8, 10]
    assert [step for step in range(1, 11) if Epochs(10, 4).ends(step, 2)] == [5, 10]
    assert [step for step in range(1, 4) if Epochs(3, 8).ends(step, 2)] == [1, 2, 3]
    assert not any(Epochs(10, 4).ends(step, 0) for step in range(1, 11))
    assert [Epochs(10, 4).begun(step) for step in range(6)] == [0, 1, 1, 2, 2, 2]
    for images in range(1, 9):
        for per_step in range(1, 9):
            epochs = Epochs(images, per_step)
            assert epochs.steps(5) == next(step for step in range(1, 100) if epochs.over(step) >= 5)


def watched(config: TrainConfig, host: FakeHost, stop: int = 0) -> tuple[dict[str, list[int]], list[Path]]:  # noqa: F811
    """The steps of snapshots and previews of a run, and its folder; stopped after a step if that is not 0."""
    wrote: dict[str, list[int]] = {"snapshot": [], "preview": []}
    folders: list[Path] = []
    controls = RunControls()

    def report(event: Event) -> None:
        if isinstance(event, Wrote) and event.kind in wrote:
            wrote[event.kind].append(event.step)
        if isinstance(event, Prepared):
            folders.append(event.folder.path)
        if isinstance(event, Step) and event.number == stop:
            controls.stop.set()

    status = runner.run(config, host, report, controls)
    assert status.status == ("stopped" if stop else "finished")
    return wrote, folders


def test_a_run_of_epochs(write: Write, host: FakeHost, tmp_path: Path) -> None:  # noqa: F811
    """Three epochs of 3 × 2 + 1 images, 2 a step: steps, snapshots, previews and the curve agree."""
    write("set/3_zworble", 10, 20)
    write("set/1_zworble", 30)
    given: dict[str, Any] = {
        "evaluation_images": 0,
        "max_train_epochs": 3,
        "save_every_n_epochs": 1,
        "preview_steps": 1,
        "preview_at_first": True,
    }
    config = settings(tmp_path, tmp_path / "set", template="subject", preview_every_n_epochs=2, **given)
    prepared = preflight.prepare_run(config, host)
    assert (prepared.plan.steps, prepared.config.steps) == (11, 11)  # 21 images, 2 a step
    assert said(prepared.notices, "preflight.epochs", images=7, epochs="3.14")
    with refused("settings.too_large", name="steps"):
        preflight.prepare_run(config.but(max_train_epochs=1_000_000), host)
    wrote, (folder,) = watched(config, host)
    assert wrote == {"snapshot": [4, 7, 11], "preview": [0, 7, 11]}
    rows = read_curve(folder / "loss.csv")
    assert [int(row["epoch"]) for row in rows if int(row["step"])] == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2]


@pytest.mark.parametrize("held_out", [0, 1, 2])
def test_held_out_images_are_in_no_epoch(write: Write, host: FakeHost, tmp_path: Path, held_out: int) -> None:  # noqa: F811
    """What was said before the run is how it is, whichever images the seed holds out."""
    write("set/5_zworble", 10, 20)
    write("set/1_zworble", 30, 40)
    for seed in range(3):
        config = settings(
            tmp_path, tmp_path / "set", template="subject", evaluation_images=held_out, max_train_epochs=1
        )
        config = config.but(seed=seed, batch_size=1)
        prepared = preflight.prepare_run(config, host)
        _, (folder,) = watched(config, host)
        assert len(read_curve(folder / "loss.csv")) == prepared.plan.steps + 1
        assert [int(row["epoch"]) for row in read_curve(folder / "loss.csv")] == [0] * (prepared.plan.steps + 1)


def test_a_run_of_epochs_resumes(write: Write, host: FakeHost, tmp_path: Path) -> None:  # noqa: F811
    """To its epochs, to more of them, or to a number of steps that is given instead."""
    images = write("zworble", 10, 20, 30)
    config = settings(tmp_path, images, template="subject", evaluation_images=0, batch_size=1, max_train_epochs=2)
    _, (folder,) = watched(config, host, stop=4)
    assert runner.resume(folder, host).steps == 6
    assert runner.resume(folder, host).steps == 6  # finished
    more = prepare_resume(folder, host, {"max_train_epochs": 3})
    assert not isinstance(more, type(runner.resume(folder, host)))
    assert more.plan.steps == 9
    assert runner.resume(folder, host, {"steps": 8}).steps == 8


def test_of_diffusers_two_the_steps_count() -> None:
    """Its max_train_steps is above num_train_epochs, kohya's max_train_epochs above max_train_steps."""
    assert "num_train_epochs" not in adopt({"num_train_epochs": 9, "max_train_steps": 5}).settings
    assert adopt({"num_train_epochs": 9}).settings == {"num_train_epochs": 9}
    assert TrainConfig.from_dict({"num_train_epochs": 9}).max_train_epochs == 9


@pytest.mark.parametrize(("ratio", "every"), [(1, 7), (3, 2), (5, 1), (100, 1)])
def test_copies_spread_over_the_epochs(
    write: Write,  # noqa: F811
    host: FakeHost,  # noqa: F811
    tmp_path: Path,
    ratio: int,
    every: int,
) -> None:
    """kohya's ratio: of seven epochs, every so many; instead of what is set otherwise."""
    write("set/1_zworble", 10, 20)
    given = {"max_train_epochs": 7, "save_n_epoch_ratio": ratio, "save_every_n_epochs": 4}
    prepared = preflight.prepare_run(settings(tmp_path, tmp_path / "set", **given), host)
    assert prepared.config.save_every_n_epochs == every
