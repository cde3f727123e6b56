"""The part "Train" of the page: five actions from open tab to a running training, everything else on demand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr

from tinv_ext.core.errors import TinvError
from tinv_ext.core.settings import DEFAULTS, GROUPS, SETTINGS
from tinv_ext.server.failures import errors_told
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.server.live_texts import taken_on
from tinv_ext.ui import answers_html, presets, template_editor, txt2img
from tinv_ext.ui.context import PageContext
from tinv_ext.ui.mount import mount
from tinv_ext.ui.widgets import widget

FIRST = ("name", "images", "template", "init_text")  # what a person decides; the rest has good defaults
FOLDS = {  # groups that open on demand, in order, with what the page calls them
    "word": "Embedding",
    "images": "Images and prompts",
    "captions": "Captions",
    "training": "Training",
    "loss": "Loss and noise",
    "previews": "Previews",
    "evaluation": "Evaluation",
    "saving": "Saving",
    "model": "Model",
}
Controls = dict[str, gr.components.Component]


def build(queue: JobQueue, context: PageContext) -> gr.Blocks:
    """Settings and actions at the left, the run at the right."""
    with gr.Blocks(analytics_enabled=False) as blocks, gr.Row(elem_id="tinv"):
        with gr.Column(scale=5):
            choices = {**context.choices, "template": queue.templates.names()}
            controls = {name: widget(name, choices=choices.get(name, ())) for name in FIRST}
            with gr.Row():
                train_button = gr.Button("Train", variant="primary", elem_id="tinv_train")
                check_button = gr.Button("Check", elem_id="tinv_check")
            answer = gr.HTML(elem_id="tinv_answer")
            for group in FOLDS:
                _fold(group, controls, choices, queue, context)
        with gr.Column(scale=5):
            mount("live", context)
        presets.build(controls)
        train, check = _actions(queue, controls, context)
        train_button.click(train, inputs=set(controls.values()), outputs=[answer])
        check_button.click(check, inputs=set(controls.values()), outputs=[answer])
    return blocks


def _fold(
    group: str, controls: Controls, choices: Mapping[str, Sequence[str]], queue: JobQueue, context: PageContext
) -> None:
    """Add the rest of a group's settings to the page and to `controls`."""
    with gr.Accordion(FOLDS[group], open=False, elem_id=f"tinv_group_{group}"):
        rest = [name for name, about in SETTINGS.items() if about.group == group and name not in FIRST]
        for names in _rows(rest):
            with gr.Row():
                controls.update({name: widget(name, choices=choices.get(name, ())) for name in names})
        if group == "images":
            template_editor.build(queue.templates, controls["template"], context)
        if group == "previews":
            txt2img.build(context.txt2img, controls)


def _rows(names: Sequence[str]) -> list[list[str]]:
    """The settings in their order, two in a row where they are neither texts nor choices."""
    rows: list[list[str]] = []
    for name in names:
        small = not isinstance(DEFAULTS[name], str)
        if small and rows and len(rows[-1]) == 1 and not isinstance(DEFAULTS[rows[-1][0]], str):
            rows[-1].append(name)
        else:
            rows.append([name])
    return rows


def _actions(queue: JobQueue, controls: Controls, context: PageContext) -> tuple[Callable[..., str], ...]:
    """What the buttons Train and Check do.

    Both check the settings. Train then queues the run; the queue's thread carries it out with `run/runner.py: start`.
    """
    names = {component: name for name, component in controls.items()}

    def train(inputs: dict[Any, Any], request: gr.Request) -> str:
        language = context.language_for(request)
        values = {names[component]: value for component, value in inputs.items()}
        try:
            with errors_told():
                job = queue.submit(values, context.allowed_paths(request))
        except TinvError as error:
            return answers_html.not_started(error, language)
        return answers_html.sentence(taken_on(job, queue), language)

    def check(inputs: dict[Any, Any], request: gr.Request) -> str:
        language = context.language_for(request)
        values = {names[component]: value for component, value in inputs.items()}
        try:
            with errors_told():
                return answers_html.checked(queue.examine(values, context.allowed_paths(request)), language)
        except TinvError as error:
            return answers_html.not_started(error, language)

    return train, check


assert set(FOLDS) == set(GROUPS)
