"""What the command line says at the end of a training: how it ended, where its files are, how to go on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tinv_ext.core.messages import Message, message

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
    """How the run ended, and how to use its embedding, or all of them that it has written."""
    if status.status == "finished":
        yield message("cli.finished", "Finished at step {step}.", step=status.steps)
    elif status.status == "stopped":
        yield message("cli.stopped", "Stopped at step {step}.", step=status.steps)
    else:
        yield message("cli.ended", "The run is {status} at step {step}.", status=status.status, step=status.steps)
    if status.reason and status.file:
        yield status.reason
    if status.file:
        word, token = Path(status.file).stem, _token_in(Path(status.file))
        model = f' --model "{host.facts["source"]}"' if host.facts.get("source") != "toy" else ""
        yield message("cli.file", "The embedding: {file}", file=status.file)
        for other in files[1:]:
            yield message("cli.file", "The embedding: {file}", file=other)
        yield message("cli.use", 'Use "{word}" in a prompt, for example:', word=word)
        yield f'  python -m tinv_ext generate "a photo of {word}" --embedding "{status.file}"{model}'
        if token != word:
            yield message("cli.token", 'In diffusers, load_textual_inversion gives it the word "{token}".', token=token)


def _token_in(file: Path) -> str:
    """The word of a file as diffusers finds it; of one with two encoders, which it does not load, its name."""
    from tinv_ext.core.embedding import token_of
    from tinv_ext.core.formats import read_embedding

    embedding = read_embedding(file)
    return token_of(embedding) if len(embedding.vectors) == 1 else embedding.name
