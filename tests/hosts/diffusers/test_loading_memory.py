"""How much memory a process takes while a model is loaded: about what its weights take in the type that is wanted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file

from tests.paths import ROOT
from tinv_ext import toy
from tinv_ext.toy.export import ldm_tensors

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="as Linux tells a process's largest memory")
MEGABYTE = 1 << 20
SLACK = 24 * MEGABYTE
"""For what is not weights: modules, and pages that the allocator keeps."""

LARGEST = 1024 * 512 * 9 * 4
"""Bytes of the largest weight of the file."""
COPIES = {"": 1, ".safetensors": 1, ".ckpt": 3}
"""How often it is there until it is converted: a zip's record is read and checked before it becomes numbers."""

PROGRAM = """
import sys
from pathlib import Path
import torch
from tinv_ext import models

def resident(most):
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmHWM:" if most else "VmRSS:")[2].split()[0]) * 1024

torch.set_num_threads(1)
source, config, precision = sys.argv[1:]
models.open_host("toy", Path("none"), precision="fp32", device="cpu")  # what is imported by then is no weight
before = resident(most=False)
Path("/proc/self/clear_refs").write_text("5")
from tinv_ext.hosts.diffusers.open_pipeline import open_pipeline
pipeline = open_pipeline(source, config=config, dtype=getattr(torch, precision))
print(resident(most=True) - before, sum(w.numel() * w.element_size() for w in pipeline.unet.parameters()))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy whose UNet has 140 MB of weights in float32: as a diffusers folder, and as single files."""
    folder = tmp_path_factory.mktemp("large")
    pipeline = toy.pipeline()
    wide = {**pipeline.unet.config, "block_out_channels": [128, 256, 512]}
    torch.manual_seed(0)
    pipeline.register_modules(unet=UNet2DConditionModel.from_config(wide))
    pipeline.save_pretrained(folder / "diffusers")
    tensors = {name: value.contiguous() for name, value in ldm_tensors(pipeline).items()}
    save_file(tensors, folder / "model.safetensors")
    torch.save({"state_dict": tensors}, folder / "model.ckpt")
    return folder


@pytest.mark.parametrize("name", ["diffusers", "model.safetensors", "model.ckpt"])
def test_no_weight_is_there_twice(model: Path, name: str) -> None:
    """Of a file in float32 that is loaded in float16: neither the file nor float32's copy is ever there as a whole."""
    given = [str(model / name), str(model / "diffusers"), "float16"]
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, *given],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    peak, weights = (int(number) for number in ran.stdout.split())
    assert weights > 60 * MEGABYTE
    assert peak < 1.2 * weights + SLACK + COPIES[Path(name).suffix] * LARGEST
