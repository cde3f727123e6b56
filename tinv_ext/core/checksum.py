"""A checksum of tensors and the texts beside them, by which a file tells whether it is still what was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor

KEY = "checksum"
"""Under which a file's metadata has it."""


def checksum(tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> str:
    """SHA-256 of the texts but `KEY` and of every tensor's name, type, shape and bytes, whatever their order."""
    digest = hashlib.sha256()
    digest.update(json.dumps(sorted((key, text) for key, text in texts.items() if key != KEY)).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        # reshaped first, as a single number cannot be viewed as bytes
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
