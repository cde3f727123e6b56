"""The tab "Textual Inversion": five actions from open tab to a running training, everything else on demand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from tinv_ext.core.errors import TinvError
from tinv_ext.core.settings import DEFAULTS, GROUPS, SETTINGS
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.ui import history, html, lines, txt2img
from tinv_ext.ui.widgets import widget

TITLE, ID = "Textual Inversion", "tinv"
FIRST = ("name", "images", "template", "init_text")  # what a person decides; the rest has good defaults
OPEN = {  # groups that open on demand, in order, with what the page calls them
    "word": "Word",
    "pictures": "Pictures and prompts",
    "training": "Training",
    "previews": "Previews",
    "evaluation": "Evaluation",
    "saving": "Saving",
    "model": "Model",
}
BUTTONS = {"pause": "Pause", "resume": "Resume", "stop": "Stop and save", "snapshot": "Snapshot now"} | {
    "preview": "Preview now"
}
Check = Callable[[Mapping[str, Any]], list[str]]


@dataclass(frozen=True)
class Around:
    """What the page finds around it: names to choose from by setting, and the WebUI's txt2img controls by elem_id."""

    choices: Mapping[str, Sequence[str]] = field(default_factory=dict)
    txt2img: Mapping[str, gr.components.Component] = field(default_factory=dict)


def build(
    jobs: JobQueue, confine: Callable[[Any], Check | None] = lambda request: None, around: Around | None = None
) -> gr.Blocks:
    """The whole tab. `confine(request)` gives the check of paths for whoever asks, or None where all may be used."""
    around = around or Around()
    choices = {**around.choices, "template": jobs.templates.names()}

    def control(name: str) -> gr.components.Component:
        return widget(name, choices=choices.get(name, ()))

    with gr.Blocks(analytics_enabled=False) as blocks, gr.Row(elem_id="tinv"):
        with gr.Column(scale=5):
            controls = {name: control(name) for name in FIRST}
            with gr.Row():
                train = gr.Button("Train", variant="primary", elem_id="tinv_train")
                check = gr.Button("Check", elem_id="tinv_check")
            answer = gr.HTML(elem_id="tinv_answer")
            for group, title in OPEN.items():
                with gr.Accordion(title, open=False, elem_id=f"tinv_group_{group}"):
                    for row in _rows(_rest(group)):
                        with gr.Row():
                            controls.update({name: control(name) for name in row})
                    if group == "pictures":
                        lines.place(jobs.templates, controls["template"])
                    if group == "previews":
                        txt2img.place(around.txt2img, controls)
        with gr.Column(scale=5):
            gr.HTML('<div id="tinv_live"></div>')
            with gr.Row():
                buttons = {what: gr.Button(title, elem_id=f"tinv_{what}") for what, title in BUTTONS.items()}
            reply = gr.HTML(elem_id="tinv_reply")
            history.place(jobs, controls["output"], confine)
        inputs = set(controls.values())
        by_component = {component: name for name, component in controls.items()}

        def values(given: Mapping[Any, Any]) -> dict[str, Any]:
            return {by_component[component]: value for component, value in given.items()}

        def on_train(given: dict[Any, Any], request: gr.Request) -> str:
            named = values(given)
            return _told(lambda: html.queued(jobs.submit(named, confine(request)).config.name))

        def on_check(given: dict[Any, Any], request: gr.Request) -> str:
            named = values(given)
            return _told(lambda: html.checked(jobs.examine(named, confine(request))))

        train.click(on_train, inputs=inputs, outputs=[answer])
        check.click(on_check, inputs=inputs, outputs=[answer])
        for what, button in buttons.items():
            button.click(_wish(jobs, what), inputs=[], outputs=[reply])
    return blocks


def _rest(group: str) -> list[str]:
    return [name for name, about in SETTINGS.items() if about.group == group and name not in FIRST]


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


def _told(act: Callable[[], str]) -> str:
    try:
        return act()
    except TinvError as error:
        return html.problems(getattr(error, "problems", [str(error)]))


def _wish(jobs: JobQueue, what: str) -> Callable[[], str]:
    def ask() -> str:
        one = jobs.current()
        if one is None:
            return html.said("There is no run.")
        try:
            return html.said(f"{one.config.name}: {jobs.wish(one.id, what).status}")
        except TinvError as error:
            return html.said(str(error))

    return ask


assert set(OPEN) == set(GROUPS)
