"""Values of other programs' options as settings."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tinv_ext.core.data.image_fit import INTERPOLATIONS
from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message
from tinv_ext.core.settings.peers.option import Values, is_on

_SIZE = re.compile(r"[\s(\[]*(\d+)\s*(?:[,xX×]\s*(\d+)\s*)?[)\]\s]*")
_RESIZE = "resize_interpolation"
SAMPLERS = {
    "ddim": "DDIM",
    "euler": "Euler",
    "k_euler": "Euler",
    "euler_a": "Euler a",
    "k_euler_a": "Euler a",
    "dpmsolver++": "DPM++ 2M",
    "dpmpp": "DPM++ 2M",
}
"""kohya's and OneTrainer's names of sampling methods, with those of the WebUI."""


def resolution(value: Any) -> Values:
    """`512`, `"448,640"` or `[448, 640]` as width and height."""
    found = _SIZE.fullmatch(str(value))
    if not found:
        raise InputError(
            message(
                "peers.not_a_resolution",
                'resolution must be one size or width,height, such as 512 or 448,640, not "{value}".',
                value=value,
            )
        )
    width, height = found[1], found[2] or found[1]
    return {"width": int(width), "height": int(height)}


def only_if_on(**settings: Any) -> Callable[[Any], Values]:
    """These settings if the option is turned on, else none."""
    return lambda value: settings if is_on(value) else {}


def learnable_property(value: Any) -> Values:
    """What diffusers learns as the template of that name."""
    return {"template": one_of({"object": "subject", "style": "style"}, "learnable_property", value)}


def resize_interpolation(value: Any) -> Values:
    """kohya's names of filters (library/utils.py, get_pil_interpolation): OpenCV's and Pillow's."""
    names = {name: name for name in INTERPOLATIONS}
    return {"interpolation": one_of({**names, "linear": "bilinear", "cubic": "bicubic", "box": "area"}, _RESIZE, value)}


def precision(value: Any) -> Values:
    """accelerate's mixed precision: fp16 is for GPUs, so it becomes auto, which is fp32 on a CPU."""
    names = {"no": "fp32", "fp32": "fp32", "fp16": "auto", "bf16": "bf16"}
    return {"precision": one_of(names, "mixed_precision", value)}


def optimizer_type(value: Any) -> Values:
    """kohya's optimizers. Those of bitsandbytes keep few numbers (its `min_8bit_size`: 4096) in 32 bits themselves."""
    return {"optimizer": re.sub(r"(?i)^paged|(8|32)bit$", "", str(value)) or "adamw"}


def lr_scheduler(value: Any) -> Values:
    """kohya's schedulers; the number of its "adafactor:<rate>" is what its log shows before the first step."""
    return {"lr_scheduler": re.sub(r"(?i)^adafactor:[^:]*$", "adafactor", str(value).strip())}


def max_grad_norm(value: Any) -> Values:
    """kohya's limit of the gradient's length; 0 is none."""
    try:
        limit = float(value)
    except (TypeError, ValueError):
        limit = -1.0
    if limit < 0:
        raise InputError(
            message(
                "peers.not_a_norm", 'max_grad_norm must be a number, 0 for no clipping, not "{value}".', value=value
            )
        )
    return {"clip_mode": "norm", "clip_value": str(value)} if limit else {"clip_mode": "disabled"}


def sample_sampler(value: Any) -> Values:
    """kohya's samplers by our names; one that does not exist here is refused by its own name later."""
    return {"preview_sampler": SAMPLERS.get(str(value).lower(), str(value))}


def one_of(names: Mapping[str, str], option: str, value: Any) -> str:
    """The name here of a value that must be one of `names`, in small letters. `InputError` if it is none."""
    if str(value).lower() not in names:
        raise InputError(
            message(
                "peers.not_a_choice",
                '{option} must be one of {choices:, }, not "{value}".',
                option=option,
                choices=list(names),
                value=value,
            )
        )
    return names[str(value).lower()]


def repository(value: Any) -> Values:
    """kohya's repository at the hub: to name one is to upload there."""
    return {"push_to_hub": True, "hub_model_id": str(value)} if str(value).strip() else {}


def visibility(value: Any) -> Values:
    """kohya's "private", its default, or "public"."""
    names = {"private": "true", "public": "false"}
    return {"hub_private": one_of(names, "huggingface_repo_visibility", value) == "true"}
