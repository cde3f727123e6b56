"""The steps of a job that can be had: their snapshots, and the one that becomes its embedding after the run.

Each word of a run has its own; `word` is the run's first where it is "".
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from tinv_ext.core.errors import InputError, TinvError
from tinv_ext.core.formats import read_embedding
from tinv_ext.core.messages import message
from tinv_ext.core.suffixes import TENSOR_SUFFIXES
from tinv_ext.run.chosen_step import snapshot_of, use_step
from tinv_ext.run.run_folder import RunFolder
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.server.queued_run import Job
from tinv_ext.server.shown import Shown
from tinv_ext.server.tried_steps import Tried

log = logging.getLogger(__name__)


def words(job: Job) -> list[dict[str, object]]:
    """The words of a run, the first as it is called: of each its file, as soon as there is one, and the step in it."""
    files = [(name, _file(job, name)) for name in job.config.names]
    return [{"name": name, "file": file.name if file else None, "file_step": _step(file)} for name, file in files]


def curve(job: Job, word: str = "") -> Shown:
    """The curve and the evaluations of a run, or of one of its words alone."""
    if word and len(job.config.names) > 1:
        folder = _folder(job)
        return Shown.of_curve(folder.word_curve(_word(job, word))) if folder.is_there else Shown()
    _word(job, word)
    with job.lock:
        return Shown(list(job.curve), list(job.evaluations), job.best)


def snapshots(job: Job, word: str = "") -> list[dict[str, object]]:
    """Those that there are still, by step: the file's name, and the key by which `library` knows it."""
    name = _word(job, word)
    if job.folder is None:
        return []
    run = RunFolder(Path(job.folder))
    found = sorted(run.snapshots(name).items())
    return [{"step": step, "file": files[-1].name, "key": f"{run.id}/{files[-1].name}"} for step, files in found]


def embedding_file(job: Job, step: int | None, word: str = "") -> Path:
    """The file of a run's embedding, or of its snapshot at a step. `InputError` if there is none."""
    name = _word(job, word)
    if step is not None:
        return snapshot_of(_folder(job), name, step)
    path = _file(job, name)
    if path is None:
        raise InputError(message("server.no_file", 'The run "{name}" has no file.', name=name))
    return path


def use(queue: JobQueue, job: Job, step: int, word: str = "") -> Path:
    """Make the snapshot of a step the embedding of a run that is over: that of one `word`, or with "" of all its words.

    `InputError` while any run has the model.
    """
    name = _word(job, word)
    if not job.now.over:
        raise InputError(
            message(
                "server.use_when_over",
                'The run "{name}" is in progress, and its end would replace the file. Stop it first.',
                name=job.config.name,
            )
        )
    folder = _folder(job)
    file = queue.with_model(lambda host: use_step(folder, name, step, host, alone=bool(word)))
    with job.lock:
        for one in [name] if word else job.config.names:
            job.used_files[one] = file.parent / f"{one}{file.suffix}"
        if name == job.config.name:
            job.now, job.used = replace(job.now, file=str(file)), step
    return file


def try_step(queue: JobQueue, job: Job, step: int, word: str = "") -> Tried:
    """Have all prompts know the snapshot of a step by a word of its own, during the run, too; no file is written."""
    name, folder = _word(job, word), _folder(job)
    embedding = read_embedding(snapshot_of(folder, name, step))
    return queue.tried.add(folder.path, name, step, embedding)


def _word(job: Job, word: str) -> str:
    """The word that is meant. `InputError` if the run has none of that name."""
    if word and word not in job.config.names:
        raise InputError(
            message("server.no_word", 'The run "{name}" has no word "{word}".', name=job.config.name, word=word)
        )
    return word or job.config.name


def _file(job: Job, name: str) -> Path | None:
    """The file of a word where prompts find it: beside that of the first, unless a step was used since."""
    if name in job.used_files:
        path = job.used_files[name]
        return path if path.is_file() else None
    if not job.file:
        return None
    first = Path(job.file)
    if name == job.config.name:
        return first if first.is_file() else None
    suffixes = dict.fromkeys([first.suffix, *TENSOR_SUFFIXES])
    return next((file for suffix in suffixes if (file := first.parent / f"{name}{suffix}").is_file()), None)


def _step(file: Path | None) -> int | None:
    try:
        return read_embedding(file).step if file else None
    except (OSError, TinvError) as error:
        log.warning("%s cannot be read: %s", file, error)
        return None


def _folder(job: Job) -> RunFolder:
    if job.folder is None:
        raise InputError(message("server.not_begun", 'The run "{name}" has not begun.', name=job.config.name))
    return RunFolder(Path(job.folder))
