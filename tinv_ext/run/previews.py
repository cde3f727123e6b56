"""Previews: images generated with the word on the way, each also as one that carries the embedding if asked for.

When there is one is a row of the table in `run/recorder.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from tinv_ext.core.formats.image_write import save_png_with_embedding
from tinv_ext.core.generation import ImageRequest, PreviewPrompt, infotext
from tinv_ext.core.model import Model
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.training.fallbacks import free_memory, is_out_of_memory, retry_after_freeing
from tinv_ext.core.training.state import State
from tinv_ext.hosts.base import Host, model_facts
from tinv_ext.run.embedding_file import EmbeddingWriter
from tinv_ext.run.events import Report, Wrote
from tinv_ext.run.run_folder import RunFolder, write_image
from tinv_ext.run.tasks import Moment


@dataclass(frozen=True)
class Previews:
    """Those of one run."""

    config: TrainConfig
    shown: Sequence[PreviewPrompt]
    host: Host
    state: State
    folder: RunFolder
    writer: EmbeddingWriter
    report: Report

    def make(self, moment: Moment, model: Model | None) -> None:
        """Generate, write and report them."""
        try:
            self.generate(model)
        except Exception as error:
            if is_out_of_memory(error):  # else the run would be slower from here on, without what a model keeps
                free_memory(model)
            raise

    def generate(self, model: Model | None = None) -> None:
        """Every image that is asked for, with the vectors of this step; what runs out of memory is tried once more."""
        made: Counter[str] = Counter()  # images of each word so far
        for prompt in self.shown:
            word = prompt.word or self.config.name
            for request in prompt.requests:
                index = made[word]
                made[word] += 1
                image, path = retry_after_freeing(model, partial(self._generate_one, word, index, request))
                self.report(Wrote("preview", self.state.step, path))
                for name in self._carried(word) if self.config.save_image_embedding else ():
                    retry_after_freeing(model, partial(self._write_carrier, name, index, image))

    def _carried(self, word: str) -> list[str]:
        """The embeddings that an image of a word carries, each in a file of its own: the word's, and its negative."""
        negatives = [one.name for one in self.config.word_settings if one.negative_of == word]
        return [word, *negatives]

    def _generate_one(self, word: str, index: int, request: ImageRequest) -> tuple[Image.Image, Path]:
        words = {name: self.state.values(name) for name in self.state.vectors}
        facts = model_facts(self.host, self.config.clip_skip)
        image = self.host.generate(request, words, self.config.clip_skip)
        path = self.folder.preview(word, self.state.step, index)
        write_image(image, path, {"parameters": infotext(request, facts)})
        return image, path

    def _write_carrier(self, word: str, index: int, image: Image.Image) -> None:
        carrier = self.folder.image_embedding(word, self.state.step, index)
        save_png_with_embedding(image, self.writer.embedding(carrier.stem, word=word), carrier)
