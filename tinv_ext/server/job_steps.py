"""The steps of a job that can be had: their snapshots, and the one that becomes its embedding after the run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tinv_ext.core.errors import InputError
from tinv_ext.core.formats import read_embedding
from tinv_ext.core.messages import message
from tinv_ext.run.chosen_step import snapshot_of, use_step
from tinv_ext.run.run_folder import RunFolder
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.server.queued_run import Job
from tinv_ext.server.tried_steps import Tried


def snapshots(job: Job) -> list[dict[str, object]]:
    """Those that there are still, by step: the file's name, and the key by which `library` knows it."""
    if job.folder is None:
        return []
    run = RunFolder(Path(job.folder))
    found = sorted(run.snapshots(job.config.name).items())
    return [{"step": step, "file": files[-1].name, "key": f"{run.id}/{files[-1].name}"} for step, files in found]


def embedding_file(job: Job, step: int | None) -> Path:
    """The file of a run's embedding, or of its snapshot at a step. `InputError` if there is none."""
    if step is not None:
        return snapshot_of(_folder(job), job.config.name, step)
    path = Path(job.file or "")
    if not job.file or not path.is_file():
        raise InputError(message("server.no_file", 'The run "{name}" has no file.', name=job.config.name))
    return path


def use(queue: JobQueue, job: Job, step: int) -> Path:
    """Make the snapshot of a step the embedding of a run that is over. `InputError` while any run has the model."""
    if not job.now.over:
        raise InputError(
            message(
                "server.use_when_over",
                'The run "{name}" is in progress, and its end would replace the file. Stop it first.',
                name=job.config.name,
            )
        )
    folder = _folder(job)
    file = queue.with_model(lambda host: use_step(folder, job.config.name, step, host))
    with job.lock:
        job.now, job.used = replace(job.now, file=str(file)), step
    return file


def try_step(queue: JobQueue, job: Job, step: int) -> Tried:
    """Have all prompts know the snapshot of a step by a word of its own, during the run, too; no file is written."""
    folder = _folder(job)
    embedding = read_embedding(snapshot_of(folder, job.config.name, step))
    return queue.tried.add(folder.path, job.config.name, step, embedding)


def _folder(job: Job) -> RunFolder:
    if job.folder is None:
        raise InputError(message("server.not_begun", 'The run "{name}" has not begun.', name=job.config.name))
    return RunFolder(Path(job.folder))
