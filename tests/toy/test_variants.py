"""The toy's variants: what training gives the UNet is what the pipeline gives it, and what they learn when trained."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from safetensors import safe_open
from safetensors.torch import save_file

from tests.messages import refused
from tests.toy.test_tools import TOOLS, tool
from tinv_ext.core.data.image_fit import uncropped
from tinv_ext.core.formats import read_embedding
from tinv_ext.core.generation import ImageRequest
from tinv_ext.core.prompts.reader import PromptReader
from tinv_ext.core.training.forward import encode_prompts
from tinv_ext.demo import concept_test
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.hosts.diffusers.open_pipeline import open_pipeline
from tinv_ext.run import runner
from tinv_ext.toy import captions, export_variants, parts, variants, words

TEXT = "a photo of a striped red circle on a blue background"


def write(folder: Path, variant: str) -> Path:
    """Fresh weights of a variant as a training leaves them, shipped into one file; that of the wide world as it is."""
    if variant == "wide":
        return variants.file_of(variant)
    torch.manual_seed(0)
    unet = variants.unet(variant)
    torch.save({"ema": unet.state_dict(), "minutes": 1.0, "step": 2}, folder / "unet.pt")
    if variant == "sdxl":
        reader = tool("variant_text").Reader()
        learned = {f"0.{name}": value for name, value in reader.state_dict().items()}
        torch.save({"learnt": learned, "minutes": 1.0, "step": 2}, folder / "text.pt")
    (folder / "made.json").write_text(json.dumps([{"commit": "x", "seed": 1, "on": "a test"}]), encoding="utf-8")
    tensors, _ = tool("ship").gather_variant(folder, variant)
    save_file({name: value.contiguous() for name, value in tensors.items()}, str(folder / "weights.safetensors"))
    return folder / "weights.safetensors"


@pytest.mark.parametrize(("variant", "family"), [("v_prediction", "SD1"), ("sdxl", "SDXL")])
def test_a_variant_is_shipped_loaded_and_draws(tmp_path: Path, variant: str, family: str) -> None:
    """Its UNet and text encoders out of its own file, all else the toy's; it tells what it predicts."""
    pipe = variants.pipeline(variant, write(tmp_path, variant))
    host = DiffusersHost(pipe, tmp_path / "embeddings", {"model_name": "toy"})
    assert host.facts["family"] == family
    with host.training(1) as model:
        assert model.noise.prediction == ("v_prediction" if variant == "v_prediction" else "epsilon")
    assert host.generate(ImageRequest(TEXT, "", 2, 3.0, 1, 64, 64), {}).size == (64, 64)
    assert torch.equal(next(pipe.unet.parameters()), next(iter(torch.load(tmp_path / "unet.pt")["ema"].values())))


def test_sdxl_is_trained_on_what_the_pipeline_tells_it(tmp_path: Path) -> None:
    """Context, pooled text and size of a caption in training are those of the same prompt in the host."""
    pipe = variants.pipeline("sdxl", write(tmp_path, "sdxl"))
    tell = tool("variant_unet").teller("sdxl", tmp_path, tmp_path)
    generator = torch.Generator().manual_seed(0)
    told = tell([captions.Caption(TEXT, {}), captions.Caption("", {})], generator)
    host = DiffusersHost(pipe, tmp_path / "none", {})
    with host.training(1) as model, torch.no_grad():
        right = encode_prompts(model, [PromptReader(model.tokenizer).read(TEXT)], {}, [uncropped(64, 64)])
    torch.testing.assert_close(told["encoder_hidden_states"][:1], right.context)
    torch.testing.assert_close(told["added_cond_kwargs"]["text_embeds"][:1], right.pooled)
    assert tool("variant_unet").WHOLE.tolist() == right.sizes[0].tolist()
    assert not told["encoder_hidden_states"][1].any()
    assert not told["added_cond_kwargs"]["text_embeds"][1].any()


def test_half_of_the_sizes_are_true() -> None:
    """The others are anything, so that sizes cannot stand for the image."""
    rows = tool("variant_unet").sizes(1000, torch.Generator().manual_seed(0))
    true = rows.eq(tool("variant_unet").WHOLE).all(1).float().mean()
    assert 0.4 < float(true) < 0.6
    assert rows[:, 4:].unique().tolist() == [64.0]


def test_the_loss_of_velocity_is_that_of_eps_weighted() -> None:
    """The same answer counted as velocity or as the noise that follows from it: 1/ᾱ apart."""
    table = parts.scheduler().alphas_cumprod
    rng = torch.Generator().manual_seed(1)
    latents, noise, velocity = torch.randn(3, 5, 4, 8, 8, generator=rng)
    times = torch.tensor([10, 200, 500, 700, 990])
    kept = table[times][:, None, None, None]
    noisy = kept.sqrt() * latents + (1 - kept).sqrt() * noise

    def answering(answer: torch.Tensor):  # type: ignore[no-untyped-def]
        return lambda *given: type("Answer", (), {"sample": answer})

    error_of = tool("variant_unet").error_of
    by_velocity = error_of("v_prediction", answering(velocity), latents, times, noise, {}, table)
    eps = kept.sqrt() * velocity + (1 - kept).sqrt() * noisy
    by_eps = (eps - noise).pow(2).mean((1, 2, 3)) / table[times]
    torch.testing.assert_close(by_velocity, by_eps, rtol=1e-4, atol=1e-4)


def test_training_begins_at_the_base(tmp_path: Path) -> None:
    """Weights that fit are copied, a 1×1 convolution into a linear layer; wider ones start fresh."""
    torch.manual_seed(3)
    base, unet = parts.unet(), variants.unet("sdxl")
    torch.save({"ema": base.state_dict()}, tmp_path / "unet.pt")
    fresh = {name: value.clone() for name, value in unet.state_dict().items()}
    tool("variant_unet").begin(unet, tmp_path)
    now, held = unet.state_dict(), base.state_dict()
    assert torch.equal(now["conv_in.weight"], held["conv_in.weight"])
    linear = next(name for name in held if name.endswith("proj_in.weight"))
    assert now[linear].dim() == 2
    assert torch.equal(now[linear].flatten(), held[linear].flatten())
    wider = next(name for name in held if name.endswith("attn2.to_k.weight"))
    assert torch.equal(now[wider], fresh[wider])


@pytest.mark.parametrize("variant", variants.VARIANTS)
def test_an_exported_variant_is_the_same_model(tmp_path: Path, variant: str) -> None:
    """The checkpoint, by the names of sgm, ldm and open_clip, opens as what it was, but for the rounding to fp16."""
    pipe = variants.pipeline(variant, write(tmp_path, variant))
    checkpoint = export_variants.write(variant, pipe, tmp_path / "out")
    for source, limit in ((checkpoint, 1e-3), (tmp_path / "out" / "diffusers", 0.0)):
        opened = open_pipeline(source)
        assert type(opened) is type(pipe)
        assert opened.scheduler.config.prediction_type == pipe.scheduler.config.prediction_type
        assert torch.equal(opened.scheduler.alphas_cumprod, pipe.scheduler.alphas_cumprod)
        assert opened.unet.config.attention_head_dim in (2, [2, 2, 2])
        parts_of = ["unet", "vae", "text_encoder", *(["text_encoder_2"] if variant == "sdxl" else [])]
        for part in parts_of:
            wanted = getattr(pipe, part).state_dict()
            for name, value in getattr(opened, part).state_dict().items():
                torch.testing.assert_close(value, wanted[name], rtol=limit, atol=limit)


def test_a_variant_without_weights_is_refused(tmp_path: Path) -> None:
    """With the file that is missing and the variants that there are."""
    missing = tmp_path / "none.safetensors"
    with refused("toy.variant_missing", variant="sdxl", path=missing, variants=variants.VARIANTS):
        variants.pipeline("sdxl", missing)
    assert words.tokenizer().pad_token_id == words.END


# --- what they learn --------------------------------------------------------------------------------------------------


def figures_of(variant: str, folder: Path) -> dict[str, Any]:
    """The figures of one concept, trained with a reduced budget."""
    command = [sys.executable, str(TOOLS / "learn.py"), "--variant", variant, "--concepts", "purple-moon"]
    command += ["--seeds", "1", "--steps", "100", "--json", str(folder / "one.json")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    (one,) = json.loads((folder / "one.json").read_text())
    return dict(one)


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "taught"), [("v_prediction", "purple-moon"), ("sdxl", "purple-moon")])
def test_a_word_learns_its_concept_from_few_images(variant: str, taught: str, tmp_path: Path) -> None:
    """`fast`, after 80: what the judge sees, on other backgrounds too; controls: the initial word, other concepts."""
    host, known = tool("learn").host_in(tmp_path / "embeddings", variant), tool("concepts").read(variant=variant)
    concept = known[taught]
    config = tool("recipes").config_of(tmp_path, "fast", concept, 1).but(steps=80, save_every=0)
    before = concept_test.photos(host, config.init_text, {})
    learned = read_embedding(Path(str(runner.run(config, host).file))).vectors
    after = concept_test.photos(host, config.name, {config.name: learned})
    edited = concept_test.on_backgrounds(host, concept, config.name, {config.name: learned})
    assert concept_test.identity(before, concept) <= 0.2
    assert concept_test.identity(after, concept) >= 0.8
    assert concept_test.editability(edited, concept) >= 0.85
    assert max(concept_test.identity(after, other) for other in known.values() if other is not concept) <= 0.2


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize("variant", ["v_prediction", "sdxl"])
def test_a_word_learns_its_concept(variant: str, tmp_path: Path) -> None:
    """AdamW: the gap to the full description, what the judge sees, other backgrounds; controls: rate 0, other concepts.

    Measured: gap 1.00 (v_prediction) and 1.06 (sdxl), identity 0.94 and 1.00, editability that of the description.
    """
    one = figures_of(variant, tmp_path)
    gap = one["evaluation_before"] - one["evaluation_description"]
    assert gap > 0.01
    assert one["evaluation_before"] - one["evaluation_after"] > 0.9 * gap
    assert one["identity_after"] >= 0.8
    assert one["editability"] >= 0.85 * one["editability_description"]
    assert one["identity_before"] <= 0.2
    assert max(share for name, share in one["shows"].items() if name != "purple-moon") <= 0.2


def test_the_exported_sdxl_pads_as_the_model_does(tmp_path: Path) -> None:
    """The second tokenizer pads with 0, with which the checkpoint beside it was trained; both encoders are whole."""
    export_variants.write("sdxl", variants.pipeline("sdxl"), tmp_path)
    pipe = StableDiffusionXLPipeline.from_pretrained(tmp_path / "diffusers", add_watermarker=False)
    ids = [
        tokenizer("cat", padding="max_length", max_length=5)["input_ids"]
        for tokenizer in (pipe.tokenizer, pipe.tokenizer_2)
    ]
    assert ids == [[49406, 2368, 49407, 49407, 49407], [49406, 2368, 49407, 0, 0]]
    for name in ("text_encoder", "text_encoder_2"):
        with safe_open(str(tmp_path / "diffusers" / name / "model.safetensors"), "pt") as file:
            assert {key.split(".")[0] for key in file.keys()} <= {"text_model", "text_projection"}  # noqa: SIM118
