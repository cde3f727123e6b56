"""The texts of the page's live part, built here so that the page's script has no sentences of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tinv_ext.core.messages import Message, message
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.server.queued_run import Job

STATUS_WORDS: Mapping[str, Message] = {
    "queued": message("ui.queued", "queued"),
    "preparing": message("ui.preparing", "preparing"),
    "training": message("ui.training", "training"),
    "paused": message("ui.paused", "paused"),
    "stopping": message("ui.stopping", "stopping"),
    "finished": message("ui.finished", "finished"),
    "stopped": message("ui.stopped", "stopped"),
    "failed": message("ui.failed", "failed"),
    "interrupted": message("ui.interrupted", "interrupted"),
    "elsewhere": message("ui.elsewhere", "running elsewhere"),
}
LABELS: Mapping[str, Message] = {  # what does not depend on the run; the script puts a number for {step}
    "no_run": message("ui.no_run_yet", "No run yet."),
    "step": message("ui.step", "step"),
    "loss": message("ui.loss", "loss"),
    "smoothed": message("ui.smoothed_loss", "smoothed"),
    "evaluation": message("ui.evaluation", "evaluation"),
    "rate": message("ui.learning_rate", "learning rate"),
    "at_step": message("ui.at_step", "step {step}", step="{step}"),
    "preview": message("ui.preview_at_step", "preview at step {step}", step="{step}"),
    "unreachable": message("ui.server_silent", "The server does not answer. What is shown here may be out of date."),
    "to_prompt": message("ui.send_to_txt2img", "Send to txt2img"),
    "to_negative_prompt": message("ui.send_to_negative_prompt", "Send to negative prompt"),
}


def status_word(status: str) -> str:
    """The word that the page shows for a status of the API."""
    return STATUS_WORDS.get(status, status)


def title(name: str, status: str, queued: Sequence[str]) -> Message:
    """The run's name and status, and who waits behind it."""
    if not queued:
        return message("ui.run_status", "{name}: {status}", name=name, status=status_word(status))
    return message(
        "ui.run_status_and_queue",
        "{name}: {status} · queued: {queued:, }",
        name=name,
        status=status_word(status),
        queued=list(queued),
    )


def taken_on(job: Job, queue: JobQueue) -> Message:
    """That a run has started, or goes on, or waits for the one that is at work."""
    ahead = queue.ahead_of(job)
    if not ahead and job.resumes:
        return message("ui.run_goes_on", "{name} goes on.", name=job.config.name)
    if not ahead:
        return message("ui.training_started", "Training started: {name}.", name=job.config.name)
    return message(
        "ui.run_queued",
        "{name} is queued. It starts when {current} has ended.",
        name=job.config.name,
        current=ahead[-1].config.name,
    )


ASKED: Mapping[str, Message] = {  # of a run that does it only when the step it is in has ended
    "pause": message("ui.will_pause", "It pauses after the step that it is in."),
    "resume": message("ui.will_resume", "It resumes as soon as the model is free."),
    "snapshot": message("ui.will_save_snapshot", "A snapshot is saved after the step that it is in."),
    "preview": message("ui.will_preview", "A preview is generated after the step that it is in."),
}


def reply(job: Job, command: str, queue: JobQueue) -> list[Message]:
    """How a job stands after a command, and what it has still to do; waits a little for it to obey."""
    obeyed = queue.obeyed(job, command)
    asked = [] if obeyed or job.now.over or command not in ASKED else [ASKED[command]]
    return [title(job.config.name, job.status, ()), *asked]


def figures(job: Job, view: Mapping[str, Any]) -> list[str]:
    """How far the run of a `Job.view()` is, what its losses and vectors are, and why it stopped."""
    return [text for text in _figures(job, view) if text]


def _figures(job: Job, view: Mapping[str, Any]) -> Iterator[str]:
    generated, lacking = view["generated"]
    encoded, total = view["encoded"]
    if view["status"] == "preparing" and lacking and not total:
        yield message(
            "ui.class_images_generated",
            "{done} of {total:image|images} of the class generated",
            done=generated,
            total=lacking,
        )
    elif view["status"] == "preparing" and total:
        yield message("ui.images_encoded", "{done} of {total:image|images} encoded", done=encoded, total=total)
    elif view["status"] == "queued":
        steps = view["total"] - view["steps"]
        yield message("ui.waits_for_its_turn", "waits for its turn, with {steps:step|steps} to take", steps=steps)
    else:
        yield message("ui.step_of_total", "step {step} of {total}", step=view["steps"], total=view["total"])
    if job.device:
        yield message("ui.trains_on", "on {device}", device=job.device)
    if not job.now.over and view["seconds_left"] is not None:
        yield time_left(view["seconds_left"])
    if view["loss"] is not None:
        yield message("ui.loss_of", "loss {loss:.4f}", loss=view["loss"])
    for _, loss in job.evaluations[-1:]:
        yield message("ui.evaluation_of", "evaluation {loss:.5f}", loss=loss)
    for row in job.curve[-1:]:  # not the view's, which has only what is new
        yield message(
            "ui.length_and_distance",
            "length {length:.3f}, moved {distance:.3f}",
            length=row["vector_norm"],
            distance=row["distance"],
        )
    yield view["reason"]
    if view["file"]:
        yield message("ui.file_holds_step", "{file} holds step {step}", file=view["file"], step=view["file_step"])


def time_left(seconds: float) -> Message:
    """How long a run will take yet, in units that suit it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return message("ui.hours_left", "{hours} h {minutes} min left", hours=hours, minutes=minutes)
    if minutes:
        return message("ui.minutes_left", "{minutes} min {seconds} s left", minutes=minutes, seconds=rest)
    return message("ui.seconds_left", "{seconds} s left", seconds=rest)


def interrupted(run: Mapping[str, Any]) -> Message:
    """That a run of `LeftRuns.interrupted()` can go on, and how."""
    return message(
        "ui.run_was_interrupted",
        'The run "{name}" was interrupted at step {steps} of {total}. To continue, open Runs and click Resume.',
        **run,
    )
