"""Notations of the WebUI that nobody carries out offline are named, and nothing else is taken for one."""

from __future__ import annotations

import pytest

from tests.messages import said
from tinv_ext.core.prompts.unsupported import unsupported


@pytest.mark.parametrize(
    ("text", "kind", "example"),
    [
        ("a [cat:dog:0.2]", "prompt editing such as [from:to:when]", "[cat:dog:0.2]"),
        ("a [cat:10]", "prompt editing such as [from:to:when]", "[cat:10]"),
        ("a [cat::.5]", "prompt editing such as [from:to:when]", "[cat::.5]"),
        ("a [(cat:1.2):dog: 5 ]", "prompt editing such as [from:to:when]", "[(cat:1.2):dog: 5 ]"),
        ("a [cat|dog|cow]", "alternation such as [a|b]", "[cat|dog|cow]"),
        ("a cat AND a dog", "AND between prompts", "AND"),
        ("a cat <lora:ink:0.7>", "networks such as <lora:name:1>", "<lora:ink:0.7>"),
    ],
)
def test_what_only_the_webui_does_is_named(text: str, kind: str, example: str) -> None:
    """With the place in the prompt."""
    assert said(unsupported(text), "prompts.unsupported", kind=kind, example=example)


@pytest.mark.parametrize(
    "text",
    ["", "a [cat], (dog:1.2), [[soft]]", r"saber \[fate:2\]", "BREAK", "sand and AND1", "<cat-toy>", "16:9", "a | b"],
)
def test_emphasis_and_plain_text_are_left_alone(text: str) -> None:
    """Brackets that weaken, escaped ones, words that only look alike."""
    assert not list(unsupported(text))
