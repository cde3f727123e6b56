"""A stand-in for the WebUI's own names (`modules.*` of v1.10.1), as far as a host touches them; the model is real.

It behaves as the WebUI was seen to behave where that matters: what a generation leaves changed, who gets the queue.
"""

from __future__ import annotations

import collections
import contextlib
import pickle
import random
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image

from tinv_ext.core.formats import read_embedding


class _Unpickler(pickle.Unpickler):
    """Tensors without numbers, as the WebUI's own makes them."""

    def persistent_load(self, saved: Any) -> Any:
        return torch.storage.TypedStorage()


def check_pt(filename: str, extra_handler: Any) -> None:
    """As modules/safe.py, as far as it goes for a file of ours: five pickles in a row."""
    with open(filename, "rb") as file:
        for _ in range(5):
            _Unpickler(file).load()


class FifoLock:
    """As modules/fifo_lock.py: whoever waits is woken in order, but a newcomer may be quicker than the one woken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inner_lock = threading.Lock()
        self._pending_threads: collections.deque[threading.Event] = collections.deque()

    def acquire(self) -> bool:
        with self._inner_lock:
            if self._lock.acquire(False):
                return True
            woken = threading.Event()
            self._pending_threads.append(woken)
        woken.wait()
        return self._lock.acquire()

    def release(self) -> None:
        with self._inner_lock:
            if self._pending_threads:
                self._pending_threads.popleft().set()
            self._lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exit_: object) -> None:
        self.release()


class State:
    """As modules/shared_state.py: flags of the class until they are set."""

    job, interrupted, skipped, stopping_generation, sampling_step = "", False, False, False, 3

    def interrupt(self) -> None:
        self.interrupted = True

    def request_restart(self) -> None:
        self.interrupt()
        self.server_command = "restart"


class EmbeddingsWithFixes(torch.nn.Module):
    """As modules/sd_hijack.py, without fixes of its own: they must be none whenever we encode."""

    def __init__(self, wrapped: torch.nn.Embedding, embeddings: Any) -> None:
        super().__init__()
        self.wrapped = wrapped
        self.embeddings = embeddings

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        assert self.embeddings.fixes is None
        return self.wrapped(ids)


class FrozenCLIPEmbedderWithCustomWords(torch.nn.Module):
    """As modules/sd_hijack_clip.py: around ldm's FrozenCLIPEmbedder."""

    def __init__(self, wrapped: Any, hijack: Any) -> None:
        super().__init__()
        self.wrapped = wrapped
        self.id_pad = wrapped.tokenizer.eos_token_id
        text = getattr(wrapped.transformer, "text_model", wrapped.transformer)
        text.embeddings.token_embedding = EmbeddingsWithFixes(text.embeddings.token_embedding, hijack)

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        return self.wrapped.tokenizer(texts, truncation=False, add_special_tokens=False)["input_ids"]


FrozenCLIPEmbedderWithCustomWords.__module__ = "modules.sd_hijack_clip"


class Embedding:
    """As modules/textual_inversion/textual_inversion.py."""

    def __init__(self, vec: torch.Tensor, name: str) -> None:
        self.vec = vec
        self.name = name
        self.vectors = 0
        self.shape: int | None = None


class Database:
    """As EmbeddingDatabase there."""

    def __init__(self, shared: Any) -> None:
        self.shared = shared
        self.word_embeddings: dict[str, Embedding] = {}
        self.ids_lookup: dict[int, list[tuple[list[int], Embedding]]] = {}
        self.rejected: set[str] = set()

    def register_embedding(self, embedding: Embedding, model: Any) -> None:
        (ids,) = model.cond_stage_model.tokenize([embedding.name])
        others = [item for item in self.ids_lookup.get(ids[0], []) if item[1].name != embedding.name]
        self.ids_lookup[ids[0]] = [*others, (ids, embedding)]
        self.word_embeddings[embedding.name] = embedding

    def load_textual_inversion_embeddings(self, force_reload: bool = False) -> None:
        assert force_reload  # unforced, an overwritten file is overlooked
        self.word_embeddings.clear()
        self.ids_lookup.clear()
        for path in sorted(Path(self.shared.cmd_opts.embeddings_dir).glob("*.pt")):
            if path.stem not in self.rejected:
                (vector,) = read_embedding(path).vectors.values()
                self.register_embedding(Embedding(vector, path.stem), self.shared.sd_model)


class Processing:
    """As StableDiffusionProcessingTxt2Img of modules/processing.py."""

    cached_c: ClassVar[list[Any]] = [None, None]
    cached_uc: ClassVar[list[Any]] = [None, None]
    cached_hr_c: ClassVar[list[Any]] = [None, None]
    cached_hr_uc: ClassVar[list[Any]] = [None, None]

    def __init__(self, **values: Any) -> None:
        vars(self).update(values)

    def close(self) -> None:
        """Nothing of it is kept."""


def names(sd_model: Any, folder: Path) -> dict[str, dict[str, Any]]:
    """Contents of `modules.*` around a model; embeddings lie in `folder`. The model's text encoder is wrapped."""
    import ldm.modules.attention as attention

    opts = SimpleNamespace(data={"sd_model_checkpoint": "toy [0123456789]"}, sd_noise_schedule="Default")
    opts.CLIP_stop_at_last_layers = 1
    cmd_opts = SimpleNamespace(embeddings_dir=str(folder), no_prompt_history=False)
    shared: dict[str, Any] = {
        "opts": opts,
        "cmd_opts": cmd_opts,
        "sd_model": sd_model,
        "loaded_hypernetworks": [],
        "state": State(),
    }
    database = Database(SimpleNamespace(**shared))
    hijack = SimpleNamespace(fixes=None, circular_enabled=False, embedding_db=database)
    hijack.apply_circular = lambda enable: _go_round(hijack, sd_model, enable)
    sd_model.cond_stage_model = FrozenCLIPEmbedderWithCustomWords(sd_model.cond_stage_model, hijack)
    sd_model.sd_checkpoint_info = SimpleNamespace(
        title="toy [0123456789]", model_name="toy", shorthash="0123456789", filename="/models/toy.safetensors"
    )
    plain = attention.CrossAttention.forward
    return {
        "modules": {},
        "modules.shared": shared,
        "modules.devices": _devices(),
        "modules.sd_hijack": {
            "model_hijack": hijack,
            "current_optimizer": None,
            "optimizers": [],
            "undo_optimizations": lambda: setattr(attention.CrossAttention, "forward", plain),
        },
        "modules.hypernetworks": {},
        "modules.hypernetworks.hypernetwork": {"attention_CrossAttention_forward": plain},
        "modules.sd_models": {"rescale_zero_terminal_snr_abar": lambda kept: kept},
        "modules.sd_unet": {"current_unet": None},
        "modules.sd_vae": {"get_loaded_vae_name": lambda: None},
        "modules.safe": {"check_pt": check_pt},
        "modules.sd_samplers": {"all_samplers_map": {"DDIM": None, "Euler a": None, "DPM++ 2M": None}},
        "modules.lowvram": {"module_in_gpu": None, "send_everything_to_cpu": lambda: None},
        "modules.call_queue": {"queue_lock": FifoLock()},
        "modules.textual_inversion": {},
        "modules.textual_inversion.textual_inversion": {"Embedding": Embedding},
        "modules.processing": _processing(shared, hijack),
    }


def _devices() -> dict[str, Any]:
    return {
        "device": torch.device("cpu"),
        "dtype_unet": torch.float32,
        "autocast": contextlib.nullcontext,
        "torch_gc": lambda: None,
        "nv_rng": None,
    }


def _go_round(hijack: Any, sd_model: Any, enable: bool) -> None:
    hijack.circular_enabled = enable
    for module in sd_model.modules():
        if type(module) is torch.nn.Conv2d:
            module.padding_mode = "circular" if enable else "zeros"


def _processing(shared: dict[str, Any], hijack: Any) -> dict[str, Any]:
    generated: list[dict[str, Any]] = []

    def process_images(p: Any) -> Any:
        """Notes what it found and leaves changed what a real generation leaves changed."""
        words = {name: item.vec.clone() for name, item in hijack.embedding_db.word_embeddings.items()}
        settings, history = dict(shared["opts"].data), shared["cmd_opts"].no_prompt_history
        generated.append({"p": p, "words": words, "settings": settings, "no history": history})
        torch.manual_seed(p.seed)
        np.random.seed(1)  # noqa: NPY002 (the global one is meant)
        random.seed(1)
        hijack.apply_circular(not hijack.circular_enabled)
        state = shared["state"]
        state.job, state.sampling_step, state.new = "txt2img", 20, 1
        return SimpleNamespace(images=[] if state.interrupted else [Image.new("RGB", (p.width, p.height))])

    return {
        "StableDiffusionProcessing": Processing,
        "StableDiffusionProcessingTxt2Img": Processing,
        "process_images": process_images,
        "generated": generated,
    }
