"""Write sd15-keys.json.gz and small-ldm.json.gz from the real ldm classes: what a checkpoint of them holds and does.

They come from the package stable-diffusion-sdkit 2.1.5 (`--no-deps`), beside pytorch_lightning 1.9.4, open-clip-torch
2.20.0 and torchvision 0.28.0 (both `--no-deps`), omegaconf, einops, transformers 4.30.2, setuptools < 70 and torch
2.13.0, in an environment of their own:

    PYTHONPATH=. python tests/data/make_ldm.py

sd15-keys: names and shapes of LatentDiffusion with the numbers of SD1's v1-inference.yaml. small-ldm: names and shapes
with the numbers of small_ldm.yaml, and what UNet, VAE and CLIP make of the waves in `waves.py`.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import torch

_OPERATORS = torch.library.Library("torchvision", "DEF")  # torchvision without its compiled half
_OPERATORS.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
_OPERATORS.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import ldm.modules.encoders.modules as encoders
from ldm.util import instantiate_from_config
from omegaconf import OmegaConf
from transformers import CLIPTextConfig, CLIPTextModel

from tests.data.waves import wave

HERE = Path(__file__).parent
SD15_TEXT = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}


def build(params: dict[str, Any], text: dict[str, Any]) -> Any:
    """Return LatentDiffusion; its CLIP has fresh weights of the given config instead of downloaded ones."""

    class Fresh:
        from_pretrained = staticmethod(
            lambda *a, **k: CLIPTextModel(CLIPTextConfig(**{**text, "hidden_act": "quick_gelu"}))
        )

    class Nothing:
        from_pretrained = staticmethod(lambda *a, **k: None)

    encoders.CLIPTextModel, encoders.CLIPTokenizer = Fresh, Nothing
    return instantiate_from_config(
        OmegaConf.create({"target": "ldm.models.diffusion.ddpm.LatentDiffusion", "params": params})
    )


def sd15() -> dict[str, Any]:
    """SD1's v1-inference.yaml: the small one with other numbers."""
    params = small()
    params["image_size"] = 64
    params["unet_config"]["params"].update(
        image_size=32, model_channels=320, attention_resolutions=[4, 2, 1], num_res_blocks=2, channel_mult=[1, 2, 4, 4]
    )
    params["unet_config"]["params"].update(num_heads=8, context_dim=768)
    params["first_stage_config"]["params"]["ddconfig"].update(
        resolution=256, ch=128, ch_mult=[1, 2, 4, 4], num_res_blocks=2
    )
    params["cond_stage_config"].pop("params")
    return params


def small() -> dict[str, Any]:
    """The numbers of small_ldm.yaml."""
    return OmegaConf.to_container(OmegaConf.load(HERE / "small_ldm.yaml"))["model"]["params"]


def shapes(model: Any) -> dict[str, list[int]]:
    """Names and shapes of a checkpoint."""
    return {name: list(value.shape) for name, value in model.state_dict().items()}


@torch.no_grad()
def outputs(model: Any) -> dict[str, list[float]]:
    """What the model makes of waves, its weights being waves."""
    for name, value in model.state_dict().items():
        if value.is_floating_point() and name.startswith(("model.", "first_stage_model.", "cond_stage_model.")):
            value.copy_(wave(name, tuple(value.shape)))
    model.eval()
    ids = torch.tensor([[49406, 320, 1125, 539, 320, 736, 49407, 49407]])
    context = model.cond_stage_model.transformer(input_ids=ids).last_hidden_state
    noisy = wave("noisy", (1, 4, 8, 8))
    pixels = wave("pixels", (1, 3, 16, 16))
    return {
        "text": context.flatten().tolist(),
        "unet": model.model.diffusion_model(noisy, torch.tensor([500]), context=context).flatten().tolist(),
        "encoded": model.encode_first_stage(pixels).mean.flatten().tolist(),
        "decoded": model.first_stage_model.decode(noisy).flatten().tolist(),
        "alphas_cumprod": model.alphas_cumprod.double().tolist()[::37],
    }


def write(name: str, content: Any) -> None:
    """Write compressed JSON without a time, so that the same content is the same file."""
    data = json.dumps(content, sort_keys=True).encode()
    (HERE / name).write_bytes(gzip.compress(data, 9, mtime=0))


if __name__ == "__main__":
    write("sd15-keys.json.gz", shapes(build(sd15(), {**SD15_TEXT, "vocab_size": 49408})))
    model = build(small(), json.loads((HERE / "small_clip.json").read_text()))
    write("small-ldm.json.gz", {"shapes": shapes(model), "outputs": outputs(model)})
