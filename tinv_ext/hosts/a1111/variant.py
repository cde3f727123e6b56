"""What differs between AUTOMATIC1111's WebUI and the programs that kept its shell around other models.

Two modules are a `Variant`: `original` and `reforge`. Import only that of the program that runs: each imports what the
other program does not have.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from tinv_ext.core.messages import Message
from tinv_ext.core.model import Model, Words


@dataclass(frozen=True)
class Session:
    """The model made ready for training; the functions are to be called before and after an image in between."""

    model: Model
    before_image: Callable[[], None]
    after_image: Callable[[], None]


class Variant(Protocol):
    """The parts of a program that hold its model."""

    def session(self, sd_model: Any, clip_skip: int, known: Words) -> AbstractContextManager[Session]:
        """The loaded model frozen and ready to be trained; everything is restored on any exit."""
        ...

    def restored_after_image(self, sd_model: Any) -> AbstractContextManager[None]:
        """What an image changes in the model for good is as before on exit."""
        ...

    def image_scripts(self) -> Any:
        """The scripts of our images: None, or an empty runner where the program cannot do without one."""
        ...

    def prediction(self, sd_model: Any) -> str:
        """What the model predicts, by our names; by the program's where it cannot be trained."""
        ...

    def dtypes(self, sd_model: Any) -> tuple[torch.dtype, torch.dtype]:
        """In which types UNet and VAE compute."""
        ...

    def attention_name(self) -> str:
        """The attention that is chosen in the program."""
        ...

    def lora_notes(self, sd_model: Any) -> list[Message]:
        """What becomes of the LoRA that the last image has left in the model."""
        ...
