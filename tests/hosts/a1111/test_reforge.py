"""reForge and Classic: A1111's host around models in patchers, with gradients and promises as everywhere."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.hosts.a1111 import reforge_program as reforge
from tests.hosts.a1111.ldm_model import needs_ldm, stand_in
from tests.hosts.a1111.test_exact import CLOSE, measure, relative
from tests.hosts.forge.forge_program import attention_sage
from tests.hosts.forge.test_host import EXITS, difference, one_step
from tests.messages import ids, refused
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import HostError
from tinv_ext.core.formats import write_embedding
from tinv_ext.core.generation import ImageRequest

pytestmark = needs_ldm
OURS = ("tinv_ext.hosts.a1111", "tinv_ext.hosts.patchers", "tinv_ext.hosts.webui")
REQUEST = ImageRequest("a photo of qzx", "", 3, 3.0, 1, 64, 64)


@pytest.fixture
def here(made_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`program`, `new_host()`, `modules`, `patch`."""
    folder = tmp_path / "embeddings"
    folder.mkdir()
    program = reforge.Program(made_model, folder)
    modules = stand_in(program.names(), monkeypatch)
    for name in [name for name in sys.modules if name.startswith(OURS)]:
        del sys.modules[name]
    variant = importlib.import_module("tinv_ext.hosts.a1111.reforge")
    host = importlib.import_module("tinv_ext.hosts.a1111.host")
    new_host = partial(host.A1111Host, variant)
    yield SimpleNamespace(program=program, modules=modules, new_host=new_host, folder=folder, patch=monkeypatch)
    for name in [name for name in sys.modules if name.startswith(OURS)]:
        del sys.modules[name]  # they hold the names of this test's stand-in


def image(here: Any, width: int = 64) -> None:
    """Somebody's."""
    p = SimpleNamespace(seed=1, width=width, height=64, scripts=reforge.ScriptRunner())
    here.modules["modules.processing"].process_images(p)


@pytest.mark.parametrize("clip_skip", [1, 2])
def test_condition_loss_and_gradient_are_those_of_diffusers(here: Any, reference: Any, clip_skip: int) -> None:
    """Although blocks add in place, as in Classic."""
    host = here.new_host()
    with host.training(clip_skip) as mine, reference.training(clip_skip) as right:
        for found, expected in zip(measure(mine), measure(right)):
            assert relative(found, expected) < CLOSE


def _lora(here: Any) -> None:
    here.program.wear_lora()
    image(here)


def _no_backward(here: Any) -> None:
    here.program.attention.optimized_attention = attention_sage


@pytest.mark.parametrize("left", [image, _lora, _no_backward], ids=["image", "lora", "attention"])
def test_what_images_leave_behind_changes_no_gradient(here: Any, left: Callable[[Any], None]) -> None:
    """Inference tensors, a merged LoRA, attention without a backward; also of an image in the midst."""
    host = here.new_host()
    with host.training(1) as model:
        right = measure(model)
    left(here)
    with host.training(1) as model:
        found = measure(model)
        host.generate(REQUEST, {})
        again = measure(model)
    assert all(relative(a, b) < 1e-6 and torch.equal(a, c) for a, b, c in zip(found, right, again))


def test_latents_and_noise_are_those_of_diffusers(here: Any, reference: Any) -> None:
    """The VAE lies in a patcher of its own; the noise is the UNet's, not ldm's."""
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with here.new_host().training(1) as mine, reference.training(1) as right:
        found, expected = mine.encode_images(pixels), right.encode_images(pixels)
        assert relative(mine.noise.alphas_cumprod, right.noise.alphas_cumprod) < 1e-6
    assert relative(found.mean, expected.mean) < CLOSE
    assert relative(found.std, expected.std) < CLOSE


@pytest.mark.parametrize(
    ("kind", "prediction"), [(reforge.EPS, "epsilon"), (reforge.V_PREDICTION, "v_prediction"), (reforge.EDM, "edm")]
)
def test_the_prediction_is_the_unets(here: Any, kind: type, prediction: str) -> None:
    """A checkpoint can say it by a key that ldm's config does not know."""
    unet = here.program.sd_model.forge_objects_original.unet.model
    unet.model_sampling = reforge.sampling(kind, here.program.sd_model.alphas_cumprod)
    host = here.new_host()
    assert host.prediction == prediction
    if prediction == "edm":
        with refused("hosts.prediction_cannot_be_trained", HostError, prediction="edm"), host.training(1):
            raise AssertionError("it began")
    else:
        with host.training(1) as model:
            assert model.noise.prediction == prediction


def snapshot(here: Any) -> dict[str, Any]:
    """What a run could leave changed."""
    model, modules = here.program.sd_model, here.modules
    seen: dict[str, Any] = {}
    for name, module in model.named_modules():
        seen[f"{name} trains"] = module.training
        seen[f"{name} hooks"] = [list(module._forward_pre_hooks), list(module._forward_hooks)]
        seen[f"{name} wraps"] = getattr(module, "padding_mode", "")
        for key, weight in module._parameters.items():
            if weight is not None:
                seen[f"{name}.{key}"] = (
                    weight.requires_grad,
                    weight.grad is None,
                    str(weight.dtype),
                    float(weight.detach().sum()),
                )
    for name in ("forge_objects", "forge_objects_after_applying_lora"):
        seen[name] = {key: id(part) for key, part in vars(getattr(model, name)).items()}
    seen["lora"], seen["tiling"] = model.current_lora_hash, model.tiling_enabled
    seen["attention"] = id(here.program.attention.optimized_attention)
    database = modules["modules.sd_hijack"].model_hijack.embedding_db
    seen["words"] = {name: id(item) for name, item in database.word_embeddings.items()}
    seen["settings"] = dict(modules["modules.shared"].opts.data)
    seen["state"] = dict(vars(modules["modules.shared"].state))
    seen["queue"] = modules["modules.call_queue"].queue_lock._lock.locked()
    seen["random"] = torch.get_rng_state().tolist()
    return seen


@pytest.mark.parametrize("state", [image, _lora, _no_backward], ids=["image", "lora", "attention"])
def test_any_state_of_the_program_is_put_back(here: Any, state: Callable[[Any], None]) -> None:
    """After a step, with an image in the midst. A LoRA is in again at the next image, bit for bit."""
    host = here.new_host()
    state(here)
    with host.training(1):
        pass  # so that all weights are ordinary in both snapshots
    image(here)
    before, with_lora = snapshot(here), here.program.images[-1]["weight"]
    with host.training(1) as model:
        one_step(model)
        host.generate(REQUEST, {"qzx": {"clip_l": torch.ones(1, model.widths["clip_l"])}})
        assert "qzx" in here.program.images[-1]["words"]
        assert one_step(model).abs().sum() > 0
        assert model.encode_images(torch.zeros(1, 3, 64, 64)).mean.shape == (1, 4, 8, 8)
        modules = here.program.sd_model.modules()
        assert not any(getattr(module, "padding_mode", "zeros") == "circular" for module in modules)
    assert not here.program.memory.merged
    image(here)
    assert torch.equal(here.program.images[-1]["weight"], with_lora)
    assert difference(before, snapshot(here)) == []


@pytest.mark.parametrize("error", EXITS, ids=lambda error: type(error).__name__)
def test_an_error_puts_all_back(here: Any, error: BaseException) -> None:
    """Whatever the error."""
    host, before = here.new_host(), snapshot(here)

    def fail() -> None:
        with host.training(1) as model:
            one_step(model)
            raise error

    with pytest.raises(type(error)):
        fail()
    assert difference(before, snapshot(here)) == []


def test_more_precision_is_full_precision(here: Any) -> None:
    """A UNet in half precision computes in float32 for the run, and in its own type afterwards."""
    unet = here.program.sd_model.forge_objects_original.unet.model
    unet.half()
    unet.get_dtype = lambda: torch.float16
    host = here.new_host()
    with host.training(1) as model:
        assert [model.upcast() is None, model.upcast() is None, model.upcast() is None] == [False, False, True]
        assert bool(torch.isfinite(measure(model)[2]).all())
    assert unet.manual_cast_dtype is None
    assert {weight.dtype for weight in unet.diffusion_model.parameters()} == {torch.float16}


def test_it_tells_what_is_trained_on_and_what_was_rejected(here: Any) -> None:
    """Notes, and a file that the program does not take."""
    host = here.new_host()
    assert (host.facts["model_name"], host.facts["family"], host.clip_skip) == ("toy", "SD1", 1)
    here.program.wear_lora()
    assert ids(host.model_notes) == ["hosts.loaded_model", "hosts.loras_are_out_for_the_run"]
    (width,) = host.token_table.widths.values()
    write_embedding(Embedding("zibbo", {"clip_l": torch.ones(1, width)}), here.folder / "zibbo.pt")
    host.refresh_embeddings()
    assert [word.name for word in host.known_words()] == ["zibbo"]
    here.modules["modules.sd_hijack"].model_hijack.embedding_db.rejected.add("broken")
    write_embedding(Embedding("broken", {"clip_l": torch.ones(1, width)}), here.folder / "broken.pt")
    with refused("hosts.embedding_rejected", HostError, names=["broken"]):
        host.refresh_embeddings(["zibbo", "broken"])
