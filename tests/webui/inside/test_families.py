"""Run in the WebUI's process with a small SDXL, SD2 or inpainting model: what is trained is what it draws with."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tinv_ext.core.training.forward import encode_prompts

if "modules.shared" not in sys.modules:
    pytest.skip("needs the process of the real WebUI: make test-webui", allow_module_level=True)

import torch
from modules import prompt_parser, sd_hijack, shared
from modules.textual_inversion.textual_inversion import Embedding
from PIL import Image
from torch import Tensor

from tests.hosts.a1111.snapshot import difference, snapshot
from tinv_ext.core.data.image_fit import SizeConditioning, uncropped
from tinv_ext.core.generation import ImageRequest
from tinv_ext.core.prompts.reader import PromptReader, Word
from tinv_ext.core.settings import TrainConfig
from tinv_ext.hosts.a1111 import original
from tinv_ext.hosts.a1111.host import A1111Host
from tinv_ext.hosts.prompt_vectors import Condition
from tinv_ext.run import runner

WORD = "zworble"
TEXTS = (
    "a photo of a cat",
    f"a photo of {WORD} on grass",
    " ".join(["red", "round", "old", "blue"] * 25 + [WORD, "and", WORD]),
)
EXACT = 2e-5


@pytest.fixture(scope="module")
def host() -> A1111Host:
    """The host for the loaded model."""
    return A1111Host(original)


@pytest.fixture
def vectors(host: A1111Host) -> dict[str, Tensor]:
    """A word of two vectors for each of the model's encoders."""
    rng = torch.Generator().manual_seed(4)
    return {key: torch.randn(2, width, generator=rng) for key, width in host.token_table.widths.items()}


@pytest.fixture
def known(vectors: dict[str, Tensor]) -> Iterator[Any]:
    """The word in the WebUI's own database, its vectors wanting gradients."""
    database = sd_hijack.model_hijack.embedding_db
    leaves = {key: vector.clone().requires_grad_() for key, vector in vectors.items()}
    embedding = Embedding(leaves if len(leaves) > 1 else next(iter(leaves.values())), WORD)
    embedding.vectors, embedding.shape = 2, sum(vector.shape[1] for vector in vectors.values())
    database.register_embedding(embedding, shared.sd_model)
    yield leaves
    database.load_textual_inversion_embeddings(force_reload=True)


def reader(host: A1111Host) -> PromptReader:
    """Knows the word, and brackets as emphasis as the WebUI does."""
    word = Word(WORD, tuple(host.token_table.tokenizer.ids(WORD)), 2)
    return PromptReader(host.token_table.tokenizer, (word,), emphasis=True)


def is_sdxl() -> bool:
    """Whether the loaded model is."""
    return bool(shared.sd_model.is_sdxl)


def by_webui(text: str, width: int, height: int) -> Any:
    """What the WebUI's own way makes of a prompt, with gradients: sgm's conditioner is told that it trains."""
    asked = prompt_parser.SdConditioning([text], width=width, height=height)
    embedders = list(shared.sd_model.conditioner.embedders) if is_sdxl() else []
    kept = [embedder.is_trainable for embedder in embedders]
    try:
        for embedder in embedders:
            embedder.is_trainable = True
        return shared.sd_model.get_learned_conditioning(asked)
    finally:
        for embedder, flag in zip(embedders, kept):
            embedder.is_trainable = flag


def same(one: Tensor, other: Tensor) -> None:
    """Two ways to compute the same in float32."""
    assert one.shape == other.shape
    assert float((one - other).detach().norm()) <= EXACT * float(other.detach().norm())


@pytest.mark.parametrize("text", [*TEXTS, f"a (red:1.3) {WORD}, [blurred]"], ids=["plain", "word", "long", "emphasis"])
def test_a_condition_is_the_webuis(host: A1111Host, known: Any, vectors: dict[str, Tensor], text: str) -> None:
    """Tokens, padding, layers, chunks, emphasis, pooled text and sizes, for each encoder."""
    with torch.no_grad():
        expected = by_webui(text, 96, 64)
        with host.training(1) as model:
            found = encode_prompts(model, [reader(host).read(text)], {WORD: vectors}, [uncropped(96, 64)])
            given = model._conditioning(torch.zeros(1, 4, 8, 12), found)  # type: ignore[attr-defined]
    if is_sdxl():
        same(given[0], expected["crossattn"])
        same(given[1], expected["vector"])
    else:
        same(given[0], expected)


def test_loss_and_gradient_are_those_of_the_webuis_own_way(
    host: A1111Host, known: Any, vectors: dict[str, Tensor]
) -> None:
    """Vectors out of its database through its text encoders, and its apply_model, give our gradient."""
    noisy, timesteps = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([412])
    ours = {key: vector.clone().requires_grad_() for key, vector in vectors.items()}
    with host.training(1) as model:
        condition = encode_prompts(model, [reader(host).read(TEXTS[1])], {WORD: ours}, [uncropped(64, 64)])
        answer = model.denoise(noisy, timesteps, condition)
        gradients = torch.autograd.grad(answer.square().mean(), list(ours.values()))
        expected = shared.sd_model.apply_model(noisy, timesteps, webuis_condition(TEXTS[1], noisy))
        theirs = torch.autograd.grad(expected.square().mean(), list(known.values()))
    same(answer, expected)
    for one, other in zip(gradients, theirs):
        same(one, other)
        assert bool((one.norm(dim=1) > 0).all())


def webuis_condition(text: str, noisy: Tensor) -> dict[str, Any]:
    """As the WebUI hands it to apply_model in txt2img."""
    from modules.processing import txt2img_image_conditioning

    said = by_webui(text, 64, 64)
    if is_sdxl():
        return dict(said)
    if shared.sd_model.model.conditioning_key == "hybrid":
        return {"c_crossattn": [said], "c_concat": [masked(noisy, txt2img_image_conditioning)]}
    return {"c_crossattn": [said]}


def masked(noisy: Tensor, make: Any) -> Tensor:
    """The WebUI's own extra channels, the mean in place of its sample of the grey image."""
    vae = shared.sd_model.first_stage_model
    plain = vae.encode

    def mean(pixels: Tensor) -> Any:
        posterior = plain(pixels)
        posterior.std = torch.zeros_like(posterior.std)
        return posterior

    vae.encode = mean
    try:
        return make(shared.sd_model, noisy, noisy.shape[3] * 8, noisy.shape[2] * 8)
    finally:
        del vae.encode


def test_latents_are_the_webuis(host: A1111Host) -> None:
    """Its own encoding draws from just this distribution."""
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with host.training(1) as model:
        found = model.encode_images(pixels)
        torch.manual_seed(3)
        sd_model = shared.sd_model
        expected = sd_model.get_first_stage_encoding(sd_model.encode_first_stage(pixels))
        torch.manual_seed(3)
        drawn = torch.randn(found.mean.shape)
    same(found.sample(drawn), expected)


def test_sdxl_is_told_how_an_image_was_cut(host: A1111Host) -> None:
    """The numbers of its SizeConditioning go into the vector as the conditioner's own settings for the cut do."""
    if not is_sdxl():
        pytest.skip("only SDXL is told")
    kept = shared.opts.data.get("sdxl_crop_top", 0), shared.opts.data.get("sdxl_crop_left", 0)
    try:
        shared.opts.data.update(sdxl_crop_top=5, sdxl_crop_left=11)
        with torch.no_grad(), host.training(1) as model:
            expected = by_webui(TEXTS[0], 96, 64)["vector"]
            size_cond = SizeConditioning((64, 96), (5, 11), (64, 96))
            found = encode_prompts(model, [reader(host).read(TEXTS[0])], {}, [size_cond])
            same(model._conditioning(torch.zeros(1, 4, 8, 12), found)[1], expected)  # type: ignore[attr-defined]
    finally:
        shared.opts.data.update(sdxl_crop_top=kept[0], sdxl_crop_left=kept[1])


@pytest.mark.parametrize("inside_setting", [False, True])
def test_clip_skip_is_the_webuis(inside_setting: bool) -> None:
    """It counts for SD1; for SDXL's first encoder only with the WebUI's setting; never for SD2."""
    kept = dict(shared.opts.data)
    try:
        shared.opts.data.update(CLIP_stop_at_last_layers=2, sdxl_clip_l_skip=inside_setting)
        host = A1111Host(original)  # one belongs to the clip skip that was set when it was made
        with torch.no_grad(), host.training(2) as model:
            found: Condition = encode_prompts(model, [reader(host).read(TEXTS[0])], {}, [uncropped(64, 64)])
            expected = by_webui(TEXTS[0], 64, 64)
        same(found.context, expected["crossattn"] if is_sdxl() else expected)
    finally:
        shared.opts.data.clear()
        shared.opts.data.update(kept)


def test_a_run_ends_with_a_word_that_prompts_know(host: A1111Host, tmp_path: Path) -> None:
    """Created, trained, previewed, written, read by the WebUI without a restart; it changes the image."""
    images = tmp_path / "images"
    images.mkdir()
    for index, size in enumerate(((64, 64), (90, 70))):
        Image.new("RGB", size, ("red", "blue")[index]).save(images / f"{index}.png")
    settings = {"name": WORD, "images": str(images), "output": str(tmp_path / "out"), "width": 64, "height": 64}
    settings |= {"steps": 3, "num_vectors": 2, "learning_rate": "1", "preview_every": 3, "preview_steps": 2, "seed": 3}
    before = snapshot()
    status = runner.run(TrainConfig.from_dict(settings), host)
    database = sd_hijack.model_hijack.embedding_db
    try:
        assert status.file == str(
            Path(shared.cmd_opts.embeddings_dir) / f"{WORD}{'.safetensors' if is_sdxl() else '.pt'}"
        )
        assert WORD in database.word_embeddings
        assert database.skipped_embeddings == {}
        request = ImageRequest(f"a photo of {WORD}", "", 3, 7.0, 1, 64, 64)
        by_file = host.generate(request, {})
        by_hand = host.generate(request, {WORD: {key: v * 1.0 for key, v in vectors_in(database).items()}})
        without = host.generate(ImageRequest("a photo of", "", 3, 7.0, 1, 64, 64), {})
        assert by_file.tobytes() == by_hand.tobytes() != without.tobytes()
    finally:
        Path(str(status.file)).unlink()
        database.load_textual_inversion_embeddings(force_reload=True)
    left = [line for line in difference(before, snapshot()) if not line.startswith(("kept conditions", "word"))]
    assert left == []


def vectors_in(database: Any) -> dict[str, Tensor]:
    """The word's vectors as the WebUI has read them."""
    found = database.word_embeddings[WORD].vec
    return found if isinstance(found, dict) else {"clip_l": found}
