"""Images to generate: what is asked for, what previews show, and the text that says how an image was made."""

from __future__ import annotations

from tinv_ext.core.generation.preview_prompts import PreviewPrompt, preview_prompts
from tinv_ext.core.generation.requests import ImageRequest, infotext

__all__ = ["ImageRequest", "PreviewPrompt", "infotext", "preview_prompts"]
