"""The running WebUI in the stand-in's place, when `make test-webui` runs these tests inside its process."""

from __future__ import annotations

import random
import shutil
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

HERE = "modules.shared" in sys.modules  # a process in which nobody runs the WebUI has it only as a stand-in, later


def webui(snapshot: Any, patch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """What the fixture `webui` gives, with the real names behind it. Whatever the test does to the model is undone."""
    from modules import sd_hijack, sd_models, sd_unet, shared

    from tinv_ext.hosts.a1111 import original
    from tinv_ext.hosts.a1111.host import A1111Host

    for thread in threading.enumerate():  # modules/initialize.py, load_model: at last it draws a small layer's weights
        if "load_model" in thread.name:
            thread.join()
    sd_model, folder = shared.sd_model, Path(shared.cmd_opts.embeddings_dir)
    models, state, settings = (
        list(sd_models.model_data.loaded_sd_models),
        dict(vars(shared.state)),
        dict(shared.opts.data),
    )
    torch_random, numpy_random, python_random = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    folder.mkdir(exist_ok=True)  # a fresh data folder has none
    parts = _Parts(sd_model)
    before = snapshot.snapshot()
    yield SimpleNamespace(
        host=A1111Host(original),
        new_host=partial(A1111Host, original),
        shared=shared,
        modules=sys.modules,
        snapshot=snapshot.snapshot,
        difference=snapshot.difference,
        patch=patch,
    )
    patch.undo()
    sd_models.model_data.sd_model = sd_model
    sd_models.model_data.loaded_sd_models[:] = models
    sd_hijack.model_hijack.apply_circular(False)
    parts.restore()
    sd_unet.current_unet = None
    shared.loaded_hypernetworks.clear()
    shared.opts.data.clear()
    shared.opts.data.update(settings)
    vars(shared.state).clear()
    vars(shared.state).update(state)
    shutil.rmtree(folder)
    folder.mkdir()
    sd_hijack.model_hijack.embedding_db.load_textual_inversion_embeddings(force_reload=True)
    torch.set_rng_state(torch_random)
    np.random.set_state(numpy_random)  # noqa: NPY002
    random.setstate(python_random)
    left = snapshot.difference(before, snapshot.snapshot())
    changed = [line for line in left if not line.startswith("kept conditions")]
    assert changed == [], changed


class _Parts:
    """Every module's own dictionary and every weight, to be put back."""

    def __init__(self, sd_model: Any) -> None:
        self._modules = [(module, _copy(vars(module))) for module in sd_model.modules()]
        self._weights = [(w, w.requires_grad, w.detach().clone()) for w in sd_model.parameters()]

    def restore(self) -> None:
        for module, kept in self._modules:
            vars(module).clear()
            vars(module).update(_copy(kept))
        for weight, flag, value in self._weights:
            weight.requires_grad_(flag).grad = None
            weight.data.copy_(value)


def _copy(content: dict[str, Any]) -> dict[str, Any]:
    """One level deeper than the dictionary: hooks, buffers and names of parts lie in dictionaries of their own."""
    return {name: value.copy() if type(value) in (dict, _ORDERED) else value for name, value in content.items()}


_ORDERED = type(torch.nn.Module()._forward_pre_hooks)
