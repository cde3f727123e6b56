"""Small pipelines of random weights, for tests of what holds whatever a model has learnt; and the toy in two makes."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from diffusers import StableDiffusionPipeline

from tests.hosts.a1111.ldm_model import UNUSED, latent_diffusion, stand_in
from tests.hosts.diffusers import small_pipelines
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.toy import model


@pytest.fixture
def make_pipeline() -> Callable[[], StableDiffusionPipeline]:
    """Each call makes a pipeline of its own, with the same weights; 64×64 pixels are its native size."""
    return small_pipelines.sd1


@pytest.fixture(scope="session")
def tiny_pipeline() -> StableDiffusionPipeline:
    """One pipeline for all tests that leave it as it is. All weights want gradients, as diffusers leaves them."""
    return small_pipelines.sd1()


@cache
def pipeline() -> StableDiffusionPipeline:
    """The toy as it is shipped."""
    return model.pipeline()


@pytest.fixture(scope="session")
def made_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The toy in ldm's classes, to be copied."""
    with pytest.MonkeyPatch.context() as patch:
        absent = {name: content for name, content in UNUSED.items() if not _installed(name)}
        stand_in(absent, patch)
        yield latent_diffusion(pipeline(), tmp_path_factory.mktemp("toy"))


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name.partition(".")[0]) is not None


@pytest.fixture
def reference(tmp_path: Path) -> DiffusersHost:
    """The same weights under diffusers."""
    return DiffusersHost(pipeline(), tmp_path / "none", {"family": "SD1"})
