"""A host whose model is a few lines: all that tests of a run's wiring need, in milliseconds."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from tests.core.fake import WIDTH, Fake, Letters
from tinv_ext.core.data.latents import LatentDistribution
from tinv_ext.core.errors import FormatError
from tinv_ext.core.fit import unfit
from tinv_ext.core.formats import read_embedding
from tinv_ext.core.generation import ImageRequest
from tinv_ext.core.model import Model, Words
from tinv_ext.core.prompts.reader import Word
from tinv_ext.hosts.base import ModelFiles


class Letter(Letters):
    """One id for each word, but two for "zworble…", as a word that CLIP does not know has several."""

    def ids(self, text: str) -> list[int]:
        return [token for word in super_ids(text) for token in word]


def super_ids(text: str) -> Iterator[list[int]]:
    """Ids word by word."""
    for word in text.lower().replace(",", " , ").split():
        yield [*Letters().ids(word), *([5] if word.startswith("zworble") else [])]


@dataclass
class TokenTable:
    """Tokens of letters with vectors of WIDTH numbers."""

    tokenizer: Letters = field(default_factory=Letter)
    widths: Mapping[str, int] = field(default_factory=lambda: {"clip_l": WIDTH})

    def token_vectors(self, ids: Sequence[int]) -> dict[str, Tensor]:
        return {"clip_l": torch.tensor(ids).view(-1, 1) / 900 + torch.arange(WIDTH) / 10}


@dataclass
class FakeModel(Fake):
    """The model of a few lines, with a VAE that takes means."""

    vae_digest: str = "means"
    tokenizer: Letters = field(default_factory=Letter)

    def encode_images(self, pixels: Tensor) -> LatentDistribution:
        mean = torch.nn.functional.avg_pool2d(pixels, 8)
        mean = torch.cat([mean, mean[:, :1]], 1)
        return LatentDistribution(mean, torch.full_like(mean, 0.1))


class FakeHost:
    """Embeddings in a folder, the model of a few lines, and previews of one colour."""

    def __init__(self, embeddings_folder: Path) -> None:
        self.embeddings_folder = embeddings_folder
        self.token_table = TokenTable()
        self.facts: Mapping[str, str | None] = {"model_name": "fake", "model_hash": "0123456789", "source": "/fake"}
        self.model_files = ModelFiles("/fake", None, "cpu")
        self.native_size = 64
        self.prediction = "epsilon"
        self.clip_skip = 1
        self.clip_skip_counts = True
        self.samplers, self.schedulers, self.model_notes = (
            ["DPM++ 2M", "DDIM", "Euler"],
            ["Karras"],
            ["The model is fake."],
        )
        self._words: list[Word] = []
        self._lent: Words = {}

    def lend_words(self, words: Words) -> None:
        self._lent = words

    def lent_words(self) -> Collection[str]:
        return list(self._lent)

    def known_words(self) -> Sequence[Word]:
        return self._words

    def refresh_embeddings(self, written: Collection[str] = ()) -> None:
        self._words = []
        for path in sorted(self.embeddings_folder.glob("*.*")):
            try:
                found = read_embedding(path)
            except FormatError:
                continue
            if not unfit(found, self.token_table.widths):
                self._words.append(Word(path.stem, tuple(self.token_table.tokenizer.ids(path.stem)), found.count))

    @contextmanager
    def training(self, clip_skip: int) -> Iterator[Model]:
        yield FakeModel()

    def generate(self, request: ImageRequest, words: Words, clip_skip: int = 0) -> Image.Image:
        return Image.new("RGB", (request.width, request.height), (9, 90, 200))

    def wanted(self) -> bool:
        return False

    def let_others_in(self) -> None:
        return None

    def validate_file(self, file: Path) -> None:
        return None

    def interrupted(self) -> bool:
        return False
