"""A configuration of OneTrainer (its presets, and config.json of a run) as settings, by the names of its table."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tinv_ext.core.settings.peers.conversions import SAMPLERS, max_grad_norm, optimizer_type, resolution
from tinv_ext.core.settings.peers.onetrainer import ONETRAINER
from tinv_ext.core.settings.peers.onetrainer_concepts import concept_settings, not_trained, trained
from tinv_ext.core.settings.peers.option import Values

_ITS_OWN = {"base_model_name", "training_method"}
_SECONDS = {"SECOND": 1, "MINUTE": 60, "HOUR": 3600}


def is_onetrainers(values: Any) -> bool:
    """Whether OneTrainer has written these values."""
    return isinstance(values, Mapping) and values.keys() >= _ITS_OWN


def from_onetrainer(values: Mapping[str, Any], path: str = "") -> tuple[dict[str, Any], list[str]]:
    """Settings and options of the command line by name, and the names of what is there and has no meaning here.

    Where it has several concepts, they are the subsets of the dataset config that the file, at `path`, is, too.
    """
    found, left = _concepts(values, path)
    found.update(_samples(values))
    for name, value in _flat(values):
        if value in (None, ""):
            continue
        option = ONETRAINER.get(name)
        if name in _CONVERSIONS:
            found.update(_CONVERSIONS[name](value))
        elif option and (option.setting or option.command) and not isinstance(value, (dict, list)):
            found.setdefault(option.setting or option.command, value)
        else:
            left.append(name)
    found.update(_when(values, "sample", {"STEP": "preview_every", "EPOCH": "preview_every_n_epochs"}))
    found.update(_when(values, "save_every", {"STEP": "save_every", "EPOCH": "save_every_n_epochs"}))
    found.update(_when(values, "backup", {"STEP": "save_state_every", "time": "save_state_seconds"}))
    found.update(_weighting(values) | _timesteps(values) | _average(values) | _scheduler_class(values))
    words, more = _words(values)
    found.update({"words": words} if words else _end(values))
    left += more
    found.update(_optimizer_arguments(values))
    loss, mixed = _loss(values)
    found.update(loss)
    left += mixed
    known = {"loss_weight_fn": ("CONSTANT", *_WEIGHTS), "timestep_distribution": ("UNIFORM", "LOGIT_NORMAL")}
    left += [f"{name}={values[name]}" for name, choices in known.items() if values.get(name, choices[0]) not in choices]
    if values.get("embedding_learning_rate"):
        found["learning_rate"] = values["embedding_learning_rate"]
    return found, left


def _words(values: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """Its embedding and the additional ones as [[words]], and what is not used of them.

    None where it has one, unless that is to stop at a step, or at the end of the epochs that there always are.
    """
    more = values.get("additional_embeddings")
    more = [one for one in more if isinstance(one, Mapping)] if isinstance(more, list) else []
    embedding = values.get("embedding")
    embedding = embedding if isinstance(embedding, Mapping) else {}
    ends = embedding.get("stop_training_after_unit") == "STEP" and embedding.get("stop_training_after")
    if not more and not (ends and values.get("epochs")):
        return [], []
    places = [
        ("embedding", embedding),
        *((f"additional_embeddings[{n}]", one) for n, one in enumerate(more)),
    ]
    words, left = [], list[str]()
    for place, given in places:
        word = {name: given[name] for name in _OF_A_WORD if given.get(name) not in (None, "")}
        unit, count = given.get("stop_training_after_unit", "NEVER"), given.get("stop_training_after")
        if unit == "STEP" and count:
            word["stop_training_after"] = count
        elif unit != "NEVER" and count:
            left.append(f"{place}.stop_training_after")
        if given.get("is_output_embedding"):
            left.append(f"{place}.is_output_embedding")
        words.append(word)
    return words, left


_OF_A_WORD = ("placeholder", "initial_embedding_text", "token_count", "model_name", "train")


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Names with dots. The concepts are `_concepts`, the samples `_samples`."""
    for key, value in values.items():
        name = before + key
        if name in ("concepts", "concept_file_name", "samples") or (name == "additional_embeddings" and value):
            continue
        if isinstance(value, Mapping) and name not in ("optimizer_defaults", "cloud", "secrets"):
            yield from _flat(value, f"{name}.")
        elif name not in _WITH_ANOTHER:
            yield name, value


def _concepts(values: Mapping[str, Any], path: str) -> tuple[dict[str, Any], list[str]]:
    """The images of one concept, or the file that has several."""
    concepts = trained(values.get("concepts"))
    left = not_trained(values.get("concepts"))
    if len(concepts) == 1:
        found, unused = concept_settings(concepts[0][1])
        return found, [*left, *unused]
    if concepts and path:
        return {"dataset_config": path}, left  # and what is not used of them is told where it is read
    if not concepts and values.get("concept_file_name"):
        return {"dataset_config": values["concept_file_name"]}, left
    return {}, [*left, *(f"concepts[{place}]" for place, _ in concepts)]


def _enabled(parts: Any) -> list[int]:
    """Which of a list of parts are enabled."""
    found = enumerate(parts if isinstance(parts, list) else [])
    return [index for index, one in found if isinstance(one, Mapping) and one.get("enabled", True)]


def _when(values: Mapping[str, Any], what: str, settings: Mapping[str, str]) -> Values:
    """Every how many steps or seconds something happens; it may be never."""
    name = what if what in values else f"{what}_after"
    unit, count = str(values.get(f"{name}_unit", "")), values.get(name)
    if unit == "NEVER":
        return dict.fromkeys(settings.values(), 0)
    if unit in settings:
        return {settings[unit]: count}
    if unit in _SECONDS and "time" in settings and count is not None:
        return {settings["time"]: int(count) * _SECONDS[unit]}
    return {}


_WITH_ANOTHER = {
    *(f"{name}{suffix}" for name in ("sample_after", "backup_after", "save_every") for suffix in ("", "_unit")),
    *("embedding_learning_rate", "loss_weight_fn", "loss_weight_strength", "timestep_distribution"),
    *("noising_bias", "noising_weight", "min_noising_strength", "max_noising_strength"),
    *("ema", "ema_decay", "ema_update_step_interval", "custom_learning_rate_scheduler", "scheduler_params"),
    *("embedding.stop_training_after", "embedding.stop_training_after_unit"),
    *("optimizer.beta1", "optimizer.beta2", "optimizer.eps", "optimizer.weight_decay"),
    *("mse_strength", "mae_strength", "log_cosh_strength", "huber_strength", "huber_delta"),
}


def _samples(values: Mapping[str, Any]) -> dict[str, Any]:
    """The prompts of previews, a line each with options of their own."""
    samples = values.get("samples")
    lines = [preview_line(samples[index]) for index in _enabled(samples)] if isinstance(samples, list) else []
    return {"preview_prompt": "\n".join(line for line in lines if line)} if any(lines) else {}


def preview_line(sample: Mapping[str, Any]) -> str:
    """A sample as a line of previews, as kohya writes them; empty where it has no prompt."""
    prompt = " ".join(str(sample.get("prompt", "")).split())
    options = {"--n": "negative_prompt", "--w": "width", "--h": "height", "--d": "seed", "--s": "diffusion_steps"}
    given = {option: " ".join(str(sample.get(name, "")).split()) for option, name in options.items()}
    given |= {"--l": str(sample.get("cfg_scale", "")), "--ss": SAMPLERS.get(_scheduler_name(sample), "")}
    return " ".join([prompt, *(f"{option} {text}" for option, text in given.items() if text)]) if prompt else ""


def _scheduler_name(sample: Mapping[str, Any]) -> str:
    return str(sample.get("noise_scheduler", "")).lower()


def _average(values: Mapping[str, Any]) -> dict[str, Any]:
    """An average that is taken every so many steps, as one of every step."""
    if values.get("ema", "OFF") == "OFF":
        return {}
    return {"ema_decay": min(0.9999, float(values.get("ema_decay", 0.999)) ** (1 / _interval(values)))}


def _interval(values: Mapping[str, Any]) -> int:
    return max(1, int(values.get("ema_update_step_interval", 1)))


def _end(values: Mapping[str, Any]) -> dict[str, Any]:
    """When the only word is no longer trained: here the end of the run."""
    embedding = values.get("embedding")
    embedding = embedding if isinstance(embedding, Mapping) else {}
    count, unit = embedding.get("stop_training_after"), embedding.get("stop_training_after_unit")
    if not count or unit not in ("STEP", "EPOCH"):
        return {}
    return {"steps": count} if unit == "STEP" else {"max_train_epochs": min(count, values.get("epochs", count))}


def _scheduler_class(values: Mapping[str, Any]) -> dict[str, Any]:
    """A scheduler of one's own, with its arguments as a list of keys and values."""
    if values.get("learning_rate_scheduler") != "CUSTOM" or not values.get("custom_learning_rate_scheduler"):
        return {}
    parts = values.get("scheduler_params")
    arguments = [f"{part.get('key')}={part.get('value')}" for part in parts] if isinstance(parts, list) else []
    return {"lr_scheduler_type": values["custom_learning_rate_scheduler"], "lr_scheduler_args": " ".join(arguments)}


def _optimizer_arguments(values: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of optimizers like Adam; for others their names mean something else."""
    given = values.get("optimizer")
    if not isinstance(given, Mapping) or not str(given.get("optimizer", "")).startswith("ADAM"):
        return {}
    found = [f"{name}={given[name]}" for name in ("eps", "weight_decay") if given.get(name) is not None]
    if given.get("beta1") is not None and given.get("beta2") is not None:
        found.append(f"betas={given['beta1']},{given['beta2']}")
    return {"optimizer_args": " ".join(found)} if found else {}


def _loss(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The one loss that is used; a mixture of several cannot be had."""
    used = [name for name in _LOSSES if values.get(f"{name}_strength")]
    if len(used) != 1:
        return {}, [f"{name}_strength" for name in used]
    found = {"loss_type": _LOSSES[used[0]]}
    if used == ["huber"]:
        found |= {"huber_schedule": "constant", "huber_c": values.get("huber_delta", 1.0)}
    return found, []


_LOSSES = {"mse": "l2", "mae": "l1", "log_cosh": "log_cosh", "huber": "huber"}


def _weighting(values: Mapping[str, Any]) -> dict[str, Any]:
    """The weight of the loss, one of several functions with one strength."""
    setting = _WEIGHTS.get(str(values.get("loss_weight_fn")), "")
    strength = True if setting == "debiased_estimation_loss" else values.get("loss_weight_strength", 5.0)
    return {setting: strength} if setting else {}


_WEIGHTS = {"MIN_SNR_GAMMA": "min_snr_gamma", "P2": "p2_gamma", "DEBIASED_ESTIMATION": "debiased_estimation_loss"}


def _timesteps(values: Mapping[str, Any]) -> dict[str, Any]:
    """Which timesteps are sampled (modules/modelSetup/mixin/ModelSetupNoiseMixin.py)."""
    found: dict[str, Any] = {}
    if values.get("timestep_distribution") == "LOGIT_NORMAL":
        mean, std = values.get("noising_bias", 0.0), values.get("noising_weight", 0.0) + 1.0
        found = {"timestep_sampling": "logit_normal", "logit_mean": mean, "logit_std": std}
    for name in ("min", "max"):
        if f"{name}_noising_strength" in values:
            found[f"{name}_timestep"] = int(1000 * values[f"{name}_noising_strength"])
    return found


def _scheduler(value: Any) -> Values:
    if value == "CUSTOM":
        return {}
    names = {"COSINE_WITH_RESTARTS": "cosine_with_soft_restarts", "COSINE_WITH_HARD_RESTARTS": "cosine_with_restarts"}
    return {"lr_scheduler": names.get(value, str(value).lower())}


def _one_resolution(value: Any) -> Values:
    """OneTrainer's list of resolutions, of which each image takes one at random, by its first."""
    return resolution(re.split(r"[,;]", str(value))[0])


def _optimizer(value: Any) -> Values:
    return optimizer_type(str(value).replace("_", "").lower())


def _dtype(value: Any) -> Values:
    precision = {"FLOAT_16": "auto", "BFLOAT_16": "bf16", "FLOAT_32": "fp32", "TFLOAT_32": "fp32"}.get(str(value))
    return {"precision": precision} if precision else {}


def _output_dtype(value: Any) -> Values:
    """Its types of 8 and 4 bits are no precision of an embedding, which stays in float32 then."""
    precision = {"FLOAT_16": "fp16", "BFLOAT_16": "bf16", "FLOAT_32": "float32"}.get(str(value))
    return {"save_precision": precision} if precision else {}


def _output_format(value: Any) -> Values:
    """Its formats that an embedding can have here; others leave the choice to the model."""
    formats = {"SAFETENSORS": "safetensors", "CKPT": "pt", "DIFFUSERS": "diffusers-folder"}
    return {"save_format": formats[str(value)]} if str(value) in formats else {}


def _only_if(*wanted: str, **settings: Any) -> Callable[[Any], Values]:
    return lambda value: settings if value in wanted else {}


_CONVERSIONS: Mapping[str, Callable[[Any], Values]] = {
    "aspect_ratio_bucketing": lambda value: {"resize_mode": "buckets" if value else "crop"},
    "clip_grad_norm": max_grad_norm,
    "optimizer.optimizer": _optimizer,
    "learning_rate_scaler": _only_if("BOTH", "GLOBAL_BOTH", scale_lr=True),
    "learning_rate_scheduler": _scheduler,
    "output_dtype": _output_dtype,
    "output_model_format": _output_format,
    "resolution": _one_resolution,
    "text_encoder_layer_skip": lambda value: {"clip_skip": int(value) + 1},
    "train_dtype": _dtype,
    "unet.weight_dtype": lambda value: {},  # that of the training counts
}
