"""One image by the program's own txt2img, which leaves no trace in the program."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import numpy as np
import torch
from modules import devices, processing, sd_samplers, shared
from PIL import Image

from tinv_ext.core.errors import HostError
from tinv_ext.core.generation import ImageRequest
from tinv_ext.core.messages import message

_ABSENT = object()
_FLAGS = ("interrupted", "skipped", "stopping_generation")  # v1.10.1 modules/shared_state.py


def generate(request: ImageRequest, settings: Mapping[str, Any], scripts: Any = None) -> Image.Image:
    """The image, made under `settings` (options of the program by name). The queue must be held. Raises HostError.

    `scripts` is an empty runner of the program's, where it cannot do without one.
    What else of the program changes for an image, such as the words its prompts know, is the caller's to put back.
    """
    if request.sampler not in sd_samplers.all_samplers_map:
        raise HostError(
            message(
                "hosts.no_such_sampler",
                'There is no sampling method "{sampler}" here. Choose one of: {samplers:, }.',
                sampler=request.sampler,
                samplers=list(sd_samplers.all_samplers_map),
            )
        )
    with ExitStack() as stack:
        stack.enter_context(random_state_restored())
        stack.enter_context(progress_restored())
        stack.enter_context(settings_overridden({**settings, "live_previews_enable": False}))
        stack.enter_context(no_prompt_history())
        p = stack.enter_context(closing(_processing_of(request, scripts)))
        images = processing.process_images(p).images
        cut_short = shared.state.interrupted or shared.state.skipped  # the image is then what was done by that step
    if cut_short or not images:
        raise HostError(
            message(
                "hosts.image_was_interrupted",
                "The image was interrupted before it was finished. Ask for the preview again.",
            )
        )
    image: Image.Image = images[0]
    return image


def _processing_of(request: ImageRequest, scripts: Any) -> Any:
    """The processing object, with a prompt cache of its own: the shared one goes by text and cannot tell vectors."""
    # since v1.9 the schedule type is a choice of its own
    fields = getattr(processing.StableDiffusionProcessingTxt2Img, "__dataclass_fields__", {})
    scheduler = {"scheduler": request.scheduler} if request.scheduler and "scheduler" in fields else {}
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
        **scheduler,
    )
    if scripts is not None:
        p.scripts, p.script_args = scripts, []
    p.cached_c, p.cached_uc = _emptied(p.cached_c), _emptied(p.cached_uc)
    return p


def forget_prompts() -> None:
    """Clear the program's prompt caches: they go by text alone and hold embeddings as they were before a refresh.

    v1.10.1 modules/processing.py; attributes of the classes.
    """
    base, txt2img = processing.StableDiffusionProcessing, processing.StableDiffusionProcessingTxt2Img
    for owner, name in (
        (base, "cached_c"),
        (base, "cached_uc"),
        (txt2img, "cached_hr_c"),
        (txt2img, "cached_hr_uc"),
    ):
        setattr(owner, name, _emptied(getattr(owner, name)))


def _emptied(cache: list[Any]) -> list[Any]:
    """A cache has two entries in A1111, and three in Forge, where the third is what the infotext says of embeddings."""
    return [None] * len(cache)


@contextmanager
def random_state_restored() -> Iterator[None]:
    """Restore the state of every global random generator on exit; txt2img seeds them."""
    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    cuda_states = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None
    nv_rng = getattr(devices, "nv_rng", _ABSENT)  # v1.10.1 modules/rng.py: the generator of "NV"; gone in Forge Neo
    try:
        yield
    finally:
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)
        if nv_rng is not _ABSENT:
            devices.nv_rng = nv_rng
        if cuda_states is not None:
            torch.cuda.set_rng_state_all(cuda_states)


@contextmanager
def progress_restored() -> Iterator[None]:
    """Restore `shared.state` on exit. An earlier Interrupt does not stop the image; one pressed meanwhile remains."""
    state = shared.state
    before = {name: value for name, value in vars(state).items() if not name.startswith("_")}  # not a restart request
    pressed = {flag for flag in _FLAGS if getattr(state, flag)}
    try:
        for flag in _FLAGS:
            setattr(state, flag, False)
        yield
    finally:
        pressed |= {flag for flag in _FLAGS if getattr(state, flag)}
        for name in [name for name in vars(state) if name not in before and not name.startswith("_")]:
            delattr(state, name)  # its class has the value from before
        for name, value in before.items():
            setattr(state, name, value)
        for flag in pressed:
            setattr(state, flag, True)


@contextmanager
def settings_overridden(settings: Mapping[str, Any]) -> Iterator[None]:
    """Set options of the program, and restore those that the user has not changed meanwhile.

    v1.10.1 modules/options.py: `data` holds the values; set here without callbacks, and even where they are frozen.
    """
    data = shared.opts.data
    before = {name: data.get(name, _ABSENT) for name in settings}
    try:
        data.update(settings)
        yield
    finally:
        for name, value in before.items():
            if data.get(name, _ABSENT) != settings[name]:
                continue
            if value is _ABSENT:
                del data[name]
            else:
                data[name] = value


@contextmanager
def no_prompt_history() -> Iterator[None]:
    """Keep the prompt out of params.txt, from which the page takes "the last prompt" (v1.10.1 modules/processing.py).

    Classic has no such option and writes the file.
    """
    before = getattr(shared.cmd_opts, "no_prompt_history", _ABSENT)
    if before is _ABSENT:
        yield
        return
    try:
        shared.cmd_opts.no_prompt_history = True
        yield
    finally:
        shared.cmd_opts.no_prompt_history = before
