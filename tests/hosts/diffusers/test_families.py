"""SD2, SDXL, v-prediction and inpainting in the offline host: as diffusers encodes, as the formula learns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from diffusers import DDIMScheduler, StableDiffusionXLPipeline
from diffusers.models.attention_processor import AttnProcessor
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from tests.hosts.diffusers.small_pipelines import POOLED, WIDTH, WIDTH_2, inpainting, sd1, sd2, sdxl
from tinv_ext.core.data.dataset import Batch
from tinv_ext.core.data.image_fit import SizeConditioning, uncropped
from tinv_ext.core.formats import read_embedding
from tinv_ext.core.generation import ImageRequest
from tinv_ext.core.prompts.reader import PromptReader, Word
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.training.forward import denoising_losses, encode_prompts
from tinv_ext.hosts.diffusers.host import DiffusersHost, PipelineModel
from tinv_ext.hosts.prompt_vectors import Condition
from tinv_ext.run import runner

WORD = "zworble"
EXACT = 1e-5  # relative difference of two float32 computations of the same
# transformers 4.31 (pull request 24773) finds the end of a text by its id; before, it took the highest id for it.
POOLS_AT_THE_END = tuple(map(int, transformers.__version__.split(".")[:2])) >= (4, 31)
FRAMINGS = (SizeConditioning((90, 120), (0, 11), (64, 64)), SizeConditioning((64, 64), (0, 0), (64, 64)))
TEXTS = (f"a photo of {WORD} on grass", f"two cats, {WORD}")
MAKERS: dict[str, Callable[..., Any]] = {"SD1": sd1, "SD2": sd2, "SDXL": sdxl, "inpainting": inpainting}


@pytest.fixture(scope="module")
def pipelines() -> dict[str, Any]:
    """One pipeline of each family, for tests that leave it as it is."""
    return {name: make() for name, make in MAKERS.items()}


def host_of(pipeline: Any, folder: Path = Path("no-such-folder")) -> DiffusersHost:
    """A host whose embeddings lie in `folder`."""
    return DiffusersHost(pipeline, folder, {"model_name": "tiny", "model_hash": None})


def vectors_for(host: DiffusersHost, count: int = 2) -> dict[str, Tensor]:
    """Vectors of a word for each of the model's encoders."""
    rng = torch.Generator().manual_seed(4)
    return {key: torch.randn(count, width, generator=rng) for key, width in host.token_table.widths.items()}


def reader_of(host: DiffusersHost, count: int = 2) -> PromptReader:
    """A reader that knows the word."""
    tokenizer = host.token_table.tokenizer
    return PromptReader(tokenizer, (Word(WORD, tuple(tokenizer.ids(WORD)), count),))


def near(one: Tensor, other: Tensor) -> bool:
    """Whether two computations of the same agree."""
    return float((one - other).detach().norm() / other.detach().norm()) < EXACT


# --- what the UNet is told ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SD1", "SD2", "SDXL"])
def test_a_condition_is_what_diffusers_makes_of_the_prompt(pipelines: dict[str, Any], name: str) -> None:
    """`encode_prompt` of the pipeline itself: layers, padding, pooled text, for each encoder."""
    pipeline, host = pipelines[name], host_of(pipelines[name])
    text = "a photo of a cat, sitting"
    with host.training(1) as model, torch.no_grad():
        found = encode_prompts(model, [host_reader(host).read(text)], {}, [uncropped(64, 64)])
        said = pipeline.encode_prompt(text, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)
    assert torch.equal(found.context, said[0])
    assert (found.pooled is None) == (name != "SDXL")
    if found.pooled is not None:
        assert torch.equal(found.pooled, said[2])
        assert found.sizes.tolist() == [[64, 64, 0, 0, 64, 64]]


def host_reader(host: DiffusersHost) -> PromptReader:
    """A reader that knows no word."""
    return PromptReader(host.token_table.tokenizer)


def test_the_encoders_pad_each_in_its_own_way(pipelines: dict[str, Any]) -> None:
    """Behind the first end OpenCLIP has zeros, so padding it like CLIP gives another condition."""
    pipeline = sd2()
    host = host_of(pipeline)
    with host.training(1) as model, torch.no_grad():
        right = encode_prompts(model, [host_reader(host).read("a cat")], {}, [uncropped(64, 64)]).context
    pipeline.tokenizer = pipelines["SD1"].tokenizer
    with host.training(1) as model, torch.no_grad():
        wrong = encode_prompts(model, [host_reader(host).read("a cat")], {}, [uncropped(64, 64)]).context
    assert torch.equal(right[:, :4], wrong[:, :4])  # start, a, cat, end
    assert not torch.allclose(right[:, 4:], wrong[:, 4:])


@pytest.mark.parametrize(("name", "counts"), [("SD1", True), ("SD2", False), ("SDXL", False)])
def test_clip_skip_counts_where_it_does_in_the_webui(pipelines: dict[str, Any], name: str, counts: bool) -> None:
    """SD2 and SDXL have their layer from their config; only SD1 is asked for an earlier one."""
    host = host_of(pipelines[name])
    prompt = host_reader(host).read("a cat")
    outputs = []
    for clip_skip in (1, 2):
        with host.training(clip_skip) as model, torch.no_grad():
            outputs.append(encode_prompts(model, [prompt], {}, [uncropped(64, 64)]).context)
    assert torch.equal(*outputs) != counts


def test_sdxl_is_told_each_images_size_and_cut(pipelines: dict[str, Any]) -> None:
    """Six numbers each, heights first, and they change what the UNet answers."""
    host = host_of(pipelines["SDXL"])
    prompt = host_reader(host).read("a cat")
    noisy, timesteps = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([300, 300])
    with host.training(1) as model, torch.no_grad():
        condition = encode_prompts(model, [prompt] * 2, {}, FRAMINGS)
        answer = model.denoise(noisy[:1].expand(2, -1, -1, -1), timesteps, condition)
    assert condition.sizes.tolist() == [[90, 120, 0, 11, 64, 64], [64, 64, 0, 0, 64, 64]]
    assert not torch.allclose(answer[0], answer[1], atol=1e-5)


def test_long_prompts_pool_their_first_chunk(pipelines: dict[str, Any]) -> None:
    """Each chunk is encoded alone and laid end to end; what is pooled comes from the first (as in the WebUI)."""
    host = host_of(pipelines["SDXL"])
    words = " ".join(("red", "round", "old", "blue")[index % 4] for index in range(100))
    first = " ".join(words.split()[:75])
    with host.training(1) as model, torch.no_grad():
        found, alone = (
            encode_prompts(model, [host_reader(host).read(t)], {}, [uncropped(64, 64)]) for t in (words, first)
        )
    assert found.context.shape == (1, 154, WIDTH + WIDTH_2)
    assert near(found.pooled, alone.pooled)
    assert near(found.context[:, :77], alone.context)


# --- what is learnt -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "noise"),
    [
        ("SD2", {}),
        ("SD2", {"prediction_type": "v_prediction"}),
        ("SD1", {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}),
        ("SDXL", {}),
        ("SDXL", {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}),
    ],
    ids=["SD2", "SD2 v", "SD1 v without signal at the end", "SDXL", "SDXL v"],
)
def test_loss_and_gradient_are_the_formulas(name: str, noise: dict[str, Any]) -> None:
    """Beside a reference with the vectors behind the token tables, and diffusers' own noise and targets."""
    pipeline = MAKERS[name](**noise)
    host = host_of(pipeline)
    rng = torch.Generator().manual_seed(7)
    latents, eps = torch.randn(2, 2, 4, 8, 8, generator=rng)
    timesteps = torch.tensor([999, 412])
    ours = {key: vector.requires_grad_() for key, vector in vectors_for(host).items()}
    batch = Batch(latents, tuple(reader_of(host).read(text) for text in TEXTS), FRAMINGS, None)
    with host.training(1) as model:
        losses = denoising_losses(model, batch, {WORD: ours}, eps, timesteps)
        losses.mean().backward()
    theirs = {key: vector.detach().clone().requires_grad_() for key, vector in ours.items()}
    expected = reference_losses(pipeline, theirs, latents, eps, timesteps)
    expected.mean().backward()
    assert near(losses, expected)
    assert sorted(ours) == (["clip_g", "clip_l"] if name == "SDXL" else ["clip_l"])
    for key, vector in ours.items():
        assert near(vector.grad, theirs[key].grad)
        assert bool((vector.grad.norm(dim=1) > 0).all())


def reference_losses(
    pipeline: Any, vectors: dict[str, Tensor], latents: Tensor, eps: Tensor, timesteps: Tensor
) -> Tensor:
    """Mean squared errors (B,), with the words' ids replaced by new ids whose vectors lie behind the table."""
    pipeline.unet.set_attn_processor(AttnProcessor())
    keys = list(vectors)
    hidden, pooled = [], None
    for key, part, tokenizer in zip(
        keys,
        (pipeline.text_encoder, getattr(pipeline, "text_encoder_2", None)),
        (pipeline.tokenizer, getattr(pipeline, "tokenizer_2", None)),
    ):
        ids = grown_ids(tokenizer, len(vectors[key]))
        table = torch.cat([part.get_input_embeddings().weight.detach(), vectors[key]])
        handle = part.get_input_embeddings().register_forward_hook(lambda _, __, ___, i=ids, t=table: F.embedding(i, t))
        try:
            output = part(input_ids=ids.where(ids < 49408, 0), output_hidden_states=True)
        finally:
            handle.remove()
        hidden.append(output.hidden_states[-2] if len(keys) == 2 else output[0])
        pooled = getattr(output, "text_embeds", None)
    added = None
    if pooled is not None:
        sizes = torch.tensor([[90.0, 120, 0, 11, 64, 64], [64, 64, 0, 0, 64, 64]])
        added = {"text_embeds": pooled, "time_ids": sizes}
    noisy = pipeline.scheduler.add_noise(latents, eps, timesteps)
    answer = pipeline.unet(noisy, timesteps, torch.cat(hidden, -1), added_cond_kwargs=added).sample
    target = eps
    if pipeline.scheduler.config.prediction_type == "v_prediction":
        target = pipeline.scheduler.get_velocity(latents, eps, timesteps)
    return ((answer - target) ** 2).mean((1, 2, 3))


def grown_ids(tokenizer: Any, count: int) -> Tensor:
    """The texts' ids by the pipeline's tokenizer, the word's own replaced by ids from 49408 on."""
    word = tokenizer(WORD, add_special_tokens=False).input_ids
    rows = []
    for text in TEXTS:
        ids = tokenizer(text, add_special_tokens=False).input_ids
        at = next(place for place in range(len(ids)) if ids[place : place + len(word)] == word)
        ids[at : at + len(word)] = range(49408, 49408 + count)
        rows.append([49406, *ids, 49407, *[tokenizer.pad_token_id] * (75 - len(ids))])
    return torch.tensor(rows)


def test_noise_without_signal_at_the_end_is_the_schedulers(pipelines: dict[str, Any]) -> None:
    """At the last timestep nothing of the image is left, and velocity is the image's negative."""
    pipeline = sd1(prediction_type="v_prediction", rescale_betas_zero_snr=True)
    with host_of(pipeline).training(1) as model:
        assert float(model.noise.alphas_cumprod[-1]) == 0.0
        latents, eps = torch.randn(2, 1, 4, 2, 2, generator=torch.Generator().manual_seed(1))
        last = torch.tensor([999])
        assert torch.equal(model.noise.add(latents, eps, last), eps)
        assert torch.equal(model.noise.target(latents, eps, last), -latents)
    with host_of(pipelines["SD1"]).training(1) as model:
        assert float(model.noise.alphas_cumprod[-1]) > 0.004


def test_an_inpainting_model_is_to_paint_everything(pipelines: dict[str, Any]) -> None:
    """Its UNet gets the noisy latent, a mask of ones and a grey image; the gradient is that of just that."""
    pipeline = pipelines["inpainting"]
    host = host_of(pipeline)
    vectors = vectors_for(host)["clip_l"].requires_grad_()
    noisy, timesteps = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3)), torch.tensor([900, 20])
    prompts = [reader_of(host).read(text) for text in TEXTS]
    with host.training(1) as model:
        condition = encode_prompts(model, prompts, {WORD: {"clip_l": vectors}}, FRAMINGS)
        answer = model.denoise(noisy, timesteps, condition)
        with torch.no_grad():
            grey = pipeline.vae.encode(torch.zeros(1, 3, 64, 64)).latent_dist.mean * 0.18215
        told = torch.cat([noisy, torch.ones(2, 1, 8, 8), grey.expand(2, -1, -1, -1)], 1)
        expected = pipeline.unet(told, timesteps, condition.context).sample
        assert near(answer, expected)
        (gradient,) = torch.autograd.grad(answer.square().sum(), vectors)
    assert bool((gradient.norm(dim=1) > 0).all())


# --- runs, files and images ---------------------------------------------------------------------------------------


def request(prompt: str, negative: str = "", seed: int = 5) -> ImageRequest:
    """A small image of few steps."""
    return ImageRequest(prompt, negative, steps=3, cfg_scale=15.0, seed=seed, width=64, height=64)


def apart(one: Image.Image, other: Image.Image) -> int:
    """The largest difference of two images, in steps of 1/255."""
    return int(np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).max())


def trained(pipeline: Any, folder: Path, **changes: Any) -> DiffusersHost:
    """A host after a run of three steps on images of several sizes."""
    images = folder / "images"
    images.mkdir()
    for index, (colour, size) in enumerate((("red", (64, 64)), ("green", (90, 70)), ("blue", (64, 100)))):
        Image.new("RGB", size, colour).save(images / f"{index}.png")
    host = host_of(pipeline, folder / "embeddings")
    values = {"name": WORD, "images": str(images), "output": str(folder / "out"), "steps": 3, "num_vectors": 2}
    sizes = {"width": 64, "height": 64, "init_text": "circle", "learning_rate": "2", "evaluate_every": 2}
    runner.run(TrainConfig.from_dict({**values, **sizes, **changes}), host)
    return host


def test_the_file_of_an_sdxl_run_draws_the_same_in_diffusers(tmp_path: Path) -> None:
    """Both tensors of the file go through `load_textual_inversion`, one for each encoder; the image is `generate`'s."""
    pipeline = sdxl()
    host = trained(pipeline, tmp_path, preview_every=2, preview_steps=2)
    (file,) = (tmp_path / "embeddings").glob("*.safetensors")
    assert file.name == f"{WORD}.safetensors"
    asked = [request(f"a photo of {WORD} on grass"), request("a cat", f"{WORD}, ugly", seed=6)]
    ours = [host.generate(one, {}) for one in asked]
    tensors = load_file(str(file))
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    assert shapes == {"clip_l": (2, WIDTH), "clip_g": (2, WIDTH_2)}
    (last,) = (tmp_path / "out").rglob(f"image_embeddings/{WORD}-3.png")
    assert {key: v.tolist() for key, v in read_embedding(last).vectors.items()} == {
        key: tensor.tolist() for key, tensor in tensors.items()
    }
    assert apart(ours[0], host.generate(request("a photo of circle on grass"), {})) > 2
    if not POOLS_AT_THE_END:
        pytest.skip("this transformers pools a grown vocabulary at the word: only the images cannot be compared")
    load_pair(pipeline, tensors)
    for one, image in zip(asked, ours):
        assert apart(image, by_diffusers(pipeline, one)) <= 1


def load_pair(pipeline: StableDiffusionXLPipeline, tensors: dict[str, Tensor]) -> None:
    """As diffusers' documentation loads an embedding of SDXL."""
    for key, encoder, tokenizer in (
        ("clip_l", pipeline.text_encoder, pipeline.tokenizer),
        ("clip_g", pipeline.text_encoder_2, pipeline.tokenizer_2),
    ):
        pipeline.load_textual_inversion(tensors[key], token=WORD, text_encoder=encoder, tokenizer=tokenizer)


def by_diffusers(pipeline: Any, asked: ImageRequest) -> Image.Image:
    """What the pipeline itself draws with DDIM; no negative prompt where it is empty."""
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    return pipeline(
        prompt=asked.prompt,
        negative_prompt=asked.negative_prompt or None,
        num_inference_steps=asked.steps,
        guidance_scale=asked.cfg_scale,
        width=asked.width,
        height=asked.height,
        generator=torch.Generator().manual_seed(asked.seed),
    ).images[0]


@pytest.mark.parametrize("name", ["SD2", "inpainting"])
def test_other_families_train_and_draw_the_word(name: str, tmp_path: Path) -> None:
    """A run of each writes a file that its prompts know, and the word changes the image."""
    host = trained(MAKERS[name](), tmp_path)
    assert [word.name for word in host.known_words()] == [WORD]
    with_word, without = (host.generate(request(f"a photo of {text}"), {}) for text in (WORD, "circle"))
    assert apart(with_word, without) > 2
    assert with_word.size == (64, 64)


def test_a_run_in_buckets_tells_sdxl_the_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each image at the nearest shape; the numbers that SDXL is told are those of the latents that it gets."""
    told: list[tuple[tuple[int, ...], list[list[float]]]] = []
    plain = PipelineModel.denoise

    def denoise(model: PipelineModel, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        told.append((tuple(noisy.shape[2:]), condition.sizes.tolist()))
        return plain(model, noisy, timesteps, condition)

    monkeypatch.setattr(PipelineModel, "denoise", denoise)
    host = trained(sdxl(), tmp_path, resize_mode="buckets", bucket_step=16, batch_size=2, steps=6)
    assert [word.name for word in host.known_words()] == [WORD]
    seen = {(shape, tuple(row)) for shape, rows in told for row in rows}
    assert seen == {
        ((8, 8), (64, 64, 0, 0, 64, 64)),
        ((8, 8), (70, 90, 0, 9, 64, 64)),
        ((10, 6), (100, 64, 0, 2, 80, 48)),
    }


def test_a_v_model_draws_what_diffusers_draws(tmp_path: Path) -> None:
    """The pipeline's own image with its own prediction type and rescaled noise."""
    pipeline = sd2(prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing")
    image = host_of(pipeline, tmp_path).generate(request("a cat", "ugly"), {})
    assert apart(image, by_diffusers(pipeline, request("a cat", "ugly"))) <= 1


@pytest.mark.parametrize("name", list(MAKERS))
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_trains_and_draws(name: str, precision: str, tmp_path: Path) -> None:
    """As on a graphics card: UNet and text encoders in half, the VAE not; the image is about the one of float32."""
    asked = request("a cat", "ugly")
    right = host_of(MAKERS[name]()).generate(asked, {})
    pipeline = MAKERS[name]()
    host = DiffusersHost.placed(pipeline, tmp_path / "embeddings", {"model_name": "tiny"}, "cpu", precision)
    image = host.generate(asked, {})
    assert image.size == right.size
    assert np.abs(np.asarray(image, np.int16) - np.asarray(right, np.int16)).mean() < 8
    vectors = {key: vector.requires_grad_() for key, vector in vectors_for(host).items()}
    batch = Batch(torch.zeros(2, 4, 8, 8), tuple(reader_of(host).read(text) for text in TEXTS), FRAMINGS, None)
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with host.training(1) as model:
        assert model.loss_scale == (1024.0 if precision == "fp16" else 1.0)
        losses = denoising_losses(model, batch, {WORD: vectors}, noise, torch.tensor([500, 900]))
        (losses.mean() * model.loss_scale).backward()
    for vector in vectors.values():
        assert bool(torch.isfinite(vector.grad).all())
        assert bool((vector.grad.norm(dim=1) > 0).all())
    assert {weight.dtype for weight in pipeline.vae.parameters()} == {torch.float32}


@pytest.mark.parametrize(("name", "family"), [("SD1", "SD1"), ("SD2", "SD2"), ("SDXL", "SDXL"), ("inpainting", "SD1")])
def test_the_family_is_told_from_the_pipeline(pipelines: dict[str, Any], name: str, family: str) -> None:
    """And the widths of its encoders."""
    host = host_of(pipelines[name])
    assert host.facts["family"] == family
    widths = {"clip_l": WIDTH, "clip_g": WIDTH_2} if family == "SDXL" else {"clip_l": WIDTH}
    assert host.token_table.widths == widths
    assert {key: tuple(v.shape) for key, v in host.token_table.token_vectors([320, 321]).items()} == {
        key: (2, width) for key, width in widths.items()
    }


def test_all_of_sdxl_is_frozen_and_put_back(pipelines: dict[str, Any]) -> None:
    """Its second text encoder, too."""
    pipeline = pipelines["SDXL"]
    encoder = pipeline.text_encoder_2
    assert all(weight.requires_grad for weight in encoder.parameters())
    with host_of(pipeline).training(1):
        assert not any(weight.requires_grad for weight in encoder.parameters())
    assert all(weight.requires_grad for weight in encoder.parameters())
    assert pipeline.unet.add_embedding.linear_1.in_features == POOLED + 48
