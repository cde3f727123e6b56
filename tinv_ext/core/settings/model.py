"""How the model is used."""

from __future__ import annotations

from collections.abc import Mapping

from tinv_ext.core.families import MAX_CLIP_SKIP
from tinv_ext.core.settings.setting import Setting

MODEL: Mapping[str, Setting] = {
    "clip_skip": Setting(
        "Clip skip",
        "Which of the last layers of SD1's text encoder to stop at, counted as in the WebUI; 0 = the WebUI's current "
        "setting. SD2 and SDXL have a fixed one.",
        minimum=1,
        maximum=MAX_CLIP_SKIP,
        zero=True,
    ),
}
