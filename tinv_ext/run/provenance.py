"""What is worth knowing of a run afterwards, and what has to be the same for it to go on as if it had never stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Mapping
from pathlib import PureWindowsPath
from typing import Any

import torch

from tinv_ext import __version__
from tinv_ext.core.embedding import TOKEN
from tinv_ext.core.formats.metadata import AUTHORSHIP
from tinv_ext.core.paths import path_problems
from tinv_ext.core.preflight.prepare import PreparedRun
from tinv_ext.core.settings import SETTINGS, TrainConfig
from tinv_ext.core.settings.words import as_text, tables_in
from tinv_ext.hosts.base import Host

# what names places of this machine stays out of the embedding
_PRIVATE = {name for name, about in SETTINGS.items() if about.check is path_problems} | {"source", "vae_source"}
_PRIVATE -= {"template"}  # of which the name is told, without its folder
# settings that do not touch the vectors
_BESIDE = {name for name, about in SETTINGS.items() if about.group in ("previews", "saving")}
_BESIDE |= {
    "name",
    "angle_brackets",
    "images",
    "dataset_config",
    "in_json",
    "mask_folder",
    "name_background",  # what it says is in the captions
    "reg_images",
    "init_embedding",
    "overwrite",
    "preset",  # its values are settings of the run
    "purpose",
    "cache_latents",
    "evaluate_every",
    "evaluation_timesteps",
    "stop_when_done",
    "patience",
    "result",
    "steps",
    "max_train_epochs",
    "gradient_checkpointing",  # which computes again, but to the same bits
    "offload_weights",
}


def folder_facts(prepared: PreparedRun, host: Host) -> dict[str, Any]:
    """What a run keeps beside its settings: `run_facts`, where model and embeddings lie, and what computes here."""
    here = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    embeddings = str(host.embeddings_folder.absolute())
    return {**run_facts(prepared, host), "model": dict(host.facts), "embeddings": embeddings, "here": here}


def public_settings(config: TrainConfig) -> dict[str, Any]:
    """The settings without any path of this machine."""
    settings = {key: value for key, value in config.to_dict().items() if key not in _PRIVATE}
    settings["words"] = _words_without(config, _PRIVATE)
    return {**settings, "template": PureWindowsPath(config.template).name}  # whose \\ and / both part folders


def _words_without(config: TrainConfig, names: Container[str]) -> str:
    """The tables of several words without settings of these names, and without the folder of a template."""
    tables = [{key: value for key, value in one.items() if key not in names} for one in tables_in(config.words)]
    for table in tables:
        if "template" in table:
            table["template"] = PureWindowsPath(table["template"]).name
    return as_text(tables)


def run_facts(prepared: PreparedRun, host: Host, word: str = "") -> dict[str, Any]:
    """What is worth knowing of a run afterwards, without any path of this machine; as a `word` of several has it."""
    settings = public_settings(prepared.config)
    own = next((one.settings for one in prepared.words if one.name == word), prepared.words[0].settings)
    settings |= {name: getattr(own, name) for name in ("name", "angle_brackets", "init_text", "num_vectors")}
    authorship = {key: str(settings.pop(key)).strip() for key in AUTHORSHIP}
    seen = "\n".join(sorted(image.contents for image in prepared.images))
    return {
        "made_by": f"tinv_ext {__version__}",
        "model": {key: value for key, value in host.facts.items() if key not in _PRIVATE},
        "pictures": len(prepared.images),
        "dataset": hashlib.sha256(seen.encode("utf-8", "surrogatepass")).hexdigest(),
        "settings": settings,
        **({"subsets": subsets} if (subsets := _subset_facts(prepared, _PRIVATE)) else {}),
        **({TOKEN: own.token} if own.angle_brackets else {}),
        **{key: value for key, value in authorship.items() if value},
    }


def state_facts(prepared: PreparedRun, host: Host, device: torch.device) -> dict[str, Any]:
    """What the steps of a run depend on, as JSON can hold it: kept with its state."""
    settings = {key: value for key, value in prepared.config.to_dict().items() if key not in _BESIDE}
    settings["words"] = _words_without(prepared.config, _BESIDE - {"name"})
    if prepared.config.rate_depends_on_steps:
        settings["steps"] = prepared.config.steps
    here = {"torch": torch.__version__, "threads": torch.get_num_threads(), "device": device.type}
    return {
        "settings": settings,
        "pictures": {image.name: _short_digest(image.contents) for image in prepared.images},
        "subsets": _subset_facts(prepared, _BESIDE),
        "model": {key: value for key, value in host.facts.items() if key not in _PRIVATE},
        **here,
    }


def evaluation_basis(prepared: PreparedRun, facts: Mapping[str, Any]) -> str:
    """A digest of all that the evaluation measures, but for the vectors: losses on another one cannot be compared.

    `facts` are those of `state_facts`.
    """
    config = prepared.config.to_dict()
    measured = {name: config[name] for name in _MEASURED}
    measured["stop_when_done"] = bool(prepared.plan.stop)  # which has more draws
    measured |= {key: facts[key] for key in ("pictures", "subsets", "model", "device")}
    subsets = [subset.source.name for subset in prepared.subsets]
    if subsets != sorted(subsets):  # the order of images decides which are held out; in a folder it is always the same
        measured["order"] = subsets
    return _short_digest(json.dumps(measured, sort_keys=True))


_MEASURED = (
    *("evaluation_images", "evaluation_timesteps", "seed", "template", "clip_skip", "emphasis"),
    *(name for name, about in SETTINGS.items() if about.group in ("images", "captions") and name not in _BESIDE),
)


def _subset_facts(prepared: PreparedRun, without: Container[str]) -> dict[str, dict[str, Any]]:
    """In what the subsets, by name, differ from the settings of the run; nothing where there is only one."""
    run = prepared.config.to_dict()
    facts = {}
    for subset in prepared.subsets:
        own = {key: value for key, value in subset.config.to_dict().items() if key not in without and value != run[key]}
        if "template" in own:
            own["template"] = PureWindowsPath(own["template"]).name
        own |= {"loss_weight": subset.source.weight} if subset.source.weight != 1.0 else {}
        facts[subset.name] = own
    return facts if len(facts) > 1 else {}


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
