"""When a run may end: laws on planted curves, whose truth is known."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from tinv_ext.core.training.progress import Progress
from tinv_ext.core.training.stopping import Evaluation, Rule, lowest, may_end, needed

DRAWS = 8
RULE = Rule(30)


def curve(levels: list[float], noise: float = 0.0, seed: int = 0) -> list[Evaluation]:
    """Evaluations every ten steps with these means; draws differ by far more than they change, and each wobbles."""
    rng = torch.Generator().manual_seed(seed)
    base = torch.rand(DRAWS, generator=rng, dtype=torch.float64) * 3
    base -= base.mean()
    found = []
    for number, level in enumerate(levels):
        wobble = torch.randn(DRAWS, generator=rng, dtype=torch.float64) * noise
        found.append(Evaluation(10 * number, 5 + base + level + wobble))
    return found


def end_of(evaluations: list[Evaluation], rule: Rule = RULE, since: int = 0) -> int | None:
    """The step at which the run ends, as the run would find it: with no more evaluations than it keeps."""
    kept: tuple[Evaluation, ...] = ()
    for evaluation in evaluations:
        kept = needed((*kept, evaluation), rule, 0)
        if may_end(kept, rule, 0, since):
            return evaluation.step
    return None


def falling(until: int, count: int = 20) -> list[float]:
    """From 1 to 0 in a straight line, at 0 from evaluation `until` on."""
    return [max(0.0, 1 - number / until) for number in range(count)]


@pytest.mark.parametrize("until", [3, 5, 8, 12])
def test_it_ends_when_patience_is_over_after_the_fall(until: int) -> None:
    """Without noise: the first evaluation before which all of the patience was flat; never while it falls.

    The patience is what is set, or a third of the steps where that is more.
    """
    assert end_of(curve(falling(until))) == max(10 * until + RULE.patience, 15 * until + 5 * (until % 2))


def test_it_never_ends_while_the_loss_falls() -> None:
    """Nor where it falls in steps that are shorter than the patience."""
    assert end_of(curve(falling(20))) is None
    assert end_of(curve([1 - 0.1 * (number // 2) for number in range(20)])) is None


@pytest.mark.parametrize("seed", range(20))
def test_noise_of_the_draws_does_not_end_it_early(seed: int) -> None:
    """A wobble of a twentieth of the fall in each draw: not before nine tenths of the fall are done."""
    end = end_of(curve(falling(8, 40), noise=0.05, seed=seed))
    assert end is None or end >= 80


def test_a_rise_ends_it_too() -> None:
    """Where the loss only rises, the run ends when its patience is over, not at once."""
    assert end_of(curve([1 + 0.1 * number for number in range(10)])) == 10 + RULE.patience


def test_a_longer_patience_never_ends_it_sooner() -> None:
    """On any curve."""
    for seed in range(10):
        evaluations = curve(falling(6, 30), noise=0.03, seed=seed)
        ends = [end_of(evaluations, Rule(patience)) or 10_000 for patience in (20, 30, 50, 80)]
        assert ends == sorted(ends)


def test_patience_counts_from_where_it_goes_on() -> None:
    """A run that goes on after its end is given all of its patience again."""
    evaluations = curve(falling(3))
    end = end_of(evaluations)
    assert end is not None
    assert end_of(evaluations, since=end) == end + RULE.patience


@pytest.mark.parametrize("seed", range(10))
def test_what_is_forgotten_is_not_needed(seed: int) -> None:
    """The rule says of the few that a run keeps what it says of all."""
    dice = random.Random(seed)
    evaluations = curve([dice.random() * 3 / (1 + number) for number in range(40)], noise=0.05, seed=seed)
    kept: tuple[Evaluation, ...] = ()
    for number, evaluation in enumerate(evaluations):
        kept = needed((*kept, evaluation), RULE, 0)
        assert may_end(kept, RULE, 0, 0) == may_end(evaluations[: number + 1], RULE, 0, 0)
        assert len(kept) <= 4 + RULE.looks_back(evaluation.step) // 10
        learnt = [one for one in evaluations[: number + 1] if one.step]
        assert not learnt or lowest([one for one in kept if one.step]) is lowest(learnt)


def progress_of(evaluations: list[Evaluation]) -> Progress:
    """After these; the vectors of a step hold its number."""
    progress = Progress("images")
    for evaluation in evaluations:
        progress = progress.measured(evaluation, [torch.tensor([[float(evaluation.step)]])], None, "")
    return progress


def test_the_best_is_the_lowest_where_draws_agree() -> None:
    """A clear rise in every draw: the result is the step before it, with the vectors of that step."""
    best = progress_of(curve([1, 0.5, 0.2, 0.6, 0.9])).result(40)
    assert best is not None
    assert (best.step, best.vectors[0].item()) == (20, 20.0)


def test_what_is_as_good_as_the_best_replaces_it() -> None:
    """Of steps that the draws cannot tell apart, the latest: one lucky mean is no reason to go back."""
    evaluations = curve([1, 0, 0, 0])
    mixed = torch.tensor([0.02, -0.01] * (DRAWS // 2), dtype=torch.float64)  # higher by 0.005, give or take 0.006
    evaluations[3] = Evaluation(30, evaluations[1].losses + mixed)
    progress = progress_of(evaluations)
    assert progress.best is not None
    assert progress.best.step == 30
    assert progress.result(30) is None, "the last is the result"


def test_vectors_that_have_learnt_nothing_are_never_the_best() -> None:
    """Where every step is worse than the initial word, the best of those that were trained."""
    best = progress_of(curve([0, 2, 1, 3])).result(30)
    assert best is not None
    assert best.step == 20


def test_a_last_step_beside_the_grid_counts_only_there() -> None:
    """It is the result where it is as good as the best; for a run that goes on it is as if not measured."""
    evaluations = curve([1, 0.5, 0.2])
    good, bad = (Evaluation(25, evaluations[2].losses + by) for by in (-0.1, 0.1))
    progress = progress_of(evaluations)
    assert progress.result(25) is not None
    assert progress.measured_beside(good).result(25) is None
    assert progress.measured_beside(bad).result(25) is not None
    on = progress.measured_beside(good)
    assert (on.evaluations, on.best) == (progress.evaluations, progress.best)
    assert on.result(30) is not None


def test_without_evaluations_nothing_is_known() -> None:
    """The last step is the result."""
    assert Progress().result(9) is None


def test_another_basis_begins_anew_and_other_terms_give_new_patience() -> None:
    """Losses on other images cannot be compared; a run that had ended goes on where its terms have changed."""
    ended = progress_of(curve([1, 0.5])).on_terms("images", "", 10)
    assert ended.on_terms("other images", "", 10).best is None
    assert ended.on_terms("other images", "", 10).start == 10
    ended = replace(ended, ended="30 of 100")
    assert ended.on_terms("images", "30 of 100", 10).ended
    gone_on = ended.on_terms("images", "30 of 200", 10)
    assert (gone_on.ended, gone_on.since) == ("", 10)
