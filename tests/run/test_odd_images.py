"""images.csv and its notice: real runs on a model of a few lines, and on the toy, with an image of something else."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.core.training.test_natural_gradient import initial_ong
from tests.fake_host import FakeHost
from tests.messages import said
from tests.run.test_runner import Configure, Watch, config, host
from tests.run.test_standstill import stopped_at, told
from tinv_ext.core.formats import read_embedding
from tinv_ext.core.messages import encodable
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.training.state import State
from tinv_ext.core.training.trainer import Step
from tinv_ext.demo import concept_test
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.run import runner
from tinv_ext.run.odd_images import COLUMNS, OddImages
from tinv_ext.run.reporter import RunReporter
from tinv_ext.run.run_folder import RunFolder
from tinv_ext.run.status import Status
from tinv_ext.run.tasks import Moment
from tinv_ext.toy import heldout, model

__all__ = ["config", "host"]  # the fixtures of a short run

NOTICE = "run.odd_images"
LESS = "run.odd_images_count_less"
ONG = {"optimizer": "ong", "learning_rate": 1, "steps": 60, "overwrite": True}


def table(watch: Watch) -> list[dict[str, str]]:
    """The rows of images.csv."""
    with watch.folder.images.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def images(config: Configure) -> Path:
    """Five more, so that one can be told from the others."""
    folder = Path(config().images)
    for index in range(3, 8):
        Image.new("RGB", (64, 64), (25 * index, 90, 30)).save(folder / f"{index} ein Bild, süß 图.png")
    return folder


def test_each_image_has_its_row(host: FakeHost, config: Configure, images: Path) -> None:
    """Every visit counts but that of the first step, when the word has not moved; sorted by how far it pulls back."""
    watch = Watch()
    runner.run(config(**ONG), host, watch)
    rows = table(watch)
    assert tuple(rows[0]) == COLUMNS
    assert {row["word"] for row in rows} == {"zworble"}
    assert {row["image"] for row in rows} == {path.name for path in images.iterdir()}
    assert sum(int(row["visits"]) for row in rows) == 59
    deviations = [float(row["deviation"]) for row in rows]
    assert deviations == sorted(deviations, reverse=True)
    assert all(-1 <= float(row["pull"]) <= 1 and float(row["error"]) >= 0 for row in rows)
    assert not said(told(watch), NOTICE)


@pytest.mark.parametrize("step", [7, 50, 59])
def test_a_run_that_was_stopped_has_the_same_table(step: int, host: FakeHost, config: Configure, images: Path) -> None:
    """To the last digit; also where it was stopped at a step after which it is written."""
    whole = Watch()
    runner.run(config(**ONG), host, whole)
    stopped = stopped_at(step, config(**ONG), host)
    assert sum(int(row["visits"]) for row in table(stopped)) == step - 1  # the stopped run has its own already
    runner.resume(stopped.folder.path, host)
    assert table(stopped) == table(whole)


def test_an_image_that_is_gone_is_out_of_it(host: FakeHost, config: Configure, images: Path) -> None:
    """A run that resumes without it compares the others."""
    stopped = stopped_at(30, config(**ONG), host)
    gone = sorted(images.iterdir())[0]
    gone.unlink()
    runner.resume(stopped.folder.path, host)
    assert gone.name not in {row["image"] for row in table(stopped)}


def test_images_that_regularize_are_not_judged(host: FakeHost, config: Configure, images: Path, tmp_path: Path) -> None:
    """They show something else on purpose; all others are."""
    (tmp_path / "class").mkdir()
    for index in range(6):
        Image.new("RGB", (64, 64), (250, 20 * index, 250)).save(tmp_path / "class" / f"{index}.png")
    watch = Watch()
    given = {"reg_images": str(tmp_path / "class"), "class_prompt": "one [name]", "prior_loss_weight": 0.5}
    runner.run(config(**{**ONG, **given, "batch_size": 2}), host, watch)
    rows = table(watch)
    assert {row["image"] for row in rows} == {path.name for path in images.iterdir()}
    assert sum(int(row["visits"]) for row in rows) < 2 * 59


def test_without_gradients_of_single_examples_there_is_no_table(host: FakeHost, config: Configure) -> None:
    """AdamW is given the mean alone."""
    watch = Watch()
    runner.run(config(), host, watch)
    assert not watch.folder.images.exists()


def plant(monkeypatch: pytest.MonkeyPatch, names: list[str], pull: float) -> None:
    """Have the last of the images pull so much at each step, and the others not at all."""
    real = runner.train

    def planted(state: State, *given: Any, **named: Any) -> Iterator[Step]:
        for step in real(state, *given, **named):
            rng = random.Random(step.number)
            pulls = [(pull if name == names[-1] else 0.0) + rng.gauss(0, 0.02) for name in names]
            state.outliers = state.outliers.after([("zworble", name) for name in names], pulls)
            yield step

    monkeypatch.setattr(runner, "train", planted)
    monkeypatch.setattr("tinv_ext.core.training.trainer.pulls_of", lambda state: state.leaves()[0].new_zeros(0))


def test_it_is_told_once(host: FakeHost, config: Configure, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the first look at which it is clear, with the file's name; the run goes on, and its table says so, too."""
    names = sorted(path.name for path in images.iterdir())
    plant(monkeypatch, names, 0.4)
    watch = Watch()
    status = runner.run(config(**{**ONG, "steps": 130}), host, watch)
    assert status.status == "finished"
    notices = [text for text in told(watch) if said([text], NOTICE, count=1, images=[names[-1]])]
    assert len(notices) == len([text for text in told(watch) if said([text], NOTICE)]) == 1
    assert names[-1] in notices[0]
    assert [row["odd"] for row in table(watch)] == ["1", *"0000000"]
    assert notices[0] in watch.folder.log.read_text(encoding="utf-8")


def test_a_run_that_resumes_has_not_forgotten_it(
    host: FakeHost, config: Configure, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told again, once, and stays in the table, even if the image pulls as the others do by then."""
    names = sorted(path.name for path in images.iterdir())
    with monkeypatch.context() as patch:
        plant(patch, names, 0.4)
        stopped = stopped_at(60, config(**{**ONG, "steps": 260}), host)
    plant(monkeypatch, names, 0.0)
    watch = Watch()
    runner.resume(stopped.folder.path, host, report=watch)
    assert len([text for text in told(watch) if said([text], NOTICE, images=[names[-1]])]) == 1
    last = {row["image"]: row for row in table(watch)}[names[-1]]
    assert last["odd"] == "1"
    assert float(last["deviation"]) < 4


def test_it_counts_less_whenever_the_run_was_stopped(
    host: FakeHost, config: Configure, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The word is another than without, and bit for bit the same after a stop; told, and in the table."""
    names = sorted(path.name for path in images.iterdir())
    plant(monkeypatch, names, 0.4)
    given, found = {**ONG, "steps": 90, "downweight_odd_images": True}, []
    watch = Watch()
    for settings in (given, {**given, "downweight_odd_images": False}):
        runner.run(config(**settings), host, watch if not found else Watch())
        found.append(vectors_of(host))
    stopped = stopped_at(47, config(**given), host)
    runner.resume(stopped.folder.path, host)
    found.append(vectors_of(host))
    assert torch.equal(found[0], found[2])
    assert not torch.allclose(found[0], found[1], atol=1e-4)
    assert said(told(watch), LESS, count=1, images=[names[-1]])
    assert not said(told(watch), NOTICE)
    assert {row["image"]: row["weight"] for row in table(watch)} == dict.fromkeys(names[:-1], "1.00") | {
        names[-1]: "0.05"
    }


def vectors_of(host: FakeHost) -> torch.Tensor:
    """What the last run has written."""
    (vectors,) = read_embedding(host.embeddings_folder / "zworble.pt").vectors.values()
    return vectors


@pytest.mark.parametrize("name", ["\udcff\udcfe.png", "\ud83d.png", 'a,b"c.png', "=1+1.png", "x\ny.png"])
def test_any_name_can_stand_in_the_table(name: str, host: FakeHost, config: Configure, tmp_path: Path) -> None:
    """Also one that is not UTF-8, or half a character, as Windows allows: as an escape, in a file that is UTF-8."""
    state = initial_ong()
    folder = RunFolder(tmp_path)
    state.outliers = state.outliers.after([("zworble", name)], [0.5])
    OddImages(state, RunReporter(folder, lambda event: None, Status("training", 1))).write(Moment(1), None)
    (row,) = csv.DictReader(io.StringIO(folder.images.read_bytes().decode("utf-8"), newline=""))
    assert row["image"] == encodable(name)


def test_a_table_that_cannot_be_written_ends_no_run(
    host: FakeHost, config: Configure, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told once; so is the image that is odd, and the embedding is there."""
    names = sorted(path.name for path in images.iterdir())
    plant(monkeypatch, names, 0.4)
    watch = Watch()
    watch.at[1] = lambda: watch.folder.images.mkdir()  # noqa: PLW0108 (the folder is there by then)
    status = runner.run(config(**{**ONG, "steps": 110}), host, watch)
    assert status.status == "finished"
    assert len([text for text in told(watch) if said([text], "run.not_saved", step=50)]) == 1
    assert len([text for text in told(watch) if said([text], NOTICE, images=[names[-1]])]) == 1
    assert (host.embeddings_folder / "zworble.pt").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("odd", [True, False])
def test_the_toy_tells_which_image_shows_something_else(odd: bool, tmp_path: Path) -> None:
    """Nine images of a striped square and one of a moon, by the settings of `fast`; of ten squares none is told of."""
    known, folder = heldout.read(), tmp_path / "images"
    folder.mkdir()
    shown = known["striped-yellow-square"].images(10, 3)
    for number, (image, _) in enumerate([*shown[:9], *(known["purple-moon"].images(1, 3) if odd else shown[9:])]):
        Image.fromarray(image).save(folder / f"{number}.png")
    host = DiffusersHost(model.pipeline(), tmp_path / "embeddings", {"model_name": "toy"})
    values = {**concept_test.SHARED, "preset": "fast", "evaluate_every": 0, "steps": 160, "seed": 3}
    watch = Watch()
    runner.run(
        TrainConfig.from_dict({**values, "name": "zibbo", "images": str(folder), "output": str(tmp_path)}), host, watch
    )
    assert said(told(watch), LESS, count=1, images=["9.png"]) is odd
    assert said(told(watch), LESS) is odd
    assert (float(table(watch)[0]["weight"]) < 1) is odd
