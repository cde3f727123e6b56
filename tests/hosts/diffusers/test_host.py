"""The offline host: it leaves the pipeline as it was, and draws what diffusers draws with the file of a run."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from PIL import Image
from safetensors.torch import save_file

from tests.messages import ids, refused, said
from tinv_ext.core.data.image_fit import uncropped
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import HostError, MemoryShortError
from tinv_ext.core.formats import read_embedding, write_embedding
from tinv_ext.core.generation import ImageRequest
from tinv_ext.core.prompts.reader import PromptReader, Word
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.training.forward import encode_prompts
from tinv_ext.hosts.diffusers import embeddings
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.hosts.diffusers.pipelines import SAMPLERS
from tinv_ext.run import runner

WORD = "zworble"
VECTORS = {"clip_l": torch.randn(2, 32, generator=torch.Generator().manual_seed(3))}


def request(prompt: str, negative: str = "", seed: int = 5) -> ImageRequest:
    """A small image of few steps."""
    return ImageRequest(prompt, negative, steps=3, cfg_scale=15.0, seed=seed, width=64, height=64)


def by_diffusers(pipeline: StableDiffusionPipeline, asked: ImageRequest, **given: Any) -> Image.Image:
    """What the pipeline itself draws with DDIM."""
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    prompts = given or {"prompt": asked.prompt, "negative_prompt": asked.negative_prompt}
    generator = torch.Generator().manual_seed(asked.seed)
    return pipeline(
        **prompts,
        num_inference_steps=asked.steps,
        guidance_scale=asked.cfg_scale,
        width=asked.width,
        height=asked.height,
        generator=generator,
    ).images[0]


def apart(one: Image.Image, other: Image.Image) -> int:
    """The largest difference of two images, in steps of 1/255."""
    return int(np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).max())


def host_of(pipeline: StableDiffusionPipeline, folder: Path) -> DiffusersHost:
    """A host whose embeddings lie in `folder`."""
    return DiffusersHost(pipeline, folder, {"model_name": "tiny", "model_hash": None, "family": "SD1"})


def snapshot(pipeline: StableDiffusionPipeline) -> dict[str, Any]:
    """Everything of the pipeline that a host could disturb: weights, gradients, flags, modes, hooks, attention."""
    seen: dict[str, Any] = {}
    for part_name in ("unet", "text_encoder", "vae"):
        part = getattr(pipeline, part_name)
        for name, weight in part.named_parameters():
            facts = (weight.requires_grad, weight.grad is None, weight.dtype, weight.device, weight.data_ptr())
            seen[f"{part_name}.{name}"] = (*facts, weight.stride(), weight._version)
        for name, module in part.named_modules():
            hooks = {key: tuple(value) for key, value in vars(module).items() if key.endswith("hooks")}
            own = sorted(key for key, value in vars(module).items() if callable(value))
            checkpointing = getattr(module, "gradient_checkpointing", None)
            seen[f"{part_name}:{name}"] = (module.training, type(module), hooks, own, checkpointing)
        if hasattr(part, "attn_processors"):
            seen[f"{part_name} attention"] = {k: id(v) for k, v in part.attn_processors.items()}
    seen["tokens"] = len(pipeline.tokenizer)
    seen["scheduler"] = (id(pipeline.scheduler), dict(pipeline.scheduler.config))
    seen["modes"] = (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_num_threads())
    return seen


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with three images."""
    folder = tmp_path / "images"
    folder.mkdir()
    for index, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (64, 64), colour).save(folder / f"{index}.png")
    return folder


def config(images: Path, **changes: Any) -> TrainConfig:
    """A run of three steps."""
    values = {"name": WORD, "images": str(images), "output": str(images.parent / "out"), "steps": 3}
    sizes = {"width": 64, "height": 64, "num_vectors": 2, "init_text": "circle", "learning_rate": "2"}
    return TrainConfig.from_dict({**values, **sizes, **changes})


# --- put back -------------------------------------------------------------------------------------------------------


def test_training_puts_the_pipeline_back(tiny_pipeline: StableDiffusionPipeline, tmp_path: Path) -> None:
    """Flags, modes, hooks and weights are what they were, mixed as they were, after the host lets go."""
    tiny_pipeline.unet.conv_in.weight.requires_grad_(False)
    tiny_pipeline.vae.decoder.train()
    try:
        before = snapshot(tiny_pipeline)
        with host_of(tiny_pipeline, tmp_path).training(1):
            inside = snapshot(tiny_pipeline)
        assert snapshot(tiny_pipeline) == before
        assert inside != before
    finally:
        tiny_pipeline.unet.conv_in.weight.requires_grad_(True)
        tiny_pipeline.vae.decoder.eval()


def test_inside_training_everything_is_frozen(tiny_pipeline: StableDiffusionPipeline, tmp_path: Path) -> None:
    """No weight wants a gradient and no module is in training mode."""
    with host_of(tiny_pipeline, tmp_path).training(1):
        for part in (tiny_pipeline.unet, tiny_pipeline.text_encoder, tiny_pipeline.vae):
            assert not any(weight.requires_grad for weight in part.parameters())
            assert not any(module.training for module in part.modules())


@pytest.mark.parametrize("where", ["unet", "text_encoder"])
def test_a_crash_inside_a_step_leaves_the_pipeline_as_it_was(
    tiny_pipeline: StableDiffusionPipeline, tmp_path: Path, images: Path, where: str
) -> None:
    """Memory that never suffices deep inside a module ends the run; nothing of the host stays, nor of the remedies."""

    def crash(*_: Any) -> None:
        raise MemoryError("no more memory")

    part = getattr(tiny_pipeline, where)
    deep = list(part.modules())[-1] if where == "unet" else part.get_submodule(_last_layer(part))
    handle = deep.register_forward_hook(crash)
    try:
        before = snapshot(tiny_pipeline)
        with pytest.raises(MemoryShortError):
            runner.run(config(images), host_of(tiny_pipeline, tmp_path))
        assert snapshot(tiny_pipeline) == before
    finally:
        handle.remove()


def _last_layer(encoder: torch.nn.Module) -> str:
    return [name for name, _ in encoder.named_modules() if name.endswith("mlp")][-1]


def test_previews_and_measures_change_neither_pipeline_nor_run(
    tiny_pipeline: StableDiffusionPipeline, tmp_path: Path, images: Path
) -> None:
    """After evaluation, previews and copies the pipeline is as before, the vectors are those of a run without them."""
    before = snapshot(tiny_pipeline)
    every = {"evaluate_every": 1, "preview_every": 1, "preview_steps": 2, "save_every": 2, "result": "last"}
    busy, quiet = (host_of(tiny_pipeline, tmp_path / name) for name in ("busy", "quiet"))
    runner.run(config(images, **every), busy)
    runner.run(config(images, evaluate_every=0, preview_every=0, save_every=0), quiet)
    assert snapshot(tiny_pipeline) == before
    values = [read_embedding(tmp_path / name / f"{WORD}.pt").vectors["clip_l"] for name in ("busy", "quiet")]
    assert torch.equal(*values)


def test_a_broken_model_forgets_the_word(tiny_pipeline: StableDiffusionPipeline, tmp_path: Path) -> None:
    """After the text encoder failed amid a prompt, it encodes plain text as before: the vectors do not linger."""
    host = host_of(tiny_pipeline, tmp_path)
    reader = PromptReader(host.token_table.tokenizer, (Word(WORD, tuple(host.token_table.tokenizer.ids(WORD)), 2),))
    plain = reader.read("a cat")
    with host.training(1) as model, torch.no_grad():
        before = encode_prompts(model, [plain], {}, [uncropped(64, 64)])
        with pytest.raises(RuntimeError):
            encode_prompts(
                model, [reader.read(f"a {WORD}")], {WORD: {"clip_l": torch.zeros(2, 7)}}, [uncropped(64, 64)]
            )
        after = encode_prompts(model, [plain], {}, [uncropped(64, 64)])
    assert torch.equal(after.context, before.context)


# --- the same images as diffusers ---------------------------------------------------------------------------------


def test_the_file_of_a_run_draws_the_same_in_diffusers(
    make_pipeline: Callable[[], StableDiffusionPipeline], tmp_path: Path, images: Path
) -> None:
    """`load_textual_inversion` takes the .pt, and the image is `generate`'s, the word in either prompt."""
    pipeline = make_pipeline()
    host = host_of(pipeline, tmp_path / "embeddings")
    runner.run(config(images), host)
    asked = [request(f"a photo of {WORD} on grass"), request("a cat", f"{WORD}, ugly", seed=6)]
    ours = [host.generate(one, {}) for one in asked]
    pipeline.load_textual_inversion(str(tmp_path / "embeddings" / f"{WORD}.pt"))
    for one, image in zip(asked, ours):
        assert apart(image, by_diffusers(pipeline, one)) <= 1
    assert apart(ours[0], host.generate(request("a photo of circle on grass"), {})) > 2


def test_words_count_in_negative_prompts(tiny_pipeline: StableDiffusionPipeline, tmp_path: Path) -> None:
    """A word in the negative prompt changes the image, and another value of it changes it again."""
    host = host_of(tiny_pipeline, tmp_path)
    asked = request("a cat", f"a {WORD}")
    without = host.generate(asked, {})
    with_word = host.generate(asked, {WORD: VECTORS})
    other = host.generate(asked, {WORD: {"clip_l": -VECTORS["clip_l"]}})
    assert apart(without, with_word) > 2
    assert apart(with_word, other) > 2


def test_long_prompts_are_drawn_whole(tiny_pipeline: StableDiffusionPipeline, tmp_path: Path) -> None:
    """A prompt of 100 tokens is two chunks, the short negative one filled up; its end is not cut off."""
    host = host_of(tiny_pipeline, tmp_path)
    ids = host.token_table.tokenizer.ids
    words = [("red", "round", "old", "blue")[index % 4] for index in range(100)]
    encoder = tiny_pipeline.text_encoder

    def chunks(text: str) -> torch.Tensor:
        pieces = (ids(text)[:75], ids(text)[75:])
        rows = [[49406, *piece, *[49407] * (76 - len(piece))] for piece in pieces]
        return torch.cat([encoder(torch.tensor([row]))[0] for row in rows], 1)

    with torch.no_grad():
        given = {"prompt_embeds": chunks(" ".join(words)), "negative_prompt_embeds": chunks("ugly")}
    asked = request(" ".join(words), "ugly")
    drawn = host.generate(asked, {})
    before = tiny_pipeline.scheduler
    try:
        assert apart(drawn, by_diffusers(tiny_pipeline, asked, **given)) <= 1
    finally:
        tiny_pipeline.scheduler = before
    assert apart(drawn, host.generate(request(" ".join(words[:74]), "ugly"), {})) > 2


def test_drawing_leaves_all_random_generators_alone(tiny_pipeline: StableDiffusionPipeline, tmp_path: Path) -> None:
    """torch's, numpy's and Python's global generators go on as if no image had been drawn; a seed fixes an image."""
    host = host_of(tiny_pipeline, tmp_path)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 (the global generator is what is tested)
    torch.manual_seed(1)
    before = (random.getstate(), torch.get_rng_state().tolist(), np.random.get_state()[1].tolist())  # noqa: NPY002
    first = host.generate(request("a cat"), {})
    after = (random.getstate(), torch.get_rng_state().tolist(), np.random.get_state()[1].tolist())  # noqa: NPY002
    assert after == before
    torch.manual_seed(2)
    assert apart(first, host.generate(request("a cat"), {})) == 0


def test_images_drawn_together_are_those_drawn_alone(tiny_pipeline: StableDiffusionPipeline, tmp_path: Path) -> None:
    """Requests drawn in one batch, prompts of other lengths among them, give each its own image."""
    host = host_of(tiny_pipeline, tmp_path)
    asked = [request("a cat", seed=1), request("a dog on grass", "ugly", seed=2)]
    together = host.generate_many(asked, {})
    assert all(apart(image, host.generate(one, {})) <= 1 for image, one in zip(together, asked))


def test_during_training_images_have_the_clip_skip_of_the_run(
    tiny_pipeline: StableDiffusionPipeline, tmp_path: Path
) -> None:
    """As the WebUI draws them, and as the word is trained; outside, images are as they were."""
    asked, host = request(f"a {WORD}"), host_of(tiny_pipeline, tmp_path)
    before = host.generate(asked, {WORD: VECTORS})
    with host.training(2) as model:
        reader = PromptReader(model.tokenizer, (Word(WORD, tuple(model.tokenizer.ids(WORD)), 2),), emphasis=True)
        texts = [reader.read(text) for text in (asked.negative_prompt, asked.prompt)]
        sizes = [uncropped(asked.width, asked.height)] * 2
        with torch.no_grad():
            negative, prompt = encode_prompts(model, texts, {WORD: VECTORS}, sizes).context.chunk(2)
        skipped = host.generate(asked, {WORD: VECTORS})
    assert apart(skipped, before)
    assert not apart(host.generate(asked, {WORD: VECTORS}), before)
    embeds = {"prompt_embeds": prompt, "negative_prompt_embeds": negative}
    assert apart(skipped, by_diffusers(tiny_pipeline, asked, **embeds)) <= 1


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_each_sampler_draws_its_own_image(tiny_pipeline: StableDiffusionPipeline, tmp_path: Path, sampler: str) -> None:
    """Another than DDIM's, the same each time; the pipeline keeps its own scheduler."""
    host, before = host_of(tiny_pipeline, tmp_path), tiny_pipeline.scheduler
    request = ImageRequest("a cat", "", 4, 5.0, 1, 64, 64)
    images = [host.generate(replace(request, sampler=name), {}).tobytes() for name in (sampler, sampler, "DDIM")]
    assert images[0] == images[1]
    assert (images[1] == images[2]) == (sampler == "DDIM")
    assert tiny_pipeline.scheduler is before


def test_a_sampler_that_is_not_there_is_told(tiny_pipeline: StableDiffusionPipeline, tmp_path: Path) -> None:
    """With those that are."""
    with refused("hosts.no_such_sampler", HostError, sampler="Heun", samplers=list(SAMPLERS)):
        host_of(tiny_pipeline, tmp_path).generate(ImageRequest("a cat", "", 4, 5.0, 1, 64, 64, "Heun"), {})


def test_a_device_that_is_not_there_is_told(
    make_pipeline: Callable[[], StableDiffusionPipeline], tmp_path: Path
) -> None:
    """With what torch says."""
    with refused("hosts.device_cannot_be_used", device="hal:9000") as caught:
        DiffusersHost.placed(make_pipeline(), tmp_path, {}, "hal:9000")
    assert "hal" in caught.value.problems[0].values["reason"]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_tells_what_is_trained_on(
    make_pipeline: Callable[[], StableDiffusionPipeline], tmp_path: Path, precision: str
) -> None:
    """The model, the device, the precisions."""
    host = DiffusersHost.placed(make_pipeline(), tmp_path, {"model_name": "tiny"}, "cpu", precision)
    values = {"model": "tiny", "family": "SD1", "device": "cpu", "unet_dtype": precision, "vae_dtype": "fp32"}
    assert said(host.model_notes, "hosts.loaded_pipeline", **values)
    assert said(host.model_notes, "hosts.half_precision_on_cpu") is (precision != "fp32")


def hostile_folder(folder: Path) -> None:
    """What people and programs leave among embeddings: one good file, and every kind that is none."""
    folder.mkdir()
    write_embedding(Embedding(WORD, VECTORS), folder / f"{WORD}.pt")
    for name in (" ", "\u3000", os.fsdecode(b"na\xefve")):
        write_embedding(Embedding("x", VECTORS), folder / "x.safetensors")
        os.rename(folder / "x.safetensors", folder / f"{name}.safetensors")
    for index in range(3):
        write_embedding(Embedding("sd2", {"clip_h": torch.ones(1, 1024)}), folder / f"sd2-{index}.PT")
    (folder / "gone.pt").symlink_to("/media/unplugged/x.pt")
    (folder / "circle.pt").symlink_to(folder / "circle.pt")
    (folder / "folder.pt").mkdir()
    (folder / "empty.bin").write_bytes(b"")
    write_embedding(Embedding("long", {"clip_l": torch.zeros(76, 32)}), folder / "long.pt")
    (folder / "junk.safetensors").write_bytes(b"\xff" * 40)
    os.mkfifo(folder / "pipe.pt")


def test_no_file_among_the_embeddings_stops_the_host(tiny_pipeline: StableDiffusionPipeline, tmp_path: Path) -> None:
    """The good one is used; the others are counted in one sentence, those for another model in a second."""
    hostile_folder(tmp_path / "embeddings")
    host = host_of(tiny_pipeline, tmp_path / "embeddings")
    assert [word.name for word in host.known_words()] == [WORD]
    assert ids(host.embedding_notes) == ["hosts.embeddings_left_out", "hosts.embeddings_unfit"]
    assert said(host.embedding_notes, "hosts.embeddings_left_out", count=10)
    assert said(host.embedding_notes, "hosts.embeddings_unfit", count=3)
    for note in host.model_notes:
        assert note.encode("utf-8")
    host.generate(request(f"a photo of {WORD}"), {})


def test_a_reader_that_fails_in_its_own_way_stops_nothing(
    tiny_pipeline: StableDiffusionPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug of ours in one file of a folder is told like any other reason."""
    write_embedding(Embedding(WORD, VECTORS), tmp_path / f"{WORD}.pt")
    monkeypatch.setattr(embeddings, "read_words", lambda path: 1 / 0)
    assert said(host_of(tiny_pipeline, tmp_path).embedding_notes, "hosts.embeddings_left_out", files=[f'"{WORD}.pt"'])


def test_a_token_of_diffusers_users_is_found_as_they_know_it(
    tiny_pipeline: StableDiffusionPipeline, tmp_path: Path
) -> None:
    """learned_embeds.bin is called up by its token, with and without brackets, and by its file."""
    save_file({"<cat-toy>": VECTORS["clip_l"]}, str(tmp_path / "learned_embeds.safetensors"))
    host = host_of(tiny_pipeline, tmp_path)
    assert {word.name for word in host.known_words()} == {"learned_embeds", "cat-toy", "<cat-toy>"}
