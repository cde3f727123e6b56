"""Whatever ends a training, Forge is as it was; and what its page does meanwhile neither disturbs a run nor is lost."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.hosts.a1111.ldm_model import needs_ldm
from tests.hosts.forge.forge_program import Patcher, attention_pytorch, attention_sage
from tests.hosts.forge.test_exact import REQUEST
from tests.messages import ids, refused, said
from tinv_ext.core.data.image_fit import uncropped
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import HostError, NotNowError, NumericError
from tinv_ext.core.formats import write_embedding
from tinv_ext.core.model import Model
from tinv_ext.core.prompts.reader import PromptReader, Word
from tinv_ext.core.training.forward import encode_prompts
from tinv_ext.hosts.base import ModelFiles
from tinv_ext.run import runner
from tinv_ext.run.preflight import parse_settings

pytestmark = needs_ldm


def one_step(model: Model) -> torch.Tensor:
    """Encode an image, go forward and backward once; the gradient of the word's vector."""
    model.encode_images(torch.zeros(1, 3, 64, 64))
    vector = torch.ones(1, model.widths["clip_l"]).mul(0.1).requires_grad_()
    reader = PromptReader(model.tokenizer, (Word("qzx", tuple(model.tokenizer.ids("qzx")), 1),))
    condition = encode_prompts(model, [reader.read("a photo of qzx")], {"qzx": {"clip_l": vector}}, [uncropped(64, 64)])
    model.denoise(torch.ones(1, 4, 8, 8), torch.tensor([500]), condition).square().sum().backward()
    assert vector.grad is not None
    return vector.grad


def snapshot(forge: Any) -> dict[str, Any]:
    """Everything of the program that a run could leave changed, in plain values. Weights by what they hold."""
    engine, program = forge.program.engine, forge.program
    seen: dict[str, Any] = {}
    for number, top in enumerate(engine.modules()):
        for name, module in top.named_modules():
            where = f"{number} {name}"
            seen[f"{where} trains"] = module.training
            seen[f"{where} hooks"] = [list(module._forward_pre_hooks), list(module._forward_hooks)]
            seen[f"{where} own"] = sorted(key for key, value in vars(module).items() if callable(value))
            for key, weight in module._parameters.items():
                if weight is not None:
                    seen[f"{where}.{key}"] = (
                        weight.requires_grad,
                        weight.grad is None,
                        str(weight.dtype),
                        digest(weight),
                    )
    database = engine.text_processing_engine.embeddings
    seen["words"] = {name: id(item) for name, item in database.word_embeddings.items()}
    seen["ids"] = {first: [(tuple(i), id(e)) for i, e in found] for first, found in database.ids_lookup.items()}
    for name in ("forge_objects", "forge_objects_after_applying_lora", "current_lora_hash"):
        value = getattr(engine, name)
        seen[name] = value if isinstance(value, str) else {key: id(part) for key, part in vars(value).items()}
    seen["computes in"] = engine.forge_objects_original.unet.model.computation_dtype
    seen["attention"] = id(program.unet_module.attention_function)
    seen["chosen"], seen["loaded"] = str(program.data.forge_loading_parameters), program.data.forge_hash
    seen["unload"] = program.processing["need_global_unload"]
    seen["settings"], seen["state"] = dict(program.shared["opts"].data), dict(vars(program.shared["state"]))
    seen["queue"] = forge.modules["modules.call_queue"].queue_lock._lock.locked()
    seen["torch"], seen["python"] = digest(torch.get_rng_state()), hash(random.getstate())
    seen["numpy"], seen["gradients"] = str(np.random.get_state()), torch.is_grad_enabled()  # noqa: NPY002
    return seen


def digest(tensor: torch.Tensor) -> str:
    """Of all its bits."""
    plain = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(plain.numpy().tobytes()).hexdigest()[:16]


def difference(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What is not as it was, a line each."""
    names = sorted({*before, *after})
    return [f"{n}: {before.get(n)!r} -> {after.get(n)!r}" for n in names if before.get(n) != after.get(n)]


def untouched(forge: Any) -> None:
    """As it was loaded."""


def mixed_flags(forge: Any) -> None:
    """Ordinary weights, as after a run, of which some want gradients; some modules train."""
    with forge.new_host().training(1):
        pass
    for top in forge.program.engine.modules():
        for index, weight in enumerate(top.parameters()):
            weight.requires_grad_(index % 3 == 0)
        for index, module in enumerate(top.modules()):
            module.training = index % 5 == 0


def lora(forge: Any) -> None:
    """The last image had one."""
    forge.new_host()
    forge.program.engine.wear_lora()
    forge.modules["modules.processing"].process_images(SimpleNamespace(seed=1, width=64, height=64))


def no_backward(forge: Any) -> None:
    """An attention kernel for images only."""
    forge.program.unet_module.attention_function = attention_sage


STATES: list[Callable[[Any], None]] = [untouched, mixed_flags, lora, no_backward]


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_any_state_of_the_program_is_put_back(forge: Any, state: Callable[[Any], None]) -> None:
    """After a step, with an image in the midst. A LoRA is in again at the next image, bit for bit."""
    host = forge.new_host()
    state(forge)
    merged = bool(forge.program.memory.merged)
    if merged:
        host.generate(REQUEST, {})
    before = snapshot(forge)
    with host.training(1) as model:
        one_step(model)
        host.generate(REQUEST, {"qzx": {"clip_l": torch.ones(1, model.widths["clip_l"])}})
        assert one_step(model).abs().sum() > 0
    if merged:
        assert not forge.program.memory.merged
        with_lora = forge.program.images[-2]["weight"]
        host.generate(REQUEST, {})
        assert torch.equal(forge.program.images[-1]["weight"], with_lora)
        assert not torch.equal(forge.program.images[-2]["weight"], with_lora)
    assert difference(before, snapshot(forge)) == []


EXITS = [RuntimeError("CUDA out of memory"), NumericError("nan"), KeyboardInterrupt(), GeneratorExit(), MemoryError()]


@pytest.mark.parametrize("error", EXITS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("after_a_step", [False, True])
def test_an_error_puts_all_back(forge: Any, error: BaseException, after_a_step: bool) -> None:
    """Before or after a step, whatever the error."""
    mixed_flags(forge)
    host, before = forge.new_host(), snapshot(forge)

    def fail() -> None:
        with host.training(1) as model:
            if after_a_step:
                one_step(model)
            raise error

    with pytest.raises(type(error)):
        fail()
    assert difference(before, snapshot(forge)) == []


@pytest.mark.parametrize("broken", ["frozen", "in_float32", "out_of_place", "differentiable_attention"])
def test_an_error_while_getting_ready_puts_all_back(forge: Any, broken: str) -> None:
    """A run that cannot begin leaves nothing half done."""
    mixed_flags(forge)
    host, before = forge.new_host(), snapshot(forge)

    def fail(*_: Any) -> None:
        raise RuntimeError("out of memory")

    import tinv_ext.hosts.patchers.session as session

    forge.patch.setattr(session, broken, fail)
    with pytest.raises(RuntimeError, match="out of memory"), host.training(1):
        raise AssertionError("it began")
    assert difference(before, snapshot(forge)) == []


def test_nothing_but_the_vectors_gets_a_gradient(forge: Any) -> None:
    """Every weight is frozen inside, also after an image, and every module in evaluation mode."""
    host = forge.new_host()
    with host.training(1) as model:
        host.generate(REQUEST, {})
        assert one_step(model).abs().sum() > 0
        for top in forge.program.engine.modules():
            assert not any(weight.requires_grad or weight.is_inference() for weight in top.parameters())
            assert not any(module.training for module in top.modules())
    assert all(weight.grad is None for top in forge.program.engine.modules() for weight in top.parameters())
    assert forge.program.unet_module.attention_function is attention_pytorch


def test_where_memory_runs_out_the_programs_other_models_leave(forge: Any) -> None:
    """Those in training stay; a ControlNet of an earlier image, or the VAE, is loaded again when it is wanted."""
    host, memory = forge.new_host(), forge.program.memory
    with host.training(1) as model:
        gradient = one_step(model)
        memory.current_loaded_models.append(SimpleNamespace(model=Patcher(torch.nn.Linear(2, 2))))
        objects = forge.program.engine.forge_objects
        assert len(memory.current_loaded_models) == 4
        model.release_memory()
        assert {one.model for one in memory.current_loaded_models} == {objects.clip.patcher, objects.unet}
        assert torch.equal(one_step(model), gradient)
        assert objects.vae.patcher in [one.model for one in memory.current_loaded_models]


# --- which model ---------------------------------------------------------------------------------------------------


def test_the_chosen_model_is_loaded_where_none_is(forge: Any) -> None:
    """Forge loads its model for the first image; Check and Train need it before that."""
    assert forge.program.data.forge_hash == ""
    host = forge.new_host()
    assert forge.program.data.sd_model is forge.program.engine
    assert host.facts["model_name"] == "toy"
    assert (host.native_size, host.clip_skip, host.facts["family"]) == (512, 1, "SD1")


def test_a_model_without_a_name_is_called_as_its_file(forge: Any) -> None:
    """Forge Neo gives none to a file of its folder that was named on the command line."""
    forge.program.engine.sd_checkpoint_info.model_name = ""
    assert forge.new_host().facts["model_name"] == "toy"


@pytest.mark.parametrize("parameters", [{}, {"checkpoint_info": None}])
def test_without_a_checkpoint_it_says_so(forge: Any, parameters: dict[str, Any]) -> None:
    """No class names; what to do."""
    forge.program.data.forge_loading_parameters = parameters
    with refused("hosts.no_model_loaded", HostError):
        forge.new_host()


def test_another_choice_waits_until_the_run_lets_it_in(forge: Any) -> None:
    """A preview is made with the run's own model; the user's next image loads the other, and the run waits."""
    host = forge.new_host()
    own = forge.program.data.forge_loading_parameters
    with host.training(1):
        forge.program.choose("other")
        forge.program.processing["need_global_unload"] = True
        host.generate(REQUEST, {})
        assert forge.program.images[-1]["model"] == "toy"
        assert forge.program.processing["need_global_unload"]
        assert forge.program.data.forge_loading_parameters["checkpoint_info"].title == "other"
    with host.training(1) as model:  # chosen, but no image was made: it is still ours
        assert one_step(model).abs().sum() > 0
    forge.modules["modules.processing"].process_images(SimpleNamespace(seed=1, width=64, height=64))
    with refused("hosts.another_model_loaded", NotNowError) as caught, host.training(1):
        raise AssertionError("it began")
    wanted, loaded = (caught.value.problems[0].values[name] for name in ("wanted", "loaded"))
    assert said([wanted], "hosts.model", model_name="toy")
    assert said([loaded], "hosts.model", model_name="other")
    error = caught.value
    assert isinstance(error, NotNowError)
    assert not error.mended()
    forge.program.data.forge_loading_parameters = own
    assert error.mended()
    with host.training(1):  # loads it, as the next image would
        assert forge.program.engine.sd_checkpoint_info.model_name == "toy"


@pytest.mark.parametrize(
    ("change", "type_id"),
    [
        (lambda engine: setattr(engine, "__class__", type("Mystery", (type(engine),), {})), "hosts.type_named"),
        (lambda engine: setattr(engine, "model_config", type("SSD1B", (), {})()), "families.smaller_sdxl"),
        (lambda engine: _predicts(engine, "const"), "families.rectified_flow"),
        (lambda engine: _predicts(engine, "edm"), "families.sdxl_edm"),
        (lambda engine: _predicts(engine, "x0"), "hosts.type_prediction"),
        (lambda engine: _takes(engine, 8), "families.instruct_pix2pix"),
    ],
)
def test_another_kind_of_model_is_refused(forge: Any, change: Callable[[Any], None], type_id: str) -> None:
    """Only engines on the list are trained; the sentence names what is loaded."""
    change(forge.program.engine)
    with refused("hosts.model_cannot_be_trained", HostError) as caught:
        forge.new_host()
    assert said([caught.value.problems[0].values["type"]], type_id)


@pytest.mark.parametrize(("mark", "kind"), [("quant_state", "nf4"), ("gguf_cls", "gguf")])
def test_quantized_weights_are_refused(forge: Any, mark: str, kind: str) -> None:
    """Before anything starts; with the menu in which they are chosen."""
    forge.new_host()
    weight = next(iter(forge.program.engine.modules()[0].parameters()))
    setattr(weight, mark, object())
    with refused("hosts.weights_are_quantized", HostError, kind=kind):
        forge.new_host()


def _predicts(engine: Any, prediction: str) -> None:
    engine.forge_objects_original.unet.model.predictor.prediction_type = prediction


def _takes(engine: Any, channels: int) -> None:
    engine.forge_objects_original.unet.model.diffusion_model.input_blocks[0][0].in_channels = channels


def test_it_tells_what_is_trained_on(forge: Any) -> None:
    """The model, its files of VAE and text encoders, and a LoRA only where there is one."""
    forge.program.data.forge_loading_parameters["additional_modules"] = ["/models/VAE/soft.safetensors"]
    host = forge.new_host()
    (note,) = host.model_notes
    assert said([note], "hosts.loaded_model", family="SD1", unet_dtype="fp32", vae_dtype="fp32", attention="pytorch")
    assert said([note.values["model"]], "hosts.model_with_vae", model_name="toy", vae="soft")
    assert host.model_files == ModelFiles("/toy.pt", Path("/models/VAE/soft.safetensors"), "cuda")
    forge.program.engine.wear_lora()
    assert ids(host.model_notes) == ["hosts.loaded_model", "hosts.loras_are_out_for_the_run"]


def test_a_model_in_parts_has_no_file_of_its_own(forge: Any) -> None:
    """A VAE and text encoders apart: such a one is not loaded once more on another device."""
    assert forge.new_host().model_files == ModelFiles("/toy.pt", None, "cuda")
    parts = ["/VAE/a.safetensors", "/text_encoder/b.safetensors"]
    forge.program.data.forge_loading_parameters["additional_modules"] = parts
    with refused("hosts.model_in_parts", HostError, files=["a.safetensors", "b.safetensors"]):
        _ = forge.new_host().model_files


# --- words -----------------------------------------------------------------------------------------------------------


def test_previews_know_the_word_and_prompts_forget_it(forge: Any) -> None:
    """The vectors of the moment, in the run's clip skip, before an embedding of that name; then all is as it was."""
    host = forge.new_host()
    _write(forge, "qzx", 0.5)
    host.refresh_embeddings()
    assert [word.name for word in host.known_words()] == ["qzx"]
    before = snapshot(forge)
    with host.training(2) as model:
        host.generate(REQUEST, {"qzx": {"clip_l": torch.full((1, model.widths["clip_l"]), 0.25)}})
    image = forge.program.images[-1]
    assert float(image["words"]["qzx"].unique()) == 0.25
    assert image["settings"]["CLIP_stop_at_last_layers"] == 2
    assert difference(before, snapshot(forge)) == []


def test_a_finished_embedding_is_known_to_the_next_prompt(forge: Any) -> None:
    """Forge itself reads its folder only when it loads a model. One that it does not take is told."""
    host = forge.new_host()
    forge.modules["modules.processing"].StableDiffusionProcessing.cached_c = ["old", "old", "old"]
    _write(forge, "zibbo", 0.5)
    host.refresh_embeddings()
    assert [word.name for word in host.known_words()] == ["zibbo"]
    assert forge.modules["modules.processing"].StableDiffusionProcessing.cached_c == [None, None, None]
    forge.program.engine.text_processing_engine.embeddings.rejected.add("broken")
    _write(forge, "broken", 0.5)
    with refused("hosts.embedding_rejected", HostError, names=["broken"]):
        host.refresh_embeddings(["zibbo", "broken"])
    host.refresh_embeddings(["zibbo"])


def _write(forge: Any, name: str, value: float) -> None:
    (width,) = forge.new_host().token_table.widths.values()
    write_embedding(Embedding(name, {"clip_l": torch.full((1, width), value)}), forge.program.folder / f"{name}.pt")


def test_a_whole_run_ends_in_a_word_that_prompts_know(forge: Any, tmp_path: Path) -> None:
    """Check, latents, steps, previews, the file, the refresh; the program as it was."""
    from PIL import Image

    images = tmp_path / "images"
    images.mkdir()
    for colour in ("red", "green"):
        Image.new("RGB", (64, 64), colour).save(images / f"{colour}.png")
    host = forge.new_host()
    settings = {"name": "zibbo", "images": str(images), "steps": 4, "preview_every": 2, "width": 64, "height": 64}
    settings |= {"output": str(tmp_path / "runs"), "evaluate_every": 2, "preview_width": 64, "preview_height": 64}
    with host.training(1):
        pass  # so that the weights are ordinary in both snapshots
    before = snapshot(forge)
    status = runner.run(parse_settings(settings, host), host)
    assert (status.status, status.steps) == ("finished", 4)
    assert [image["p"].prompt for image in forge.program.images] == ["a photo of zibbo"] * 3
    assert [word.name for word in host.known_words()] == ["zibbo"]
    changed = {line.partition(":")[0] for line in difference(before, snapshot(forge))}
    assert changed <= {"words", "ids"}


def test_a_lent_word_is_known_without_a_file_until_it_is_taken_back(forge: Any) -> None:
    """In the engine's own database, also after the folder was read again; then everything is as it was."""
    host = forge.new_host()
    host.refresh_embeddings()
    before = snapshot(forge)
    database = forge.program.engine.text_processing_engine.embeddings
    host.lend_words({"qzx-150": {"clip_l": torch.full((1, 64), 2.0)}})
    database.load_textual_inversion_embeddings()
    assert list(host.lent_words()) == ["qzx-150"]
    with host.training(1) as model:
        one_step(model)
        host.generate(REQUEST, {})
    assert torch.equal(database.word_embeddings["qzx-150"].vec, torch.full((1, 64), 2.0))
    host.lend_words({})
    assert list(host.lent_words()) == []
    assert difference(before, snapshot(forge)) == []
    assert "load_textual_inversion_embeddings" not in vars(database)
