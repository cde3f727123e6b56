"""Images generated with the word while it is trained."""

from __future__ import annotations

from collections.abc import Mapping

from tinv_ext.core.paths import path_problems
from tinv_ext.core.settings.limits import MAX_SIZE, MAX_STEPS, MIN_SIZE, SIZE_STEP
from tinv_ext.core.settings.setting import Setting

PREVIEWS: Mapping[str, Setting] = {
    "preview_every": Setting(
        "Save an image to log directory every N steps",
        "Also one after the last step and, if that is turned on, before the first; 0 = no previews.",
        minimum=0,
        maximum=MAX_STEPS,
    ),
    "preview_every_n_epochs": Setting(
        "Save an image to log directory every N epochs",
        "Previews by passes through all images, instead of by steps; 0 = by steps.",
        minimum=0,
        maximum=MAX_STEPS,
    ),
    "preview_at_first": Setting(
        "Preview before the first step",
        "Shows what the run begins with.",
    ),
    "preview_prompt": Setting(
        "Preview prompt",
        "One prompt per line; [name] becomes the word. A line can have options of its own: --n negative prompt, --w "
        "width, --h height, --d seed, --s steps, --l CFG scale.",
    ),
    "preview_file": Setting(
        "Preview prompts from a file",
        "A text file of such lines, or .json or .toml as kohya's sample_prompts; used instead of the prompt above.",
        check=path_problems,
    ),
    "preview_images": Setting(
        "Preview images per prompt",
        "Each with the next seed.",
        minimum=1,
        maximum=64,
    ),
    "preview_negative_prompt": Setting(
        "Preview negative prompt",
        "What previews should not show.",
    ),
    "preview_steps": Setting(
        "Preview sampling steps",
        "Denoising steps per preview.",
        minimum=1,
        maximum=150,
    ),
    "preview_sampler": Setting(
        "Preview sampling method",
        "The sampler of the previews.",
    ),
    "preview_scheduler": Setting(
        "Preview schedule type",
        "Leave empty for the sampler's own. Needs WebUI 1.9 or newer.",
    ),
    "preview_cfg_scale": Setting(
        "Preview CFG Scale",
        "How closely previews follow their prompt.",
        minimum=1.0,
        maximum=30.0,
    ),
    "preview_seed": Setting(
        "Preview seed",
        "The same for all previews, so that they can be compared.",
        minimum=0,
        maximum=2**32 - 1,
    ),
    "preview_width": Setting(
        "Preview width",
        "0 = the training width.",
        minimum=MIN_SIZE,
        maximum=MAX_SIZE,
        multiple=SIZE_STEP,
        zero=True,
    ),
    "preview_height": Setting(
        "Preview height",
        "0 = the training height.",
        minimum=MIN_SIZE,
        maximum=MAX_SIZE,
        multiple=SIZE_STEP,
        zero=True,
    ),
}
