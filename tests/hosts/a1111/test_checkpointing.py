"""Less memory and more precision in the WebUI's model, as a run asks for them in need; all of it put back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.hosts.a1111.ldm_model import needs_ldm
from tests.hosts.a1111.test_exact import TEXTS, measure
from tests.hosts.checkpointing_probe import kept_bytes, own_forwards
from tinv_ext.core.data.image_fit import uncropped
from tinv_ext.core.prompts.reader import PromptReader, Word
from tinv_ext.core.training.forward import encode_prompts

pytestmark = needs_ldm
TEXT = TEXTS[:1]


def test_gradient_checkpointing_keeps_less_and_gives_the_same_gradient(webui: Any) -> None:
    """Bit for bit the same; less than half of the memory; nothing of the model is changed afterwards."""
    unet = webui.shared.sd_model.model
    before = own_forwards(unet)
    with webui.host.training(1) as model:
        word = Word("qzx", tuple(model.tokenizer.ids("qzx")), 2)
        vectors = torch.ones(2, *model.widths.values()).requires_grad_()
        prompts = [PromptReader(model.tokenizer, (word,)).read(text) for text in TEXTS]
        condition = encode_prompts(model, prompts, {"qzx": {"clip_l": vectors}}, [uncropped(64, 64)] * 2)
        noisy, timesteps = torch.ones(2, 4, 8, 8), torch.tensor([501, 120])
        plain, _ = kept_bytes(unet, lambda: model.denoise(noisy, timesteps, condition))
        right = measure(model)
        model.enable_gradient_checkpointing()
        checkpointed, _ = kept_bytes(unet, lambda: model.denoise(noisy, timesteps, condition))
        found = measure(model)
    assert checkpointed < plain / 2, f"{checkpointed} of {plain} bytes"
    assert all(torch.equal(mine, other) for mine, other in zip(found, right))
    assert own_forwards(unet) == before


@pytest.fixture
def half(webui: Any) -> Callable[[], torch.dtype]:
    """The stand-in's model in bfloat16, what enters it brought to its type as the WebUI does; gives that type."""
    devices, sd_model = webui.modules["modules.devices"], webui.shared.sd_model
    for name in ("dtype", "dtype_unet"):
        webui.patch.setattr(devices, name, torch.bfloat16, raising=False)
    sd_model.model.to(torch.bfloat16)
    sd_model.cond_stage_model.to(torch.bfloat16)
    apply = sd_model.apply_model

    def cast(noisy: Any, timesteps: Any, given: Any) -> Any:
        """v1.10.1 modules/sd_hijack_unet.py, apply_model."""
        kind = devices.dtype_unet
        given = {key: [value.to(kind) for value in values] for key, values in given.items()}
        return apply(noisy.to(kind), timesteps, given).float()

    webui.patch.setattr(sd_model, "apply_model", cast)
    return lambda: devices.dtype_unet


def test_full_precision_is_that_of_the_same_weights_in_float32(
    webui: Any, half: Callable[[], torch.dtype], generated: Any
) -> None:
    """Its gradient is that of the model cast beforehand; afterwards all is bit for bit what it was."""
    before = webui.snapshot()
    with webui.host.training(1) as model:
        assert model.upcast() == "full precision"
        assert model.upcast() is None
        assert half() is torch.float32
        found = measure(model, TEXT)
    assert webui.difference(before, webui.snapshot()) == []
    assert half() is torch.bfloat16
    for part in (webui.shared.sd_model.model, webui.shared.sd_model.cond_stage_model):
        part.float()
    devices = webui.modules["modules.devices"]
    for name in ("dtype", "dtype_unet"):
        webui.patch.setattr(devices, name, torch.float32)
    with webui.host.training(1) as model:
        right = measure(model, TEXT)
    assert all(torch.equal(mine, other) for mine, other in zip(found, right))
