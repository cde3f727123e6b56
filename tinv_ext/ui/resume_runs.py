"""The part of the page that lists the runs on disk, also those that a crash interrupted, and resumes one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from tinv_ext.core.errors import InputError, TinvError
from tinv_ext.core.messages import Message, message, translated
from tinv_ext.server.failures import errors_told
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.server.live_texts import status_word, taken_on
from tinv_ext.ui import answers_html
from tinv_ext.ui.context import PageContext

CHANGES = {  # settings that may be changed for the rest of a run, with their labels here; the others stay
    "steps": "Total steps",
    "learning_rate": "Learning rate from now on",
    "images": "Dataset directory from now on",
}
_LISTED = 30
_PART = " · "  # between a run's id and how it stands


def build(queue: JobQueue, output: gr.components.Component, context: PageContext) -> None:
    """Add it to the page. `output` is the control of the log directory."""
    with gr.Accordion("Runs", open=False, elem_id="tinv_runs"):
        with gr.Row():
            run = gr.Dropdown([], label="Run to resume", scale=4, elem_id="tinv_run")
            refresh_button = gr.Button("Refresh", scale=1, elem_id="tinv_list_runs")
        changes = [
            gr.Textbox("", label=label, placeholder="unchanged", elem_id=f"tinv_on_{name}")
            for name, label in CHANGES.items()
        ]
        resume_button = gr.Button("Resume", elem_id="tinv_go_on")
        answer = gr.HTML(elem_id="tinv_runs_answer")
    for control in (run, *changes):
        control.do_not_save_to_config = True  # what a person types for one run is no default of the page

    def refresh(folder: str, request: gr.Request) -> tuple[Any, str]:
        language = context.language_for(request)
        try:
            with errors_told():
                queue.check_paths({"output": queue.placed(folder)}, context.allowed_paths(request))
                runs = queue.runs(folder)
            choices = _choices(runs, language)
            elsewhere = [run["id"] for run in runs if run["status"] == "elsewhere"]
        except TinvError as error:
            return gr.update(), answers_html.not_done(error, language)
        text = answers_html.sentence(_count(len(choices)), language)
        if elsewhere:
            text += answers_html.sentence(_elsewhere(elsewhere), language)
        return gr.update(choices=choices, value=choices[0] if choices else None), text

    def resume(
        folder: str, chosen: str | None, steps: str, rate: str, images: str, request: gr.Request
    ) -> tuple[Any, str]:
        language = context.language_for(request)
        values = {name: value for name, value in zip(CHANGES, (steps, rate, images)) if value.strip()}
        try:
            if not chosen:
                raise InputError(message("ui.no_run_selected", "No run is selected. Click Refresh and select one."))
            with errors_told():
                job = queue.resume(folder, chosen.partition(_PART)[0], values, context.allowed_paths(request))
                choices = _choices(queue.runs(folder), language)  # without the one that is now at work
        except TinvError as error:
            return gr.update(), answers_html.not_started(error, language)
        return gr.update(choices=choices, value=None), answers_html.sentence(taken_on(job, queue), language)

    refresh_button.click(refresh, inputs=[output], outputs=[run, answer])
    resume_button.click(resume, inputs=[output, run, *changes], outputs=[run, answer])


def _count(runs: int) -> Message:
    if not runs:
        return message("ui.no_runs", "No runs to resume.")
    return message("ui.runs_found", "{count:run|runs} can be resumed.", count=runs)


def _elsewhere(runs: Sequence[str]) -> Message:
    return message("ui.runs_elsewhere", "Running in another program: {runs:, }.", runs=runs)


def _choices(runs: Sequence[Mapping[str, Any]], language: str) -> list[str]:
    return [_choice(run, language) for run in runs if run["can_resume"]][:_LISTED]


def _choice(run: Mapping[str, Any], language: str) -> str:
    """A run in the list, beginning with its id."""
    standing = message(
        "ui.run_at_step",
        "{status} at step {step} of {total}",
        status=status_word(run["status"]),
        step=run["steps"],
        total=run["total"],
    )
    return f"{run['id']}{_PART}{translated(standing, language)}"
