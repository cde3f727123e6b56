"""What a place must offer so that a run can happen in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image

from tinv_ext.core.generation import ImageRequest
from tinv_ext.core.model import Model, TokenTable, Words
from tinv_ext.core.prompts.reader import Word


@dataclass(frozen=True)
class ModelFiles:
    """From where a loaded model can be loaded once more: a checkpoint, a folder or a name; a VAE in place of its own.

    `device` is where it is loaded now, as torch names it ("cuda:0").
    """

    checkpoint: str
    vae: Path | None
    device: str


class Host(Protocol):
    """A program with a loaded Stable Diffusion: the WebUI, or a diffusers pipeline on the command line."""

    @property
    def token_table(self) -> TokenTable:
        """Tokens and token vectors of the loaded model, without touching it."""
        ...

    @property
    def facts(self) -> Mapping[str, str | None]:
        """What is loaded, for people and files: `model_name`, `model_hash` (10 hex digits or None), `family`."""
        ...

    @property
    def native_size(self) -> int:
        """Width and height in pixels that the model was made for."""
        ...

    @property
    def prediction(self) -> str:
        """What the model predicts: "epsilon" or "v_prediction" where it can be trained."""
        ...

    @property
    def clip_skip(self) -> int:
        """The clip skip that pictures are drawn with, unless a run says otherwise."""
        ...

    @property
    def clip_skip_counts(self) -> bool:
        """Whether it does with the loaded model; elsewhere its config tells the layer."""
        ...

    @property
    def embeddings_folder(self) -> Path:
        """Where embeddings lie that prompts can use."""
        ...

    @property
    def samplers(self) -> Sequence[str]:
        """Sampling methods that pictures can be drawn with, by name."""
        ...

    @property
    def schedulers(self) -> Sequence[str]:
        """Schedule types, by name; empty where there is no choice."""
        ...

    @property
    def model_files(self) -> ModelFiles:
        """From where the loaded model comes. HostError where it is not made of such files alone."""
        ...

    @property
    def model_notes(self) -> Sequence[str]:
        """What a person should know of the loaded model before training on it, as sentences."""
        ...

    def known_words(self) -> Sequence[Word]:
        """The embeddings that prompts can already use."""
        ...

    def training(self, clip_skip: int) -> AbstractContextManager[Model]:
        """The model frozen and ready to be trained on; everything is put back on any exit.

        Raises NotNowError where the model of before is not to be had at the moment, HostError where it never will be.
        """
        ...

    def generate(self, request: ImageRequest, words: Words, clip_skip: int = 0) -> Image.Image:
        """One picture, with `words` usable in its prompts. Leaves all random generators as they were.

        `clip_skip` 0 is that of the training at work, else that of the host.
        """
        ...

    def wanted(self) -> bool:
        """Whether somebody waits for the model, so that a run should leave `training()` for a while."""
        ...

    def let_others_in(self) -> None:
        """Called outside of `training()`: returns once those who waited have had the model, or at once."""
        ...

    def interrupted(self) -> bool:
        """Whether somebody has asked the program to interrupt what it does, since `training()` was entered."""
        ...

    def validate_file(self, file: Path) -> None:
        """Look at an embedding's file before it takes its place. HostError where prompts could not use it."""
        ...

    def lend_words(self, words: Words) -> None:
        """Have prompts know `words` without a file, until it is called again: in place of those lent before, if any.

        With none, everything is as if it had never been called. Returns when nobody else has the model.
        """
        ...

    def lent_words(self) -> Collection[str]:
        """Those of the lent words that prompts know now: another model may not fit them, or have forgotten them."""
        ...

    def refresh_embeddings(self, written: Collection[str] = ()) -> None:
        """Make what was written into `embeddings_folder` usable in the next prompt.

        HostError where the program rejects one of the names `written`; of other files it is not told.
        """
        ...


def model_facts(host: Host, clip_skip: int) -> dict[str, str | None]:
    """What `infotext` says of the model that an image was made with, as the WebUI does: a clip skip above 1 alone.

    Pasted there, an image without it is made at 1 again.
    """
    skipped = clip_skip > 1 and host.clip_skip_counts
    return {
        "Model hash": host.facts.get("model_hash"),
        "Model": host.facts.get("model_name"),
        "Clip skip": str(clip_skip) if skipped else None,
    }
