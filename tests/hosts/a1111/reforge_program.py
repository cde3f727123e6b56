"""A stand-in for what reForge has beside A1111's names: the toy in patchers, transformers' text encoder, no scripts.

It behaves as reForge 3b56b268 was seen to behave where that matters, and its blocks add in place, as Classic's do.
Loading and images are those of Forge's stand-in.
"""

from __future__ import annotations

import copy
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image

from tests.hosts.a1111 import webui_names
from tests.hosts.forge.forge_program import OF_MEMORY, MemoryManagement, Objects, Patcher, attention_pytorch, forge_unet


class CLIP_SD_15_L(webui_names.FrozenCLIPEmbedderWithCustomWords):  # noqa: N801 (the program's name)
    """As modules_forge/forge_clip.py."""

    minimal_clip_skip = 1


CLIP_SD_15_L.__module__ = "modules_forge.forge_clip"


class EPS:
    """As ldm_patched/modules/model_sampling.py; what counts are the names."""


class V_PREDICTION(EPS):  # noqa: N801
    """As there."""


class EDM(V_PREDICTION):
    """As there."""


class ModelSamplingDiscrete(torch.nn.Module):
    """As there: a table of sigmas."""

    def __init__(self, alphas_cumprod: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("sigmas", ((1 - alphas_cumprod) / alphas_cumprod).sqrt())


def sampling(kind: type, alphas_cumprod: torch.Tensor) -> Any:
    """As ldm_patched/modules/model_base.py, model_sampling: a class made of both."""
    return type("ModelSampling", (ModelSamplingDiscrete, kind), {})(alphas_cumprod)


class BaseModel(torch.nn.Module):
    """As ldm_patched/modules/model_base.py, around the UNet."""

    manual_cast_dtype = None

    def get_dtype(self) -> torch.dtype:
        return torch.float32


class ScriptRunner:
    """As modules/scripts.py, without scripts."""

    alwayson_scripts: tuple[Any, ...] = ()


class Program:
    """The whole: `names` for `sys.modules`, the model, what images found."""

    def __init__(self, toy: Any, folder: Path) -> None:
        tokenizer = toy.cond_stage_model.tokenizer
        sd_model = copy.deepcopy(toy, {id(tokenizer): tokenizer})
        self.memory = MemoryManagement()
        self.attention = SimpleNamespace(optimized_attention=attention_pytorch, attention_pytorch=attention_pytorch)
        self.images: list[dict[str, Any]] = []
        wrapper = webui_names.FrozenCLIPEmbedderWithCustomWords
        webui_names.FrozenCLIPEmbedderWithCustomWords = CLIP_SD_15_L  # type: ignore[misc]
        try:
            self.modules = webui_names.names(sd_model, folder)
        finally:
            webui_names.FrozenCLIPEmbedderWithCustomWords = wrapper  # type: ignore[misc]
        self.sd_model = sd_model
        base = BaseModel()
        base.diffusion_model = _patched(sd_model.model.diffusion_model, self.attention)
        base.model_sampling = sampling(EPS, toy.alphas_cumprod)
        base.model_config = SimpleNamespace(latent_format=SimpleNamespace(scale_factor=float(toy.scale_factor)))
        texts = torch.nn.ModuleDict({"clip_l": sd_model.cond_stage_model.wrapped})
        vae = sd_model.first_stage_model
        for weight in base.parameters():
            weight.requires_grad_(True)  # as they were seen; those of the text encoder are not
        original = Objects(
            unet=Patcher(base),
            clip=SimpleNamespace(patcher=Patcher(texts), cond_stage_model=texts),
            vae=SimpleNamespace(patcher=Patcher(vae), first_stage_model=vae, vae_dtype=torch.float32),
        )
        sd_model.forge_objects_original = original
        sd_model.forge_objects = original.shallow_copy()
        sd_model.forge_objects_after_applying_lora = original.shallow_copy()
        sd_model.current_lora_hash, sd_model.tiling_enabled, sd_model.ztsnr = str([]), False, False

    def wear_lora(self, strength: float = 0.5) -> None:
        """As extensions-builtin/Lora/networks.py does for an image; it stays."""
        unet = self.sd_model.forge_objects_original.unet.model
        self.sd_model.forge_objects_after_applying_lora.unet = Patcher(unet, strength)
        self.sd_model.current_lora_hash = str([["style", strength]])

    @torch.inference_mode()
    def process_images(self, p: Any) -> Any:
        """Note what it finds, and leave changed what a real image leaves changed."""
        assert [script for script in p.scripts.alwayson_scripts if script.name == "advanced model sampling"] == []
        model, objects = self.sd_model, self.sd_model.forge_objects_after_applying_lora
        model.forge_objects = objects.shallow_copy()
        self.memory.load_models_gpu([objects.clip.patcher, objects.unet])
        for weight in objects.unet.model.parameters():
            weight.data = weight.data.clone()  # as a move to another device does
        layer = next(m for m in objects.unet.model.modules() if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d)))
        database = self.modules["modules.sd_hijack"]["model_hijack"].embedding_db
        words = {name: item.vec.clone() for name, item in database.word_embeddings.items()}
        settings = dict(self.modules["modules.shared"]["opts"].data)
        self.images.append({"p": p, "words": words, "settings": settings, "weight": layer.weight.clone()})
        torch.manual_seed(p.seed)
        np.random.seed(1)  # noqa: NPY002 (the global one is meant)
        random.seed(1)
        apply_circular_forge(model, True)
        return SimpleNamespace(images=[Image.new("RGB", (p.width, p.height))])

    def names(self) -> dict[str, dict[str, Any]]:
        """Contents of the modules: without those that Classic lacks."""
        lacking = ("modules.lowvram", "modules.hypernetworks", "modules.hypernetworks.hypernetwork", "modules.sd_unet")
        kept = {name: content for name, content in self.modules.items() if name not in lacking}
        for name in ("current_optimizer", "optimizers", "undo_optimizations"):
            del kept["modules.sd_hijack"][name]
        kept["modules.processing"]["process_images"] = self.process_images
        memory = {name: getattr(self.memory, name) for name in OF_MEMORY}
        return kept | {
            "modules.scripts": {"ScriptRunner": ScriptRunner},
            "modules_forge": {},
            "modules_forge.forge_util": {"apply_circular_forge": apply_circular_forge},
            "ldm_patched": {},
            "ldm_patched.modules": {},
            "ldm_patched.modules.model_management": memory,
            "ldm_patched.ldm": {},
            "ldm_patched.ldm.modules": {"attention": self.attention},
        }


def apply_circular_forge(model: Any, tiling_enabled: bool = False) -> None:
    """As modules_forge/forge_util.py."""
    model.tiling_enabled = tiling_enabled
    for module in model.modules():
        if type(module) is torch.nn.Conv2d:
            module.padding_mode = "circular" if tiling_enabled else "zeros"


def _patched(unet: Any, module: Any) -> Any:
    """The blocks call the attention by the name that ldm_patched gives it, and the UNet takes what that one takes."""
    named = _Renamed(module)
    forge_unet(unet, named)
    return unet


class _Renamed:
    """Forge's name for what reForge calls `optimized_attention`."""

    def __init__(self, module: Any) -> None:
        self._module = module

    @property
    def attention_function(self) -> Any:
        return self._module.optimized_attention
