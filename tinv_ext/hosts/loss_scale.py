"""Loss scaling for half precision: 1024 in float16, 16 when gradients overflow, full precision when they still do."""

from __future__ import annotations

from collections.abc import Callable

import torch

from tinv_ext.core.messages import Message, message

_SCALE = 1024.0  # without it the loss's gradients fall below float16's smallest number
_SMALLER_SCALE = 16.0  # for gradients that 1024 takes beyond float16's largest number


class LossScale:
    """What the loss is multiplied by before backward: `value`, which is 1 unless the UNet computes in float16."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self.value = _SCALE if dtype == torch.float16 else 1.0

    def upcast(self, to_float32: Callable[[], object]) -> Message | None:
        """Take the next step towards full precision: what it is, or None if there is none left.

        `to_float32` is called for the last one; it makes the model compute in float32.
        """
        if self.value > _SMALLER_SCALE:
            self.value = _SMALLER_SCALE
            return message("hosts.smaller_loss_scale", "a smaller loss scale")
        if self._dtype == torch.float32:
            return None
        self.value = 1.0
        to_float32()
        self._dtype = torch.float32
        return message("hosts.full_precision", "full precision")
