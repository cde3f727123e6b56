"""Where a run writes its embedding files: the snapshots, the final one, and images that carry it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from tinv_ext.core.atomic import make_folder
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.formats import DEFAULTS, FOLDERS, suffix_of, usual_format, write_embedding
from tinv_ext.core.formats.metadata import PREDICTION
from tinv_ext.core.preflight.prepare import PreparedRun
from tinv_ext.core.training.fallbacks import retry_after_freeing
from tinv_ext.core.training.progress import Best
from tinv_ext.core.training.state import State
from tinv_ext.hosts.base import Host
from tinv_ext.run.events import Report, Wrote
from tinv_ext.run.provenance import run_facts


@dataclass(frozen=True)
class EmbeddingWriter:
    """Writes the vectors of a run's words as they are now, or as they were at their best; the first word's unless told
    otherwise."""

    prepared: PreparedRun
    host: Host
    state: State
    prediction: str
    report: Report

    @property
    def names(self) -> list[str]:
        """The words that have files, the one that the run goes by first."""
        return [word.name for word in self.prepared.words]

    @property
    def suffix(self) -> str:
        """Of the file that prompts find: as set, or that of the usual format."""
        config = self.prepared.config
        asked = f".{config.save_format}"
        return asked if asked in DEFAULTS else suffix_of(usual_format(self.state.vectors[config.name]))

    def embedding(self, name: str, best: Best | None = None, word: str = "") -> Embedding:
        """The word's vectors of this step, or its `best`, under a name, with what is worth knowing of the run."""
        facts, word = self.host.facts, word or self.prepared.config.name
        return Embedding(
            name=name,
            vectors=dict(zip(self.state.vectors[word], best.vectors)) if best else self.state.values(word),
            step=best.step if best else self.state.step,
            model_hash=facts.get("model_hash"),
            model_name=facts.get("model_name"),
            facts={
                **run_facts(self.prepared, self.host, word),
                PREDICTION: self.prediction,
                "date": datetime.now().isoformat(timespec="seconds"),
            },
            precision=self.prepared.config.save_precision,
        )

    def write(self, kind: str, path: Path, best: Best | None = None, word: str = "") -> None:
        """Write a file, whole or not at all, which prompts can use; `kind` is that of `Wrote`."""
        make_folder(path.parent)
        retry_after_freeing(
            None,
            lambda: write_embedding(self.embedding(path.stem, best, word), path, validate_file=self.host.validate_file),
        )
        self.report(Wrote(kind, best.step if best else self.state.step, path))

    def write_folder(self, folder: Path, best: Mapping[str, Best | None]) -> bool:
        """Write a folder for diffusers where one is wanted, with the `best` of each word, and say whether."""
        config = self.prepared.config
        if config.save_format not in FOLDERS:
            return False
        for name in self.names:
            place = folder / name if len(self.names) > 1 else folder  # each is a folder as of a training of its own
            make_folder(place)
            embedding = self.embedding(name, best[name], name)
            retry_after_freeing(None, partial(write_embedding, embedding, place, format=config.save_format))
        return True
