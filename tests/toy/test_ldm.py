"""The WebUI's form of the toy is the same model in the real ldm classes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import torch

from tinv_ext.toy import export, model

SIDE = Path(__file__).with_name("ldm_side.py")
TEXT = "a photo of a striped red circle on a blue background"


@pytest.mark.slow
def test_the_checkpoint_loads_strictly_into_ldm_and_makes_the_same(tmp_path: Path) -> None:
    """CLIP, UNet, both halves of the autoencoder and the schedule give what the pipeline gives."""
    python = os.environ.get("TINV_LDM_PYTHON")
    if not python:
        pytest.skip(f"TINV_LDM_PYTHON names no Python with the ldm package; {SIDE.name} says what it needs")
    pipe = model.pipeline()
    *_, checkpoint = export.export(tmp_path)
    generator = torch.Generator().manual_seed(1)
    given = {"text": TEXT, "noise": torch.randn(1, 4, 8, 8, generator=generator)}
    given["picture"] = torch.rand(1, 3, 64, 64, generator=generator) * 2 - 1
    torch.save(given, tmp_path / "in.pt")
    command = [python, str(SIDE), str(checkpoint), str(tmp_path / "in.pt"), str(tmp_path / "out.pt")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    made = torch.load(tmp_path / "out.pt")
    ids = pipe.tokenizer(TEXT, padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.no_grad():
        hidden = pipe.text_encoder(ids)[0]
        wanted = {
            "hidden": hidden,
            "eps": pipe.unet(given["noise"], 500, hidden).sample,
            "mean": pipe.vae.encode(given["picture"]).latent_dist.mode(),
            "picture": pipe.vae.decode(given["noise"] / pipe.vae.config.scaling_factor).sample,
            "alphas_cumprod": pipe.scheduler.alphas_cumprod,
        }
    for name, value in wanted.items():
        torch.testing.assert_close(
            made[name], value, atol=1e-3, rtol=1e-3, msg=lambda said, name=name: f"{name}: {said}"
        )
