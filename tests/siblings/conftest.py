"""Fixtures of the tests against a real Forge, Forge Neo, reForge or Classic (`make test-forge` and so on)."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from tests.webui import server
from tests.webui.images import CONCEPT
from tinv_ext.demo.concept_test import SAMPLES
from tinv_ext.toy import export, export_variants, variants

collect_ignore = ["toys", "toys_reforge"]  # for the program's own process
NAME = os.environ.get("SIBLING_NAME", "")
PATCHED_LDM = NAME in ("reforge", "classic")  # A1111's shell around ComfyUI's models, which needs the toys' yaml
TOYS = Path(__file__).parent / ("toys_reforge" if PATCHED_LDM else "toys")
FLAGS = [flag for flag in server.FLAGS if flag.startswith("--skip") or flag in ("--server-name", "127.0.0.1")]
ON_CPU = ["--always-cpu", "--no-download-sd-model"]
PROGRAMS = {"forge": ON_CPU, "neo": ["--cpu"], "reforge": ON_CPU, "classic": ON_CPU}
# Where both look for configs: huggingface/<repository>, with each part in the folder of the same name.
REPOSITORIES = {"sd1": "runwayml/stable-diffusion-v1-5", "sdxl": "stabilityai/stable-diffusion-xl-base-1.0"}
OTHER = "other.safetensors"


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints of the toys by family, and "configs", the folder that toys/scripts/toys.py reads."""
    folder = tmp_path_factory.mktemp("toys")
    made: dict[str, Path] = {"configs": folder / "configs"}
    numbers: dict[str, Any] = {"unets": {}, "widths": {}, "size_embedding": 0}
    made["sd1"] = export.export(folder / "sd1")[2]
    made["sdxl"] = export_variants.write("sdxl", variants.pipeline("sdxl"), folder / "sdxl")
    for family, guess in (("sd1", "SD15"), ("sdxl", "SDXL")):
        diffusers = folder / family / "diffusers"
        repository = made["configs"] / "huggingface" / REPOSITORIES[family]
        shutil.copytree(diffusers, repository, ignore=shutil.ignore_patterns("*.safetensors", "*.bin"))
        shutil.copytree(repository / "vae", repository / "vae_1_0")
        unet = json.loads((repository / "unet" / "config.json").read_text())
        encoders = sorted(repository.glob("text_encoder*/config.json"))
        widths = [json.loads(encoder.read_text())["hidden_size"] for encoder in encoders]
        heads = unet["attention_head_dim"]
        numbers["unets"][guess] = {
            "context_dim": unet["cross_attention_dim"],
            "model_channels": unet["block_out_channels"][0],
            "heads": heads if isinstance(heads, int) else heads[0],
        }
        numbers["widths"]["768" if family == "sd1" else "2048"] = sum(widths)
        numbers["size_embedding"] = unet.get("addition_time_embed_dim") or numbers["size_embedding"]
    vae = yaml.safe_load(made["sd1"].with_suffix(".yaml").read_text())["model"]["params"]["first_stage_config"]
    numbers["vae"] = {name: vae["params"]["ddconfig"][name] for name in ("ch", "ch_mult", "num_res_blocks")}
    (made["configs"] / "toys.json").write_text(json.dumps(numbers))
    return made


@pytest.fixture(scope="session")
def start(
    toys: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., AbstractContextManager[server.WebUI]]:
    """Starts the program with a toy, another checkpoint with its weights, a LoRA and images, in a fresh data folder."""

    def begin(family: str = "sd1") -> AbstractContextManager[server.WebUI]:
        data = tmp_path_factory.mktemp("data")
        shutil.copytree(SAMPLES / CONCEPT, data / "images" / CONCEPT)
        models = data / "models"
        for name in ("Stable-diffusion", "Lora", "embeddings"):
            (models / name).mkdir(parents=True)
        tensors = load_file(toys[family])
        shutil.copyfile(toys[family], models / "Stable-diffusion" / "a-toy.safetensors")
        save_file(tensors, models / "Stable-diffusion" / OTHER, {"format": "pt", "of": "other"})
        if PATCHED_LDM:
            for checkpoint in ("a-toy.yaml", Path(OTHER).with_suffix(".yaml")):
                shutil.copyfile(toys[family].with_suffix(".yaml"), models / "Stable-diffusion" / checkpoint)
        save_file(_lora(tensors), models / "Lora" / "style.safetensors")
        return server.running(
            Path(os.environ["SIBLING"]),
            os.environ["SIBLING_PYTHON"],
            toys[family],
            data,
            ["--api", "--gradio-allowed-path", os.environ["SIBLING"]],  # its scripts: gradio 4 keeps them back
            _version(Path(os.environ["SIBLING"])),
            always=FLAGS + PROGRAMS[NAME],
            beside={"a-toys": TOYS},  # before ours: before the model is loaded
            environment={"TINV_TOYS": str(toys["configs"]), "TINV_TOY": REPOSITORIES[family]},
        )

    return begin


def _version(code: Path) -> dict[str, str]:
    """Neo waits for Enter where the settings do not name its own version."""
    source = (code / "modules" / "launch_utils.py").read_text(encoding="utf-8")
    return dict(re.findall(r'^(VERSION_UID)\b[^"\n]*"([^"]*)"', source, re.MULTILINE))


def _lora(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """kohya's format, for each projection of the UNet's attention."""
    rng, prefix = torch.Generator().manual_seed(0), "model.diffusion_model."
    made: dict[str, torch.Tensor] = {}
    for name, weight in tensors.items():
        if name.startswith(prefix) and name.endswith(("to_q.weight", "to_k.weight", "to_v.weight")):
            layer = "lora_unet_" + name[len(prefix) : -len(".weight")].replace(".", "_")
            made[f"{layer}.lora_down.weight"] = torch.randn(4, weight.shape[1], generator=rng) * 0.2
            made[f"{layer}.lora_up.weight"] = torch.randn(weight.shape[0], 4, generator=rng) * 0.2
            made[f"{layer}.alpha"] = torch.tensor(4.0)
    return made


@pytest.fixture(scope="module")
def webui(start: Callable[..., AbstractContextManager[server.WebUI]]) -> Iterator[server.WebUI]:
    """With SD1's toy, one for the story of a file."""
    with start() as webui:
        yield webui
