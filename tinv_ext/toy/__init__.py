"""The toy: a tiny but real Stable Diffusion of our own, the world it was trained on, and its judge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

VARIANTS = ("v_prediction", "sdxl", "wide")


def pipeline(variant: str = "") -> Any:
    """The toy, or a variant of it, as a pipeline; diffusers is imported only now."""
    from tinv_ext.toy import model, variants

    return variants.pipeline(variant) if variant else model.pipeline()


def weights_file(variant: str = "") -> Path:
    """Its weights. Raises InputError where there are none."""
    from tinv_ext.toy import model, variants

    return variants.file_of(variant) if variant else model.weights_file()
