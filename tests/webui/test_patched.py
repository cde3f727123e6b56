"""What an earlier image has patched into the model is out of it for a run, and in it again for the next image."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.webui.images import CONCEPT, txt2img
from tests.webui.server import PATIENCE, WebUI
from tinv_ext.core.formats import read_embedding

pytestmark = pytest.mark.webui
LAYER = "text_model.encoder.layers.0.mlp.fc1"  # of CLIP, which the LoRA changes
PLAIN = "a photo of a red circle"
WORN = f"{PLAIN} <lora:strong:1>"


@pytest.fixture(scope="module")
def lora(webui: WebUI, checkpoint: Any) -> None:
    """A LoRA file in kohya's form, strong enough to be seen."""
    folder = webui.data / "models" / "Lora"
    folder.mkdir(parents=True, exist_ok=True)
    wide, narrow = load_file(checkpoint)[f"cond_stage_model.transformer.{LAYER}.weight"].shape
    rng = torch.Generator().manual_seed(0)
    name = f"lora_te_{LAYER.replace('.', '_')}"
    parts = {
        "lora_up.weight": torch.randn(wide, 2, generator=rng),
        "lora_down.weight": torch.randn(2, narrow, generator=rng),
    }
    save_file(
        {f"{name}.{key}": value for key, value in parts.items()} | {f"{name}.alpha": torch.tensor(2.0)},
        folder / "strong.safetensors",
    )
    webui.post("/sdapi/v1/refresh-loras", {})


def train(webui: WebUI, name: str) -> torch.Tensor:
    """The vectors of a short run."""
    given = {"name": name, "images": f"~/images/{CONCEPT}", "steps": 60, "batch_size": 4, "seed": 5}
    job = webui.post("/tinv/v1/train", given)["id"]
    end = time.monotonic() + PATIENCE
    while (found := webui.get(f"/tinv/v1/status?job={job}")["job"])["status"] != "finished":
        assert found["status"] != "failed", found["reason"]
        assert time.monotonic() < end, found
        time.sleep(0.1)
    (vectors,) = read_embedding(webui.data / "embeddings" / f"{name}.pt").vectors.values()
    return vectors


def test_a_lora_is_unloaded_for_the_run(webui: WebUI, lora: None) -> None:
    """The same vectors whether or not the last image wore it; and the next image wears it as before."""
    plain = txt2img(webui, PLAIN, count=1)[0]
    right = train(webui, "barezub")
    worn = txt2img(webui, WORN, count=1)[0]
    assert not torch.equal(worn, plain)
    assert webui.inside("wearing") == ["strong"]
    assert torch.equal(train(webui, "wornzub"), right)
    assert webui.inside("wearing") == ["strong"]
    assert torch.equal(txt2img(webui, WORN, count=1)[0], worn)
    assert torch.equal(txt2img(webui, PLAIN, count=1)[0], plain)
