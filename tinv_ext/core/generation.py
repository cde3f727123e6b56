"""Pictures on the way: what to draw, and the text that tells afterwards how it was drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tinv_ext.core.data.captions import NAME
from tinv_ext.core.settings import TrainConfig


@dataclass(frozen=True)
class ImageRequest:
    """One picture to draw: the values of txt2img that matter, sizes in pixels."""

    prompt: str
    negative_prompt: str
    steps: int
    cfg_scale: float
    seed: int
    width: int
    height: int
    sampler: str = "DDIM"
    scheduler: str = ""  # of the sampler's noise levels; empty leaves it to the sampler

    def problems(self) -> list[str]:
        """A sentence for each value with which no picture can be drawn."""
        problems = [
            f"The {side} is {size} pixels; it must be a multiple of 8 from 64 to 2048."
            for side, size in (("width", self.width), ("height", self.height))
            if size % 8 or not 64 <= size <= 2048
        ]
        if not 1 <= self.steps <= 150:
            problems.append(f"{self.steps} sampling steps cannot be done; give 1 to 150.")
        if not 1 <= self.cfg_scale <= 30:
            problems.append(f"The CFG scale is {self.cfg_scale:g}; give 1 to 30.")
        if not 0 <= self.seed < 2**63:
            problems.append(f"The seed is {self.seed}; give a whole number from 0.")
        return problems


def preview_requests(config: TrainConfig) -> list[ImageRequest]:
    """What a preview of this run draws: one picture for each line of its preview prompt, [name] filled in."""
    lines = [line.strip() for line in config.preview_prompt.splitlines() if line.strip()]
    return [
        ImageRequest(
            line.replace(NAME, config.name),
            config.preview_negative_prompt.replace(NAME, config.name),
            config.preview_steps,
            config.preview_cfg_scale,
            config.preview_seed,
            config.preview_width or config.width,
            config.preview_height or config.height,
            config.preview_sampler,
            config.preview_scheduler,
        )
        for line in lines
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
