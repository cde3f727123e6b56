"""Whatever ends a training, the WebUI is as it was: weights, flags, hooks, patches, places, settings, randomness."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from tests.hosts.a1111.ldm_model import needs_ldm
from tests.messages import ids, refused, said
from tinv_ext.core.data.image_fit import uncropped
from tinv_ext.core.errors import HostError, NotNowError, NumericError
from tinv_ext.core.model import Model
from tinv_ext.core.prompts.reader import PromptReader, Word
from tinv_ext.core.training.forward import encode_prompts
from tinv_ext.hosts.base import ModelFiles

pytestmark = needs_ldm
OTHER = f"{__name__}.Other"


def one_step(model: Model) -> torch.Tensor:
    """Encode an image, go forward and backward once; the gradient of the word's vector."""
    model.encode_images(torch.zeros(1, 3, 64, 64))
    vector = torch.ones(1, model.widths["clip_l"]).mul(0.1).requires_grad_()
    reader = PromptReader(model.tokenizer, (Word("qzx", tuple(model.tokenizer.ids("qzx")), 1),))
    condition = encode_prompts(model, [reader.read("a photo of qzx")], {"qzx": {"clip_l": vector}}, [uncropped(64, 64)])
    model.denoise(torch.ones(1, 4, 8, 8), torch.tensor([500]), condition).square().sum().backward()
    assert vector.grad is not None
    return vector.grad


def medvram(webui: Any) -> None:
    """Hooks that move modules about, as modules/lowvram.py sets them."""
    sd_model = webui.shared.sd_model

    def send_me_to_gpu(module: torch.nn.Module, _: Any) -> None:
        raise AssertionError("a module was moved in the midst of training")

    def moved(pixels: torch.Tensor) -> None:
        raise AssertionError("the VAE was moved in the midst of training")

    send_me_to_gpu.__module__ = "modules.lowvram"
    sd_model.lowvram = True
    for module in (sd_model.model, sd_model.cond_stage_model.wrapped.transformer, sd_model.first_stage_model):
        module.register_forward_pre_hook(lambda module, inputs: None)  # another extension's: stays
        module.register_forward_pre_hook(send_me_to_gpu)
    sd_model.first_stage_model.encode = moved


def tiling(webui: Any) -> None:
    """A tiling image was the last one."""
    webui.modules["modules.sd_hijack"].model_hijack.apply_circular(True)


def mixed_flags(webui: Any) -> None:
    """Some weights want gradients, some modules train."""
    for index, weight in enumerate(webui.shared.sd_model.parameters()):
        weight.requires_grad_(index % 3 == 0)
    for index, module in enumerate(webui.shared.sd_model.modules()):
        module.training = index % 5 == 0


def other_unet(webui: Any) -> None:
    """A compiled UNet answers in the model's place."""
    webui.modules["modules.sd_unet"].current_unet = object()


def hypernetworks(webui: Any) -> None:
    """The last generation had one."""
    webui.shared.loaded_hypernetworks.append(object())


def lora(webui: Any) -> None:
    """The last generation had one, patched into a weight as extensions-builtin/Lora/networks.py does."""
    layer = next(m for m in webui.shared.sd_model.model.modules() if isinstance(m, torch.nn.Linear))
    networks: Any = ModuleType("networks")
    networks.loaded_networks = [SimpleNamespace(name="style")]
    backup = layer.weight.detach().clone()

    def network_apply_weights(module: torch.nn.Module) -> None:
        names = tuple(item.name for item in networks.loaded_networks)
        if module is layer and getattr(layer, "network_current_names", ()) != names:
            layer.weight.copy_(backup + (0.5 if names else 0.0))
            layer.network_current_names = names

    networks.network_apply_weights = network_apply_weights
    webui.patch.setitem(sys.modules, "networks", networks)
    with torch.no_grad():
        network_apply_weights(layer)


def blind_attention(webui: Any) -> None:
    """The chosen attention gives no gradient."""
    import ldm.modules.attention as attention

    plain = attention.CrossAttention.forward

    def forward(self: Any, x: torch.Tensor, context: Any = None, mask: Any = None) -> torch.Tensor:
        with torch.no_grad():
            return plain(self, x, context, mask)

    webui.patch.setattr(attention.CrossAttention, "forward", forward)


STATES: list[Callable[[Any], None]] = [
    lambda webui: None,
    medvram,
    tiling,
    mixed_flags,
    other_unet,
    hypernetworks,
    lora,
    blind_attention,
]


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__.strip("<>"))
def test_any_state_of_the_webui_trains_alike_and_is_put_back(webui: Any, state: Callable[[Any], None]) -> None:
    """What earlier generations and flags have left behind neither changes a gradient nor is changed."""
    with webui.host.training(1) as model:
        right = one_step(model)
    state(webui)
    before = webui.snapshot()
    with webui.host.training(1) as model:
        found = one_step(model)
    # another attention does the same sums in another order
    assert torch.allclose(found, right, rtol=1e-4) if state is blind_attention else torch.equal(found, right)
    assert webui.difference(before, webui.snapshot()) == []


EXITS = [RuntimeError("CUDA out of memory"), NumericError("nan"), KeyboardInterrupt(), GeneratorExit(), MemoryError()]


@pytest.mark.parametrize("error", EXITS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("after_a_step", [False, True])
def test_an_error_puts_all_back(webui: Any, error: BaseException, after_a_step: bool) -> None:
    """Before or after a step, whatever the error."""
    for state in (medvram, tiling, mixed_flags, lora):
        state(webui)
    before = webui.snapshot()

    def fail() -> None:
        with webui.host.training(1) as model:
            if after_a_step:
                one_step(model)
            raise error

    with pytest.raises(type(error)):
        fail()
    assert webui.difference(before, webui.snapshot()) == []


@pytest.mark.parametrize("broken", ["on_device", "frozen", "differentiable"])
def test_an_error_while_getting_ready_puts_all_back(webui: Any, broken: str) -> None:
    """A run that cannot begin leaves nothing half done."""
    for state in (medvram, tiling, mixed_flags, lora):
        state(webui)
    before = webui.snapshot()

    def fail(*_: Any) -> None:
        raise RuntimeError("out of memory")

    webui.patch.setattr(sys.modules["tinv_ext.hosts.a1111.original"], broken, fail)
    with pytest.raises(RuntimeError, match="out of memory"), webui.host.training(1):
        raise AssertionError("it began")
    assert webui.difference(before, webui.snapshot()) == []


def test_nothing_but_the_vectors_gets_a_gradient(webui: Any) -> None:
    """Every weight is frozen inside, and every module in evaluation mode."""
    mixed_flags(webui)
    with webui.host.training(1) as model:
        assert one_step(model).abs().sum() > 0
        assert not any(weight.requires_grad for weight in webui.shared.sd_model.parameters())
        assert not any(module.training for module in webui.shared.sd_model.modules())
    assert all(weight.grad is None for weight in webui.shared.sd_model.parameters())


def test_the_files_of_the_model_are_known(webui: Any) -> None:
    """So that it can be loaded once more on another device: its checkpoint, and the VAE that is in place of its own."""
    checkpoint = webui.shared.sd_model.sd_checkpoint_info.filename
    devices = webui.modules["modules.devices"]
    webui.patch.setattr(devices, "device", torch.device("cuda:1"), raising=False)
    assert webui.host.model_files == ModelFiles(checkpoint, None, "cuda:1")
    webui.patch.setattr(webui.modules["modules.sd_vae"], "loaded_vae_file", "/models/VAE/soft.pt", raising=False)
    with_vae = webui.new_host()  # to the first one it is another model
    assert with_vae.model_files == ModelFiles(checkpoint, Path("/models/VAE/soft.pt"), "cuda:1")


def test_another_model_is_refused(webui: Any) -> None:
    """A host keeps to the model it was made for, and says which one is loaded instead."""
    first, info = webui.host.facts, webui.shared.sd_model.sd_checkpoint_info
    webui.shared.sd_model.sd_checkpoint_info = SimpleNamespace(title="x", model_name="other", shorthash="9876543210")
    before = webui.snapshot()
    with refused("hosts.another_model_loaded", NotNowError) as caught, webui.host.training(1):
        raise AssertionError("it began")
    wanted, loaded = (caught.value.problems[0].values[name] for name in ("wanted", "loaded"))
    assert said([wanted], "hosts.model", model_name=first["model_name"], model_hash=first["model_hash"])
    assert said([loaded], "hosts.model", model_name="other", model_hash="9876543210")
    assert webui.difference(before, webui.snapshot()) == []
    error = caught.value
    assert isinstance(error, NotNowError)
    assert not error.mended()
    webui.shared.sd_model.sd_checkpoint_info = info
    assert error.mended()  # a run that has paused for it goes on


@pytest.mark.parametrize(
    ("change", "type_id", "values"),
    [
        (lambda model: setattr(model, "is_sdxl", True), "hosts.type_unknown", {"model_class": OTHER}),
        (lambda model: setattr(model, "is_sd3", True), "families.sd3", {}),
        (lambda model: None, "hosts.type_unknown", {"model_class": OTHER}),
    ],
)
def test_another_kind_of_model_is_refused(
    webui: Any, change: Callable[[Any], None], type_id: str, values: dict[str, str]
) -> None:
    """Only classes on the list are trained; the sentence names what is loaded."""
    sd_model = webui.shared.sd_model
    webui.patch.setattr(webui.shared, "sd_model", type("Other", (), {"cond_stage_model": sd_model.cond_stage_model})())
    change(webui.shared.sd_model)
    with refused("hosts.model_cannot_be_trained", HostError) as caught:
        webui.new_host()
    assert said([caught.value.problems[0].values["type"]], type_id, **values)


def test_a_model_that_wants_more_than_a_prompt_is_refused(webui: Any) -> None:
    """It has SD1's classes, but is given something else beside the noisy latent."""
    webui.shared.sd_model.model.conditioning_key = "adm"
    with refused("hosts.model_cannot_be_trained", HostError) as caught:
        webui.new_host()
    assert said([caught.value.problems[0].values["type"]], "hosts.type_more_inputs", key="adm")


def test_no_model_is_refused(webui: Any) -> None:
    """The sentence says where to choose one."""
    webui.patch.setattr(webui.shared, "sd_model", None)
    with refused("hosts.no_model_loaded", HostError):
        webui.new_host()


def test_it_tells_what_is_trained_on_and_what_the_run_suspends(webui: Any) -> None:
    """The model; a LoRA or --medvram only where there is one."""
    webui.patch.setattr(webui.modules["modules.devices"], "dtype_vae", torch.float32, raising=False)
    (note,) = webui.host.model_notes
    assert said([note], "hosts.loaded_model", family="SD1", unet_dtype="fp32", vae_dtype="fp32")
    assert said([note.values["model"]], "hosts.model", model_name=webui.host.facts["model_name"])
    medvram(webui)
    lora(webui)
    assert ids(webui.host.model_notes) == [
        "hosts.loaded_model",
        "hosts.loras_are_removed",
        "hosts.lowvram_is_suspended",
    ]
    assert said(webui.host.model_notes, "hosts.loras_are_removed", loras=["style"])
