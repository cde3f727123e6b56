"""A request for one image, and the text that says afterwards how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tinv_ext.core.messages import Message, message
from tinv_ext.core.settings import SETTINGS
from tinv_ext.core.settings.setting import value_problems

# The limits are those of previews, but for the seed: the WebUI counts it up beyond what it lets people enter.
LIMITS = {
    "width": replace(SETTINGS["preview_width"], label=message("generation.width", "Width"), zero=False),
    "height": replace(SETTINGS["preview_height"], label=message("generation.height", "Height"), zero=False),
    "steps": replace(SETTINGS["preview_steps"], label=message("generation.steps", "Sampling steps")),
    "cfg_scale": replace(SETTINGS["preview_cfg_scale"], label=message("generation.cfg_scale", "CFG scale")),
    "seed": replace(SETTINGS["preview_seed"], label=message("generation.seed", "Seed"), maximum=2**63 - 1),
}


@dataclass(frozen=True)
class ImageRequest:
    """One image to generate: the values of txt2img that matter, sizes in pixels."""

    prompt: str
    negative_prompt: str
    steps: int
    cfg_scale: float
    seed: int
    width: int
    height: int
    sampler: str = "DDIM"
    scheduler: str = ""  # of the sampler's noise levels; empty leaves it to the sampler

    def problems(self) -> list[Message]:
        """A sentence for each value with which no image can be generated."""
        return [
            problem for name, limits in LIMITS.items() for problem in value_problems(limits, name, getattr(self, name))
        ]


def infotext(request: ImageRequest, facts: Mapping[str, object]) -> str:
    """Generation parameters as the WebUI writes them (v1.10.1 `create_infotext`), for the PNG chunk `parameters`."""
    values: dict[str, object] = {
        "Steps": request.steps,
        "Sampler": request.sampler,
        "Schedule type": request.scheduler or None,
        "CFG scale": f"{request.cfg_scale:g}",
        "Seed": request.seed,
        "Size": f"{request.width}x{request.height}",
        **facts,
    }
    lines = [request.prompt]
    if request.negative_prompt:
        lines.append(f"Negative prompt: {request.negative_prompt}")
    lines.append(", ".join(f"{key}: {_quoted(str(value))}" for key, value in values.items() if value is not None))
    return "\n".join(lines)


def _quoted(text: str) -> str:
    if not any(character in text for character in ',\n:"'):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
