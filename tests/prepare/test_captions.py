"""Captions that are there and captions that come: each action."""

from __future__ import annotations

import pytest

from tinv_ext.prepare.captions import joined, new_caption


@pytest.mark.parametrize(
    ("action", "wanted"), [("ignore", "new"), ("keep", "old"), ("prepend", "old, new"), ("append", "new, old")]
)
def test_each_action_with_both_captions(action: str, wanted: str) -> None:
    """As the WebUI's setting "Action for existing captions"; what goes before or after is the existing caption."""
    assert new_caption("old", "new", action) == wanted


@pytest.mark.parametrize("action", ["ignore", "keep", "prepend", "append"])
def test_a_single_caption_is_never_lost(action: str) -> None:
    """Whatever the action: what a captioner does not replace stays."""
    assert new_caption("old", "", action) == "old"
    assert new_caption("", "new", action) == "new"
    assert new_caption("", "", action) == ""


def test_each_of_several_captions_gets_the_new_one() -> None:
    """They are one a line, and remain so."""
    assert new_caption("one\ntwo", "new", "prepend") == "one, new\ntwo, new"


def test_texts_are_joined_by_one_comma() -> None:
    """Whatever commas and blanks they come with."""
    assert joined(["a, b,", "", " , ", "c "]) == "a, b, c"
