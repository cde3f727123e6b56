"""Models are opened from the disk alone, whole or not at all, and compute what the real ldm classes compute."""

from __future__ import annotations

import gzip
import json
import pickle
import shutil
import socket
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTokenizer

from tests.data.waves import unfilled, wave
from tests.messages import ids, refused, said
from tests.paths import ROOT
from tinv_ext.core import families
from tinv_ext.core.errors import InputError
from tinv_ext.core.families import SD1
from tinv_ext.hosts.diffusers.checkpoint.configs import TOKENIZER, shipped_configs
from tinv_ext.hosts.diffusers.open_pipeline import open_pipeline, short_hash

FIRST_CONV = "model.diffusion_model.input_blocks.0.0.weight"
READ_TOKENIZER = CLIPTokenizer.from_pretrained
DATA = ROOT / "tests" / "data"


def stored(name: str) -> Any:
    """Return the content of a compressed JSON file of tests/data."""
    return json.loads(gzip.decompress((DATA / name).read_bytes()))


@pytest.fixture(scope="module", autouse=True)
def one_tokenizer() -> Iterator[None]:
    """Read CLIP's vocabulary once for most tests: it takes longer than all else here."""
    with pytest.MonkeyPatch.context() as patch:
        kept = cache(CLIPTokenizer.from_pretrained)
        patch.setattr(
            CLIPTokenizer, "from_pretrained", lambda folder, pad_token, **_: kept(str(TOKENIZER), pad_token=pad_token)
        )
        yield


@pytest.fixture(scope="module")
def small() -> dict[str, Any]:
    """Names and shapes of a small LatentDiffusion, and what the real one computes."""
    return stored("small-ldm.json.gz")


@pytest.fixture(scope="module")
def tensors(small: dict[str, Any]) -> dict[str, Tensor]:
    """The checkpoint of the small LatentDiffusion, its weights being waves."""
    return {name: wave(name, tuple(shape)) for name, shape in small["shapes"].items()}


@pytest.fixture(scope="module")
def checkpoint(tensors: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small checkpoint as a file, with its yaml and CLIP's folder beside it."""
    folder = tmp_path_factory.mktemp("checkpoint")
    save_file(tensors, str(folder / "small.safetensors"))
    add_config(folder)
    return folder / "small.safetensors"


@pytest.fixture(scope="module")
def diffusers_folder(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model as the installed versions save it."""
    folder = tmp_path_factory.mktemp("diffusers") / "model"
    open_pipeline(checkpoint).save_pretrained(folder)
    return folder


def add_config(folder: Path) -> None:
    """Put the small model's yaml and CLIP's config into a folder."""
    shutil.copyfile(DATA / "small_ldm.yaml", folder / "small.yaml")
    (folder / "clip").mkdir()
    shutil.copyfile(DATA / "small_clip.json", folder / "clip" / "config.json")


@torch.no_grad()
def outputs(pipeline: Any) -> dict[str, Tensor]:
    """What our pipeline makes of the waves that make_ldm.py gave to the real classes."""
    ids = torch.tensor([[49406, 320, 1125, 539, 320, 736, 49407, 49407]])
    noisy, pixels = wave("noisy", (1, 4, 8, 8)), wave("pixels", (1, 3, 16, 16))
    text = pipeline.text_encoder(input_ids=ids)[0]
    found = {
        "text": text,
        "unet": pipeline.unet(noisy, torch.tensor([500]), encoder_hidden_states=text).sample,
        "encoded": pipeline.vae.encode(pixels).latent_dist.mean,
        "decoded": pipeline.vae.decode(noisy).sample,
        "alphas_cumprod": pipeline.scheduler.alphas_cumprod[::37],
    }
    return {name: value.flatten() for name, value in found.items()}


def assert_same(found: dict[str, Tensor], expected: dict[str, Any]) -> None:
    """All outputs agree to a few steps of float32."""
    for name, value in found.items():
        torch.testing.assert_close(
            value, torch.tensor(expected[name]), rtol=1e-4, atol=2e-5, msg=lambda m, n=name: n + m
        )


# --- single files ------------------------------------------------------------------------------------------------


def test_the_real_key_list_of_sd15_fills_our_parts_to_the_last_tensor() -> None:
    """SD1.5's 1143 names and shapes, without their 4 GB, make a pipeline; nothing is missing, nothing left over."""
    from tinv_ext.hosts.diffusers.checkpoint.build import build_pipeline

    shapes = stored("sd15-keys.json.gz")
    tensors = {name: unfilled(shape) for name, shape in shapes.items()}
    pipeline = build_pipeline(tensors, shipped_configs(SD1), SD1, "SD1.5")
    for prefix, part in (
        ("model.diffusion_model.", pipeline.unet),
        ("first_stage_model.", pipeline.vae),
        ("cond_stage_model.", pipeline.text_encoder),
    ):
        given = [torch.Size(shape).numel() for name, shape in shapes.items() if name.startswith(prefix)]
        positions = 77 if part is pipeline.text_encoder else 0
        assert sum(given) == sum(weight.numel() for weight in part.parameters()) + positions
    assert pipeline.unet.config.cross_attention_dim == pipeline.text_encoder.config.hidden_size == 768


def test_a_small_checkpoint_computes_what_the_real_ldm_computes(checkpoint: Path, small: dict[str, Any]) -> None:
    """UNet, VAE, CLIP and the noise schedule agree with ldm's own on the same weights, so no two names are swapped."""
    assert_same(outputs(open_pipeline(checkpoint)), small["outputs"])


@pytest.mark.parametrize(
    ("part", "one", "other"),
    [
        ("unet", "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q", "to_k"),
        ("encoded", "first_stage_model.encoder.mid.attn_1.q", "v"),
        ("decoded", "first_stage_model.decoder.mid.block_1.conv1", "conv2"),
        ("text", "cond_stage_model.transformer.text_model.encoder.layers.0.self_attn.q_proj", "v_proj"),
    ],
)
def test_two_swapped_weights_would_be_noticed(
    part: str, one: str, other: str, tensors: dict[str, Tensor], small: dict[str, Any], tmp_path: Path
) -> None:
    """The comparison with ldm fails when two weights of the same shape change places."""
    first, second = one + ".weight", one.rpartition(".")[0] + f".{other}.weight"
    swapped = {**tensors, first: tensors[second].clone(), second: tensors[first].clone()}
    save_file(swapped, str(tmp_path / "small.safetensors"))
    add_config(tmp_path)
    found = outputs(open_pipeline(tmp_path / "small.safetensors"))[part]
    assert not torch.allclose(found, torch.tensor(small["outputs"][part]), rtol=1e-3, atol=1e-3)


def test_a_ckpt_file_gives_the_same_model(tensors: dict[str, Tensor], small: dict[str, Any], tmp_path: Path) -> None:
    """A training checkpoint's inner state_dict counts, and what is no tensor in it does not."""
    torch.save({"epoch": 3, "state_dict": {"state_dict": {**tensors, "note": 1}}}, tmp_path / "small.ckpt")
    add_config(tmp_path)
    assert_same(outputs(open_pipeline(tmp_path / "small.ckpt")), small["outputs"])


def test_older_and_half_precision_checkpoints_open(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    """Text encoder names without text_model, extra CLIP weights, rounded positions and fp16 all end in float32."""
    prefix = "cond_stage_model.transformer."
    old = {name.replace(prefix + "text_model.", prefix): value.half() for name, value in tensors.items()}
    old[prefix + "text_projection.weight"] = torch.ones(16, 16)
    old[prefix + "logit_scale"] = torch.ones(1)
    save_file(old, str(tmp_path / "small.safetensors"))
    add_config(tmp_path)
    encoder = open_pipeline(tmp_path / "small.safetensors").text_encoder
    assert {weight.dtype for weight in encoder.parameters()} == {torch.float32}
    positions = [value for name, value in encoder.named_buffers() if name.endswith("position_ids")]
    assert all(torch.equal(value, torch.arange(77)[None]) for value in positions)


def test_no_connection_is_tried(checkpoint: Path, diffusers_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening works where every connection fails."""

    def refuse(*given: object) -> None:
        raise AssertionError(f"a connection was tried: {given}")

    monkeypatch.setattr(CLIPTokenizer, "from_pretrained", READ_TOKENIZER)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for source in (checkpoint, diffusers_folder):
        assert open_pipeline(source).tokenizer("hello world").input_ids == [49406, 3306, 1002, 49407]


def test_the_config_can_be_given(tensors: dict[str, Tensor], diffusers_folder: Path, tmp_path: Path) -> None:
    """Without a yaml beside the file, a folder of configs or a yaml elsewhere says the sizes."""
    save_file(tensors, str(tmp_path / "bare.safetensors"))
    add_config(tmp_path)
    by_folder = open_pipeline(tmp_path / "bare.safetensors", config=diffusers_folder)
    by_yaml = open_pipeline(str(tmp_path / "bare.safetensors"), config=str(tmp_path / "small.yaml"))
    assert by_folder.unet.config.block_out_channels == by_yaml.unet.config.block_out_channels
    with pytest.raises(InputError) as caught:
        open_pipeline(tmp_path / "bare.safetensors")
    assert ids(caught.value.problems)[0] in UNFIT


def test_a_yaml_can_say_that_the_model_predicts_v(checkpoint: Path, tmp_path: Path) -> None:
    """`parameterization: v` in the yaml becomes the scheduler's prediction type."""
    add_config(tmp_path)
    text = (
        (tmp_path / "small.yaml")
        .read_text()
        .replace("    timesteps: 1000", "    timesteps: 1000\n    parameterization: v")
    )
    (tmp_path / "small.yaml").write_text(text)
    assert open_pipeline(checkpoint).scheduler.config.prediction_type == "epsilon"
    assert open_pipeline(checkpoint, tmp_path / "small.yaml").scheduler.config.prediction_type == "v_prediction"


# --- folders -----------------------------------------------------------------------------------------------------


def test_a_folder_opens_as_it_was_saved(diffusers_folder: Path, small: dict[str, Any]) -> None:
    """A diffusers folder gives the same outputs as the single file it came from."""
    pipeline = open_pipeline(diffusers_folder)
    assert_same(outputs(pipeline), small["outputs"])
    assert pipeline.safety_checker is None


@pytest.mark.parametrize("prefix", ["", "text_model."])
def test_a_text_encoder_opens_whichever_transformers_saved_it(
    prefix: str, diffusers_folder: Path, small: dict[str, Any], tmp_path: Path
) -> None:
    """transformers 4 and 5 name the same weights differently; neither is left at random values."""
    folder = shutil.copytree(diffusers_folder, tmp_path / "model")
    file = folder / "text_encoder" / "model.safetensors"
    bare = {name.removeprefix("text_model."): value for name, value in load_file(str(file)).items()}
    save_file({prefix + name: value for name, value in bare.items()}, str(file))
    assert_same(outputs(open_pipeline(folder)), small["outputs"])


def test_a_folder_of_half_precision_files_opens(checkpoint: Path, tmp_path: Path) -> None:
    """A download of only the fp16 variant is enough."""
    open_pipeline(checkpoint).save_pretrained(tmp_path / "model", variant="fp16")
    assert open_pipeline(tmp_path / "model").unet.dtype == torch.float32


def test_a_folder_whose_weights_are_in_several_files_opens(
    diffusers_folder: Path, small: dict[str, Any], tmp_path: Path
) -> None:
    """Their index names them; without one of them it is told which."""
    folder = shutil.copytree(diffusers_folder, tmp_path / "model")
    whole = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = list(load_file(str(whole)).items())
    places = {}
    for number, share in enumerate((weights[::2], weights[1::2])):
        name = f"diffusion_pytorch_model-0000{number + 1}-of-00002.safetensors"
        save_file(dict(share), str(whole.with_name(name)))
        places |= {key: name for key, _ in share}
    whole.unlink()
    whole.with_name(f"{whole.name}.index.json").write_text(json.dumps({"weight_map": places}))
    assert_same(outputs(open_pipeline(folder)), small["outputs"])
    whole.with_name(name).unlink()
    with refused("checkpoint.safetensors_unreadable", path=whole.with_name(name)):
        open_pipeline(folder)
    whole.with_name(f"{whole.name}.index.json").unlink()
    with refused("checkpoint.no_weights_file", folder=whole.parent, file=whole.name):
        open_pipeline(folder)


def test_a_vae_of_the_first_diffusers_opens(diffusers_folder: Path, small: dict[str, Any], tmp_path: Path) -> None:
    """Its attention had other names up to version 0.11, as in the first upload of Stable Diffusion 1.5."""
    folder = shutil.copytree(diffusers_folder, tmp_path / "model")
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = {}
    for name, value in load_file(str(file)).items():
        now = next((now for now in old if f".{now}." in name), "")
        weights[name.replace(now, old[now]) if now else name] = value
    assert len(weights.keys() - load_file(str(file)).keys()) == 16
    save_file(weights, str(file))
    assert_same(outputs(open_pipeline(folder)), small["outputs"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("of", ["checkpoint", "diffusers_folder"])
def test_weights_are_read_in_the_type_that_is_wanted(
    of: str, dtype: torch.dtype, request: pytest.FixtureRequest
) -> None:
    """Those of float32, rounded; but the VAE's, which are not."""
    source = request.getfixturevalue(of)
    whole, rounded = open_pipeline(source), open_pipeline(source, dtype=dtype)
    for part in ("unet", "text_encoder", "vae"):
        expected = getattr(whole, part).to(torch.float32 if part == "vae" else dtype).state_dict()
        found = getattr(rounded, part).state_dict()
        assert all(found[name].dtype == value.dtype for name, value in expected.items())
        assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_folder_with_pickled_weights_opens(diffusers_folder: Path, small: dict[str, Any], tmp_path: Path) -> None:
    """Folders from before safetensors hold .bin files."""
    folder = shutil.copytree(diffusers_folder, tmp_path / "model")
    file = folder / "text_encoder" / "model.safetensors"
    torch.save(load_file(str(file)), folder / "text_encoder" / "pytorch_model.bin")
    file.unlink()
    assert_same(outputs(open_pipeline(folder)), small["outputs"])


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_folder_that_lacks_one_weight_is_refused(part: str, diffusers_folder: Path, tmp_path: Path) -> None:
    """A part is never filled up with random numbers."""
    folder = shutil.copytree(diffusers_folder, tmp_path / "model")
    file = next((folder / part).glob("*.safetensors"))
    whole = load_file(str(file))
    lost = next(name for name in whole if name.endswith("weight"))
    save_file({name: value for name, value in whole.items() if name != lost}, str(file), metadata={"format": "pt"})
    with pytest.raises(InputError) as caught:
        open_pipeline(folder)
    assert ids(caught.value.problems) == ["checkpoint.weights_missing"]
    assert lost.removeprefix("text_model.") in str(caught.value)


UNFIT = ("checkpoint.part_incomplete", "checkpoint.weights_missing", "checkpoint.weight_shape")
"""Which of these is said first depends on the version of diffusers and on which weight it misses."""


# --- what cannot be opened ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "problem", "kind"),
    [
        ({"conditioner.embedders.1.model.ln_final.weight": (1,)}, "no_stable_diffusion", None),
        ({"conditioner.embedders.0.model.ln_final.weight": (1,)}, "cannot_be_trained", families.REFINER),
        ({"depth_model.model.x": (1,)}, "cannot_be_trained", families.DEPTH),
        ({"model.diffusion_model.joint_blocks.0.x_block.mlp.fc1.bias": (1,)}, "cannot_be_trained", families.SD3),
        ({"model.diffusion_model.double_blocks.0.img_attn.qkv.bias": (1,)}, "cannot_be_trained", families.FLUX),
        ({FIRST_CONV: (32, 9, 3, 3)}, "lacks_parts", None),
        ({FIRST_CONV: (32, 8, 3, 3)}, "cannot_be_trained", families.INSTRUCT_PIX2PIX),
        ({FIRST_CONV: (32, 7, 3, 3)}, "cannot_be_trained", "a model whose UNet has 7 input channels"),
        ({FIRST_CONV: (32, 4, 3, 3)}, "lacks_parts", None),
        ({"lora_unet_down_blocks_0.alpha": (1,)}, "is_lora", None),
        ({"emb_params": (1, 768)}, "is_embedding", None),
        ({"down_blocks.0.resnets.0.conv1.weight": (1,)}, "is_part", None),
        ({"decoder.conv_in.weight": (1,)}, "is_vae", None),
        ({"anything": (1,)}, "no_stable_diffusion", None),
        ({}, "no_stable_diffusion", None),
    ],
)
def test_other_models_are_called_by_their_names(
    names: dict[str, tuple[int, ...]], problem: str, kind: str | None, tmp_path: Path
) -> None:
    """A file of something else is refused with what it is."""
    file = tmp_path / "other.safetensors"
    save_file({name: torch.zeros(shape) for name, shape in names.items()}, str(file))
    with refused(f"checkpoint.{problem}", **({"kind": kind} if kind else {})) as caught:
        open_pipeline(file)
    assert str(file) in str(caught.value)
    if problem == "lacks_parts":
        assert said(caught.value.problems, "checkpoint.lacks_parts", parts=["VAE", "text encoder"])


@pytest.mark.parametrize("lost", ["model.diffusion_model.out.2.weight", "first_stage_model.quant_conv.bias"])
def test_a_file_that_lacks_one_weight_is_refused(lost: str, tensors: dict[str, Tensor], tmp_path: Path) -> None:
    """A damaged merge is told, not filled up."""
    save_file({name: value for name, value in tensors.items() if name != lost}, str(tmp_path / "small.safetensors"))
    add_config(tmp_path)
    with pytest.raises(InputError) as caught:
        open_pipeline(tmp_path / "small.safetensors")
    assert ids(caught.value.problems)[0] in UNFIT[:2]


class Harmful:
    """Pickles as a call that leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.trace,)


def test_a_pickle_that_would_run_something_is_not_opened(tmp_path: Path) -> None:
    """A .ckpt with more than weights is refused in a sentence, and nothing of it is run."""
    torch.save({"state_dict": Harmful(tmp_path / "trace")}, tmp_path / "bad.ckpt")
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(Harmful(tmp_path / "trace"), protocol=2))
    for name in ("bad.ckpt", "plain.ckpt"):
        with pytest.raises(InputError) as caught:
            open_pipeline(tmp_path / name)
        assert ids(caught.value.problems)[0] in ("checkpoint.unsafe_pickle", "checkpoint.torch_unreadable")
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("name", ["cut.safetensors", "cut.ckpt", "zip.ckpt"])
def test_a_damaged_file_is_told(name: str, checkpoint: Path, tensors: dict[str, Tensor], tmp_path: Path) -> None:
    """A file that is cut off, or empty, gives a sentence with its name."""
    if name == "zip.ckpt":
        torch.save(tensors, tmp_path / "whole")
        (tmp_path / name).write_bytes((tmp_path / "whole").read_bytes()[:5000])
    else:
        (tmp_path / name).write_bytes(checkpoint.read_bytes()[:1000])
    for content in (None, b""):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            open_pipeline(tmp_path / name)


def test_what_is_wrong_with_a_folder_is_told(diffusers_folder: Path, tmp_path: Path) -> None:
    """No index, another family, missing parts: each gives its own sentence."""
    with refused("checkpoint.no_model_there", name=tmp_path / "absent"):
        open_pipeline(tmp_path / "absent")
    with refused("checkpoint.no_index", folder=tmp_path):
        open_pipeline(tmp_path)
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusion3Pipeline"}')
    with refused("checkpoint.cannot_be_trained", model=tmp_path, kind=families.SD3):
        open_pipeline(tmp_path)
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    with pytest.raises(InputError) as caught:
        open_pipeline(tmp_path)
    assert ids(caught.value.problems) == ["checkpoint.no_part"] * 4
    folder = shutil.copytree(diffusers_folder, tmp_path / "other")
    config = json.loads((folder / "unet" / "config.json").read_text())
    (folder / "unet" / "config.json").write_text(json.dumps({**config, "in_channels": 8}))
    with refused("checkpoint.other_inputs", count=8):
        open_pipeline(folder)


def test_what_is_no_checkpoint_by_name_is_refused(tmp_path: Path) -> None:
    """An image is not opened as a model."""
    (tmp_path / "image.png").write_bytes(b"")
    with refused("checkpoint.wrong_suffix", suffixes=[".safetensors", ".ckpt"]):
        open_pipeline(tmp_path / "image.png")


@pytest.mark.parametrize(
    "content", ["", "model: 3", "model: {params: {}}", "a: [", "model: {params: {cond_stage_config: {target: x}}}"]
)
def test_a_yaml_that_describes_no_model_is_told(content: str, checkpoint: Path, tmp_path: Path) -> None:
    """A yaml of something else beside the file is named, with what to do."""
    (tmp_path / "bad.yaml").write_text(content)
    with pytest.raises(InputError) as caught:
        open_pipeline(checkpoint, tmp_path / "bad.yaml")
    (problem,) = caught.value.problems
    assert ids([problem])[0] in ("checkpoint.yaml_unreadable", "checkpoint.yaml_wrong")
    assert said([problem], ids([problem])[0], path=tmp_path / "bad.yaml")


def test_the_short_hash_is_the_webuis(tmp_path: Path) -> None:
    """Ten hex digits of the file's SHA-256; a folder has none."""
    (tmp_path / "model.ckpt").write_bytes(b"abc")
    assert short_hash(tmp_path / "model.ckpt") == "ba7816bf8f"
    assert short_hash(tmp_path) is None
