"""The part "Embeddings" of the page: finished embeddings listed, inspected, added, renamed, converted, extended,
averaged, deleted and restored.

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
from tinv_ext.core.messages import Message, message
from tinv_ext.library.combine import FILLS, MAX_VECTORS
from tinv_ext.library.convert import FORMAT_NAMES, ConvertOptions, Written
from tinv_ext.library.library import Library
from tinv_ext.server.failures import errors_told
from tinv_ext.ui import answers_html, library_html
from tinv_ext.ui.context import PageContext

Outputs = tuple[Any, ...]
Result = tuple["str | None", list[str]]  # the key to select, and sentences


def build(library: Library, tab: gr.Tab, context: PageContext) -> None:
    """Add it to the page; the list is read whenever the tab is opened."""
    with gr.Row(elem_id="tinv_shelf"):
        with gr.Column(scale=5):
            with gr.Row():
                selected = _unsaved(
                    gr.Dropdown([], label="Embedding", allow_custom_value=True, scale=4, elem_id="tinv_one")
                )
                refresh_button = _unsaved(gr.Button("Refresh", scale=1, elem_id="tinv_look"))
            answer = gr.HTML(elem_id="tinv_shelf_answer")
            table = gr.HTML(elem_id="tinv_shelf_list")
        with gr.Column(scale=5):
            details = gr.HTML(elem_id="tinv_about")
            controls = _Controls()
    lists = _Lists(library, context, [selected, controls.averaged, controls.deleted, table, answer, details])
    tab.select(lists.refresh, [selected], lists.outputs)
    refresh_button.click(lists.refresh, [selected], lists.outputs)
    selected.change(lists.inspect, [selected], [details])
    controls.connect(lists, selected)


class _Lists:
    """The lists of the page, and the answer to an action; each method gives new values for `outputs`."""

    def __init__(self, library: Library, context: PageContext, outputs: list[Any]) -> None:
        self.library = library
        self.context = context
        self.outputs = outputs
        self.answer = outputs[4]

    def refresh(self, selected: str | None, request: gr.Request) -> Outputs:
        """The lists as the folder is now, with `selected` still selected if it is there."""
        return self._values(selected, "", self.context.language_for(request))

    def inspect(self, selected: str | None, request: gr.Request) -> str:
        """What is known of the selected embedding."""
        return self._details(selected, self.context.language_for(request))

    def do(self, selected: str | None, action: Callable[[], Result], request: gr.Request) -> Outputs:
        """The lists after an action, or what is wrong."""
        language = self.context.language_for(request)
        try:
            with errors_told():
                key, sentences = action()
        except TinvError as error:
            return self._values(selected, answers_html.not_done(error, language), language)
        return self._values(key, answers_html.sentences(sentences, language), language)

    def key(self, path: Path) -> str:
        """The key of a file of the folder."""
        return path.relative_to(self.library.folder).as_posix()

    def _values(self, selected: str | None, answer: str, language: str) -> Outputs:
        try:
            with errors_told():
                return self._current(selected, answer, language)
        except TinvError as error:
            unchanged = (gr.update(),) * 4
            return (*unchanged, answers_html.sentences(error.problems, language) + answer, "")

    def _current(self, selected: str | None, answer: str, language: str) -> Outputs:
        items = self.library.items()
        keys = [item.key for item in items]
        readable = [item.key for item in items if not item.problem]
        deleted = [f"{entry.key} ({entry.when}) {entry.id}" for entry in self.library.deleted()]
        selected = selected if selected in keys else None
        return (
            gr.update(choices=keys, value=selected),
            gr.update(choices=[*readable, *self.library.snapshots()], value=[]),
            gr.update(choices=deleted, value=None),
            library_html.listed(items, language),
            answer,
            self._details(selected, language),
        )

    def _details(self, selected: str | None, language: str) -> str:
        if not selected:
            return ""
        try:
            with errors_told():
                return library_html.inspected(self.library.inspect(selected), language)
        except TinvError as error:
            return answers_html.sentences(error.problems, language)


class _Controls:
    """The actions, each in a fold of its own."""

    def __init__(self) -> None:
        with _fold("Add", "add"):
            self.file = _unsaved(gr.File(label="Embedding file (any format)", elem_id="tinv_add_file"))
            self.overwrite = _unsaved(gr.Checkbox(False, label="Replace an embedding of the same name"))
            self.add = _button("Add", "add")
        with _fold("Rename", "rename"):
            self.new_name = _text("New name", "rename_name")
            self.rename = _button("Rename", "rename")
        with _fold("Convert", "convert"):
            self.format = _unsaved(gr.Radio(list(FORMAT_NAMES), value="safetensors", label="Format", elem_id="tinv_to"))
            self.author = _text("Author (saved in the file)", "convert_author")
            self.license = _text("License (saved in the file)", "convert_license")
            self.convert = _button("Convert", "convert")
            self.converted = _unsaved(
                gr.File(label="Converted files", file_count="multiple", visible=False, elem_id="tinv_made")
            )
        with _fold("Extend", "extend"):
            self.count = _unsaved(
                gr.Slider(2, MAX_VECTORS, 8, step=1, label="Number of vectors", elem_id="tinv_extend_count")
            )
            self.fill = _unsaved(gr.Radio(list(FILLS), value=FILLS[0], label="Added vectors", elem_id="tinv_fill"))
            self.extended_name = _text("Name of the result", "extend_name")
            self.extend = _button("Extend", "extend")
        with _fold("Average", "average"):
            self.averaged = _unsaved(
                gr.Dropdown([], label="Embeddings and snapshots of recent runs", multiselect=True, elem_id="tinv_many")
            )
            self.average_name = _text("Name of the result", "average_name")
            self.average = _button("Average", "average")
        with _fold("Delete and restore", "delete"):
            self.delete = _button("Delete", "delete")
            self.deleted = _unsaved(
                gr.Dropdown([], label="Deleted embeddings", allow_custom_value=True, elem_id="tinv_gone")
            )
            self.restore = _button("Restore", "restore")

    def connect(self, lists: _Lists, selected: Any) -> None:
        """Connect each button to its action."""
        library, outputs = lists.library, lists.outputs

        def add(selected: str, file: Any, overwrite: bool, request: gr.Request) -> Outputs:
            return lists.do(selected, lambda: _add(lists, file, overwrite), request)

        def rename(selected: str, name: str, request: gr.Request) -> Outputs:
            def action() -> Result:
                path = library.rename(_required(selected), name.strip())
                return lists.key(path), [message("ui.renamed", 'Renamed to "{name}".', name=path.stem)]

            return lists.do(selected, action, request)

        def extend(selected: str, count: float, fill: str, name: str, request: gr.Request) -> Outputs:
            return lists.do(
                selected,
                lambda: _created(lists, library.extend(_required(selected), int(count), fill, name.strip())),
                request,
            )

        def average(selected: str, keys: list[str] | None, name: str, request: gr.Request) -> Outputs:
            return lists.do(selected, lambda: _created(lists, library.average(keys or [], name.strip())), request)

        def delete(selected: str, request: gr.Request) -> Outputs:
            def action() -> Result:
                key = library.delete(_required(selected)).key
                return None, [message("ui.deleted", '"{file}" was deleted. You can restore it below.', file=key)]

            return lists.do(selected, action, request)

        def restore(selected: str, deleted: str | None, request: gr.Request) -> Outputs:
            def action() -> Result:
                path = library.undelete((deleted or "").rpartition(" ")[2])
                return lists.key(path), [message("ui.restored", '"{file}" was restored.', file=path.name)]

            return lists.do(selected, action, request)

        self.add.click(add, [selected, self.file, self.overwrite], outputs)
        self.rename.click(rename, [selected, self.new_name], outputs)
        self.extend.click(extend, [selected, self.count, self.fill, self.extended_name], outputs)
        self.average.click(average, [selected, self.averaged, self.average_name], outputs)
        self.delete.click(delete, [selected], outputs)
        self.restore.click(restore, [selected, self.deleted], outputs)
        inputs = [selected, self.format, self.author, self.license]
        self.convert.click(_convert(library, lists.context), inputs, [self.converted, lists.answer])


def _convert(library: Library, context: PageContext) -> Callable[..., Outputs]:
    def convert(selected: str, format: str, author: str, license: str, request: gr.Request) -> Outputs:  # noqa: A002
        """Files to download, in a new folder each time, and an answer."""
        language = context.language_for(request)
        try:
            with errors_told():
                folder = Path(tempfile.mkdtemp(dir=_converted_folder()))
                options = ConvertOptions(format, author=author, license=license)
                files = library.convert(_required(selected), folder, options)
        except TinvError as error:
            return gr.update(value=None, visible=False), answers_html.not_done(error, language)
        done = message("ui.converted", "{count:file|files} converted. Download below.", count=len(files))
        return gr.update(value=[str(path) for path in files], visible=True), answers_html.sentence(done, language)

    return convert


@cache
def _converted_folder() -> str:
    """A folder for converted files until the program ends; gradio serves only files of the system's temporary one."""
    folder = tempfile.TemporaryDirectory(prefix="tinv-converted-")
    atexit.register(folder.cleanup)
    return folder.name


def _add(lists: _Lists, file: Any, overwrite: bool) -> Result:
    if file is None:
        raise InputError(message("ui.no_file", "No file yet. Drop one onto the field above."))
    paths = lists.library.add(Path(getattr(file, "name", file)), overwrite)  # gradio 3: an open file, gradio 4: a path
    return lists.key(paths[0]), [message("ui.added", "Added {files:, }.", files=[path.name for path in paths])]


def _created(lists: _Lists, written: Written) -> Result:
    created: Message = message("ui.created", 'Created "{file}".', file=written.path.name)
    return lists.key(written.path), [created, *written.notices]


def _required(selected: str | None) -> str:
    if not selected:
        raise InputError(message("ui.no_embedding_selected", "No embedding is selected. Select one in the list."))
    return selected


def _fold(title: str, name: str) -> Any:
    return gr.Accordion(title, open=False, elem_id=f"tinv_fold_{name}")


def _text(label: str, name: str) -> Any:
    return _unsaved(gr.Textbox("", label=label, elem_id=f"tinv_{name}"))


def _button(title: str, name: str) -> Any:
    return _unsaved(gr.Button(title, elem_id=f"tinv_do_{name}"))


def _unsaved(component: Any) -> Any:
    """The WebUI keeps values of controls as defaults (v1.10.1 `modules/ui_loadsave.py`); these have none to keep."""
    component.do_not_save_to_config = True
    return component
