"""Trainings in several processes, started by the real launchers: what they learn, and what happens where one fails."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.ranks.launching import (
    NAME,
    alone,
    free_port,
    images,
    launch,
    learnt,
    moved_apart,
    run_folder,
    settings,
    status,
    torchrun,
)
from tinv_ext.core.formats import read_embedding
from tinv_ext.run.curve import read_curve

pytestmark = pytest.mark.once
SAME = 1e-6  # relative


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of two shapes, some with transparency."""
    return images(tmp_path_factory.mktemp("ranks") / "images")


def test_two_processes_learn_what_one_learns_though_memory_runs_out_in_one(pictures: Path, tmp_path: Path) -> None:
    """With images of two shapes, weights and accumulation; all take the step again after one has run out of memory,
    in smaller pieces once it happens again. One run folder, one curve, one embedding, and one process that talks."""
    one, two = tmp_path / "one", tmp_path / "two"
    assert alone(settings(pictures, one, gradient_accumulation_steps=4, steps=3)) == 0
    fault = {"rank": 1, "call": 3, "error": "memory", "times": 2}
    ended = launch(torchrun(2), settings(pictures, two, gradient_accumulation_steps=2, steps=3), fault)
    assert ended.code == 0, ended.err
    assert moved_apart(learnt(one), learnt(two)) <= SAME
    assert ended.out.count("Finished at step 3.") == ended.err.count("2 processes share each step of 8 images.") == 1
    assert ended.err.count("each step is computed in 2 pieces") == 1
    assert len(read_curve(run_folder(two) / "loss.csv")) == 4
    assert read_embedding(two / "embeddings" / f"{NAME}.pt").step in (2, 3)
    assert len(list((two / "latents").glob("*/*.safetensors"))) == 6


def test_killing_a_process_ends_all_and_one_alone_finishes_the_run(pictures: Path, tmp_path: Path) -> None:
    """The others end within seconds, in a sentence. Resumed in one process, the run ends as one that never had two."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert alone(settings(pictures, whole, gradient_accumulation_steps=2, steps=8)) == 0
    fault = {"rank": 1, "call": 5, "error": "killed"}
    ended = launch(torchrun(2), settings(pictures, killed, steps=8), fault)
    assert ended.code != 0
    assert "Another of the 2 processes of this run has ended" in ended.err
    assert (status(killed)["status"], status(killed)["steps"]) == ("failed", 4)
    assert alone(["train", f"--resume={run_folder(killed)}"]) == 0
    assert moved_apart(learnt(whole), learnt(killed)) <= SAME


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "rate"), [("ong", "1"), pytest.param("ssm", "0.05", marks=pytest.mark.full)])
def test_four_processes_learn_what_one_learns(optimizer: str, rate: str, pictures: Path, tmp_path: Path) -> None:
    """Also with an optimizer that wants the gradients of single examples. As it inverts a matrix of them, rounding
    grows: one process is cut into the same pieces (in others, it is 1e-5 from itself)."""
    one, four = tmp_path / "one", tmp_path / "four"
    about: dict[str, Any] = {"optimizer": optimizer, "learning_rate": rate, "steps": 4, "timestep_balance": 1}
    assert alone(settings(pictures, one, **about, gradient_accumulation_steps=4, micro_batch_size=2)) == 0
    ended = launch(torchrun(4), settings(pictures, four, **about))
    assert ended.code == 0, ended.err
    assert moved_apart(learnt(one, optimizer), learnt(four, optimizer)) <= SAME
    if optimizer == "ong":
        assert pulls(one)
        assert pulls(four) == {image: pytest.approx(pull, abs=1e-3) for image, pull in pulls(one).items()}


def pulls(place: Path) -> dict[str, float]:
    """Which way each image pulls, as the run's table has it."""
    with (run_folder(place) / "images.csv").open(encoding="utf-8", newline="") as file:
        return {row["image"]: float(row["pull"]) for row in csv.DictReader(file)}


@pytest.mark.slow
def test_processes_that_disagree_start_nothing(pictures: Path, tmp_path: Path) -> None:
    """The first one says which process differs in which setting, once; no run folder is made."""
    ended = launch(torchrun(2), settings(pictures, tmp_path / "run"), {"rank": 1, "settings": ["--seed=7"]})
    assert ended.code != 0
    assert ended.err.count("Process 2: Its settings are not those of process 1: seed 7") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.full
def test_a_bug_in_one_process_ends_the_run_with_what_was_reached(pictures: Path, tmp_path: Path) -> None:
    """After its update, too, when the others have made theirs: the step counts for nobody, and the run is resumed."""
    output = tmp_path / "run"
    fault = {"rank": 1, "call": 3, "error": "bug", "where": "clip_gradients"}
    ended = launch(torchrun(2), settings(pictures, output), fault)
    assert ended.code != 0
    assert "Process 2 of 2: ValueError: something that nobody has thought of" in ended.err
    assert (status(output)["status"], status(output)["steps"]) == ("failed", 2)
    resumed = launch(torchrun(2), ["train", f"--resume={run_folder(output)}"])
    assert resumed.code == 0, resumed.err
    whole = tmp_path / "whole"
    assert alone(settings(pictures, whole, gradient_accumulation_steps=2)) == 0
    assert moved_apart(learnt(whole), learnt(output)) <= SAME


@pytest.mark.slow
def test_told_to_end_another_process_has_the_first_one_stop(pictures: Path, tmp_path: Path) -> None:
    """As after Ctrl-C: the step is finished, the state saved, the code that of a run that was stopped."""
    output = tmp_path / "run"
    fault = {"rank": 1, "call": 3, "error": "told to end"}
    ended = launch(torchrun(2), settings(pictures, output, steps=200), fault)
    assert "Stopped at step 3." in ended.out
    assert (status(output)["status"], status(output)["steps"]) == ("stopped", 3)


@pytest.mark.slow
def test_accelerate_launches_it_as_well(pictures: Path, tmp_path: Path) -> None:
    """Two processes by `accelerate launch -m tinv_ext train`, without a GPU."""
    pytest.importorskip("accelerate")
    before = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2"]
    before += ["--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no"]
    output = tmp_path / "run"
    ended = launch([*before, f"--main_process_port={free_port()}", "-m", "tinv_ext"], settings(pictures, output))
    assert ended.code == 0, ended.err
    assert ended.err.count("2 processes share each step of 4 images.") == 1
