"""Which names an embedding may have."""

from __future__ import annotations

import pytest

from tinv_ext.core.names import name_problems


@pytest.mark.parametrize("name", ["word", "my-word_2.0", "two words", "画风", "Ünï", "console", "com", "a" * 100])
def test_legal_names_have_no_problems(name: str) -> None:
    """Letters and digits of any script, dots, underscores, hyphens and spaces inside."""
    assert name_problems(name) == []


@pytest.mark.parametrize(
    "name, word",
    [
        ("", "empty"),
        ("   ", "empty"),
        ("a/b", "/"),
        ("a\\b", "cannot hold"),
        ("..", "dot"),
        ("a:b", ":"),
        ("<cat>", "< >"),
        ("a\nb", r"\n"),
        ("a\x00b", r"\x00"),
        ("a*", "cannot hold"),
        ("a,b", ","),
        ("(a)", "( )"),
        ("word.", "ends with a dot"),
        ("word ", "space"),
        (" word", "space"),
        (".word", "hides"),
        ("CON", "reserved"),
        ("aux.v2", "reserved"),
        ("nul .a", "reserved"),
        ("Lpt1", "reserved"),
        ("word.pt", "suffix"),
        ("word.preview", "suffix"),
        ("a" * 101, "too long"),
        ("画" * 70, "too long"),
        ("\ud800", "cannot hold"),
    ],
)
def test_illegal_names_are_explained(name: str, word: str) -> None:
    """Each rule of Windows, Linux or the WebUI that a name breaks is told in a sentence with the name."""
    problems = name_problems(name)
    assert any(word in problem for problem in problems), problems
    assert all(problem.endswith(".") for problem in problems)


def test_every_problem_is_listed_at_once() -> None:
    """A name with two faults gets two sentences."""
    assert len(name_problems("a:b.")) == 2
