"""A stand-in for Forge's own names around the toy, as far as a host touches them.

It behaves as Forge dfdcbab6 was seen to behave where that matters: everything is loaded under `torch.inference_mode`,
and all that an image moves becomes an inference tensor again; blocks add in place; the last image's LoRA stays merged;
the model is loaded when the first image is made, and another one when the next is.
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
from torch import Tensor

from tests.hosts.a1111.webui_names import FifoLock, Processing, State
from tinv_ext.core.formats import read_embedding

_SAMPLERS = ("DDIM", "DPM++ 2M")


class Embedding:
    """As backend/text_processing/textual_inversion.py."""

    def __init__(self, vec: Any, name: str) -> None:
        self.vec, self.name, self.vectors, self.shape = vec, name, 0, None


class EmbeddingDatabase:
    """As there: filled when it is told to, lists of `ids_lookup` changed in place."""

    def __init__(self, tokenizer: Any, folder: Path) -> None:
        self.tokenizer, self.folder = tokenizer, folder
        self.word_embeddings: dict[str, Embedding] = {}
        self.ids_lookup: dict[int, list[tuple[list[int], Embedding]]] = {}
        self.fixes: Any = []
        self.rejected: set[str] = set()

    def register_embedding(self, embedding: Embedding) -> None:
        (ids,) = self.tokenizer([embedding.name], truncation=False, add_special_tokens=False)["input_ids"]
        lookup = self.ids_lookup.setdefault(ids[0], [])
        lookup += [(ids, embedding)]
        self.ids_lookup[ids[0]] = sorted(lookup, key=lambda entry: len(entry[0]), reverse=True)
        self.word_embeddings[embedding.name] = embedding

    def load_textual_inversion_embeddings(self) -> None:
        self.ids_lookup.clear()
        self.word_embeddings.clear()
        for path in sorted(self.folder.glob("*.pt")):
            if path.stem not in self.rejected:
                (vector,) = read_embedding(path).vectors.values()
                self.register_embedding(Embedding(vector, path.stem))


class CLIPEmbeddingForTextualInversion(torch.nn.Module):
    """As backend/text_processing/classic_engine.py; the table's weight is also its own."""

    def __init__(self, wrapped: torch.nn.Embedding, embeddings: EmbeddingDatabase) -> None:
        super().__init__()
        self.wrapped, self.embeddings = wrapped, embeddings
        self.weight = self.wrapped.weight

    def forward(self, input_ids: Tensor) -> Tensor:
        assert self.embeddings.fixes is None, "what an earlier encoding left would be put into this one"
        return self.wrapped(input_ids)


def attention_pytorch(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Any = None) -> Tensor:
    """As backend/attention.py."""
    q, k, v = (part.reshape(*part.shape[:2], heads, -1).transpose(1, 2) for part in (q, k, v))
    return torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)


def attention_sage(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Any = None) -> Tensor:
    """A kernel without a backward: the right numbers, and no gradient."""
    with torch.no_grad():
        return attention_pytorch(q, k, v, heads, mask)


def forge_unet(unet: Any, module: Any) -> Any:
    """ldm's UNet with the blocks and the attention of backend/nn/unet.py, whose functions are those of `module`."""

    def attention(self: Any, x: Tensor, context: Any = None, mask: Any = None) -> Tensor:
        context = x if context is None else context
        out = module.attention_function(self.to_q(x), self.to_k(context), self.to_v(context), self.heads, mask)
        return self.to_out(out)

    def block(self: Any, x: Tensor, context: Any = None) -> Tensor:
        x += self.attn1(self.norm1(x))
        x += self.attn2(self.norm2(x), context=context)
        skip = x
        x = self.ff(self.norm3(x))
        x += skip
        return x

    for part in unet.modules():
        forward = {"CrossAttention": attention, "BasicTransformerBlock": block}.get(type(part).__name__)
        if forward is not None:
            part.__class__ = type(type(part).__name__, (type(part),), {"forward": forward})
    return unet


def store_in(unet: torch.nn.Module, dtype: torch.dtype) -> None:
    """As backend/operations.py with parameters_manual_cast: layers whose weights are cast to the input's type."""

    def linear(self: Any, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return torch.nn.functional.linear(x, self.weight.to(x.dtype), bias)

    def conv(self: Any, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return self._conv_forward(x, self.weight.to(x.dtype), bias)

    for layer in unet.modules():
        forward = {torch.nn.Linear: linear, torch.nn.Conv2d: conv}.get(type(layer))
        if forward is not None:
            layer.__class__ = type(type(layer).__name__, (type(layer),), {"forward": forward})
        if isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d)):
            layer._parameters = {name: _stored(value, dtype) for name, value in layer._parameters.items()}


def _stored(weight: Any, dtype: torch.dtype) -> Any:
    return None if weight is None else torch.nn.Parameter(weight.detach().to(dtype), requires_grad=False)


class Patcher:
    """As backend/patcher/base.py, ModelPatcher: a module, and perhaps a LoRA to be merged when it is loaded."""

    def __init__(self, model: torch.nn.Module, lora: float = 0.0) -> None:
        self.model, self.lora = model, lora


class Objects(SimpleNamespace):
    """As ForgeObjects of backend/diffusion_engine/base.py."""

    def shallow_copy(self) -> Objects:
        return Objects(**vars(self))


OF_MEMORY = ("load_models_gpu", "current_loaded_models", "free_memory", "get_torch_device", "soft_empty_cache")


class MemoryManagement:
    """As backend/memory_management.py: loading a patcher puts its LoRA in and takes that of another out."""

    def __init__(self) -> None:
        self.merged: dict[torch.nn.Module, tuple[Any, float]] = {}  # the weight from before, and what is in instead
        self.loads: list[list[torch.nn.Module]] = []
        self.current_loaded_models: list[Any] = []

    def load_models_gpu(self, patchers: list[Patcher]) -> None:
        self.loads.append([patcher.model for patcher in patchers])
        loaded = [one.model for one in self.current_loaded_models]
        new = [SimpleNamespace(model=patcher) for patcher in patchers if patcher not in loaded]
        self.current_loaded_models[:0] = new
        for patcher in patchers:
            layer = next(m for m in patcher.model.modules() if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d)))
            weight, lora = self.merged.pop(patcher.model, (layer.weight, 0.0))
            if lora != patcher.lora:
                layer._parameters["weight"] = weight
            if patcher.lora:
                self.merged[patcher.model] = (weight, patcher.lora)
                if lora != patcher.lora:
                    layer._parameters["weight"] = torch.nn.Parameter(weight.detach() + patcher.lora)

    def free_memory(self, memory_required: float, device: torch.device, keep_loaded: list[Any]) -> None:
        assert (memory_required, device) == (1e30, self.get_torch_device())
        self.current_loaded_models[:] = [one for one in self.current_loaded_models if one in keep_loaded]

    @staticmethod
    def get_torch_device() -> torch.device:
        return torch.device("cpu")

    @staticmethod
    def soft_empty_cache() -> None:
        """There is nothing to empty."""


class StableDiffusion:
    """As backend/diffusion_engine/sd15.py: no Module, with everything in `forge_objects` made under inference mode."""

    def __init__(self, toy: Any, folder: Path, module: Any) -> None:
        tokenizer = toy.cond_stage_model.tokenizer
        with torch.inference_mode():
            ours = copy.deepcopy(toy, {id(tokenizer): tokenizer})
            for part in ours.modules():
                part._parameters = {name: _loaded(value) for name, value in part._parameters.items()}
            transformer = ours.cond_stage_model.transformer
            database = EmbeddingDatabase(tokenizer, folder)
            embeddings = transformer.text_model.embeddings
            embeddings.token_embedding = CLIPEmbeddingForTextualInversion(embeddings.token_embedding.half(), database)
        k_model = torch.nn.Module()
        k_model.diffusion_model = forge_unet(ours.model.diffusion_model, module)
        k_model.computation_dtype = torch.float32
        k_model.predictor = torch.nn.Module()
        k_model.predictor.prediction_type = "epsilon"
        with torch.inference_mode():
            k_model.predictor.register_buffer("alphas_cumprod", toy.alphas_cumprod.clone())
        joint = torch.nn.ModuleDict({"clip_l": torch.nn.ModuleDict({"transformer": transformer})})
        vae, scale = ours.first_stage_model, float(toy.scale_factor)
        vae.process_in = lambda latent: latent * scale
        self.text_processing_engine = SimpleNamespace(
            text_encoder=SimpleNamespace(transformer=transformer),
            tokenizer=tokenizer,
            embeddings=database,
            embedding_key="clip_l",
            id_pad=tokenizer.pad_token_id,
            minimal_clip_skip=1,
            final_layer_norm=True,
            return_pooled=False,
            text_projection=False,
        )
        self.forge_objects_original = Objects(
            unet=Patcher(k_model),
            clip=SimpleNamespace(patcher=Patcher(joint), cond_stage_model=joint),
            vae=SimpleNamespace(patcher=Patcher(vae), first_stage_model=vae, vae_dtype=torch.float32),
        )
        for part in (k_model, joint):  # as they were seen; the VAE evaluates
            part.train()
        self.forge_objects = self.forge_objects_original.shallow_copy()
        self.forge_objects_after_applying_lora = self.forge_objects_original.shallow_copy()
        self.current_lora_hash = str([])
        self.model_config = SimpleNamespace(ztsnr=False)
        names = {"title": "toy [01]", "model_name": "toy", "shorthash": "0123456789", "filename": "/toy.pt"}
        self.sd_checkpoint_info = SimpleNamespace(**names)

    def modules(self) -> list[torch.nn.Module]:
        """Everything that the checkpoint is made of."""
        objects = self.forge_objects_original
        return [objects.unet.model, objects.clip.cond_stage_model, objects.vae.first_stage_model]

    def wear_lora(self, strength: float = 0.5) -> None:
        """As extensions-builtin/sd_forge_lora/networks.py does for an image; it stays."""
        self.forge_objects_after_applying_lora.unet = Patcher(self.forge_objects_original.unet.model, strength)
        self.current_lora_hash = str([["style", strength]])


StableDiffusion.__module__ = "backend.diffusion_engine.sd15"


def _loaded(weight: Any) -> Any:
    return None if weight is None else torch.nn.Parameter(weight.detach().clone(), requires_grad=True)


class FakeInitialModel:
    """As modules/sd_models.py: what is there before the first image."""

    cond_stage_model = None


class Program:
    """The whole: `names` for `sys.modules`, the engine, what images found, and what a person at the page can do."""

    def __init__(self, toy: Any, folder: Path) -> None:
        self.images: list[dict[str, Any]] = []
        self.memory = MemoryManagement()
        self.folder = folder
        self.unet_module = SimpleNamespace(attention_function=attention_pytorch)
        self.engine = StableDiffusion(toy, folder, self.unet_module)
        first = {
            "checkpoint_info": self.engine.sd_checkpoint_info,
            "additional_modules": [],
            "unet_storage_dtype": None,
        }
        self.data = SimpleNamespace(sd_model=FakeInitialModel(), forge_loading_parameters=first, forge_hash="")
        self.processing: dict[str, Any] = {
            "StableDiffusionProcessing": Processing,
            "StableDiffusionProcessingTxt2Img": Processing,
            "process_images": self.process_images,
            "need_global_unload": False,
        }
        opts = SimpleNamespace(data={}, sd_noise_schedule="Default", CLIP_stop_at_last_layers=1)
        self.shared: dict[str, Any] = {
            "opts": opts,
            "cmd_opts": SimpleNamespace(embeddings_dir=str(folder), no_prompt_history=False),
            "state": State(),
        }

    def choose(self, name: str) -> None:
        """Another checkpoint at the top of the page: nothing is loaded yet."""
        info = SimpleNamespace(title=name, model_name=name, shorthash=name[:10])
        self.data.forge_loading_parameters = {**self.data.forge_loading_parameters, "checkpoint_info": info}

    @torch.inference_mode()
    def forge_model_reload(self) -> tuple[Any, bool]:
        """Load what is chosen, unless it is in memory. All checkpoints of this program are the toy."""
        chosen = str(self.data.forge_loading_parameters)
        if self.data.forge_hash == chosen:
            return self.data.sd_model, False
        self.engine.sd_checkpoint_info = self.data.forge_loading_parameters["checkpoint_info"]
        self.data.sd_model, self.data.forge_hash = self.engine, chosen
        return self.engine, True

    @torch.inference_mode()
    def process_images(self, p: Any) -> Any:
        """Note what it finds, and leave changed what a real image leaves changed."""
        engine, _ = self.forge_model_reload()
        engine.forge_objects = engine.forge_objects_after_applying_lora.shallow_copy()
        self.memory.load_models_gpu([engine.forge_objects.clip.patcher, engine.forge_objects.unet])
        for module in engine.modules():
            for weight in module.parameters():
                weight.data = weight.data.clone()  # as a move to another device does
        text = engine.text_processing_engine
        weight = next(
            m for m in engine.modules()[0].modules() if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d))
        ).weight
        words = {name: item.vec.clone() for name, item in text.embeddings.word_embeddings.items()}
        model = engine.sd_checkpoint_info.model_name
        settings = dict(self.shared["opts"].data)
        self.images.append({"p": p, "words": words, "model": model, "settings": settings, "weight": weight.clone()})
        torch.manual_seed(p.seed)
        np.random.seed(1)  # noqa: NPY002 (the global one is meant)
        random.seed(1)
        return SimpleNamespace(images=[Image.new("RGB", (p.width, p.height))])

    def names(self) -> dict[str, dict[str, Any]]:
        """Contents of the modules."""
        return {
            "modules_forge": {},
            "modules": {},
            "modules.shared": self.shared,
            "modules.devices": {},
            "modules.sd_models": {"model_data": self.data, "forge_model_reload": self.forge_model_reload},
            "modules.sd_samplers": {
                "all_samplers_map": dict.fromkeys(_SAMPLERS),
                "samplers": [SimpleNamespace(name=name) for name in _SAMPLERS],
            },
            "modules.call_queue": {"queue_lock": FifoLock()},
            "modules.processing": self.processing,
            "backend": {},
            "backend.memory_management": {name: getattr(self.memory, name) for name in OF_MEMORY},
            "backend.attention": {"attention_pytorch": attention_pytorch},
            "backend.nn": {"unet": self.unet_module},
            "backend.modules": {},
            "backend.modules.k_prediction": {"rescale_zero_terminal_snr_sigmas": rescale_zero_terminal_snr_sigmas},
            "backend.text_processing": {},
            "backend.text_processing.textual_inversion": {"Embedding": Embedding},
        }


def rescale_zero_terminal_snr_sigmas(sigmas: Tensor) -> Tensor:
    """Lin et al. 2023 (arXiv 2305.08891), algorithm 1, in sigmas; the last ᾱ is not quite 0, as in k_prediction.py."""
    root = (1 / (sigmas**2 + 1)).sqrt()
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    alphas = root**2
    alphas[-1] = 4.8973451890853435e-08
    return ((1 - alphas) / alphas).sqrt()
