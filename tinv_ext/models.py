"""A model by the name that people give it (the toy, a diffusers folder, a checkpoint file), ready to be trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message
from tinv_ext.toy import VARIANTS, pipeline

if TYPE_CHECKING:
    from tinv_ext.hosts.diffusers.host import DiffusersHost

TOY = "toy"


def open_host(
    model: str,
    embeddings: Path,
    *,
    vae: Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    cuda_graphs: bool = True,
) -> DiffusersHost:
    """A host with `model`, whose finished embeddings go to the folder `embeddings`.

    `model` is "toy" or one of its variants ("toy-sdxl"), a folder or an id of diffusers, or a .safetensors or .ckpt
    file. Raises InputError where it cannot be opened, or cannot run on that device.
    """
    from tinv_ext.hosts.diffusers.host import DiffusersHost

    opened, facts = _pipeline(model, vae)
    return DiffusersHost.placed(opened, embeddings, facts, device, precision, cuda_graphs)


def _pipeline(model: str, vae: Path | None) -> tuple[Any, dict[str, str | None]]:
    name, _, variant = model.partition("-")
    if name == TOY and variant in ("", *VARIANTS):
        if vae:
            raise InputError(
                message("cli.toy_vae", "The toy model keeps its own VAE. Remove --vae, or choose another --model.")
            )
        return pipeline(variant), {"model_name": model, "model_hash": None, "source": model}
    from tinv_ext.hosts.diffusers.open_pipeline import open_pipeline, short_hash

    path = Path(model).expanduser()
    facts = {"model_name": path.stem if path.is_file() else path.name, "model_hash": short_hash(path), "source": model}
    facts |= {"vae": vae.stem, "vae_source": str(vae)} if vae else {}
    return open_pipeline(model, vae=vae), facts
