"""Which embeddings a model can use."""

from __future__ import annotations

import torch

from tests.messages import said
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.fit import fits, unfit, unfit_widths

SDXL = Embedding("a", {"clip_l": torch.zeros(1, 4), "clip_g": torch.zeros(1, 6)})


def test_widths_decide_what_fits() -> None:
    """Not the names: the WebUI's file of one tensor does not say its encoder."""
    assert unfit(SDXL, {"clip_g": 6, "clip_l": 4}) is None
    assert unfit(Embedding("a", {"clip_h": torch.zeros(1, 4)}), {"clip_l": 4}) is None
    assert not fits({"clip_l": 4}, {"clip_l": 6})


def test_an_embedding_that_no_prompt_can_hold_fits_no_model() -> None:
    """A chunk of a prompt has 75 places, and a word is never split."""
    assert unfit(Embedding("a", {"clip_l": torch.zeros(75, 4)}), {"clip_l": 4}) is None
    problem = unfit(Embedding("a", {"clip_l": torch.zeros(76, 4)}), {"clip_l": 4})
    assert problem is not None
    assert said([problem], "fit.too_long", name="a", count=76, most=75)


def test_what_does_not_fit_is_told_with_both_widths() -> None:
    """By name where there is one."""
    widths = {"has": ["4 (clip_l)", "6 (clip_g)"], "takes": ["4 (clip_l)"]}
    problem = unfit(SDXL, {"clip_l": 4})
    assert problem is not None
    assert said([problem], "fit.other_model", name="a", **widths)
    assert "4 (clip_l) and 6 (clip_g)" in problem
    problem = unfit_widths({"clip_l": 4, "clip_g": 6}, {"clip_l": 4})
    assert problem is not None
    assert said([problem], "fit.other_widths", **widths)
