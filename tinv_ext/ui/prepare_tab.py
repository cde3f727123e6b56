"""The part "Prepare" of the page: images made ready for training in a folder of their own, and captions.

Labels are those of the WebUI's Extras tab and its former Preprocess. What a client sends is checked as any path is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from tinv_ext.core.errors import TinvError
from tinv_ext.core.messages import encodable, message, translated
from tinv_ext.core.paths import path_given
from tinv_ext.prepare.options import CAPTIONERS, CROPS, EXISTING, FINDINGS, FLIPS
from tinv_ext.prepare.plan import Plan, plan
from tinv_ext.prepare.undo import undo_last
from tinv_ext.server.allowed_paths import local_only
from tinv_ext.server.failures import errors_told
from tinv_ext.server.prepare_request import captioners_of, checked_paths, options_of
from tinv_ext.ui import answers_html
from tinv_ext.ui.context import PageContext

_SHOWN = 200  # images of a report
_PAIRS = 12  # new images in the gallery, with their originals
Controls = dict[str, gr.components.Component]
Values = dict[str, Any]


def build(tab: gr.Tab, context: PageContext) -> None:
    """What is to be done at the left, what comes of it at the right."""
    with gr.Row(elem_id="tinv_preparing"):
        with gr.Column(scale=5):
            controls = _folders()
            with gr.Row():
                prepare_button = _unsaved(gr.Button("Prepare", variant="primary", min_width=90, elem_id="tinv_prepare"))
                check_button = _unsaved(gr.Button("Check", min_width=90, elem_id="tinv_prepare_check"))
                stop_button = _unsaved(gr.Button("Stop", min_width=90, elem_id="tinv_prepare_stop"))
                undo_button = _unsaved(gr.Button("Undo", min_width=90, elem_id="tinv_prepare_undo"))
            controls |= {**_images(), **_captions(context)}
        with gr.Column(scale=5):
            progress = gr.HTML(elem_id="tinv_prepare_progress")
            answer = gr.HTML(elem_id="tinv_prepare_answer")
            shown = gr.Gallery(label="Before and after", columns=4, height="auto", elem_id="tinv_prepare_gallery")
    actions = _Actions(controls, context)
    started = prepare_button.click(actions.prepare, set(controls.values()), [answer, progress])
    started.then(actions.before_and_after, [], [shown])
    check_button.click(actions.check, set(controls.values()), [answer])
    stop_button.click(actions.stop, [], [])
    undo_button.click(actions.undo, set(controls.values()), [answer, progress])
    tab.select(actions.follow, [], [progress])


def _folders() -> Controls:
    out = "New images go here. Leave empty to caption the images where they are."
    return {
        "source": _unsaved(gr.Textbox("", label="Source directory", elem_id="tinv_prepare_source")),
        "target": _unsaved(gr.Textbox("", label="Destination directory", info=out, elem_id="tinv_prepare_target")),
    }


def _images() -> Controls:
    with gr.Row():
        sizes = {
            "width": gr.Slider(64, 2048, 512, step=8, label="Width of new images", elem_id="tinv_prepare_width"),
            "height": gr.Slider(64, 2048, 512, step=8, label="Height of new images", elem_id="tinv_prepare_height"),
        }
    crop = "The middle, the most salient part (auto focal point crop), or none: keep the original size."
    flip = "Copies that are added."
    leave_out = "Images that are not taken over. They stay where they are."
    controls = {
        **sizes,
        "crop": gr.Radio(list(CROPS), value="center", label="Crop to", info=crop, elem_id="tinv_prepare_crop"),
        "flip": gr.CheckboxGroup(
            list(FLIPS), value=[], label="Create flipped copies", info=flip, elem_id="tinv_prepare_flip"
        ),
        "leave_out": gr.CheckboxGroup(
            list(FINDINGS), value=[], label="Leave out", info=leave_out, elem_id="tinv_prepare_leave_out"
        ),
    }
    with gr.Row():
        controls["trim_bars"] = gr.Checkbox(False, label="Cut off letterbox bars", elem_id="tinv_prepare_trim_bars")
        controls["recursive"] = gr.Checkbox(False, label="Images in sub-folders", elem_id="tinv_prepare_recursive")
        controls["overwrite"] = gr.Checkbox(
            False, label="Replace files of the same name", elem_id="tinv_prepare_overwrite"
        )
    with gr.Accordion("Split oversized images", open=False, elem_id="tinv_prepare_splitting"):
        controls["split"] = gr.Checkbox(False, label="Split oversized images", elem_id="tinv_prepare_split")
        threshold = "Split images that are longer than the target's shape by 1 / this."
        with gr.Row():
            controls["split_threshold"] = gr.Slider(
                0, 1, 0.5, step=0.05, label="Threshold", info=threshold, elem_id="tinv_prepare_split_threshold"
            )
            controls["overlap_ratio"] = gr.Slider(
                0, 0.9, 0.2, step=0.05, label="Overlap ratio", elem_id="tinv_prepare_overlap_ratio"
            )
    return {name: _unsaved(control) for name, control in controls.items()}


def _captions(context: PageContext) -> Controls:
    names = [name for name in CAPTIONERS if name in context.captioners or name == "wd14"]
    by = "In the WebUI also blip and deepbooru, as set on its Settings page (Interrogate). wd14 needs a tagger file."
    existing = "What becomes of captions that are there: replaced, kept, or put before or after the new one."
    with gr.Accordion("Captions", open=True, elem_id="tinv_prepare_captions"):
        controls = {
            "captioners": gr.CheckboxGroup(
                names, value=[], label="Caption by", info=by, elem_id="tinv_prepare_captioners"
            ),
            "existing_captions": gr.Radio(
                list(EXISTING), value="keep", label="Existing captions", info=existing, elem_id="tinv_prepare_existing"
            ),
        }
        with gr.Accordion("wd14", open=False, elem_id="tinv_prepare_wd14"):
            file = "The .onnx file, with selected_tags.csv next to it."
            controls["tagger"] = gr.Textbox("", label="Tagger file", info=file, elem_id="tinv_prepare_tagger")
            controls["threshold"] = gr.Slider(
                0, 1, 0.35, step=0.01, label="Score threshold", elem_id="tinv_prepare_threshold"
            )
            with gr.Row():
                controls["sort_alpha"] = gr.Checkbox(False, label="Sort tags alphabetically")
                controls["use_spaces"] = gr.Checkbox(True, label="Use spaces in tags")
                controls["escape"] = gr.Checkbox(True, label="Escape brackets")
            controls["filter_tags"] = gr.Textbox("", label="Leave out these tags (separated by commas)")
    return {name: _unsaved(control) for name, control in controls.items()}


class _Actions:
    """What the buttons do; each answers in the language of whoever clicks."""

    def __init__(self, controls: Controls, context: PageContext) -> None:
        self.names = {component: name for name, component in controls.items()}
        self.context = context
        self.preparations = context.preparations

    def check(self, inputs: dict[Any, Any], request: gr.Request) -> str:
        """What would be done."""
        language = self.context.language_for(request)
        try:
            with errors_told():
                return _report(plan(options_of(self._values(inputs, request))), language)
        except TinvError as error:
            return answers_html.not_started(error, language)

    def prepare(self, inputs: dict[Any, Any], request: gr.Request) -> Iterator[tuple[str, str]]:
        """Begin, and tell how far it is until it is over."""
        language = self.context.language_for(request)
        try:
            with errors_told():
                values = self._values(inputs, request)
                captioners, found = captioners_of(values, self.context.captioners), plan(options_of(values))
                self.preparations.start(found, captioners)
        except TinvError as error:
            yield answers_html.not_started(error, language), ""
            return
        report = _report(found, language)
        for progress in self._followed(language):
            yield report, progress

    def before_and_after(self, request: gr.Request) -> list[tuple[Any, str]]:
        """The first new images, each after its original; none of folders that whoever asks may not name."""
        done = self.preparations.plan
        paths = {"source": str(done.options.source), "target": str(done.options.folder)} if done else {}
        if (self.context.allowed_paths(request) or local_only())(paths):
            return []
        return self.preparations.before_and_after(_PAIRS)

    def follow(self, request: gr.Request) -> Iterator[str]:
        """How far the preparation is, for a page that was opened meanwhile."""
        yield from self._followed(self.context.language_for(request))

    def stop(self) -> None:
        """Stop after the image at hand."""
        self.preparations.stop()

    def undo(self, inputs: dict[Any, Any], request: gr.Request) -> tuple[str, str]:
        """Undo the last preparation of the destination, or of the source where there is no destination."""
        language = self.context.language_for(request)
        try:
            with errors_told():
                values = self._values(inputs, request)
                folder = values["target"] or values["source"]
                return answers_html.sentences(undo_last(path_given(folder)).sentences(), language), ""
        except TinvError as error:
            return answers_html.not_done(error, language), ""

    def _followed(self, language: str) -> Iterator[str]:
        for progress in self.preparations.follow():
            error = self.preparations.error
            text = answers_html.sentences([progress.sentence(self.preparations.folder), *progress.problems], language)
            yield text + (answers_html.sentences(error.problems, language) if error else "")

    def _values(self, inputs: dict[Any, Any], request: gr.Request) -> Values:
        """What the controls hold, its paths checked. `InputError` where one is missing or must not be used."""
        values = {self.names[component]: value for component, value in inputs.items()}
        return checked_paths(values, self.context.allowed_paths(request))


def _report(found: Plan, language: str) -> str:
    """The summary and a table of the images; of very many those with findings first."""
    images = sorted(found.images, key=lambda image: not image.findings) if len(found.images) > _SHOWN else found.images
    rows = [
        answers_html.row(
            (
                encodable(image.name),
                f"{image.source.width}×{image.source.height}",
                translated(image.outcome(), language),
                "; ".join(translated(finding, language) for finding in image.findings.values()),
                image.source.caption.text.replace("\n", " | ") if image.source.caption.source else "",
            ),
            excluded=bool(image.left_out),
        )
        for image in images[:_SHOWN]
    ]
    heads = (
        message("ui.head_image", "image"),
        message("ui.head_size", "size"),
        message("ui.head_becomes", "becomes"),
        message("ui.head_findings", "findings"),
        message("ui.head_caption", "caption"),
    )
    more = [message("ui.more_images", "{count} more images are not shown.", count=len(images) - _SHOWN)]
    said = [*found.summary(), *(more if len(images) > _SHOWN else []), *found.skipped]
    return answers_html.sentences(said, language) + answers_html.table(heads, rows, language)


def _unsaved(component: Any) -> Any:
    """The WebUI keeps values of controls as defaults (v1.10.1 `modules/ui_loadsave.py`); these have none to keep."""
    component.do_not_save_to_config = True
    return component
