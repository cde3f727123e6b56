"""The WebUI's form of the toy, as it lies on disk, is the same model in the real ldm classes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.hosts.a1111.ldm_model import UNUSED, needs_ldm, stand_in
from tinv_ext.toy import export, model

TEXT = "a photo of a striped red circle on a blue background"


@needs_ldm
def test_the_checkpoint_loads_strictly_into_ldm_and_makes_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CLIP, UNet, both halves of the autoencoder and the schedule give what the pipeline gives."""
    stand_in({name: content for name, content in UNUSED.items() if not _installed(name)}, monkeypatch)
    from ldm.util import instantiate_from_config

    pipe = model.pipeline()
    *_, checkpoint = export.export(tmp_path)
    config = yaml.safe_load(checkpoint.with_suffix(".yaml").read_text(encoding="utf-8"))["model"]
    ldm = instantiate_from_config(config).float().eval()
    missing, unexpected = ldm.load_state_dict(load_file(checkpoint), strict=False)
    assert unexpected == []
    assert set(missing) <= {"logvar"}  # of the loss, which no checkpoint of the WebUI's holds
    ldm.cond_stage_model.device = "cpu"

    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(1, 4, 8, 8, generator=generator)
    image = torch.rand(1, 3, 64, 64, generator=generator) * 2 - 1
    ids = pipe.tokenizer(TEXT, padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.no_grad():
        hidden = ldm.cond_stage_model([TEXT])
        pairs = {
            "hidden": (hidden, pipe.text_encoder(ids)[0]),
            "eps": (
                ldm.model.diffusion_model(noise, torch.tensor([500]), context=hidden),
                pipe.unet(noise, 500, hidden).sample,
            ),
            "mean": (ldm.first_stage_model.encode(image).mode(), pipe.vae.encode(image).latent_dist.mode()),
            "image": (
                ldm.first_stage_model.decode(noise / ldm.scale_factor),
                pipe.vae.decode(noise / pipe.vae.config.scaling_factor).sample,
            ),
            "alphas_cumprod": (ldm.alphas_cumprod, pipe.scheduler.alphas_cumprod),
        }
    for name, (made, wanted) in pairs.items():
        torch.testing.assert_close(made, wanted, atol=2e-3, rtol=2e-3, msg=lambda said, name=name: f"{name}: {said}")


def _installed(name: str) -> bool:
    package = name.partition(".")[0]
    return package in sys.modules or importlib.util.find_spec(package) is not None  # another test may stand in for it
