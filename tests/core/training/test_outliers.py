"""Which way images pull: the cosines against a gradient taken by hand, the figures of an image, and who is odd."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.core.fake import Fake, both_words, dataset, examples
from tests.core.training.test_draws import mixed
from tests.core.training.test_natural_gradient import initial_ong
from tests.core.training.test_optimizers import begun, steps
from tinv_ext.core.errors import FormatError
from tinv_ext.core.training.draws import Draw, sample_batch
from tinv_ext.core.training.forward import assemble, denoising_losses
from tinv_ext.core.training.natural_gradient import NaturalGradient
from tinv_ext.core.training.objective import Objective
from tinv_ext.core.training.optimizers import TakesSamples
from tinv_ext.core.training.outliers import Outliers, Pull, cosines, outliers_of
from tinv_ext.core.training.sample_gradients import add_sample_gradients
from tinv_ext.core.training.standstill import SUCCESSORS
from tinv_ext.core.training.state import State, load_state, save_state
from tinv_ext.core.training.trainer import Plan, take_step
from tinv_ext.core.training.word_rates import ALL

CPU = torch.device("cpu")


def test_a_cosine_is_of_the_columns_that_an_example_has() -> None:
    """Of one that has all, of one that stands in one word's prompt, of one without a gradient."""
    way = torch.tensor([3.0, 4.0, 12.0])
    rows = torch.tensor([[3.0, 4.0, 12.0], [-6.0, -8.0, 0.0], [4.0, -3.0, 0.0], [0.0, 0.0, 0.0]])
    found = cosines(rows, way).tolist()
    assert found[:3] == pytest.approx([1.0, -1.0, 0.0], abs=1e-6)
    assert math.isnan(found[3])
    assert cosines(rows, torch.zeros(3)).isnan().all()


def test_a_step_keeps_each_images_cosine() -> None:
    """As of a loss differentiated by hand at the vectors before the update; the first step has no way yet."""
    data, state, plan = both_words(), begun("ong"), Plan(9, 3, 1, lambda step: 1.0)
    take_step(state, plan, Fake(), data)
    assert not state.outliers.pulls
    for _ in range(3):
        take_step(state, plan, Fake(), data)
    before, backup = state.outliers.pulls, state.backup()
    draw = sample_batch(state, Objective(), Fake().noise, data, 3)
    expected = [by_hand(state, draw.part(slice(place, place + 1))) for place in range(3)]
    state.restore(backup)
    take_step(state, plan, Fake(), data)
    for image, cosine in zip(draw.batch.images, expected):
        was, now = before.get(image, Pull()), state.outliers.pulls[image]
        assert now.visits == was.visits + 1
        assert now.total - 0.95 * was.total == pytest.approx(cosine, abs=1e-4)


def by_hand(state: State, draw: Draw) -> float:
    """Of one example: autograd and torch's own cosine."""
    loss = denoising_losses(Fake(), draw.batch, state.vectors, draw.noise, draw.timesteps).sum()
    gradient = torch.autograd.grad(loss, state.leaves())
    way = [vectors.detach() - start for vectors, start in state.pairs()]
    flat = [torch.cat([part.flatten() for part in parts]) for parts in (gradient, way)]
    return float(torch.nn.functional.cosine_similarity(*flat, dim=0))


def test_figures_are_those_of_weighted_pulls() -> None:
    """Mean and standard error with weights that fall by a twentieth a visit."""
    rng = random.Random(1)
    pulls = [rng.gauss(0.1, 0.3) for _ in range(30)]
    found = Pull()
    for pull in pulls:
        found = found.after(pull)
    weights = torch.tensor([0.95**age for age in reversed(range(30))], dtype=torch.float64)
    weights /= weights.sum()
    values = torch.tensor(pulls, dtype=torch.float64)
    mean, share = float(weights @ values), float(weights.square().sum())
    variance = float(weights @ (values - mean).square()) / (1 - share)
    assert (found.visits, found.mean) == (30, pytest.approx(mean))
    assert found.error == pytest.approx(math.sqrt(variance * share))
    assert Pull().after(0.5).error == math.inf
    assert Pull().after(0.5).after(0.5).error == pytest.approx(0, abs=1e-7)


def seen(visits: int, **means: float) -> Outliers:
    """Images that pull about these means, each with the same spread."""
    rng, found = random.Random(2), Outliers()
    for _ in range(visits):
        found = found.after(named(*means), [mean + rng.gauss(0, 0.05) for mean in means.values()])
    return found


def named(*images: str, word: str = "it") -> list[tuple[str, str]]:
    """Images of a word."""
    return [(word, image) for image in images]


OTHERS = {"a": -0.03, "b": 0.0, "c": 0.02, "d": -0.01, "e": 0.01}


def test_the_one_that_pulls_back_is_odd() -> None:
    """However far; not one that pulls the way that all go, nor the least of others that lie as far apart."""
    assert odd(seen(12, **OTHERS)) == ""
    assert odd(seen(12, **OTHERS, f=0.2)) == "f"
    assert odd(seen(12, **OTHERS, f=0.2, g=0.4)) == "fg"
    assert odd(seen(12, **OTHERS, f=-0.4)) == ""
    assert odd(seen(12, a=-0.3, b=0.0, c=0.2, d=-0.1, e=0.1, f=0.3)) == ""


def odd(outliers: Outliers) -> str:
    """The images that are odd at a look."""
    return "".join(sorted(image for _, image in outliers.judged().odd))


def test_what_was_told_of_stays() -> None:
    """Also when it pulls as the others do by then, as long as it is among the images; nothing is told before a look."""
    begun = seen(12, **OTHERS, f=0.2)
    assert begun.odd == frozenset()
    found = begun.judged()
    for _ in range(60):
        found = found.after(named(*OTHERS, "f"), [*OTHERS.values(), 0.0])
    assert odd(found) == "f"
    assert found.deviations()["it", "f"] < 1
    assert found.of(named(*OTHERS)).odd == frozenset()


def test_images_are_compared_with_those_of_their_word() -> None:
    """Another word's may all pull more, or be few: they say nothing of these."""
    found, rng = seen(12, **OTHERS), random.Random(5)
    for _ in range(12):
        found = found.after(named("a", "b", word="other"), [0.5 + rng.gauss(0, 0.05) for _ in range(2)])
    assert found.deviations() == seen(12, **OTHERS).deviations()
    for _ in range(12):
        pulls = [0.5 + rng.gauss(0, 0.05) for _ in OTHERS]
        found = found.after(named(*OTHERS, "f", word="other"), [*pulls, 0.8])
    assert odd(found) == "f"


def test_little_is_no_proof() -> None:
    """Nothing is said of fewer than five images, nor of fewer than six visits; a visit without a figure is none."""
    assert seen(5, **OTHERS, f=0.9).deviations() == {}
    assert odd(seen(6, **OTHERS, f=0.9)) == "f"
    assert odd(seen(40, a=0.0, b=0.01, c=-0.01, f=0.9)) == ""
    few = seen(5, **OTHERS, f=0.9)
    assert few.after(named(*OTHERS, "f"), [math.nan] * 6).pulls == few.pulls
    assert few.after(named("a"), []) is few
    assert odd(Outliers()) == ""


def test_alike_to_the_last_digit_none_is_odd() -> None:
    """As of images without any spread: no division by it."""
    found = Outliers()
    for _ in range(8):
        found = found.after(named(*OTHERS), [0.25] * 5)
    assert found.deviations() == dict.fromkeys(named(*OTHERS), 0.0)


def test_the_more_clearly_it_pulls_back_the_less_it_counts() -> None:
    """All count alike where none does; between two bounds in a straight line, and never nothing."""
    assert seen(12, **OTHERS).weights() == {}
    assert seen(5, **OTHERS, f=0.9).weights() == {}
    found = {pull: seen(12, **OTHERS, f=pull) for pull in (0.05, 0.08, 0.12, 0.15, 0.17, 0.4)}
    weights = [one.weights().get(("it", "f"), 1.0) for one in found.values()]
    assert weights == sorted(weights, reverse=True)
    assert (weights[0], weights[-1]) == (1.0, 0.05)
    between = [one for one, weight in zip(found.values(), weights) if 0.05 < weight < 1]
    assert between
    for one in between:
        assert one.weights() == {("it", "f"): pytest.approx(_weight(one.deviations()["it", "f"]))}


def _weight(deviation: float) -> float:
    """What is told in docs/presets.md."""
    return (4 - deviation) / 2


def judging(state: State, images: Sequence[str], pull: float) -> State:
    """The state, in which the first of the images pulls so far back, and the others do not."""
    rng = random.Random(4)
    for _ in range(8):
        pulls = [pull * (not place) + rng.gauss(0, 0.02) for place in range(len(images))]
        state.outliers = state.outliers.after(named(*images), pulls)
    return state


def test_a_step_counts_an_odd_image_less() -> None:
    """The step is the one that the optimizer takes by gradients, and probes, that are so much shorter."""
    data, fake, names = both_words(), Fake(), [one.name for one in both_words().examples]
    weights = judging(begun("ong"), names, 0.9).outliers.weights()
    assert weights == {("it", names[0]): 0.05}
    for downweight in (False, True):
        state, plain = judging(begun("ong"), names, 0.9), begun("ong")
        draw = sample_batch(plain, Objective(), Fake().noise, data, 3)
        counts = [weights.get(image, 1.0) if downweight else 1.0 for image in draw.batch.images]
        assert (min(counts) < 1) is downweight
        inputs = assemble(fake, draw.batch, plain.vectors, *draw.tensors)
        add_sample_gradients(fake, inputs, plain.vectors, Objective(), 1 / 3, weighing(plain, counts))
        plain.update(1.0, ALL)
        take_step(state, Plan(9, 3, 1, lambda step: 1.0, downweight_odd=downweight), Fake(), data)
        for left, right in zip(state.leaves(), plain.leaves()):
            assert torch.allclose(left, right, atol=1e-6)


def weighing(state: State, counts: Sequence[float]) -> TakesSamples:
    """The state's optimizer behind one that multiplies what it is given."""
    optimizer = state.optimizer
    assert isinstance(optimizer, NaturalGradient)
    add, factors = optimizer.add, torch.tensor(counts).view(-1, 1, 1)

    def weighed(gradients: Sequence[torch.Tensor], probes: Sequence[torch.Tensor] | None = None) -> None:
        add([part * factors for part in gradients], probes and [part * factors for part in probes])

    optimizer.add = weighed  # type: ignore[method-assign]
    return optimizer


def test_it_is_kept_in_words() -> None:
    """As it was; nothing of a run from before; a file that says something else is refused."""
    for one in (Outliers(), seen(7, **OTHERS), seen(9, **OTHERS, f=0.5).judged()):
        assert outliers_of(one.about()) == one
    assert outliers_of(None) == Outliers()
    rows = ("0, 0, 0, 0, 0", '1, "x", 0, 0, 0', "2, -1, 1, 0, 0", "2, 1, 1, NaN, 0", "2, 1, 1, 1e999, 0", "1")
    bodies = (*(f'[["it", "a", {row}]]' for row in rows), "[[1]]", "7")
    for bad in (
        *(f'{{"pulls": {body}, "odd": []}}' for body in bodies),
        '{"pulls": [], "odd": [1]}',
        "[]",
        "{}",
        "{}x",
    ):
        with pytest.raises((ValueError, TypeError, KeyError)):
            outliers_of(bad)


def test_a_damaged_state_is_told(tmp_path: Path) -> None:
    """As with whatever else is wrong in it."""
    state = initial_ong()
    state.outliers = Outliers({("it", "a"): Pull()})
    save_state(state, tmp_path / "state", {})
    with pytest.raises(FormatError):
        load_state(tmp_path / "state", CPU, optimizer="ong")


def test_a_run_that_was_stopped_knows_what_one_knows_that_was_not(tmp_path: Path) -> None:
    """Bit for bit; also where a step is taken again, which counts once."""
    plan = Plan(12, 2, 1, lambda step: 1.0)
    whole, first, broken = initial_ong(), initial_ong(), initial_ong()
    steps(whole, plan)
    steps(broken, plan, Fake(poison_at=5, remedies=["full precision"]))
    steps(first, replace(plan, steps=7))
    save_state(first, tmp_path / "state", {})
    second, _ = load_state(tmp_path / "state", CPU, optimizer="ong")
    steps(second, plan)
    assert whole.outliers == second.outliers == broken.outliers
    assert sum(pull.visits for pull in whole.outliers.pulls.values()) == 2 * 11  # none in the first step


def test_pieces_of_a_step_are_put_in_order() -> None:
    """Batches of two shapes go through in whichever order suits: each image keeps its own."""
    plan = Plan(6, 2, 4, lambda step: 1.0)
    found = []
    for pieces in (1, 4):
        state = initial_ong()
        for _ in range(plan.steps):
            take_step(state, plan, Fake(), mixed(), pieces)
        found.append(state.outliers.pulls)
    assert found[0].keys() == found[1].keys()
    for image, pull in found[0].items():
        assert pull.mean == pytest.approx(found[1][image].mean, abs=1e-3), image


def test_only_what_is_trained_is_kept_and_another_optimizer_begins_anew() -> None:
    """Images that a resumed run has no more cannot be odd; what pulled another way once says nothing now."""
    assert set(seen(7, **OTHERS).of(named("a", "c", "z")).pulls) == set(named("a", "c"))
    state = initial_ong()
    plan = Plan(6, 2, 1, lambda step: 1.0, successors=SUCCESSORS["ong"])
    steps(state, plan)
    assert state.outliers.pulls
    state.begin_again("ssm", {})
    assert state.outliers == Outliers()
    steps(state, replace(plan, steps=9))
    assert state.outliers == Outliers()  # that one is given no gradients of single examples


def test_a_batch_names_its_images() -> None:
    """Whichever variant a visit samples; parts and joined batches as the rest of them."""
    flipped = [replace(one, others=(replace(one, name=f"{one.name}#1"),)) for one in examples()]
    draw = sample_batch(initial_ong(), Objective(), Fake().noise, dataset(flipped), 4)
    assert len(draw.batch.images) == 4
    assert set(draw.batch.images) <= set(named(*(one.name for one in examples())))
    assert draw.part(slice(1, 3)).batch.images == draw.batch.images[1:3]
