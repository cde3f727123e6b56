"""Small pipelines of random weights, for tests of what holds whatever a model has learnt."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from diffusers import StableDiffusionPipeline

from tests.hosts.diffusers import small_pipelines


@pytest.fixture
def make_pipeline() -> Callable[[], StableDiffusionPipeline]:
    """Each call makes a pipeline of its own, with the same weights; 64×64 pixels are its native size."""
    return small_pipelines.sd1


@pytest.fixture(scope="session")
def tiny_pipeline() -> StableDiffusionPipeline:
    """One pipeline for all tests that leave it as it is. All weights want gradients, as diffusers leaves them."""
    return small_pipelines.sd1()
