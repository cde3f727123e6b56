"""Which settings a person meets first: the others have good defaults and are looked for when they are needed."""

from __future__ import annotations

from tinv_ext.core.settings.config import SETTINGS

FIRST = ("images", "name", "init_text", "purpose", "preset")
"""Always in sight."""
USUAL = (
    *("num_vectors", "template", "overwrite", "recursive", "width", "height", "resize_mode", "crop_mode", "flip"),
    *("shuffle_tags", "tag_dropout", "prepend_word", "masked_loss"),
    *("steps", "max_train_epochs", "learning_rate", "batch_size", "gradient_accumulation_steps", "seed"),
    *("preview_every", "preview_prompt", "preview_negative_prompt", "preview_sampler", "preview_cfg_scale"),
    *("evaluation_images", "save_every", "thumbnail", "output"),
)
"""The first level of what is advanced: what many people change."""


def level(name: str) -> int:
    """0 for a setting that is always in sight, 1 for one that many people change, 2 for the rest."""
    return 0 if name in FIRST else 1 if name in USUAL else 2


assert {*FIRST, *USUAL} <= set(SETTINGS)
