"""One row each: what the rows say agrees with the configs that are shipped, and with what asks them."""

from __future__ import annotations

import json
from typing import Any

import diffusers
import pytest
import torch

from tests.paths import ROOT
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.families import FAMILIES, VAE_FACTOR, WIDTHS, Family, encoder_of_width, family_of_widths
from tinv_ext.hosts.vae import INPAINTING

CONFIGS = ROOT / "tinv_ext" / "hosts" / "diffusers" / "configs"
FAMILY = pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))


def config(family: Family, part: str) -> dict[str, Any]:
    """A shipped config of a family's first model."""
    found: dict[str, Any] = json.loads((CONFIGS / family.config_folder / part / "config.json").read_text("utf-8"))
    return found


@FAMILY
def test_a_row_agrees_with_the_shipped_configs(family: Family) -> None:
    """Widths of the text encoders, image size, latent channels; no other folder of configs is left over."""
    encoders = ["text_encoder", "text_encoder_2"][: len(family.encoders)]
    assert [config(family, part)["hidden_size"] for part in encoders] == [width for _, width in family.encoders]
    assert config(family, "unet")["sample_size"] * VAE_FACTOR == family.native_size
    assert config(family, "vae")["sample_size"] == family.native_size
    assert config(family, "vae")["latent_channels"] == config(family, "unet")["in_channels"] == family.latent_channels
    assert {folder.name for folder in CONFIGS.iterdir() if (folder / "unet").is_dir()} == {
        one.config_folder for one in FAMILIES.values()
    }


@FAMILY
def test_a_row_agrees_with_the_vae(family: Family) -> None:
    """Each level but the last halves an image's sides, and inpainting models have the inputs that hosts fill."""
    assert 2 ** (len(config(family, "vae")["block_out_channels"]) - 1) == VAE_FACTOR
    assert not family.inpainting or 2 * family.latent_channels + 1 == INPAINTING


@FAMILY
def test_a_row_names_pipelines_of_diffusers(family: Family) -> None:
    """By the names of their classes."""
    assert all(hasattr(diffusers, name) for name in family.pipelines)


@FAMILY
def test_widths_tell_the_family(family: Family) -> None:
    """Whatever their order; one half of a pair, and another model's, are of none."""
    assert family_of_widths(dict(reversed(family.encoders))) is family
    assert family_of_widths({**dict(family.encoders), "clip_x": 1}) is None
    assert family_of_widths({"clip_g": 1280}) is family_of_widths({"clip_l": 96}) is None


def test_each_width_is_one_encoders() -> None:
    """So that a tensor's width tells for which it is."""
    assert len(set(WIDTHS.values())) == len(WIDTHS)
    assert all(encoder_of_width(width) == encoder for encoder, width in WIDTHS.items())


def test_an_embedding_knows_its_family_by_name() -> None:
    """As files and facts have it."""
    for family in FAMILIES.values():
        vectors = {encoder: torch.ones(1, width) for encoder, width in family.encoders}
        assert Embedding("word", vectors).family == family.name
