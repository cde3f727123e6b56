"""The part "Runs" of the page: runs on disk, also those that a crash interrupted, and going on with one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from tinv_ext.core.errors import TinvError
from tinv_ext.core.settings import SETTINGS
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.ui import html

CHANGES = ("steps", "learn_rate", "images")  # what people change when they go on; all other settings stay
_LISTED = 30


PathCheck = Callable[[Any], "Callable[[Mapping[str, Any]], list[str]] | None"]


def place(jobs: JobQueue, output: gr.components.Component, confine: PathCheck) -> None:
    """Put it where gradio stands. `output` is the control of the log directory."""
    with gr.Accordion("Runs", open=False, elem_id="tinv_runs"):
        with gr.Row():
            run = gr.Dropdown([], label="Run to go on with", elem_id="tinv_run")
            look = gr.Button("List runs", elem_id="tinv_list_runs")
        changes = [
            gr.Textbox(
                "", label=f"{SETTINGS[name].label} from now on", placeholder="as before", elem_id=f"tinv_on_{name}"
            )
            for name in CHANGES
        ]
        go_on = gr.Button("Go on with this run", elem_id="tinv_go_on")
        answer = gr.HTML(elem_id="tinv_runs_answer")
    for control in (run, *changes):
        control.do_not_save_to_config = True  # what a person types once is no default of the page

    def on_look(folder: str, request: gr.Request) -> tuple[Any, str]:
        outside = confine(request)
        problems = outside({"output": jobs.placed(folder)}) if outside else []
        if problems:
            return gr.update(), html.problems(problems)
        choices = [_line(found) for found in jobs.runs(folder) if found["can_resume"]][:_LISTED]
        said = f"{len(choices)} of them can go on." if choices else "There is none that can go on."
        return gr.update(choices=choices, value=choices[0] if choices else None), html.said(said)

    def on_go(folder: str, chosen: str | None, steps: str, rate: str, images: str, request: gr.Request) -> str:
        if not chosen:
            return html.problems(["No run is chosen. Press List runs and choose one."])
        named = {name: value for name, value in zip(CHANGES, (steps, rate, images)) if value.strip()}
        try:
            one = jobs.resume(folder, chosen.split(" · ")[0], named, confine(request))
        except TinvError as error:
            return html.problems(error.problems)
        return html.queued(one.config.name)

    look.click(on_look, inputs=[output], outputs=[run, answer])
    go_on.click(on_go, inputs=[output, run, *changes], outputs=[answer])


def _line(found: Mapping[str, Any]) -> str:
    return f"{found['id']} · {found['status']} at step {found['steps']} of {found['total']}"
