"""Checkpoints of SD2, SDXL and inpainting models open offline, and compute what the real ldm and sgm compute."""

from __future__ import annotations

import gzip
import json
import math
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTokenizer

from tests.data.waves import KEPT, SIZES, unfilled, wave
from tests.hosts.diffusers import small_pipelines
from tests.messages import ids, refused
from tests.paths import ROOT
from tests.webui.small.make import CLIP
from tinv_ext.core import families
from tinv_ext.core.errors import InputError
from tinv_ext.core.families import FAMILIES, SD2, SDXL
from tinv_ext.hosts.diffusers.checkpoint.build import build_pipeline, predicts_velocity
from tinv_ext.hosts.diffusers.checkpoint.configs import TOKENIZER, shipped_configs
from tinv_ext.hosts.diffusers.open_pipeline import open_pipeline
from tinv_ext.hosts.diffusers.pipelines import family_of

DATA = ROOT / "tests" / "data"
SMALL = ROOT / "tests" / "webui" / "small"
FAMILY = {"sdxl": "SDXL", "sd2": "SD2", "inpainting": "SD1"}
IDS = [49406, 320, 1125, 539, 320, 736, 49407]


def stored(name: str) -> Any:
    """The content of a compressed JSON file of tests/data."""
    return json.loads(gzip.decompress((DATA / name).read_bytes()))


@pytest.fixture(scope="module", autouse=True)
def one_tokenizer() -> Iterator[None]:
    """Read CLIP's vocabulary once for each padding: it takes longer than all else here."""
    with pytest.MonkeyPatch.context() as patch:
        read = cache(CLIPTokenizer.from_pretrained)
        patch.setattr(CLIPTokenizer, "from_pretrained", lambda _, pad_token, **__: read(TOKENIZER, pad_token=pad_token))
        yield


@pytest.fixture(scope="module")
def small() -> Any:
    """By name: names and shapes of a small checkpoint, and what the real classes compute with waves for weights."""
    return stored("small-families.json.gz")


def write(folder: Path, name: str, tensors: dict[str, Tensor], config: bool = True) -> Path:
    """A checkpoint, its yaml, CLIP's folder and open_clip's architectures beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(folder / f"{name}.safetensors"))
    if config:
        text = (SMALL / f"{name}.yaml").read_text(encoding="utf-8").replace("{clip}", "clip")
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
        (folder / "clip").mkdir(exist_ok=True)
        (folder / "clip" / "config.json").write_text(json.dumps(CLIP), encoding="utf-8")
        for arch in (SMALL / "open_clip").iterdir():
            shutil.copyfile(arch, folder / arch.name)
    return folder / f"{name}.safetensors"


def waves(small: Any, name: str) -> dict[str, Tensor]:
    """The tensors of a small checkpoint."""
    return {key: wave(key, tuple(shape)) for key, shape in small[name]["shapes"].items()}


@torch.no_grad()
def outputs(pipeline: Any, name: str) -> dict[str, Tensor]:
    """What our pipeline makes of the waves that make_families.py gave to the real classes."""
    inputs = pipeline.unet.config.in_channels
    noisy, timestep, pixels = wave("noisy", (1, inputs, 8, 8)), torch.tensor([500]), wave("pixels", (1, 3, 16, 16))
    ends, zeros = (torch.tensor([IDS + [pad] * (77 - len(IDS))]) for pad in (49407, 0))
    found, added = {}, None
    if name == "sdxl":
        second = pipeline.text_encoder_2(input_ids=zeros, output_hidden_states=True)
        first = pipeline.text_encoder(input_ids=ends, output_hidden_states=True).hidden_states[-2]
        found = {"text": torch.cat([first, second.hidden_states[-2]], -1), "pooled": second.text_embeds}
        added = {"text_embeds": second.text_embeds, "time_ids": torch.tensor(SIZES)}
    else:
        found = {"text": pipeline.text_encoder(input_ids=zeros if name == "sd2" else ends)[0]}
    found["unet"] = pipeline.unet(noisy, timestep, found["text"], added_cond_kwargs=added).sample
    found["encoded"] = pipeline.vae.encode(pixels).latent_dist.mean
    found["decoded"] = pipeline.vae.decode(noisy[:, :4]).sample
    return {key: value.flatten()[:: KEPT[key]] for key, value in found.items()}


@pytest.mark.parametrize("name", ["SDXL", "SD2", "SD1 inpainting"])
def test_the_real_key_lists_fill_our_parts_to_the_last_tensor(name: str) -> None:
    """Names and shapes of the families' first models, without their gigabytes, with the configs that are shipped."""
    shapes, family = stored("families-keys.json.gz")[name], FAMILIES[name.split(" ")[0]]
    tensors = {name: unfilled(shape) for name, shape in shapes.items()}
    pipeline = build_pipeline(tensors, shipped_configs(family), family, name)
    assert family_of(pipeline) == family.name

    def given(*prefixes: str) -> int:
        names = [key for key in shapes if key.startswith(prefixes) and "position_ids" not in key]
        return sum(math.prod(shapes[key]) for key in names)

    def ours(*parts: torch.nn.Module) -> int:
        return sum(weight.numel() for part in parts for weight in part.parameters())

    assert ours(pipeline.unet) == given("model.diffusion_model.")
    assert ours(pipeline.vae) == given("first_stage_model.")
    if family is SDXL:
        assert ours(pipeline.text_encoder) == given("conditioner.embedders.0.")
        assert ours(pipeline.text_encoder_2) == given("conditioner.embedders.1.") - 1  # the logit scale
        assert pipeline.unet.config.sample_size * 8 == pipeline.vae.config.sample_size == 1024
        assert pipeline.vae.config.scaling_factor == 0.13025
    if family is SD2:
        unused = given("cond_stage_model.model.transformer.resblocks.23.", "cond_stage_model.model.text_projection") + 1
        assert ours(pipeline.text_encoder) == given("cond_stage_model.") - unused


@pytest.mark.parametrize("name", ["sdxl", "sd2", "inpainting"])
def test_a_small_checkpoint_computes_what_the_real_classes_compute(small: Any, tmp_path: Path, name: str) -> None:
    """UNet, VAE and text encoders agree with ldm's, sgm's and open_clip's own, so no two names are swapped."""
    pipeline = open_pipeline(write(tmp_path, name, waves(small, name)))
    assert family_of(pipeline) == FAMILY[name]
    found = outputs(pipeline, name)
    assert found.keys() == small[name]["outputs"].keys()
    for key, value in found.items():
        right = torch.tensor(small[name]["outputs"][key])
        torch.testing.assert_close(value, right, rtol=1e-4, atol=1e-4, msg=lambda m, k=key: k + m)
    assert pipeline.scheduler.config.prediction_type == ("v_prediction" if name == "sd2" else "epsilon")


@pytest.mark.parametrize(
    ("name", "part", "one", "other"),
    [
        ("sdxl", "unet", "model.diffusion_model.label_emb.0.0.bias", "model.diffusion_model.time_embed.0.bias"),
        ("sdxl", "text", "conditioner.embedders.1.model.transformer.resblocks.0.ln_1.bias", "1.ln_1.bias"),
        ("sd2", "text", "cond_stage_model.model.transformer.resblocks.0.ln_1.weight", "1.ln_1.weight"),
    ],
)
def test_two_swapped_weights_would_be_noticed(
    small: Any, tmp_path: Path, name: str, part: str, one: str, other: str
) -> None:
    """The comparison fails when two weights of the same shape change places."""
    tensors = waves(small, name)
    other = other if other in tensors else one.partition("resblocks.")[0] + "resblocks." + other
    tensors[one], tensors[other] = tensors[other].clone(), tensors[one].clone()
    found = outputs(open_pipeline(write(tmp_path, name, tensors)), name)[part]
    right = torch.tensor(small[name]["outputs"][part])
    assert not torch.allclose(found, right, rtol=1e-3, atol=1e-3)


def test_marks_of_a_checkpoint_say_what_sdxl_predicts(small: Any, tmp_path: Path) -> None:
    """`v_pred` and `ztsnr` beside the weights count, also where the yaml says nothing of them."""
    tensors = {**waves(small, "sdxl"), "v_pred": torch.tensor([]), "ztsnr": torch.tensor([])}
    scheduler = open_pipeline(write(tmp_path, "sdxl", tensors)).scheduler
    assert scheduler.config.prediction_type == "v_prediction"
    assert scheduler.config.timestep_spacing == "trailing"
    assert float(scheduler.alphas_cumprod[-1]) == 0.0


def test_a_yaml_can_say_that_sdxl_predicts_velocity(small: Any, tmp_path: Path) -> None:
    """By sgm's name for it."""
    file = write(tmp_path, "sdxl", waves(small, "sdxl"))
    config = file.with_suffix(".yaml")
    config.write_text(config.read_text().replace("denoiser_scaling.EpsScaling", "denoiser_scaling.VScaling"))
    assert open_pipeline(file).scheduler.config.prediction_type == "v_prediction"


def test_the_answer_to_noise_tells_what_sd2_predicts() -> None:
    """A UNet that answers with the noise itself predicts noise; one that answers far below it predicts velocity.

    So it does in half precision, where its weights stay as they are.
    """
    unet = small_pipelines.sd2().unet
    with torch.no_grad():
        unet.conv_out.weight.zero_()
        unet.conv_out.bias.fill_(0.5)
        assert not predicts_velocity(unet)
        unet.conv_out.bias.fill_(-0.9)
        assert predicts_velocity(unet)
        half = unet.to(torch.float16)
        before = {name: value.clone() for name, value in half.state_dict().items()}
        assert predicts_velocity(half)
        after = half.state_dict()
        assert all(
            torch.equal(after[name], value) and after[name].dtype == value.dtype for name, value in before.items()
        )


# --- folders, other VAEs, the hub -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sdxl", "sd2", "inpainting"])
def test_a_folder_opens_as_it_was_saved(name: str, tmp_path: Path) -> None:
    """Both text encoders, the kind of pipeline, paddings and noise; opened by us it computes the same."""
    noise = {"prediction_type": "v_prediction"} if name == "sd2" else {}
    pipeline = getattr(small_pipelines, name)(**noise)
    pipeline.save_pretrained(tmp_path)
    opened = open_pipeline(tmp_path)
    assert type(opened) is type(pipeline)
    assert opened.tokenizer.pad_token_id == pipeline.tokenizer.pad_token_id
    assert opened.scheduler.config.prediction_type == pipeline.scheduler.config.prediction_type
    parts = ["unet", "vae", "text_encoder", *(["text_encoder_2"] if name == "sdxl" else [])]
    for part in parts:
        for one, other in zip(getattr(opened, part).parameters(), getattr(pipeline, part).parameters(), strict=True):
            assert torch.equal(one, other)
    if name == "sdxl":
        assert opened.tokenizer_2.pad_token_id == 0


def test_another_vae_takes_the_place_of_the_models(small: Any, tmp_path: Path) -> None:
    """Out of a file of its own, by ldm's names with or without prefix, or by diffusers' names."""
    file = write(tmp_path, "sd2", waves(small, "sd2"))
    vae = {k: v * 0.5 for k, v in waves(small, "sd2").items() if k.startswith("first_stage_model.")}
    bare = {name.removeprefix("first_stage_model."): value for name, value in vae.items()}
    save_file(vae, str(tmp_path / "vae.safetensors"))
    torch.save({"state_dict": {**bare, "loss.logvar": torch.zeros(1)}}, tmp_path / "vae.vae.pt")
    pipeline = open_pipeline(file, vae=tmp_path / "vae.safetensors")
    save_file(pipeline.vae.state_dict(), str(tmp_path / "diffusers.safetensors"))
    weights = [
        open_pipeline(file, vae=tmp_path / name).vae.encoder.conv_in.weight
        for name in ("vae.safetensors", "vae.vae.pt", "diffusers.safetensors")
    ]
    assert all(torch.equal(weight, vae["first_stage_model.encoder.conv_in.weight"]) for weight in weights)
    with refused("checkpoint.no_vae", path=tmp_path / "absent.pt"):
        open_pipeline(file, vae=tmp_path / "absent.pt")
    with pytest.raises(InputError) as caught:  # which of them, depends on the version of diffusers
        open_pipeline(file, vae=write(tmp_path / "other", "x", {"a": torch.zeros(1)}, config=False))
    assert ids(caught.value.problems)[0] in ("checkpoint.part_incomplete", "checkpoint.weights_missing")


def test_a_name_on_the_hub_is_taken_from_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the files have been brought before, no network is needed; else the sentence says what was tried."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    kept = tmp_path / "models--somebody--small"
    small_pipelines.sd1().save_pretrained(kept / "snapshots" / commit)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(commit)
    offline(monkeypatch, tmp_path)
    assert family_of(open_pipeline("somebody/small")) == "SD1"
    with refused("checkpoint.no_download", name="somebody/else"):
        open_pipeline("somebody/else")
    for path in ("a/b/c", "models/mistyped.safetensors"):
        with refused("checkpoint.no_model_there", name=path):
            open_pipeline(path)


def offline(monkeypatch: pytest.MonkeyPatch, cache_dir: Path) -> None:
    """No network, and this folder for the hub's cache."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache_dir))


# --- what is refused ------------------------------------------------------------------------------------------------


def test_sdxl_for_inpainting_and_the_refiner_are_refused(small: Any, tmp_path: Path) -> None:
    """By name, as files and as folders."""
    tensors = waves(small, "sdxl")
    first = "model.diffusion_model.input_blocks.0.0.weight"
    cases = {
        families.SDXL_INPAINTING: {**tensors, first: torch.zeros(32, 9, 3, 3)},
        families.REFINER: {
            key.replace("embedders.1", "embedders.0"): value
            for key, value in tensors.items()
            if "embedders.0" not in key
        },
        families.SDXL_EDM: {**tensors, "edm_mean": torch.zeros(4)},
        families.DEPTH: {**waves(small, "sd2"), "depth_model.model.x": torch.zeros(1)},
    }
    for index, (kind, given) in enumerate(cases.items()):
        with refused("checkpoint.cannot_be_trained", kind=kind, remedy=families.supported()):
            open_pipeline(write(tmp_path / str(index), "x", given, config=False))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionXLImg2ImgPipeline"}')
    with refused("checkpoint.cannot_be_trained", model=folder, kind=families.REFINER):
        open_pipeline(folder)
