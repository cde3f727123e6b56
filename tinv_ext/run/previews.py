"""Previews: images generated with the word on the way, each also as one that carries the embedding if asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinv_ext.core.formats.image_write import save_png_with_embedding
from tinv_ext.core.generation import ImageRequest, infotext
from tinv_ext.core.model import Model
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.training.fallbacks import free_memory, retry_after_freeing
from tinv_ext.core.training.state import State
from tinv_ext.hosts.base import Host
from tinv_ext.run.embedding_file import EmbeddingWriter
from tinv_ext.run.events import Report, Wrote
from tinv_ext.run.run_folder import RunFolder, write_image
from tinv_ext.run.tasks import Moment


@dataclass(frozen=True)
class Previews:
    """Those of one run."""

    config: TrainConfig
    requests: Sequence[ImageRequest]
    host: Host
    state: State
    folder: RunFolder
    writer: EmbeddingWriter
    report: Report

    def make(self, moment: Moment, model: Model | None) -> None:
        """Generate and write them; a second time with all memory released if it ran out in the first."""
        try:
            retry_after_freeing(model, self.generate)
        except Exception:
            free_memory(model)
            raise

    def generate(self) -> None:
        """Every image that is asked for, with the vectors of this step."""
        step, name = self.state.step, self.config.name
        words = {word: self.state.values(word) for word in self.state.vectors}
        facts = {"Model hash": self.host.facts.get("model_hash"), "Model": self.host.facts.get("model_name")}
        for index, request in enumerate(self.requests):
            image = self.host.generate(request, words)
            path = self.folder.preview(name, step, index)
            write_image(image, path, {"parameters": infotext(request, facts)})
            self.report(Wrote("preview", step, path))
            if self.config.save_image_embedding:
                carrier = self.folder.image_embedding(name, step, index)
                save_png_with_embedding(image, self.writer.embedding(carrier.stem), carrier)
