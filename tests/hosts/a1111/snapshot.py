"""Everything of the WebUI that a run could leave changed, as values that can be compared.

The same snapshot is taken of the stand-in in CI and inside the real WebUI's process.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from modules import call_queue, devices, lowvram, processing, sd_hijack, sd_unet, shared

CLASSES = (
    "ldm.modules.attention.CrossAttention",
    "ldm.modules.attention.SpatialTransformer",
    "ldm.modules.attention.BasicTransformerBlock",
    "ldm.modules.diffusionmodules.model.AttnBlock",
    "ldm.modules.diffusionmodules.openaimodel.UNetModel",
    "ldm.modules.diffusionmodules.openaimodel.ResBlock",
    "ldm.models.autoencoder.AutoencoderKL",
    "sgm.modules.attention.CrossAttention",
    "sgm.modules.attention.SpatialTransformer",
    "sgm.modules.diffusionmodules.openaimodel.UNetModel",
    "sgm.modules.encoders.modules.GeneralConditioner",
    "torch.nn.modules.linear.Linear",
    "torch.nn.modules.conv.Conv2d",
    "torch.nn.modules.sparse.Embedding",
)


def snapshot() -> dict[str, Any]:
    """By name, in plain values; functions and objects that must stay the same one by their id."""
    sd_model = shared.sd_model
    return {
        **_weights(sd_model),
        **_modules(sd_model),
        **_classes(),
        **_webui(),
        **_random(),
        "alphas_cumprod": _digest(sd_model.alphas_cumprod),
        "gradients are computed": torch.is_grad_enabled(),
        "queue is held": call_queue.queue_lock._lock.locked(),
        "queue": len(call_queue.queue_lock._pending_threads),
    }


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What is not as it was, a line each."""
    names = sorted({*before, *after})
    return [f"{n}: {before.get(n)!r} -> {after.get(n)!r}" for n in names if before.get(n) != after.get(n)]


def _weights(sd_model: Any) -> dict[str, Any]:
    said = {}
    for name, weight in sd_model.named_parameters():
        said[f"{name} wants a gradient"] = weight.requires_grad
        said[f"{name} has a gradient"] = weight.grad is not None
        said[f"{name} lies"] = (str(weight.device), str(weight.dtype), id(weight))
        said[f"{name} holds"] = _digest(weight)
    return said


def _modules(sd_model: Any) -> dict[str, Any]:
    said: dict[str, Any] = {"lowvram": getattr(sd_model, "lowvram", None)}
    for name, module in sd_model.named_modules():
        said[f"{name} trains"] = module.training
        said[f"{name} hooks"] = [
            [(key, id(hook)) for key, hook in hooks.items()]
            for hooks in (module._forward_pre_hooks, module._forward_hooks, module._backward_hooks)
        ]
        said[f"{name} own"] = {key: id(value) for key, value in vars(module).items() if callable(value)}
        said[f"{name} pads"] = getattr(module, "padding_mode", None)
        said[f"{name} LoRA"] = getattr(module, "network_current_names", ())
    return said


def _classes() -> dict[str, Any]:
    said = {}
    for path in CLASSES:
        module, _, name = path.rpartition(".")
        found = getattr(sys.modules.get(module), name, None)
        said[f"{path}.forward"] = id(getattr(found, "forward", None))
    model = sys.modules["ldm.modules.diffusionmodules.model"]
    return {**said, "nonlinearity": id(model.nonlinearity)}


def _webui() -> dict[str, Any]:
    hijack, database = sd_hijack.model_hijack, sd_hijack.model_hijack.embedding_db
    networks = sys.modules.get("networks")
    return {
        "state": {key: _plain(value) for key, value in vars(shared.state).items() if not key.startswith("_")},
        "settings": dict(shared.opts.data),
        "history": shared.cmd_opts.no_prompt_history,
        "words": [(name, id(item), id(item.vec)) for name, item in database.word_embeddings.items()],
        "word ids": {first: [(tuple(i), id(e)) for i, e in found] for first, found in database.ids_lookup.items()},
        "fixes": hijack.fixes,
        "circular": hijack.circular_enabled,
        "optimizer": id(sd_hijack.current_optimizer),
        "hypernetworks": [id(item) for item in shared.loaded_hypernetworks],
        "loras": [id(item) for item in getattr(networks, "loaded_networks", [])],
        "unet": id(sd_unet.current_unet),
        "lowvram module": id(lowvram.module_in_gpu),
        "kept conditions": [id(processing.StableDiffusionProcessing.cached_c[1])],
        "nv": id(devices.nv_rng),
    }


def _random() -> dict[str, Any]:
    return {
        "torch": _digest(torch.get_rng_state()),
        "numpy": str(np.random.get_state()),  # noqa: NPY002 (the global one is meant)
        "python": hash(random.getstate()),
    }


def _plain(value: Any) -> Any:
    return _digest(value) if isinstance(value, torch.Tensor) else value


def _digest(tensor: torch.Tensor) -> str:
    plain = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(plain.numpy().tobytes()).hexdigest()[:16]
