"""The part "Embeddings" of the page: finished embeddings listed, looked into, added, renamed, converted, extended,
averaged, deleted and brought back.

Made of what gradio 3.41 and 4 have in common. What a client sends is taken for a key of the list, never for a path.
"""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr

from tinv_ext.core.errors import InputError, TinvError
from tinv_ext.library.combine import FILLS, MAX_VECTORS
from tinv_ext.library.convert import FORMAT_NAMES, ConvertOptions
from tinv_ext.library.library import Library
from tinv_ext.ui import html, library_html

Answer = tuple[Any, ...]


def place(shelf: Library, opened: gr.Tab) -> None:
    """Put it where gradio stands; the list is read when the tab is opened."""
    with gr.Row(elem_id="tinv_shelf"):
        with gr.Column(scale=5):
            with gr.Row():
                one = _kept_out(
                    gr.Dropdown([], label="Embedding", allow_custom_value=True, scale=4, elem_id="tinv_one")
                )
                look = _kept_out(gr.Button("Refresh", scale=1, elem_id="tinv_look"))
            answer = gr.HTML(elem_id="tinv_shelf_answer")
            table = gr.HTML(elem_id="tinv_shelf_list")
        with gr.Column(scale=5):
            about = gr.HTML(elem_id="tinv_about")
            controls = _Controls()
    page = _Page(shelf, [one, controls.many, controls.gone, table, answer, about])
    opened.select(page.shown, [one], page.outputs)
    look.click(page.shown, [one], page.outputs)
    one.change(page.looked_into, [one], [about])
    controls.wire(page, one)


class _Page:
    """What the list shows, and after each action the answer beside it."""

    def __init__(self, shelf: Library, outputs: list[Any]) -> None:
        self.shelf = shelf
        self.outputs = outputs

    def shown(self, chosen: str | None, said: str = "") -> Answer:
        """The list as the folder is now, with `chosen` chosen if it is in it."""
        items = self.shelf.items()
        keys = [item.key for item in items if not item.problem]
        every = [item.key for item in items]
        chosen = chosen if chosen in every else None
        gone = [f"{one.key} ({one.when}) {one.id}" for one in self.shelf.deleted()]
        return (
            gr.update(choices=every, value=chosen),
            gr.update(choices=[*keys, *self.shelf.snapshots()], value=[]),
            gr.update(choices=gone, value=None),
            library_html.listed(items),
            said,
            self.looked_into(chosen),
        )

    def looked_into(self, chosen: str | None) -> str:
        """What is known of the chosen one."""
        if not chosen:
            return ""
        try:
            return library_html.inspected(self.shelf.inspect(chosen))
        except TinvError as error:
            return html.said(str(error))

    def done(self, chosen: str | None, act: Callable[[], tuple[str | None, str]]) -> Answer:
        """The list after `act`, which gives the key to choose and a sentence; or what is wrong."""
        try:
            key, said = act()
            return self.shown(key, html.said(said))
        except InputError as error:
            return self.shown(chosen, html.problems(error.problems))
        except TinvError as error:
            return self.shown(chosen, html.problems([str(error)]))

    def key(self, path: Path) -> str:
        """The key of a file of the folder."""
        return path.relative_to(self.shelf.folder).as_posix()


class _Controls:
    """The actions, each in a fold of its own."""

    def __init__(self) -> None:
        with _fold("Add", "add"):
            self.file = _kept_out(gr.File(label="An embedding's file of any program", elem_id="tinv_add_file"))
            self.replace = _kept_out(gr.Checkbox(False, label="Replace one of the same word"))
            self.add = _button("Add", "add")
        with _fold("Rename", "rename"):
            self.new_name = _text("New word", "rename_name")
            self.rename = _button("Rename", "rename")
        with _fold("Convert", "convert"):
            self.to = _kept_out(gr.Radio(list(FORMAT_NAMES), value="safetensors", label="Format", elem_id="tinv_to"))
            self.author = _text("Author, written into the file", "convert_author")
            self.licence = _text("Licence, written into the file", "convert_license")
            self.convert = _button("Convert", "convert")
            self.made = _kept_out(gr.File(label="Converted", file_count="multiple", visible=False, elem_id="tinv_made"))
        with _fold("Extend", "extend"):
            self.count = _kept_out(
                gr.Slider(2, MAX_VECTORS, 8, step=1, label="Number of vectors", elem_id="tinv_extend_count")
            )
            self.fill = _kept_out(gr.Radio(list(FILLS), value=FILLS[0], label="New vectors", elem_id="tinv_fill"))
            self.longer = _text("Word of the longer one", "extend_name")
            self.extend = _button("Extend", "extend")
        with _fold("Average", "average"):
            self.many = _kept_out(
                gr.Dropdown(
                    [], label="Embeddings, and snapshots of the last runs", multiselect=True, elem_id="tinv_many"
                )
            )
            self.mean = _text("Word of the mean", "average_name")
            self.average = _button("Average", "average")
        with _fold("Delete and bring back", "delete"):
            self.delete = _button("Delete", "delete")
            self.gone = _kept_out(gr.Dropdown([], label="Deleted", allow_custom_value=True, elem_id="tinv_gone"))
            self.restore = _button("Bring back", "restore")

    def wire(self, page: _Page, one: Any) -> None:
        """Tie each button to what it does."""
        shelf, outputs = page.shelf, page.outputs

        def add(chosen: str, file: Any, replace: bool) -> Answer:
            return page.done(chosen, lambda: _added(page, file, replace))

        def rename(chosen: str, name: str) -> Answer:
            def act() -> tuple[str, str]:
                path = shelf.rename(_given(chosen), name.strip())
                return page.key(path), f"It is called {path.stem} now."

            return page.done(chosen, act)

        def extend(chosen: str, count: float, fill: str, name: str) -> Answer:
            return page.done(chosen, lambda: _new(page, shelf.extend(_given(chosen), int(count), fill, name.strip())))

        def average(chosen: str, many: list[str] | None, name: str) -> Answer:
            return page.done(chosen, lambda: _new(page, shelf.average(many or [""], name.strip())))

        def delete(chosen: str) -> Answer:
            return page.done(
                chosen, lambda: (None, f"{shelf.delete(_given(chosen)).key} is deleted; bring it back below.")
            )

        def restore(chosen: str, gone: str | None) -> Answer:
            def act() -> tuple[str, str]:
                path = shelf.undelete((gone or "").rpartition(" ")[2])
                return page.key(path), f"{path.name} is back."

            return page.done(chosen, act)

        self.add.click(add, [one, self.file, self.replace], outputs)
        self.rename.click(rename, [one, self.new_name], outputs)
        self.extend.click(extend, [one, self.count, self.fill, self.longer], outputs)
        self.average.click(average, [one, self.many, self.mean], outputs)
        self.delete.click(delete, [one], outputs)
        self.restore.click(restore, [one, self.gone], outputs)
        inputs = [one, self.to, self.author, self.licence]
        self.convert.click(_converting(shelf), inputs, [self.made, page.outputs[4]])


def _converting(shelf: Library) -> Callable[..., Answer]:
    def convert(chosen: str, to: str, author: str, licence: str) -> Answer:
        """Files to fetch, made anew each time, and an answer."""
        try:
            folder = Path(tempfile.mkdtemp(dir=_made()))
            files = shelf.convert(_given(chosen), folder, ConvertOptions(to, author=author, license=licence))
        except InputError as error:
            return gr.update(value=None, visible=False), html.problems(error.problems)
        except TinvError as error:
            return gr.update(value=None, visible=False), html.problems([str(error)])
        return gr.update(value=[str(path) for path in files], visible=True), html.said(
            "The files are made: fetch them under Converted."
        )

    return convert


@cache
def _made() -> str:
    """A folder for what was converted, as long as the program runs; gradio shows files of the system's own only."""
    folder = tempfile.TemporaryDirectory(prefix="tinv-converted-")
    atexit.register(folder.cleanup)
    return folder.name


def _added(page: _Page, file: Any, replace: bool) -> tuple[str, str]:
    if file is None:
        raise InputError("There is no file yet: drop one onto the field.")
    paths = page.shelf.add(Path(getattr(file, "name", file)), replace)  # gradio 3 gives an open file, gradio 4 a path
    return page.key(paths[0]), f"{', '.join(path.name for path in paths)} can be used."


def _new(page: _Page, written: Any) -> tuple[str, str]:
    return page.key(written.path), " ".join([f"{written.path.name} was made.", *written.notices])


def _given(chosen: str | None) -> str:
    if not chosen:
        raise InputError("No embedding is chosen: choose one in the list.")
    return chosen


def _fold(title: str, name: str) -> Any:
    return gr.Accordion(title, open=False, elem_id=f"tinv_fold_{name}")


def _text(label: str, name: str) -> Any:
    return _kept_out(gr.Textbox("", label=label, elem_id=f"tinv_{name}"))


def _button(title: str, name: str) -> Any:
    return _kept_out(gr.Button(title, elem_id=f"tinv_do_{name}"))


def _kept_out(component: Any) -> Any:
    """The WebUI keeps values of controls as defaults (v1.10.1 `modules/ui_loadsave.py`); these have none to keep."""
    component.do_not_save_to_config = True
    return component
