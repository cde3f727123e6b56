"""The card of an uploaded embedding, as the hub and people read it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from tinv_ext.core.embedding import Embedding
from tinv_ext.core.formats import write_embedding
from tinv_ext.hub.model_card import AFTER, BEFORE, Other, Shown, card, license_of
from tinv_ext.toy import pipeline

EMBEDDING = Embedding("zibbo", {"clip_l": torch.ones(2, 768)}, step=30, model_name="v1-5", model_hash="abc123")


def about(text: str) -> dict[str, object]:
    """What stands between the dashes."""
    found: dict[str, object] = yaml.safe_load(text.split("---")[1])
    return found


def test_before_and_after_are_beside_each_other() -> None:
    """A row for each prompt; what there is no image of has none."""
    pairs = [{BEFORE: Path("a-0.png"), AFTER: Path("a-9.png")}, {AFTER: Path("a-9-2.png")}]
    shown = Shown(pairs, {})
    assert shown.files() == {"before": pairs[0][BEFORE], "after": pairs[0][AFTER], "after-2": pairs[1][AFTER]}
    lines = card(EMBEDDING, "ann/zibbo", shown).splitlines()
    first = lines.index("| before | after |")
    assert lines[first + 1 : first + 4] == [
        "| --- | --- |",
        "| ![before](images/before.png) | ![after](images/after.png) |",
        "|  | ![after](images/after-2.png) |",
    ]
    assert "images/" not in card(EMBEDDING, "ann/zibbo", Shown([], {}))


@pytest.mark.parametrize("further", [False, True])
def test_what_it_says_of_sdxl_loads_both_halves(further: bool, tmp_path: Path) -> None:
    """Run as it stands there, with a folder in the hub's place: each text encoder gets its vectors."""
    pipe = pipeline("sdxl")
    widths = {"clip_l": pipe.text_encoder, "clip_g": pipe.text_encoder_2}
    vectors = {key: torch.ones(1, encoder.get_input_embeddings().embedding_dim) for key, encoder in widths.items()}
    one = Embedding("quixxly", vectors, step=30)
    write_embedding(one, tmp_path / "quixxly" if further else tmp_path, format="diffusers-folder")
    shown = Shown([], {}, others=[Other(one, [])] if further else ())
    code = card(EMBEDDING if further else one, tmp_path.as_posix(), shown).split("```python\n")[-1].partition("```")[0]
    exec(code.partition("image =")[0], {"pipe": pipe})
    for tokenizer, encoder in ((pipe.tokenizer, pipe.text_encoder), (pipe.tokenizer_2, pipe.text_encoder_2)):
        learned = encoder.get_input_embeddings().weight[tokenizer.convert_tokens_to_ids("quixxly")]
        assert torch.equal(learned, torch.ones_like(learned))


def test_the_base_model_is_named_where_it_has_a_name_at_the_hub() -> None:
    """A file of somebody's machine is none; its name and hash are in the text."""
    at_the_hub = card(EMBEDDING, "ann/zibbo", Shown([], {}, "stable-diffusion-v1-5/stable-diffusion-v1-5"))
    assert about(at_the_hub)["base_model"] == "stable-diffusion-v1-5/stable-diffusion-v1-5"
    own = card(EMBEDDING, "ann/zibbo", Shown([], {}, "/home/ann/v1-5.safetensors"))
    assert "base_model" not in about(own)
    assert "/home" not in own
    assert "v1-5 abc123" in own


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", {}),
        ("MIT", {"license": "mit"}),
        ("CC BY-NC 4.0", {"license": "cc-by-nc-4.0"}),
        ("OpenRAIL++", {"license": "openrail++"}),
        ("my own, ask me", {"license": "other", "license_name": "my-own-ask-me"}),
    ],
)
def test_a_licence_is_one_that_the_hub_knows(text: str, wanted: dict[str, str]) -> None:
    """It refuses a card with another; what was written stands in the text."""
    assert license_of(text) == wanted
    written = card(EMBEDDING, "ann/zibbo", Shown([], {"license": text}))
    assert {key: value for key, value in about(written).items() if key.startswith("license")} == wanted
    assert (f"Licence: {text}" in written) == bool(text)
