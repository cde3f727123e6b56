"""Precisions by the names that settings and messages use."""

from __future__ import annotations

import torch

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def dtype_name(dtype: torch.dtype) -> str:
    """ "fp16" for torch.float16; what has no such name as torch writes it, without `torch.`"""
    return next((name for name, known in DTYPES.items() if known == dtype), str(dtype).removeprefix("torch."))
