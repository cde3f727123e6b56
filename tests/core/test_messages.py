"""Sentences with ids: what they say, in which language, and that each is said once and translated."""

from __future__ import annotations

import ast
import json
import pickle
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.boundaries.sources import files, tree
from tests.messages import refused, said
from tinv_ext.core import errors, messages
from tinv_ext.core.errors import InputError, TinvError
from tinv_ext.core.messages import Message, language_of, languages, message, templates, translated
from tinv_ext.core.settings import SETTINGS

ERRORS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TinvError)]
TOLD = re.compile(rf"(^|\.)({'|'.join(kind.__name__ for kind in ERRORS)})$|(^|\.)(problems|notices)\.(append|extend)$")


def test_a_message_is_its_text() -> None:
    """It goes where a text goes, and keeps id and values through pickling."""
    one = message("test.seen", "{images:image|images} of {folder}.", images=1, folder=Path("a"))
    assert one == "1 image of a."
    assert json.dumps(one) == '"1 image of a."'
    again = pickle.loads(pickle.dumps(one))
    assert (again, again.id, again.values) == (one, "test.seen", {"images": 1, "folder": Path("a")})
    assert message("test.seen", "{images:image|images}", images=3) == "3 images"


def test_values_may_be_messages_and_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is put in is said in the same language."""
    monkeypatch.setattr(
        messages, "templates", lambda language: {"test.outer": "外：{inner}（{all:；}）", "test.inner": "内 {n}"}
    )
    inner = message("test.inner", "inner {n}", n=2)
    outer = message("test.outer", "Outer: {inner} ({all:; }).", inner=inner, all=["a", inner])
    assert outer == "Outer: inner 2 (a; inner 2)."
    assert translated(outer, "zh_CN") == "外：内 2（a；内 2）"
    assert translated(outer, "en") == outer
    assert translated("plain", "zh_CN") == "plain"


@pytest.mark.parametrize(
    ("name", "language"),
    [("zh_CN.UTF-8", "zh_CN"), ("zh-Hans (Stable)", "zh_CN"), ("de_DE", "en"), ("", "en"), (None, "en"), ("C", "en")],
)
def test_languages_are_found_by_their_usual_names(name: str | None, language: str) -> None:
    """As the system and the WebUI name them."""
    assert language_of(name) == language


def test_an_error_is_recognised_by_id_and_values() -> None:
    """What the tests of every room rely on: another id or value fails."""
    problem = message("test.one", "One {n}.", n=1)
    with refused("test.one", n=1):
        raise InputError(problem)
    for wrong in ({"n": 2}, {"m": 1}):
        with pytest.raises(AssertionError), refused("test.one", **wrong):
            raise InputError(problem)
    assert not said(["One 1."], "test.one")


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Each call of `message` in the package, with its place."""
    for path in files():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("message", "messages.message"):
                if path.name == "setting.py" and isinstance(node.args[0], ast.JoinedStr):
                    continue  # labels and help: `settings` has them
                yield f"{path.name}:{node.lineno}", node


def settings() -> dict[str, str]:
    """What every setting says of itself, and the choices, whose English is the value."""
    about = [text for one in SETTINGS.values() for text in (one.label, one.help)]
    choices = {choice for one in SETTINGS.values() for choice in one.choices}
    return {**{text.id: text.template for text in about}, **{f"choice.{choice}": choice for choice in choices}}


def written() -> dict[str, str]:
    """Every id in the package with its template."""
    found = settings()
    for place, call in calls():
        id, template = (ast.literal_eval(argument) for argument in call.args)  # noqa: A001
        assert found.setdefault(id, template) == template, f"{place}: {id} has two templates"
    return found


def fields(template: str) -> set[str]:
    """The values that a template asks for."""
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


def plain_texts(source: ast.AST) -> Iterator[int]:
    """Lines that give a text which is no message to one of our errors or to a list of problems or notices."""
    for node in ast.walk(source):
        if isinstance(node, ast.Call) and TOLD.search(ast.unparse(node.func)):
            yield from (part.lineno for argument in node.args for part in parts(argument) if is_text(part))
        elif isinstance(node, ast.AugAssign) and TOLD.search(f"{ast.unparse(node.target)}.append"):
            yield from (part.lineno for part in parts(node.value) if is_text(part))


def parts(argument: ast.expr) -> list[ast.expr]:
    """The elements of a list that is written out; anything else by itself."""
    return argument.elts if isinstance(argument, (ast.List, ast.Tuple)) else [argument]


def is_text(node: ast.expr) -> bool:
    """Whether it is a string that is written there, values put in or not."""
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def test_what_goes_wrong_is_told_in_messages() -> None:
    """So that it can be translated: no error of ours and no problem or notice is a plain text."""
    assert [f"{path.name}:{line}" for path in files() for line in plain_texts(tree(path))] == []


@pytest.mark.parametrize(
    "line",
    [
        'raise InputError("Not so.")',
        'raise errors.HostError([f"Not {so}."])',
        'problems.append(f"Not {so}.")',
        'notices.extend(["Not so."])',
        'self.problems += ["Not so."]',
    ],
)
def test_a_plain_text_is_found(line: str) -> None:
    """Wherever it is given to."""
    assert list(plain_texts(ast.parse(line))) == [1]
    assert list(plain_texts(ast.parse(line.replace('"Not so."', "m").replace('f"Not {so}."', "m")))) == []


def test_each_id_has_one_template_and_all_its_values() -> None:
    """Ids and templates are written out, and the call gives what the template asks for."""
    for place, call in calls():
        id, template = (ast.literal_eval(argument) for argument in call.args)  # noqa: A001
        given = {keyword.arg for keyword in call.keywords}
        assert None in given or fields(template) <= given, f"{place}: {id} lacks {fields(template) - given}"
    written()


@pytest.mark.parametrize("language", languages())
def test_every_message_is_translated(language: str) -> None:
    """No id is missing, none is left over, and a translation uses no value that the English has not."""
    ours, theirs = written(), templates(language)
    assert set(theirs) - set(ours) == set()
    assert set(ours) - set(theirs) == set()
    wrong = {key: fields(theirs[key]) - fields(ours[key]) for key in ours}
    assert not any(wrong.values()), wrong


def test_a_message_is_a_str() -> None:
    """Nothing that takes a text has to know of messages."""
    assert isinstance(message("test.x", "x"), str)
    assert isinstance(message("test.x", "x"), Message)
