"""Images of the WebUI's txt2img, and what the toy's judge sees in them."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import torch
from PIL import Image

from tests.webui.server import WebUI
from tinv_ext.toy import heldout, judge

CONCEPT = "purple-moon"
REQUEST = {"steps": 25, "cfg_scale": 3.0, "width": 64, "height": 64, "sampler_name": "DDIM", "seed": 1000}
IMAGES = 16  # that the judge sees


def txt2img(
    webui: WebUI, prompt: str, negative: str = "", count: int = IMAGES, **more: Any
) -> tuple[torch.Tensor, str]:
    """Images (n, 3, 64, 64) in 0…1 of the WebUI's own txt2img, and the parameters it writes to the first."""
    given = {**REQUEST, "prompt": prompt, "negative_prompt": negative, "batch_size": count, **more}
    answer = webui.post("/sdapi/v1/txt2img", given)
    images = [Image.open(io.BytesIO(base64.b64decode(image))) for image in answer["images"]]
    return pixels(images[-count:]), json.loads(answer["info"])["infotexts"][0]


def pixels(images: list[Image.Image]) -> torch.Tensor:
    """(n, 3, h, w) in 0…1."""
    stacked = np.stack([np.asarray(image.convert("RGB"), dtype=np.float32) / 255 for image in images])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous()


def share(images: torch.Tensor, **wanted: str) -> float:
    """The share of images in which the judge sees all of this; without any, the concept."""
    concept = heldout.read()[CONCEPT]
    seen = judge.look(judge.load(), images)
    if wanted:
        return float(np.mean([all(getattr(s, key) == value for key, value in wanted.items()) for s in seen]))
    return float(np.mean([judge.shows(s, concept) for s in seen]))
