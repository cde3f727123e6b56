"""What the command line says at the end of a training: how it ended, where its files are, how to go on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tinv_ext.core.errors import TinvError
from tinv_ext.core.messages import Message, message
from tinv_ext.core.paths import is_file

if TYPE_CHECKING:
    from tinv_ext.hosts.diffusers.host import DiffusersHost
    from tinv_ext.run.events import Event
    from tinv_ext.run.status import Status


class Written:
    """The embeddings that a run has written, in their order."""

    def __init__(self) -> None:
        self.embeddings: list[Path] = []

    def report(self, event: Event) -> None:
        """Keep the file of an event that tells of one."""
        from tinv_ext.run.events import Wrote

        if isinstance(event, Wrote) and event.kind == "embedding":
            self.embeddings.append(event.path)


def resume_with(folder: Path) -> Message:
    """How to go on."""
    return message("cli.resume_with", 'Resume it with: python -m tinv_ext train --resume "{folder}"', folder=folder)


def outcome(status: Status, host: DiffusersHost, files: Sequence[Path]) -> Iterator[str]:
    """How the run ended, and how to use its embedding, or all of them that it has written: none where nothing was left
    to do."""
    if status.status == "finished" and not files:
        yield message(
            "cli.finished_before",
            "It had finished before, at step {step}, so nothing was trained. To go on, give more steps (--steps).",
            step=status.steps,
        )
    elif status.status == "finished":
        yield message("cli.finished", "Finished at step {step}.", step=status.steps)
    elif status.status == "stopped":
        yield message("cli.stopped", "Stopped at step {step}.", step=status.steps)
    else:
        yield message("cli.ended", "The run is {status} at step {step}.", status=status.status, step=status.steps)
    if status.reason and status.file:
        yield status.reason
    if status.file and not is_file(Path(status.file)):
        yield message(
            "cli.file_gone", "The embedding was moved, renamed or deleted since. It was: {file}", file=status.file
        )
    elif status.file:
        yield from _file(status.file, host, files)


def _file(file: str, host: DiffusersHost, files: Sequence[Path]) -> Iterator[str]:
    """Where the embedding is, and how to use it; what is wrong with it, where somebody has spoiled it since."""
    word = Path(file).stem
    model = f' --model "{host.facts["source"]}"' if host.facts.get("source") != "toy" else ""
    yield message("cli.file", "The embedding: {file}", file=file)
    for other in files[1:]:
        yield message("cli.file", "The embedding: {file}", file=other)
    try:
        token = _token_in(Path(file))
    except TinvError as error:
        yield from error.problems
        return
    yield message("cli.use", 'Use "{word}" in a prompt, for example:', word=word)
    yield f'  python -m tinv_ext generate "a photo of {word}" --embedding "{file}"{model}'
    if token != word:
        yield message("cli.token", 'In diffusers, load_textual_inversion gives it the word "{token}".', token=token)


def _token_in(file: Path) -> str:
    """The word of a file as diffusers finds it; of one with two encoders, which it does not load, its name."""
    from tinv_ext.core.embedding import token_of
    from tinv_ext.core.formats import read_embedding

    embedding = read_embedding(file)
    return token_of(embedding) if len(embedding.vectors) == 1 else embedding.name
