"""Write small checkpoints with random weights, of the real classes; run by the Python of the WebUI.

    <its python> make.py <folder of the WebUI> <folder to write to> <CLIP's tokenizer>

Beside each checkpoint lies the yaml by which the WebUI, and we, build it. Weights that training begins at zero are
drawn too, since otherwise nothing would depend on anything.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
CLIP = {
    "architectures": ["CLIPTextModel"],
    "model_type": "clip_text_model",
    "vocab_size": 49408,
    "hidden_size": 32,
    "intermediate_size": 64,
    "projection_dim": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-05,
    "bos_token_id": 49406,
    "eos_token_id": 49407,
    "pad_token_id": 49407,
}


def main(webui: Path, folder: Path, tokenizer: Path) -> None:
    """Write sdxl, sd2 and inpainting, each .safetensors with its .yaml, and CLIP's folder."""
    for part in ("stable-diffusion-stability-ai", "generative-models"):
        sys.path.insert(0, str(webui / "repositories" / part))
    import open_clip
    from transformers import CLIPTextConfig, CLIPTextModel

    open_clip.add_model_config(HERE / "open_clip")
    create = open_clip.create_model_and_transforms
    open_clip.create_model_and_transforms = lambda *given, **named: create(*given, **{**named, "pretrained": None})
    clip = folder / "clip"
    shutil.copytree(tokenizer, clip, dirs_exist_ok=True)
    (clip / "config.json").write_text(json.dumps(CLIP), encoding="utf-8")
    torch.manual_seed(0)
    CLIPTextModel(CLIPTextConfig.from_dict(CLIP)).save_pretrained(clip)
    for name in ("sdxl", "sd2", "inpainting"):
        text = (HERE / f"{name}.yaml").read_text(encoding="utf-8").replace("{clip}", clip.resolve().as_posix())
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
        write(folder / f"{name}.yaml", folder / f"{name}.safetensors")


def write(config: Path, file: Path) -> None:
    """Build what the yaml says and write its tensors."""
    from ldm.util import instantiate_from_config
    from omegaconf import OmegaConf
    from safetensors.torch import save_file

    torch.manual_seed(1)
    model: Any = instantiate_from_config(OmegaConf.load(config).model)
    for name, weight in model.named_parameters():
        if "token_embedding" in name:
            torch.nn.init.normal_(weight)
        elif weight.dim() > 1 and not bool(weight.any()):
            torch.nn.init.normal_(weight, std=0.05)
        elif name.endswith("bias"):
            torch.nn.init.normal_(weight, std=0.02)
    save_file({name: value.contiguous().clone() for name, value in model.state_dict().items()}, str(file))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
