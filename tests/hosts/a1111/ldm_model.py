"""The toy model in the real `ldm` classes, as the WebUI builds it from a checkpoint and the yaml beside it.

`ldm` comes from the package stable-diffusion-sdkit 2.1.5 (`--no-deps`), whose UNet, autoencoder and text encoder are
those of the repository that the WebUI uses. It wants einops; what else it imports is never called here and stands in as
empty names.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from diffusers import StableDiffusionPipeline

from tinv_ext.toy import export

MISSING = [name for name in ("ldm", "einops") if importlib.util.find_spec(name) is None]
needs_ldm = pytest.mark.skipif(
    bool(MISSING),
    reason=f"{' and '.join(MISSING)} not installed: pip install --no-deps stable-diffusion-sdkit==2.1.5 einops==0.4.1",
)


class _Lightning(torch.nn.Module):
    """As much of pytorch_lightning as ldm's classes need for being there."""

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device


UNUSED: dict[str, dict[str, Any]] = {
    "pytorch_lightning": {"LightningModule": _Lightning},
    "pytorch_lightning.utilities": {},
    "pytorch_lightning.utilities.distributed": {"rank_zero_only": lambda function: function},
    "torchvision": {},
    "torchvision.utils": {"make_grid": None},
    "omegaconf": {"ListConfig": type("ListConfig", (), {})},
    "omegaconf.listconfig": {"ListConfig": type("ListConfig", (), {})},
    "open_clip": {},
}


def stand_in(names: dict[str, dict[str, Any]], patch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """Put modules with these contents into `sys.modules` for as long as `patch` lasts."""
    made: dict[str, ModuleType] = {}
    for name, content in names.items():
        made[name] = module = ModuleType(name)
        module.__path__ = []  # a package, so that others can lie below it
        vars(module).update(content)
        patch.setitem(sys.modules, name, module)
        parent, _, last = name.rpartition(".")
        if parent in made:
            setattr(made[parent], last, module)
    return made


def latent_diffusion(pipe: StableDiffusionPipeline, folder: Path) -> Any:
    """`ldm`'s LatentDiffusion with every weight of the pipeline, set up as the WebUI does: no recomputation, eval."""
    from ldm.util import instantiate_from_config

    clip = folder / "clip"
    clip.mkdir(parents=True, exist_ok=True)
    export.write_clip(pipe, clip)
    config = yaml.safe_load(export.yaml_text(clip))["model"]
    config["params"]["unet_config"]["params"]["use_checkpoint"] = False  # v1.10.1 modules/sd_models.py, repair_config
    model = instantiate_from_config(config).float().eval()  # --no-half
    _fill(model, export.ldm_tensors(pipe))
    model.cond_stage_model.device = "cpu"
    model.alphas_cumprod_original = model.alphas_cumprod
    return model


def _fill(model: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Every weight, by name; transformers 5 has lost a level of names."""
    wanted = model.state_dict()
    short = {name.replace("transformer.text_model.", "transformer."): value for name, value in tensors.items()}
    found = {name: tensors.get(name, short.get(name)) for name in wanted}
    absent = [name for name, value in found.items() if value is None and not name.endswith(("position_ids", "logvar"))]
    assert not absent, absent
    model.load_state_dict({name: value for name, value in found.items() if value is not None}, strict=False)
