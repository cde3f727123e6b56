"""The page as a WebUI's tab, built as its modules/ui.py builds tabs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr
import pytest
from gradio.routes import App

from tinv_ext.ui import page
from tinv_ext.ui.context import PageContext


@pytest.fixture
def parts() -> tuple[page.Page, gr.Blocks]:
    """Our page, and the program's gr.Blocks with it."""
    ours = page.Page(PageContext(token="mine"))
    with gr.Blocks() as program, gr.Tabs(elem_id="tabs"):
        with gr.TabItem("txt2img", id="txt2img", elem_id="tab_txt2img"):
            gr.Textbox(label="Prompt")
        with gr.TabItem(page.TITLE, id=page.ID, elem_id=f"tab_{page.ID}"):
            ours.render()
    return ours, program


def test_it_has_every_part_in_the_programs_tab(parts: tuple[page.Page, gr.Blocks]) -> None:
    """Once each, in the layout that the browser is told, below the tab of our id."""
    config = parts[1].get_config_file()
    components = {one["id"]: one for one in config["components"]}
    tab = next(key for key, one in components.items() if one["props"].get("elem_id") == f"tab_{page.ID}")
    inside = [components[key] for key in ids(found(config["layout"], tab))]
    html = "".join(str(one["props"]["value"]) for one in inside if one["type"] == "html")
    assert all(html.count(f'id="tinv_part_{part}"') == 1 for part in page.PARTS)
    assert html.count('data-token="mine"') == len(page.PARTS)
    heads = [one["props"]["label"] for one in inside if one["type"] == "tabitem"]
    assert heads == [page.TITLE, "Train", "Prepare", "Embeddings", "Runs"]


def test_no_web_app_is_made_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the program's start waits for it: gradio makes one for every gr.Blocks that is left."""
    with gr.Blocks(), gr.Tabs(), monkeypatch.context() as patch:
        patch.setattr(App, "create_app", lambda *_, **__: pytest.fail("made"))
        page.Page(PageContext()).render()


def test_nothing_of_it_is_kept_in_the_programs_settings(parts: tuple[page.Page, gr.Blocks]) -> None:
    """modules/ui_loadsave.py, `add_block`, keeps what has a label, and has no children, in ui-config.json."""
    assert [leaf for leaf in leaves(parts[0]) if leaf.label is not None] == []
    assert len(list(leaves(parts[0]))) == len(page.PARTS)


def leaves(block: Any) -> Iterator[Any]:
    """What has no children, below a block."""
    if not hasattr(block, "children"):
        yield block
    for child in getattr(block, "children", ()):
        yield from leaves(child)


def found(layout: dict[str, Any], key: int) -> dict[str, Any]:
    """The part of a layout that has an id."""
    inside = (found(child, key) for child in layout.get("children", ()))
    return layout if layout["id"] == key else next(filter(None, inside), {})


def ids(layout: dict[str, Any]) -> Iterator[int]:
    """Of all in a layout, from above."""
    yield layout["id"]
    for child in layout.get("children", ()):
        yield from ids(child)
