"""The Chinese of the page: each fixed label has an entry, none is left over, and every sentence is a message.

The WebUI replaces text nodes, titles and placeholders that equal a key (v1.10.1 javascript/localization.js); sentences
are messages, translated where the page's server says them (tests/core/test_messages.py, tests/ui/test_chinese.py).
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.paths import ROOT
from tinv_ext.core.messages import templates
from tinv_ext.core.settings import SETTINGS
from tinv_ext.library.combine import FILLS
from tinv_ext.prepare.options import CROPS, EXISTING, FINDINGS, FLIPS
from tinv_ext.server.page_texts import TEXTS

FILE = ROOT / "localizations" / "zh_CN.json"
CHOICES = {choice for about in SETTINGS.values() for choice in about.choices}  # formats and captioners have own names
CHOICES |= {*FILLS, *CROPS, *EXISTING, *FINDINGS, *FLIPS}
CHINESE = re.compile("[\u4e00-\u9fff]")
BUILT = "\0"  # stands for what is put into a text


def pairs() -> list[tuple[str, str]]:
    """The file's entries in order, those of one key, too."""
    found: list[tuple[str, str]] = json.loads(FILE.read_bytes().decode("utf-8"), object_pairs_hook=list)
    return found


def settings() -> set[str]:
    """What every setting says of itself."""
    return {text for about in SETTINGS.values() for text in (about.label, about.help, *about.choices)}


def sentences() -> set[str]:
    """Whole sentences and texts between tags in the page's sources that are not messages."""
    found = {text for path in sorted((ROOT / "tinv_ext" / "ui").glob("*.py")) for text in _said(path)}
    return found | {text for path in scripts() for text in _shown_by(path.read_text("utf-8"))}


def scripts() -> list[Path]:
    """The page's own scripts, without the libraries."""
    return [path for path in (ROOT / "javascript").rglob("*.js") if path.parent.name != "vendor"]


def _shown_by(script: str) -> Iterator[str]:
    """Texts of a script that a person would read: in quotes as a sentence, or in a template between tags."""
    code = re.sub(r"^\s*(//|/?\*).*$", "", script, flags=re.MULTILINE)
    code = re.sub(r"console\.\w+\([^\n]*", "", code)
    yield from re.findall(r'["`]([A-Z][a-z]+ [^"`${]+)["`]', code)
    yield from (piece.strip() for piece in re.findall(r">\s*([A-Z][a-z][\w ]*[.!?]?)\s*<", code))


def _said(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text("utf-8"))
    apart = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if ast.unparse(call.func) == "message":
            apart.update(map(id, call.args))
    for built in (node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)):
        apart.update(map(id, built.values))
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else BUILT for part in built.values)
        yield from _between_tags(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in apart:
            yield from _between_tags(node.value)
            if re.fullmatch(r"[A-Z][^<>]* [^<>]*\.", node.value):
                yield node.value


def _between_tags(text: str) -> Iterator[str]:
    pieces = (piece.strip() for piece in re.findall(rf">([^<>{BUILT}]+)<", text))
    return (piece for piece in pieces if re.search("[A-Za-z]", piece))


@pytest.fixture(scope="module")
def controls() -> set[str]:
    """What gradio is told to show: labels, explanations, buttons, folds, parts, and choices that are words."""
    gr = pytest.importorskip("gradio", reason="the page is made under the WebUI's versions, which have gradio 3.41.2")
    from tinv_ext.ui import page
    from tinv_ext.ui.context import PageContext

    with gr.Blocks() as around:
        page.build(PageContext())
    found = {page.TITLE}
    for component in around.get_config_file()["components"]:
        found.update(_shown(component["type"], component["props"]))
    return found


def _shown(kind: str, props: dict[str, Any]) -> Iterator[str]:
    yield from (props[name] for name in ("label", "info", "placeholder") if props.get(name))
    if kind == "button":
        yield props["value"]
    if kind in ("radio", "checkboxgroup"):
        names = (choice if isinstance(choice, str) else choice[0] for choice in props["choices"])
        yield from (name for name in names if name in CHOICES)


def test_texts_with_values_are_given_them() -> None:
    """Else a sentence of the page has a hole."""
    given = {match for path in scripts() for match in re.findall(r'\bt\("([\w.]+)"\)', path.read_text("utf-8"))}
    assert given
    assert not [text.id for text in TEXTS if text.id in given and re.search(r"(?<!\{)\{\w", text.template)]


def test_each_entry_is_a_translation_and_the_only_one() -> None:
    """UTF-8, one entry a key, nothing empty or with blanks that the WebUI cuts off, Chinese in every one."""
    entries = pairs()
    assert len({key for key, _ in entries}) == len(entries)
    assert [key for key, value in entries if key != key.strip() or value != value.strip()] == []
    assert [key for key, value in entries if not CHINESE.search(value)] == []


def test_placeholders_and_names_survive_translation() -> None:
    """What a person types as it stands is in the translation as well."""
    typed = re.compile(r"\[\w+\]|\d+(?:e-\d+)?:\d+|subject\w*|style\w*|Euler(?: a)?|DDIM|DPM\+\+ 2M|VAE|PNG|','")
    for key, value in pairs():
        assert set(typed.findall(key)) <= set(typed.findall(value)), key


def test_every_setting_has_entries() -> None:
    """Label, help and choices."""
    assert settings() - dict(pairs()).keys() == set()


def test_every_sentence_is_a_message() -> None:
    """Of the page's answers and its live part, its labels apart: the script has no texts of its own."""
    assert sentences() - dict(pairs()).keys() == set()


def test_a_sentence_in_a_script_is_found() -> None:
    """So that the test above can fail."""
    assert list(_shown_by('say("Press the button."); html`<b> Well done </b>`; // Not This')) == [
        "Press the button.",
        "Well done",
    ]
    assert len(scripts()) > 10


def test_every_control_has_an_entry(controls: set[str]) -> None:
    """As the page is really built."""
    assert {"Train", "Prepare", "Embeddings", "Runs"} <= controls
    assert controls - dict(pairs()).keys() == set()


def test_no_entry_is_left_over(controls: set[str]) -> None:
    """An entry for what nobody shows would translate other people's words."""
    assert dict(pairs()).keys() - controls - settings() == set()


def test_the_chinese_readme_speaks_of_the_page_as_it_is() -> None:
    """What it names in bold stands on the page under that name, or on the WebUI's own; its links lead somewhere."""
    text = (ROOT / "README.zh-CN.md").read_text("utf-8")
    named = set(re.findall(r"\*\*([^*]+)\*\*", text))
    assert "训练" in named
    shown = {*dict(pairs()).values(), *templates("zh_CN").values()}
    assert named - shown <= {"扩展", "从网址安装"}
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert "README.md" in links
    assert [link for link in links if not (ROOT / link).is_file()] == []
    assert "(README.zh-CN.md)" in (ROOT / "README.md").read_text("utf-8")
