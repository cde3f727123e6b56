"""What hosts do alike with a VAE: say which one it is."""

from __future__ import annotations

import hashlib
from typing import Any

import torch


def encoder_digest(vae: Any, scale: float) -> str:
    """SHA-256 over the weights of a VAE's encoding half, their type and the scale factor: the key of its latents."""
    digest = hashlib.sha256(f"{next(vae.parameters()).dtype} {float(scale)}".encode())
    for part in (vae.encoder, vae.quant_conv):
        for name, value in part.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
