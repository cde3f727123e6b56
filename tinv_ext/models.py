"""A model by the name that people give it (the toy, a diffusers folder, a checkpoint file), ready to be trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message
from tinv_ext.core.paths import impossible_path
from tinv_ext.toy import VARIANTS, pipeline, weights_file

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
    verdicts: Path | None = None,
) -> DiffusersHost:
    """A host with `model`, whose finished embeddings go to the folder `embeddings`.

    `model` is "toy" or one of its variants ("toy-sdxl"), a folder or an id of diffusers, or a .safetensors or .ckpt
    file. The precision "auto" is tested against float32; what was found is kept in the folder `verdicts` if that is
    there when training begins. Raises InputError where the model cannot be opened, or cannot run on that device.
    """
    places: list[str | Path] = [model, *filter(None, (embeddings, vae, verdicts))]
    if problems := dict.fromkeys(problem for place in places for problem in impossible_path(place)):
        raise InputError(problems)
    from tinv_ext.hosts.diffusers.host import DiffusersHost

    if precision != "auto":
        from tinv_ext.hosts.diffusers.placing import dtype_of

        made = _pipeline(model, vae, dtype_of(precision))
        return DiffusersHost.placed(made, embeddings, _facts(model, vae), device, precision, cuda_graphs)
    from tinv_ext.hosts.diffusers.auto_precision import Source, placed_by_test
    from tinv_ext.hosts.diffusers.verdicts import FILE

    source = Source(lambda dtype: _pipeline(model, vae, dtype), lambda: _digest(model))
    placed = placed_by_test(source, device, verdicts and verdicts / FILE)
    graphs = cuda_graphs and placed.fits
    facts = _facts(model, vae)
    return DiffusersHost(placed.pipeline, embeddings, facts, graphs, placed.notes, placed.verdicts.write)


def _pipeline(model: str, vae: Path | None, dtype: Any) -> Any:
    """The toy is in float32 whatever is asked for: it is small."""
    if _is_toy(model):
        if vae:
            raise InputError(
                message("cli.toy_vae", "The toy model keeps its own VAE. Remove --vae, or choose another --model.")
            )
        return pipeline(model.partition("-")[2])
    from tinv_ext.hosts.diffusers.open_pipeline import open_pipeline

    return open_pipeline(model, vae=vae, dtype=dtype)


def _digest(model: str) -> str:
    from tinv_ext.hosts.diffusers.open_pipeline import weight_files
    from tinv_ext.hosts.diffusers.verdicts import fingerprint

    return fingerprint([weights_file(model.partition("-")[2])] if _is_toy(model) else weight_files(model))


def _is_toy(model: str) -> bool:
    name, _, variant = model.partition("-")
    return name == TOY and variant in ("", *VARIANTS)


def _facts(model: str, vae: Path | None) -> dict[str, str | None]:
    if _is_toy(model):
        return {"model_name": model, "model_hash": None, "source": model}
    from tinv_ext.hosts.diffusers.open_pipeline import short_hash

    path = Path(model).expanduser()
    facts = {"model_name": path.stem if path.is_file() else path.name, "model_hash": short_hash(path), "source": model}
    return facts | ({"vae": vae.stem, "vae_source": str(vae)} if vae else {})
