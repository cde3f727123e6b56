"""Of several words, each is of the step that is best by its own evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.messages import refused, said
from tests.run.test_several_words import ONE, OTHER, Runs, Vectors, pipeline, runs, same
from tinv_ext.core.errors import FormatError
from tinv_ext.core.formats import read_embedding
from tinv_ext.core.training.evaluation import EvalSet, draws_by_word
from tinv_ext.core.training.progress import Best, Progress, Share
from tinv_ext.core.training.state import load_state, save_state
from tinv_ext.core.training.stopping import Evaluation
from tinv_ext.run import evaluations
from tinv_ext.run.curve import read_curve

__all__ = ["pipeline", "runs"]  # the fixtures

Plant = Callable[[dict[str, tuple[float, ...]]], None]


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Have the losses of each word's draws be these, one for each pair of vectors that the words have in turn."""

    def plant(losses: dict[str, tuple[float, ...]]) -> None:
        seen: list[list[Tensor]] = []

        def of(model: object, eval_set: EvalSet, words: dict[str, Vectors], *given: object) -> Tensor:
            now = [vectors.detach().clone() for word in words.values() for vectors in word.values()]
            if not any(all(map(torch.equal, one, now)) for one in seen):
                seen.append(now)
            turn = next(place for place, one in enumerate(seen) if all(map(torch.equal, one, now)))
            places = draws_by_word(eval_set)
            found = torch.zeros(sum(map(len, places.values())), dtype=torch.float64)
            for name, values in losses.items():
                found[places[name]] = values[turn]
            return found

        monkeypatch.setattr(evaluations, "draw_losses", of)

    return plant


BY_STEP = {ONE: (9.0, 3.0, 2.0, 5.0, 6.0, 7.0, 8.0), OTHER: (9.0, 8.0, 7.0, 6.0, 1.0, 2.0, 3.0)}
EACH = {"evaluate_every": 1, "save_every": 1, "batch_size": 6, "shuffle_tags": False, "save_format": "diffusers-folder"}


@pytest.mark.parametrize("given", [{}, {"ema_decay": 0.5}], ids=["vectors", "averages"])
def test_each_word_is_of_its_own_best_step(runs: Runs, planted: Plant, given: dict[str, Any]) -> None:
    """By its own draws; bit for bit the same where the run is stopped and resumed, and told; `last` is as ever."""
    planted(BY_STEP)
    whole = runs.train(words=runs.tables(), **EACH, **given)
    assert runs.folder
    for name, step in ((ONE, 2), (OTHER, 4)):
        file = read_embedding(runs.place / "embeddings" / f"{name}.pt")
        (snapshot,) = runs.folder.snapshots(name)[step]
        assert torch.equal(file.vectors["clip_l"], read_embedding(snapshot).vectors["clip_l"])
        assert file.step == step
        rows = [row for row in read_curve(runs.folder.word_curve(name)) if row["evaluation"]]
        assert tuple(float(row["evaluation"]) for row in rows) == BY_STEP[name]
        assert rows[-1]["best"] == str(step)
        assert (runs.folder.diffusers / name / "learned_embeds.safetensors").is_file()
    status = runs.status
    assert status
    assert (status.status, status.steps, status.file_step) == ("finished", 6, 2)
    assert said([status.reason], "run.best_of_words_saved", last=6)
    assert said([status.reason], "run.word_of_step", word=OTHER, step=4)
    for stops in ((1, 3), (2, 5), (4,), (6,)):
        assert same(runs.train(stops=stops, words=runs.tables(), **EACH, **given), whole), stops
    last = runs.train(words=runs.tables(), **EACH, **given, result="last")
    assert not any(torch.equal(last[name]["clip_l"], whole[name]["clip_l"]) for name in (ONE, OTHER))


def test_a_word_without_draws_of_its_own_follows_the_run() -> None:
    """One whose images are all for training, and none for evaluation, is of the run's best step."""
    progress = Progress("basis")
    one, other = torch.zeros(1, 2), torch.ones(2, 2)
    for step, (of_one, of_others) in enumerate(((5.0, 5.0), (4.0, 1.0), (3.9, 3.0), (9.0, 9.0)), 1):
        losses = torch.tensor([of_one, *[of_others] * 5], dtype=torch.float64)
        share = Share([0], [one + step])
        progress = progress.measured(Evaluation(step, losses), [one + step, other + step], shares={ONE: share})
    words = {ONE: {"clip_l": one}, OTHER: {"clip_l": other}}
    found = [progress.result_of(name, words, 4) for name in (ONE, OTHER)]
    assert [best and (best.step, *map(float, (one.sum() for one in best.vectors))) for best in found] == [
        (3, 6),
        (2, 12),
    ]


def test_a_state_with_best_vectors_of_another_shape_is_damaged(runs: Runs, planted: Plant) -> None:
    """Of single words, too: it is refused in a sentence, not when the file is written."""
    planted(BY_STEP)
    runs.train(stops=(3,), words=runs.tables(), **EACH)
    assert runs.folder
    state, facts = load_state(runs.folder.state, torch.device("cpu"))
    assert {name: one.best and one.best.step for name, one in state.progress.words.items()} == {ONE: 2, OTHER: 4}
    words = {**state.progress.words, ONE: replace(state.progress.words[ONE], best=Best(2, (torch.zeros(3, 7),)))}
    state.progress = replace(state.progress, words=words)
    save_state(state, runs.place / "broken.safetensors", facts)
    with refused("state.damaged", FormatError):
        load_state(runs.place / "broken.safetensors", torch.device("cpu"))
