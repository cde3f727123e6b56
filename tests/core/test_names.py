"""Which names an embedding may have."""

from __future__ import annotations

import pytest

from tests.messages import ids, said
from tinv_ext.core.names import bare_name, name_problems


@pytest.mark.parametrize(
    "name",
    [
        "word",
        "my-word_2.0",
        "two words",
        "画风",
        "Ünï",
        "rock'n'roll",
        "R&B",
        "C++",
        "a!",
        "l·l",
        "हिन्दी",
        "กำแพง",
        "שָׁלוֹם",
        "می\u200cخواهم",
        "👩\u200d🎨",
        "é",
        "console",
        "com",
        "a" * 100,
    ],
)
def test_legal_names_have_no_problems(name: str) -> None:
    """Letters and digits of any script, dots, underscores, hyphens and spaces inside."""
    assert name_problems(name) == []


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("", "names.empty"),
        ("   ", "names.empty"),
        ("a/b", "names.bad_characters"),
        ("a\\b", "names.bad_characters"),
        ("..", "names.dot_at_end"),
        ("a:b", "names.bad_characters"),
        ("<cat>", "names.bad_characters"),
        ("a\nb", "names.bad_characters"),
        ("a\x00b", "names.bad_characters"),
        ("a*", "names.bad_characters"),
        ("a,b", "names.bad_characters"),
        ("(a)", "names.bad_characters"),
        ("word.", "names.dot_at_end"),
        ("word ", "names.space_around"),
        (" word", "names.space_around"),
        (".word", "names.dot_in_front"),
        ("CON", "names.reserved"),
        ("aux.v2", "names.reserved"),
        ("nul .a", "names.reserved"),
        ("Lpt1", "names.reserved"),
        ("word.pt", "names.suffix"),
        ("word.preview", "names.suffix"),
        ("a" * 101, "names.too_long"),
        ("画" * 70, "names.too_long"),
        ("\ud800", "names.bad_characters"),
        ("a\u200cb", "names.bad_characters"),
        ("画\u200d", "names.bad_characters"),
        ("a\u3000b", "names.bad_characters"),
        ("a，b", "names.bad_characters"),
        ("a#b", "names.bad_characters"),
        ("{a}", "names.bad_characters"),
        ("a AND b", "names.keyword"),
        ("BREAK", "names.keyword"),
    ],
)
def test_illegal_names_are_explained(name: str, id: str) -> None:  # noqa: A002
    """Each rule of Windows, Linux or the WebUI that a name breaks is told in a sentence."""
    problems = name_problems(name)
    assert id in ids(problems), problems
    assert all(problem.endswith(".") for problem in problems)


@pytest.mark.parametrize(
    ("name", "characters"),
    [("<c:at>", ": < >"), ("a\nb\x00", r"'\x00' '\n'"), ("(a)", "( )"), ("a/b", "/"), ("a,b", ",")],
)
def test_characters_that_cannot_be_in_a_name_are_shown(name: str, characters: str) -> None:
    """Each once; what cannot be printed as it is written in code."""
    assert said(name_problems(name), "names.bad_characters", name=name, characters=characters)


def test_every_problem_is_listed_at_once() -> None:
    """A name with two faults gets two sentences."""
    assert ids(name_problems("a:b.")) == ["names.bad_characters", "names.dot_at_end"]


@pytest.mark.parametrize(
    ("token", "name"), [("<cat-toy>", "cat-toy"), ("cat", "cat"), ("<>", "<>"), ("<a/b>", "<a/b>"), ("<<a>>", "<<a>>")]
)
def test_a_token_of_diffusers_users_becomes_a_name(token: str, name: str) -> None:
    """Where what is inside the brackets can be one."""
    assert bare_name(token) == name
