"""Loaded by Forge and Forge Neo as an extension: lets them load the toys, whose layers are smaller than they expect.

They take a model's configs from folders of their own, and some widths from constants. TINV_TOYS names a folder with the
toys' configs in their place and `toys.json`, which has the numbers.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import backend.loader
import backend.text_processing.classic_engine
from backend.nn.unet import Timestep
from huggingface_guess import latent, model_list
from modules import script_callbacks

FOLDER = Path(os.environ["TINV_TOYS"])
NUMBERS: dict[str, Any] = json.loads((FOLDER / "toys.json").read_text(encoding="utf-8"))

if hasattr(backend.loader, "dir_path"):
    backend.loader.dir_path = str(FOLDER)
else:  # Neo
    backend.loader.HF = str(FOLDER / "huggingface")
    model_list.SDXL.latent_format = latent.SD15  # the toy has SD1's scale
for name, unet in NUMBERS["unets"].items():
    guess = getattr(model_list, name)
    guess.unet_config = {"context_dim": unet["context_dim"], "model_channels": unet["model_channels"]}
    guess.unet_extra_config = {**guess.unet_extra_config, "num_heads": unet["heads"], "num_head_channels": -1}

Database = backend.text_processing.classic_engine.EmbeddingDatabase


def database(tokenizer: Any, expected_shape: int = -1) -> Any:
    """Of embeddings as wide as the toy's."""
    return Database(tokenizer, NUMBERS["widths"].get(str(expected_shape), expected_shape))


backend.text_processing.classic_engine.EmbeddingDatabase = database


def narrow(model: Any) -> None:
    """SDXL's embedding of sizes."""
    if getattr(model, "embedder", None) is not None:
        model.embedder = Timestep(NUMBERS["size_embedding"])


script_callbacks.on_model_loaded(narrow)
