"""Write families-keys.json.gz and small-families.json.gz from the real classes of SD2 and SDXL.

Run by the Python of a WebUI v1.10.1, whose folder `repositories` has the classes:

    PYTHONPATH=. <its python> tests/data/make_families.py <folder of the WebUI>

families-keys: names and shapes of checkpoints with the numbers of sd_xl_base.yaml, v2-inference-v.yaml and
v1-inpainting-inference.yaml, made without memory for their weights. small-families: names and shapes with the numbers
of tests/webui/small, and what UNet, VAE and text encoders make of waves, their weights being waves.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
SMALL = HERE.parent / "webui" / "small"
WEBUI = Path(sys.argv[1])
SD2, SGM = WEBUI / "repositories" / "stable-diffusion-stability-ai", WEBUI / "repositories" / "generative-models"
sys.path[:0] = [str(SD2), str(SGM)]

import ldm.modules.encoders.modules as ldm_encoders
import open_clip
import sgm.modules.encoders.modules as sgm_encoders
from accelerate import init_empty_weights
from ldm.util import instantiate_from_config
from omegaconf import OmegaConf
from transformers import CLIPTextConfig, CLIPTextModel

from tests.data.waves import KEPT, SIZES, wave
from tests.webui.small.make import CLIP

LARGE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
REAL = {
    "SDXL": SGM / "configs" / "inference" / "sd_xl_base.yaml",
    "SD2": SD2 / "configs" / "stable-diffusion" / "v2-inference-v.yaml",
    "SD1 inpainting": WEBUI / "configs" / "v1-inpainting-inference.yaml",
}
IDS = [49406, 320, 1125, 539, 320, 736, 49407]


def build(config: Path, clip: dict[str, Any]) -> Any:
    """The model of a yaml; its text encoders have fresh weights of these sizes instead of downloaded ones."""

    class Fresh:
        from_pretrained = staticmethod(lambda *a, **k: CLIPTextModel(CLIPTextConfig(**clip)))

    class Nothing:
        from_pretrained = staticmethod(lambda *a, **k: None)

    def create(arch: str, **_: Any) -> tuple[Any, None, None]:
        return open_clip.CLIP(**open_clip.get_model_config(arch)), None, None

    for module in (ldm_encoders, sgm_encoders):
        module.CLIPTextModel, module.CLIPTokenizer = Fresh, Nothing
    open_clip.create_model_and_transforms = create
    made = OmegaConf.load(config).model
    made.params.first_stage_config.params.ddconfig.pop("attn_type", None)  # xformers, of which there is none here
    return instantiate_from_config(made).float().eval()


def shapes(model: Any) -> dict[str, list[int]]:
    """Names and shapes of a checkpoint."""
    return {name: list(value.shape) for name, value in model.state_dict().items()}


@torch.no_grad()
def outputs(name: str, model: Any) -> dict[str, list[float]]:
    """What the small model makes of waves, its weights being waves."""
    for key, value in model.state_dict().items():
        if value.is_floating_point() and key.startswith(("model.", "first_stage_", "cond_stage_", "conditioner.")):
            value.copy_(wave(key, tuple(value.shape)))
    inputs = 9 if name == "inpainting" else 4
    noisy, timestep, pixels = wave("noisy", (1, inputs, 8, 8)), torch.tensor([500]), wave("pixels", (1, 3, 16, 16))
    said = texts(name, model)
    given = {"context": said["text"], **({"y": vector(model, said["pooled"])} if name == "sdxl" else {})}
    vae = model.first_stage_model
    found = {
        **said,
        "unet": model.model.diffusion_model(noisy, timesteps=timestep, **given),
        "encoded": vae.quant_conv(vae.encoder(pixels)).chunk(2, 1)[0],
        "decoded": vae.decode(noisy[:, :4]),
    }
    return {k: [float(f"{v:.7g}") for v in value.flatten()[:: KEPT[k]].tolist()] for k, value in found.items()}


def vector(model: Any, pooled: torch.Tensor) -> torch.Tensor:
    """Pooled text and sizes (1, 88), as sgm's conditioner puts them together."""
    embedders = model.conditioner.embedders[2:]
    sizes = torch.tensor(SIZES).split(2, 1)
    return torch.cat([pooled, *(embedder(size) for embedder, size in zip(embedders, sizes))], 1)


def texts(name: str, model: Any) -> dict[str, torch.Tensor]:
    """Contexts (1, 77, d), and SDXL's pooled text."""
    if name == "inpainting":
        ids = torch.tensor([IDS + [49407] * (77 - len(IDS))])
        return {"text": model.cond_stage_model.transformer(input_ids=ids).last_hidden_state}
    padded = torch.tensor([IDS + [0] * (77 - len(IDS))])
    if name == "sd2":
        return {"text": model.cond_stage_model.encode_with_transformer(padded)}
    first, second = model.conditioner.embedders[0].transformer, model.conditioner.embedders[1]
    ids = torch.tensor([IDS + [49407] * (77 - len(IDS))])
    said = second.encode_with_transformer(padded)
    hidden = first(input_ids=ids, output_hidden_states=True).hidden_states[2]
    return {"text": torch.cat([hidden, said["penultimate"]], -1), "pooled": said["pooled"]}


def write(name: str, content: Any) -> None:
    """Write compressed JSON without a time, so that the same content is the same file."""
    (HERE / name).write_bytes(gzip.compress(json.dumps(content, sort_keys=True).encode(), 9, mtime=0))


if __name__ == "__main__":
    open_clip.add_model_config(SMALL / "open_clip")
    with init_empty_weights():
        large = {**CLIP, **LARGE}
        write("families-keys.json.gz", {name: shapes(build(config, large)) for name, config in REAL.items()})
    made = {name: build(SMALL / f"{name}.yaml", CLIP) for name in ("sdxl", "sd2", "inpainting")}
    write("small-families.json.gz", {k: {"shapes": shapes(v), "outputs": outputs(k, v)} for k, v in made.items()})
