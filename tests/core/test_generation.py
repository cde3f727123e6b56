"""What a preview shows, and the text that tells how it was made."""

from __future__ import annotations

import json
import re

import pytest

from tests.messages import ids, said
from tinv_ext.core.generation import ImageRequest, infotext

REQUEST = ImageRequest("a zworble", "", 20, 7.0, 5, 512, 448)


def parsed(text: str) -> dict[str, str]:
    """The parameters in the last line, by the rule of the WebUI: `key: value` or `key: "json"` between commas."""
    found = re.findall(r'([\w ]+?): ("(?:\\.|[^\\"])*"|[^,]*)(?:, |$)', text.splitlines()[-1])
    return {key.strip(): json.loads(value) if value.startswith('"') else value for key, value in found}


@pytest.mark.parametrize("model", ["plain", "with, comma", 'with "quotes", too', "a: b", "back\\slash, x", "画风"])
def test_the_infotext_can_be_read_back(model: str) -> None:
    """Prompt, negative prompt, then values; one with a comma, a colon or quotes comes back as it was."""
    text = infotext(ImageRequest("a\nb", "not c", 20, 7.5, 5, 512, 448), {"Model": model, "Model hash": None})
    assert text.startswith(
        "a\nb\nNegative prompt: not c\nSteps: 20, Sampler: DDIM, CFG scale: 7.5, Seed: 5, Size: 512x448"
    )
    assert parsed(text)["Model"] == model
    assert "Model hash" not in parsed(text)


def test_without_a_negative_prompt_there_is_no_line_of_it() -> None:
    """Two lines only."""
    assert infotext(REQUEST, {}).splitlines() == [
        "a zworble",
        "Steps: 20, Sampler: DDIM, CFG scale: 7, Seed: 5, Size: 512x448",
    ]


@pytest.mark.parametrize(
    ("name", "value", "id", "limit"),
    [
        ("width", 56, "settings.too_small", {"least": 64}),
        ("width", 0, "settings.too_small", {"least": 64}),
        ("height", 2056, "settings.too_large", {"most": 2048}),
        ("height", 100, "settings.not_a_multiple", {"multiple": 8, "nearest": 96}),
        ("steps", 0, "settings.too_small", {"least": 1}),
        ("steps", 151, "settings.too_large", {"most": 150}),
        ("cfg_scale", 31.0, "settings.too_large", {"most": 30}),
        ("cfg_scale", float("nan"), "settings.not_finite", {}),
        ("seed", -1, "settings.too_small", {"least": 0}),
        ("seed", 2**63, "settings.too_large", {"most": 2**63 - 1}),
    ],
)
def test_what_cannot_be_generated_is_told(name: str, value: float, id: str, limit: dict[str, int]) -> None:  # noqa: A002
    """A sentence with the value and the limit."""
    problems = ImageRequest(**{**REQUEST.__dict__, name: value}).problems()
    assert ids(problems) == [id]
    assert said(problems, id, name=name, value=value, **limit) or value != value
    assert ImageRequest(**{**REQUEST.__dict__, "seed": 2**63 - 1}).problems() == REQUEST.problems() == []
