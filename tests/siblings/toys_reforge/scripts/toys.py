"""Loaded by reForge and Classic as an extension: lets them load the toys, whose layers are smaller than they expect.

They take a model's numbers from constants of theirs. TINV_TOYS names a folder with the toys' configs in their place and
`toys.json`, which has the numbers; TINV_TOY which of them is loaded.
"""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

import ldm_patched.modules.sd
from ldm_patched.modules import latent_formats, sd1_clip, supported_models

FOLDER = Path(os.environ["TINV_TOYS"])
NUMBERS: dict[str, Any] = json.loads((FOLDER / "toys.json").read_text(encoding="utf-8"))

supported_models.SDXL.latent_format = latent_formats.SD15  # the toy has SD1's scale
for name, unet in NUMBERS["unets"].items():
    guess = getattr(supported_models, name)
    guess.unet_config = {"context_dim": unet["context_dim"], "model_channels": unet["model_channels"]}
    guess.unet_extra_config = {**guess.unet_extra_config, "num_heads": unet["heads"], "num_head_channels": -1}

clip_model, autoencoder = sd1_clip.SDClipModel.__init__, ldm_patched.modules.sd.AutoencoderKL


@functools.wraps(clip_model)
def small_clip(self: Any, *args: Any, textmodel_json_config: Any = None, **options: Any) -> None:
    """With the config of the toy's encoder in the place of CLIP's or OpenCLIP's."""
    encoder = "text_encoder_2" if "bigg" in str(textmodel_json_config) else "text_encoder"
    config = FOLDER / "huggingface" / os.environ["TINV_TOY"] / encoder / "config.json"
    clip_model(self, *args, textmodel_json_config=str(config), **options)


def small_autoencoder(ddconfig: dict[str, Any], **options: Any) -> Any:
    """With the toy's channels and blocks."""
    return autoencoder(ddconfig={**ddconfig, **NUMBERS["vae"]}, **options)


sd1_clip.SDClipModel.__init__ = small_clip
ldm_patched.modules.sd.AutoencoderKL = small_autoencoder
