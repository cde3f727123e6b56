"""The half of test_ldm that runs where ldm is installed: loads the exported checkpoint strictly, writes what it makes.

Packages: stable-diffusion-sdkit 2.1.5, pytorch_lightning 1.9.4, open-clip-torch 2.20.0, torchvision 0.28.0 (each
`--no-deps`), omegaconf, einops, transformers 4.30.2, safetensors, torch 2.13.0.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file

_OPERATORS = torch.library.Library("torchvision", "DEF")  # torchvision without its compiled half
_OPERATORS.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
_OPERATORS.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def main() -> None:
    """Arguments: the checkpoint, a file of inputs, the file to write."""
    from ldm.util import instantiate_from_config

    checkpoint, inputs, outputs = map(Path, sys.argv[1:])
    model = instantiate_from_config(OmegaConf.load(checkpoint.with_suffix(".yaml")).model).eval()
    values = load_file(str(checkpoint))
    model.load_state_dict({name: v.float() if v.is_floating_point() else v for name, v in values.items()}, strict=True)
    given = torch.load(inputs)
    model.cond_stage_model.device = "cpu"  # its default is "cuda", whatever there is
    with torch.no_grad():
        hidden = model.cond_stage_model([given["text"]])
        made = {
            "hidden": hidden,
            "eps": model.model.diffusion_model(given["noise"], torch.tensor([500]), context=hidden),
            "mean": model.first_stage_model.encode(given["picture"]).mode(),
            "picture": model.decode_first_stage(given["noise"]),
            "alphas_cumprod": model.alphas_cumprod,
        }
    torch.save(made, outputs)


if __name__ == "__main__":
    main()
