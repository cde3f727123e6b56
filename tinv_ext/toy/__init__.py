"""The toy: a small true Stable Diffusion of our own, the world it was trained on, and its judge."""

from __future__ import annotations

from typing import Any


def pipeline() -> Any:
    """The toy as a StableDiffusionPipeline; diffusers is imported only now."""
    from tinv_ext.toy import model

    return model.pipeline()
