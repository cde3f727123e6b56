"""A picture by the WebUI's own txt2img, which leaves no trace in the WebUI."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import numpy as np
import torch
from modules import devices, processing, sd_hijack, sd_samplers, shared
from modules.textual_inversion.textual_inversion import Embedding
from PIL import Image

from tinv_ext.core.errors import HostError
from tinv_ext.core.generation import ImageRequest
from tinv_ext.core.model import Vectors, Words
from tinv_ext.hosts.prompt_vectors import count

_ABSENT = object()
_FLAGS = ("interrupted", "skipped", "stopping_generation")  # v1.10.1 modules/shared_state.py


def generate(sd_model: Any, request: ImageRequest, words: Words, clip_skip: int | None) -> Image.Image:
    """One picture with `words` in its prompts. `clip_skip` None takes the WebUI's setting. The queue must be held."""
    if request.sampler not in sd_samplers.all_samplers_map:
        known = ", ".join(sd_samplers.all_samplers_map)
        raise HostError(f'The WebUI has no sampler "{request.sampler}". Choose one of {known}.')
    # The user may have chosen another checkpoint that waits for its turn: a generation would load it in the midst.
    settings: dict[str, Any] = {
        "sd_model_checkpoint": sd_model.sd_checkpoint_info.title,
        "live_previews_enable": False,
    }
    if clip_skip is not None:
        settings["CLIP_stop_at_last_layers"] = clip_skip
    with ExitStack() as stack:
        for kept in (random_kept(), state_kept(), settings_kept(settings), no_history(), tiling_kept()):
            stack.enter_context(kept)
        stack.enter_context(known_for_now(sd_model, words))
        p = stack.enter_context(closing(_request(request)))
        pictures = processing.process_images(p).images
    if not pictures:
        raise HostError("The WebUI drew no picture, because it was interrupted. Ask for the preview again.")
    return pictures[0]


def _request(request: ImageRequest) -> Any:
    """The processing object, with a cache of its own: the WebUI's goes by the prompt's text and knows no vectors."""
    # since v1.9 the schedule type is a choice of its own
    fields = getattr(processing.StableDiffusionProcessingTxt2Img, "__dataclass_fields__", {})
    chosen = {"scheduler": request.scheduler} if request.scheduler and "scheduler" in fields else {}
    p = processing.StableDiffusionProcessingTxt2Img(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        steps=request.steps,
        cfg_scale=request.cfg_scale,
        seed=request.seed,
        width=request.width,
        height=request.height,
        sampler_name=request.sampler,
        do_not_save_samples=True,
        do_not_save_grid=True,
        do_not_reload_embeddings=True,
        disable_extra_networks=True,
        **chosen,
    )
    p.cached_c, p.cached_uc = [None, None], [None, None]
    return p


@contextmanager
def known_for_now(sd_model: Any, words: Words) -> Iterator[None]:
    """The words in the embedding database, in front of what stood there under their names.

    v1.10.1 modules/textual_inversion/textual_inversion.py, EmbeddingDatabase: `word_embeddings` by name, `ids_lookup`
    by first token id.
    """
    database = sd_hijack.model_hijack.embedding_db
    by_name = dict(database.word_embeddings)
    by_id = {first: list(found) for first, found in database.ids_lookup.items()}
    try:
        for name, vectors in words.items():
            database.register_embedding(_embedding(name, vectors), sd_model)
        yield
    finally:
        _refill(database.word_embeddings, by_name)
        _refill(database.ids_lookup, by_id)


def _refill(mapping: dict[Any, Any], content: Mapping[Any, Any]) -> None:
    mapping.clear()
    mapping.update(content)


def _embedding(name: str, vectors: Vectors) -> Any:
    """As v1.10.1 modules/textual_inversion/textual_inversion.py makes them: a tensor, or for SDXL a dict of two."""
    moved = {key: vector.detach().to(devices.device, torch.float32) for key, vector in vectors.items()}
    embedding = Embedding(moved if len(moved) > 1 else next(iter(moved.values())), name)
    embedding.vectors = count(moved)
    embedding.shape = sum(vector.shape[1] for vector in moved.values())
    return embedding


@contextmanager
def random_kept() -> Iterator[None]:
    """All global random generators as they were; a generation seeds torch's."""
    kept = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002 (the global one is meant)
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None
    nv = devices.nv_rng  # v1.10.1 modules/rng.py: the generator behind "NV"
    try:
        yield
    finally:
        torch.set_rng_state(kept[0])
        np.random.set_state(kept[1])  # noqa: NPY002
        random.setstate(kept[2])
        devices.nv_rng = nv
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


@contextmanager
def state_kept() -> Iterator[None]:
    """The WebUI's progress as it was. An Interrupt from before does not stop the picture, one during it is kept."""
    state = shared.state
    kept = {name: value for name, value in vars(state).items() if not name.startswith("_")}  # not a wish to restart
    pressed = {flag for flag in _FLAGS if getattr(state, flag)}
    try:
        for flag in _FLAGS:
            setattr(state, flag, False)
        yield
    finally:
        pressed |= {flag for flag in _FLAGS if getattr(state, flag)}
        for name in [name for name in vars(state) if name not in kept and not name.startswith("_")]:
            delattr(state, name)  # its class has the value from before
        for name, value in kept.items():
            setattr(state, name, value)
        for flag in pressed:
            setattr(state, flag, True)


@contextmanager
def settings_kept(settings: Mapping[str, Any]) -> Iterator[None]:
    """Settings for the picture, put back unless the user has changed them meanwhile.

    v1.10.1 modules/options.py: `data` holds the values; set here without callbacks and whatever is frozen.
    """
    data = shared.opts.data
    kept = {name: data.get(name, _ABSENT) for name in settings}
    try:
        data.update(settings)
        yield
    finally:
        for name, old in kept.items():
            if data.get(name, _ABSENT) != settings[name]:
                continue
            if old is _ABSENT:
                del data[name]
            else:
                data[name] = old


@contextmanager
def no_history() -> Iterator[None]:
    """v1.10.1 modules/processing.py writes each prompt to params.txt, from where the page fetches "the last one"."""
    kept = shared.cmd_opts.no_prompt_history
    try:
        shared.cmd_opts.no_prompt_history = True
        yield
    finally:
        shared.cmd_opts.no_prompt_history = kept


@contextmanager
def tiling_kept() -> Iterator[None]:
    """v1.10.1 modules/processing.py turns tiling on or off as the picture wants it, and leaves it so."""
    hijack = sd_hijack.model_hijack
    kept = hijack.circular_enabled
    try:
        yield
    finally:
        hijack.apply_circular(kept)
