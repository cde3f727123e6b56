"""Brackets as emphasis: the WebUI's notation, and no text that breaks it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinv_ext.core.prompts.emphasis import BRACKETS, parse_emphasis

SPECIAL = st.lists(
    st.sampled_from(["(", ")", "[", "]", ":", ":1.3)", ": -2 )", ":.)", "\\", "\\(", "BREAK", " ", "a", "画", ","]),
    max_size=30,
).map("".join)


@pytest.mark.parametrize(
    "text, pieces",
    [
        ("", [("", 1)]),
        ("a photo", [("a photo", 1)]),
        ("a (b) c", [("a ", 1), ("b", 1.1), (" c", 1)]),
        ("((a) b)", [("a", 1.21), (" b", 1.1)]),
        ("[a]", [("a", 1 / 1.1)]),
        ("([a])", [("a", 1)]),
        ("(a:1.3)", [("a", 1.3)]),
        ("(a : 1.3 )", [("a ", 1.3)]),
        ("(a:-0.5)", [("a", -0.5)]),
        ("((a:2):3)", [("a", 6)]),
        ("(a", [("a", 1.1)]),
        ("[[a", [("a", 1 / 1.21)]),
        ("a)", [("a)", 1)]),
        ("a:1.3)", [("a:1.3)", 1)]),
        ("a: b", [("a: b", 1)]),
        (r"\(a\)", [("(a)", 1)]),
        (r"\[a\\", [("[a\\", 1)]),
        (r"\a", [("a", 1)]),
        ("a\\", [("a", 1)]),
        ("(a)(b)", [("ab", 1.1)]),
        ("a BREAK b", [("a", 1), ("BREAK", -1), ("b", 1)]),
        ("a BREAK BREAK b", [("a", 1), ("BREAK", -1), ("BREAK", -1), ("b", 1)]),
        ("BREAKFAST", [("BREAKFAST", 1)]),
        ("(a:1.2.3)", [("a", 1)]),
    ],
)
def test_the_notation_of_the_webui(text: str, pieces: list[tuple[str, float]]) -> None:
    """Each form of the notation gives its pieces and weights."""
    found = parse_emphasis(text)
    assert [piece for piece, _ in found] == [piece for piece, _ in pieces]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in pieces])


@settings(max_examples=80, deadline=None, derandomize=True)
@given(SPECIAL)
def test_any_text_can_be_read(text: str) -> None:
    """There is always a piece, no letter is lost, and neighbours of equal weight are one piece."""
    pieces = parse_emphasis(text)
    assert pieces
    letters = "".join(piece for piece, _ in pieces)
    assert [letter for letter in letters if letter in "a画,"] == [letter for letter in text if letter in "a画,"]
    for (one, weight), (other, next_weight) in pairwise(pieces):
        assert weight != next_weight or "BREAK" in (one, other)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(SPECIAL)
def test_escaped_brackets_are_text(text: str) -> None:
    """With a backslash before each special letter a text comes back whole, at weight 1."""
    if "BREAK" in text:
        return
    escaped = "".join("\\" + letter if letter in "()[]\\" else letter for letter in text)
    assert parse_emphasis(escaped) == [(text, 1.0)]
    assert not BRACKETS.search("".join("\\" + letter if letter in "()[]" else letter for letter in "([a])"))
