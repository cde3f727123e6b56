"""What a visit of a picture draws: its latent, and which picture it is."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.core.fake import dataset, examples, initial


def visits(sampling: str, seed: int = 5) -> list[Tensor]:
    """The latent of a lone picture at three visits."""
    state, data = initial(seed), dataset(examples(1), sampling)
    return [data.batch(1, state.order, state.rng).latents[0] for _ in range(3)]


def test_deterministic_sampling_is_the_mean() -> None:
    """Each visit sees the mean of the picture's latent."""
    assert all(torch.equal(latent, examples(1)[0].latent.mean) for latent in visits("deterministic"))


def test_sampling_once_gives_one_sample_for_the_run() -> None:
    """Each visit sees the same sample, whatever the random state, and it is not the mean."""
    first, *others = visits("once") + visits("once", seed=8)
    assert all(torch.equal(first, other) for other in others)
    assert not torch.equal(first, examples(1)[0].latent.mean)


def test_random_sampling_draws_at_each_visit() -> None:
    """Visits see samples of their own, mean + std·ε."""
    one, two, three = visits("random")
    assert not torch.equal(one, two)
    assert not torch.equal(two, three)
    latent = examples(1)[0].latent
    drawn = torch.stack([sample for seed in range(200) for sample in visits("random", seed)])
    assert torch.allclose(drawn.mean(0), latent.mean, atol=0.25)
    assert torch.allclose(drawn.std(0), latent.std, atol=0.15)


def test_every_picture_comes_once_before_any_comes_again() -> None:
    """Over five pictures, batches of two: each round of five visits has all five, in orders that differ."""
    state, data = initial(), dataset(sampling="deterministic")
    means = [example.latent.mean for example in data.examples]
    latents = [latent for _ in range(10) for latent in data.batch(2, state.order, state.rng).latents]
    seen = [next(i for i, mean in enumerate(means) if torch.equal(mean, latent)) for latent in latents]
    rounds = [seen[start : start + 5] for start in range(0, 20, 5)]
    assert all(sorted(part) == list(range(5)) for part in rounds)
    assert len({tuple(part) for part in rounds}) > 1
