"""The embeddings that prompts can use, out of a folder that people fill as they like."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import TinvError
from tinv_ext.core.fit import fits, too_long
from tinv_ext.core.formats import problem_of, read_words
from tinv_ext.core.messages import Message, encodable, message
from tinv_ext.core.model import TokenTable
from tinv_ext.core.suffixes import TENSOR_SUFFIXES

log = logging.getLogger(__name__)

_NAMED = 5  # files named in one sentence


@dataclass(frozen=True)
class UsableEmbeddings:
    """Embeddings by each word that calls one up, and what was left out: files with the reason, and those that do not
    fit."""

    words: Mapping[str, Embedding] = field(default_factory=dict)
    unusable: Mapping[Path, str] = field(default_factory=dict)
    unfit: tuple[Path, ...] = ()

    def notes(self, folder: Path) -> list[Message]:
        """What was left out, in a sentence for each kind and not for each file."""
        notes = []
        if self.unusable:
            notes.append(
                message(
                    "hosts.embeddings_left_out",
                    'In the embeddings folder "{folder}", {count:file|files} cannot be used: {files:, }. Use "tinv '
                    'inspect FILE" to see why.',
                    folder=folder,
                    count=len(self.unusable),
                    files=[f'"{path.name}"' for path in self.unusable][:_NAMED] + ["…"] * (len(self.unusable) > _NAMED),
                )
            )
        if self.unfit:
            notes.append(
                message(
                    "hosts.embeddings_unfit",
                    'In the embeddings folder "{folder}", {count:file|files} made for another kind of model cannot be '
                    "used with this one.",
                    folder=folder,
                    count=len(self.unfit),
                )
            )
        return notes


def usable_embeddings(folder: Path, token_table: TokenTable) -> UsableEmbeddings:
    """What the files of a folder hold for a model. No file stops this: whatever it is, it is left out, and said."""
    words: dict[str, Embedding] = {}
    aliases: dict[str, Embedding] = {}
    unusable: dict[Path, str] = {}
    unfit: list[Path] = []
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in TENSOR_SUFFIXES)
    except FileNotFoundError:
        files = []  # before the first training
    except OSError as error:
        files, unusable[folder] = [], error.strerror or str(error)
    for path in files:
        try:
            read = _callable(path, token_table)
        except Exception as error:
            unusable[path] = problem_of(error) if isinstance(error, TinvError) else str(error)
            log.info("%s is left out: %s", path.name, unusable[path], exc_info=not isinstance(error, TinvError))
            continue
        fitting = {name: one for name, one in read.items() if fits(one.widths, token_table.widths)}
        long = {name: problem for name, one in fitting.items() if (problem := too_long(one))}
        if not read or long:
            unusable[path] = next(iter(long.values()), _no_word(path))
        elif not fitting:
            unfit.append(path)
        fitting = {name: one for name, one in fitting.items() if name not in long}
        words.update({name: one for name, one in fitting.items() if name == path.stem})
        aliases.update(fitting)
    return UsableEmbeddings({**aliases, **words}, unusable, tuple(unfit))


def _callable(path: Path, token_table: TokenTable) -> dict[str, Embedding]:
    """The embeddings of a file by the words that call them up here; none where a prompt cannot hold the file's name.

    As in the WebUI that is the file's name, not what another program called it inside; but what diffusers names
    "learned_embeds" goes by its token, and a token in angle brackets is no word that anybody types by chance.
    """
    if encodable(path.stem) != path.stem or not token_table.tokenizer.ids(path.stem):
        return {}
    return {
        name: embedding
        for name, embedding in read_words(path).items()
        if name in (path.stem, embedding.name) or name.startswith("<")
    }


def _no_word(path: Path) -> Message:
    return message(
        "hosts.no_word", 'The name "{name}" contains nothing that the model can read. Rename the file.', name=path.stem
    )
