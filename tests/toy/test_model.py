"""The shipped toy: what its file holds, that it loads, and that its export is the same model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from tests.messages import refused
from tinv_ext.core.errors import FormatError
from tinv_ext.hosts.diffusers.open_pipeline import open_pipeline
from tinv_ext.toy import captions, export, judge, ldm_names, model, parts, words

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def pipe():  # type: ignore[no-untyped-def]
    """The shipped pipeline."""
    return model.pipeline()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both forms."""
    folder = tmp_path_factory.mktemp("toy")
    export.export(folder)
    return folder


def hidden(encoder, tokenizer, text: str) -> torch.Tensor:  # type: ignore[no-untyped-def]
    """The text's hidden states."""
    ids = tokenizer(text, padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.no_grad():
        return encoder(ids)[0]


def test_the_weights_are_small_and_say_where_they_come_from() -> None:
    """Model, judge and vocabulary stay within 16 MB, the judge within 2, and the file names its making."""
    vocabulary = sum(file.stat().st_size for file in words.FOLDER.iterdir())
    assert judge.FILE.stat().st_size <= 2 * MEGABYTE
    assert model.FILE.stat().st_size + judge.FILE.stat().st_size + vocabulary <= 16 * MEGABYTE
    assert {"commit", "seed", "on", "unet", "vae", "text"} <= set(model.metadata())


def test_the_tokenizer_is_clips_own_and_pads_as_sd1_does() -> None:
    """Ids of CLIP's vocabulary, padded with the end token; the captions' own encoder agrees."""
    text = "a photo of a striped red circle , blue background"
    ids = words.tokenizer()(text, padding="max_length", max_length=77).input_ids
    assert ids[:5] == [49406, 320, 1125, 539, 320]
    assert ids[-1] == 49407
    assert ids == words.encode(text)


def test_a_word_added_to_one_pipeline_is_unknown_to_the_next() -> None:
    """diffusers adds the words of embeddings to a pipeline's own tokenizer."""
    changed = model.pipeline()
    changed.tokenizer.add_tokens(["zworble"])
    assert len(changed.tokenizer) == len(model.pipeline().tokenizer) + 1 == len(words.tokenizer()) + 1


def test_every_word_of_a_caption_has_a_trained_row() -> None:
    """No caption holds a token whose row is not kept."""
    kept = set(words.trained_rows())
    assert all(token in kept for word in captions.every_word() for token in words.ids_of(word))


def test_words_never_trained_share_the_unknown_row(pipe) -> None:  # type: ignore[no-untyped-def]
    """Two words that no caption uses mean the same."""
    table = pipe.text_encoder.get_input_embeddings().weight
    dog, cat, red = (table[words.ids_of(word)[0]] for word in ("dog", "cat", "red"))
    assert torch.equal(dog, cat)
    assert not torch.equal(dog, red)


def test_everything_is_frozen_and_finite(pipe) -> None:  # type: ignore[no-untyped-def]
    """No weight asks for a gradient, none is broken, and CLIP's last bias is not all zero (it would break emphasis)."""
    for module in (pipe.unet, pipe.vae, pipe.text_encoder):
        assert all(torch.isfinite(weight).all() and not weight.requires_grad for weight in module.parameters())
    bias = dict(pipe.text_encoder.named_parameters())
    assert next(value for name, value in bias.items() if name.endswith("final_layer_norm.bias")).abs().max() > 1e-3


def test_latents_fit_sd1s_scale(pipe) -> None:  # type: ignore[no-untyped-def]
    """Latents times 0.18215 have about mean 0 and spread 1, as in SD1."""
    import numpy as np

    from tinv_ext.toy import world

    rng = np.random.default_rng(3)
    scenes = [world.sample_scene(rng) for _ in range(64)]
    images = np.stack([world.draw(scene, world.sample_pose(scene, rng)) for scene in scenes])
    with torch.no_grad():
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
        latents = pipe.vae.encode(pixels).latent_dist.mean * parts.SCALE
    assert abs(latents.mean()) < 0.2
    assert 0.8 < latents.std() < 1.2


def test_the_caption_matters(pipe) -> None:  # type: ignore[no-untyped-def]
    """The same noise with two captions gives two backgrounds, the ones asked for."""
    asked = ["a photo of a red circle on a blue background", "a photo of a red circle on a yellow background"]
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)).repeat(2, 1, 1, 1)
    made = pipe(asked, latents=noise, num_inference_steps=15, guidance_scale=3.0, output_type="pt").images
    seen = judge.look(judge.load(), torch.as_tensor(made).float())
    assert [one.background for one in seen] == ["blue", "yellow"]


def test_the_diffusers_folder_is_the_same_model(pipe, exported: Path) -> None:  # type: ignore[no-untyped-def]
    """Loading the exported folder gives the same noise for the same prompt."""
    from diffusers import StableDiffusionPipeline

    other = StableDiffusionPipeline.from_pretrained(exported / "diffusers", safety_checker=None)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        both = [
            p.unet(noise, 500, hidden(p.text_encoder, p.tokenizer, "a photo of a moon")).sample for p in (pipe, other)
        ]
    torch.testing.assert_close(both[0], both[1])


def test_the_webui_form_has_no_stray_name(pipe, exported: Path) -> None:  # type: ignore[no-untyped-def]
    """Every weight is in the checkpoint once, by a name of its own."""
    tensors, _ = model.read(exported / "webui" / f"{export.NAME}.safetensors")
    parts_of = [pipe.unet.state_dict(), pipe.vae.state_dict(), pipe.text_encoder.state_dict()]
    positions = sum(name.endswith("position_ids") for name in parts_of[2])  # transformers 4.30 keeps the buffer itself
    assert len(tensors) == sum(len(values) for values in parts_of) - positions + 1 + len(export.schedule_buffers())
    assert (exported / "webui" / f"{export.NAME}.yaml").is_file()


def test_an_unknown_weight_has_no_place() -> None:
    """A name that ldm's layout does not know is an error, not a guess."""
    with pytest.raises(KeyError, match="no place"):
        ldm_names.unet("class_embedding.weight")


def test_a_missing_or_broken_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the file that cannot be used."""
    monkeypatch.setenv("TINV_TOY_WEIGHTS", str(tmp_path / "none.safetensors"))
    with refused("toy.weights_missing", path=tmp_path / "none.safetensors"):
        model.pipeline()
    (tmp_path / "bad.safetensors").write_bytes(b"bad")
    monkeypatch.setenv("TINV_TOY_WEIGHTS", str(tmp_path / "bad.safetensors"))
    with refused("toy.weights_unreadable", FormatError, path=tmp_path / "bad.safetensors"):
        model.pipeline()


def test_the_text_encoder_has_names_that_every_transformers_reads(exported: Path) -> None:
    """4 loads random weights, silently, from a file with the names of 5."""
    with safe_open(str(exported / "diffusers" / "text_encoder" / "model.safetensors"), "pt") as file:
        assert all(name.startswith("text_model.") for name in file.keys())  # noqa: SIM118


def test_the_folder_that_was_exported_to_is_a_model(exported: Path) -> None:
    """`--model` takes the folder that `toy export` was given: the diffusers one lies in it."""
    assert torch.equal(
        next(open_pipeline(exported).unet.parameters()), next(open_pipeline(exported / "diffusers").unet.parameters())
    )
