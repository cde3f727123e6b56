"""Prompt templates on the page, in a real browser: nothing that was written is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
from tests.ui.test_browser import address, jobs_home, page, pytestmark  # noqa: F401  (fixtures)

LINES = "#tinv_lines"
ANSWER = "#tinv_lines_answer .tinv-said"


@pytest.fixture
def editor(page: Any) -> Any:  # noqa: F811
    """The page with the templates open."""
    page.click("#tinv_advanced")
    page.click("#tinv_group_images > summary")
    page.click("#tinv_templates > summary")
    return page


def loaded(page: Any, name: str) -> str:  # noqa: F811
    """The lines of a template that is opened."""
    with page.expect_response(lambda answer: "/templates?" in answer.url):
        page.click(f"[data-template={name}]")
    page.wait_for_function(f"document.querySelector('#tinv_lines_name').value === '{name}'")
    return page.input_value(LINES)


def test_lines_that_were_not_saved_can_be_brought_back(editor: Any) -> None:
    """After another template was opened over them; nothing is said where none are lost."""
    subject = loaded(editor, "subject")
    assert "[name]" in subject
    loaded(editor, "style")
    assert editor.locator(ANSWER).count() == 0
    editor.fill(LINES, "an etching of [name]")
    assert loaded(editor, "subject") == subject
    editor.wait_for_selector(f"{ANSWER}:has-text('not saved')")
    editor.click(f"{ANSWER} button:text-is('Undo')")
    editor.wait_for_selector(f"{ANSWER}:has-text('The lines are back')")
    assert editor.input_value(LINES) == "an etching of [name]"
    assert editor.input_value("#tinv_lines_name") == "style"


def test_a_template_of_ones_own_is_deleted_and_brought_back(editor: Any, jobs_home: Path) -> None:  # noqa: F811
    """It is no longer the one that is chosen then; those of the program cannot be deleted."""
    loaded(editor, "subject")
    assert editor.locator("#tinv_lines_delete").count() == 0
    editor.fill(LINES, "an etching of [name]")
    editor.fill("#tinv_lines_name", "etching")
    editor.click("#tinv_lines_save")
    editor.wait_for_selector(f"{ANSWER}:has-text('was saved')")
    assert editor.input_value("#tinv_template") == "etching"
    (file,) = jobs_home.rglob("etching.txt")
    editor.click("#tinv_lines_delete")
    editor.wait_for_selector(f"{ANSWER}:has-text('was deleted')")
    assert not file.exists()
    assert editor.locator("[data-template=etching]").count() == 0
    assert editor.input_value("#tinv_template") != "etching"
    assert editor.input_value(LINES) == ""
    editor.click(f"{ANSWER} button:text-is('Undo')")
    editor.wait_for_selector("[data-template=etching]")
    editor.wait_for_function("document.querySelector('#tinv_template').value === 'etching'")
    assert file.read_text() == "an etching of [name]\n"
    assert editor.input_value(LINES) == "an etching of [name]"
