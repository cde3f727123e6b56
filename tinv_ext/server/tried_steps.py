"""Steps of runs that can be tried in any prompt under a word of their own, without a file, until they are forgotten."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message
from tinv_ext.hosts.base import Host


@dataclass(frozen=True)
class Tried:
    """The step of a run's word, whose folder this is, and the word that prompts know it by."""

    word: str
    name: str
    step: int
    folder: Path
    embedding: Embedding


class TriedSteps:
    """Those of this process. `host()` is the program as it is now, None while it has no model."""

    def __init__(self, host: Callable[[], Host | None]) -> None:
        self._host = host
        self._all: dict[str, Tried] = {}
        self._changing = threading.RLock()

    def all(self) -> list[tuple[Tried, bool]]:
        """Each with whether prompts know it now: a model of another family does not, nor one that was loaded since."""
        if not self._all:
            return []
        host = self._host()
        known = host.lent_words() if host else ()
        return [(tried, tried.word in known) for tried in list(self._all.values())]

    def add(self, folder: Path, name: str, step: int, embedding: Embedding) -> Tried:
        """Have prompts know a step as "<name>-<step>", or by the next free word. `InputError` if none can use it."""
        with self._changing:
            host = self._loaded()
            same = [one for one in self._all.values() if (one.folder, one.name, one.step) == (folder, name, step)]
            tried = same[0] if same else Tried(self._word(f"{name}-{step}", host), name, step, folder, embedding)
            self._lend(host, {**self._all, tried.word: tried})
            if tried.word in host.lent_words():
                return tried
            self._lend(host, {word: one for word, one in self._all.items() if word != tried.word})
        raise InputError(
            message(
                "server.step_does_not_fit",
                'Step {step} of "{name}" cannot be used with the loaded model. Load the model that it was trained on.',
                step=step,
                name=name,
            )
        )

    def forget(self, word: str) -> None:
        """Take a word out of all prompts. `InputError` where there is none."""
        with self._changing:
            if word not in self._all:
                raise InputError(message("server.no_tried", 'There is no word "{word}" to forget.', word=word))
            self._lend(self._loaded(), {key: one for key, one in self._all.items() if key != word})

    def forget_run(self, folder: Path) -> None:
        """The words of a run that is thrown away."""
        with self._changing:
            left = {word: one for word, one in self._all.items() if one.folder != folder}
            if len(left) < len(self._all):
                self._lend(self._loaded(), left)

    def forget_all(self) -> None:
        """Leave the program as it was."""
        with self._changing:
            if self._all:
                self._lend(self._loaded(), {})

    def _word(self, wanted: str, host: Host) -> str:
        taken = {word.name.lower() for word in host.known_words()} | {word.lower() for word in self._all}
        word, number = wanted, 2
        while word.lower() in taken:
            word, number = f"{wanted}-{number}", number + 1
        return word

    def _lend(self, host: Host, words: dict[str, Tried]) -> None:
        host.lend_words({word: one.embedding.vectors for word, one in words.items()})
        self._all = words

    def _loaded(self) -> Host:
        host = self._host()
        if host is None:
            raise InputError(message("server.no_model_yet", "No model is loaded yet. Load one, and try again."))
        return host
