"""From what a container holds to embeddings: which program's layout is it, and which tensors belong together.

Each layout is a function from the container's values to what it found, or None when it is not that layout; the first
that answers is right. Sources: the writers and loaders listed in each function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tinv_ext.core.embedding import encoder_of_width, plain_facts
from tinv_ext.core.errors import FormatError, InputError
from tinv_ext.core.formats.pickle_names import Built
from tinv_ext.core.formats.tensors import StoredTensor

FACTS_KEY = "tinv"
"""Where our own writers put the facts of the run."""

PAIR = ("clip_l", "clip_g", "clip_h")
MAX_NAMES = 1000
NOT_EMBEDDINGS = {
    "lora_": "a LoRA without embeddings in it",
    "model.diffusion_model.": "a whole checkpoint",
    "cond_stage_model.": "a whole checkpoint",
    "first_stage_model.": "a VAE",
    "text_model.": "a text encoder",
    "unet.": "a LoRA without embeddings in it",
    "IN01": "XTI (a vector for each layer of the UNet), which no other program loads",
    "t5xxl": "an embedding for SD3, which is not supported",
    "optimizer_state_dict": "the WebUI's optimizer (.optim) beside an embedding",
}


@dataclass(frozen=True)
class Found:
    """One embedding as it lies in a file. `vectors` by encoder; `label` is the name that the file gives it, if any."""

    vectors: Mapping[str, StoredTensor]
    label: str | None = None
    step: int | None = None
    model_hash: str | None = None
    model_name: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contents:
    """What a file holds: the layout in a few words, and its embeddings (most layouts have one).

    `named` when the labels are the embeddings' names rather than a remark beside them; `container` in a few words.
    """

    layout: str
    embeddings: tuple[Found, ...]
    named: bool = False
    container: str = ""


def contents_of(values: object) -> Contents:
    """Recognise the layout of a container's values (texts to StoredTensors and plain values). Raises FormatError."""
    if isinstance(values, StoredTensor):
        return Contents("bare tensor", (_single(values, None),))
    if not isinstance(values, Mapping):
        raise FormatError(
            f"The file holds a {type(values).__name__} where a table of tensors was expected: it is not an embedding."
        )
    for layout in LAYOUTS:
        contents = layout(values)
        if contents is not None:
            return contents
    raise FormatError(_why_not(values))


def _bundle(values: Mapping[Any, Any]) -> Contents | None:
    """LoRA with embeddings: `bundle_emb.<name>.<rest>` (v1.10.1 extensions-builtin/Lora/networks.py)."""
    bundled: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        parts = key.split(".", 2) if isinstance(key, str) else []
        if len(parts) == 3 and parts[0] == "bundle_emb":
            bundled.setdefault(parts[1], {})[parts[2]] = value
    if not bundled:
        return None
    found = [_bundled(name, _nested(inside)) for name, inside in _few(bundled).items()]
    return Contents("LoRA bundle", tuple(found), named=True)


def _few(named: Mapping[str, Any]) -> Mapping[str, Any]:
    if len(named) > MAX_NAMES:
        raise FormatError(
            f"The file claims to hold {len(named)} embeddings: at most {MAX_NAMES} are read from one file."
        )
    return named


def _nested(inside: Mapping[str, Any]) -> dict[str, Any]:
    """{'string_to_param.*': t} becomes {'string_to_param': {'*': t}}; other keys stay."""
    nested: dict[str, Any] = {}
    for key, value in inside.items():
        first, dot, rest = key.partition(".")
        if first == "string_to_param" and dot:
            nested.setdefault(first, {})[rest] = value
        else:
            nested[key] = value
    return nested


def _bundled(name: str, inside: Mapping[str, Any]) -> Found:
    contents = contents_of(inside) if not any(key.startswith("bundle_emb") for key in inside) else None
    if contents is None or len(contents.embeddings) != 1:
        raise FormatError(
            f"The embedding '{name}' in the bundle holds several words: it cannot be told which one is meant."
        )
    only = contents.embeddings[0]
    return Found(only.vectors, name, left_out=only.left_out)


def _webui(values: Mapping[Any, Any]) -> Contents | None:
    """A1111's dictionary (v1.10.1 `Embedding.save`), and the original repository's with a ParameterDict."""
    if "string_to_param" not in values:
        return None
    parameters = _parameters(values["string_to_param"])
    several = len(parameters) > 1
    details = _details(values)
    labels = {key: key if several else _typed(values.get("name"), str) for key in _few(parameters)}
    found = [_single(parameters[key], label, **details) for key, label in labels.items()]
    return Contents("A1111", tuple(found), named=several)


def _parameters(holder: object) -> Mapping[str, Any]:
    """The tensors of `string_to_param`: a dictionary, or a ParameterDict (its `_parameters`)."""
    inside = holder.state.get("_parameters") if isinstance(holder, Built) else holder
    if not isinstance(inside, Mapping) or not inside:
        raise FormatError("The file's 'string_to_param' holds no tensors: it is damaged or another program's.")
    return {str(key): value for key, value in inside.items()}


def _pair(values: Mapping[Any, Any]) -> Contents | None:
    """kohya SDXL, OneTrainer, InvokeAI, diffusers' pivotal tuning, ours: a tensor by each encoder's name."""
    present = {key: values[key] for key in PAIR if key in values}
    if not present or "t5xxl" in values:
        return None
    vectors = {key: _two_dimensional(_tensor(value, key), key) for key, value in present.items()}
    label = _typed(values.get("name"), str)
    found = Found(vectors, label, left_out=_others(values, present), **_details(values))
    return Contents("by encoder (SDXL)" if len(vectors) > 1 else "by encoder", (found,))


def _parameters_key(values: Mapping[Any, Any]) -> Contents | None:
    """kohya and InvokeAI: `emb_params`; OneTrainer: `emp_params` (its spelling)."""
    for key, layout in (("emb_params", "kohya"), ("emp_params", "OneTrainer")):
        if key in values:
            return Contents(layout, (_single(values[key], None, left_out=_others(values, [key])),))
    return None


def _diffusers(values: Mapping[Any, Any]) -> Contents | None:
    """diffusers' learned_embeds: {placeholder: tensor}; old scripts wrote it without the first dimension."""
    tensors = {key: value for key, value in values.items() if isinstance(value, StoredTensor)}
    if (
        not tensors
        or len(tensors) > MAX_NAMES
        or any(_why(key) or len(value.shape) > 2 for key, value in tensors.items())
    ):
        return None
    found = [_single(value, str(key)) for key, value in tensors.items()]
    return Contents("diffusers", tuple(found), named=len(found) > 1)


LAYOUTS: tuple[Callable[[Mapping[Any, Any]], Contents | None], ...] = (
    _bundle,
    _webui,
    _parameters_key,
    _pair,
    _diffusers,
)


def _single(value: object, label: str | None, **details: Any) -> Found:
    """An embedding of one tensor; its width tells the encoder."""
    tensor = _two_dimensional(_tensor(value, label or "*"), label or "*")
    return Found({encoder_of_width(tensor.shape[1]): tensor}, label, **details)


def _tensor(value: object, where: str) -> StoredTensor:
    if not isinstance(value, StoredTensor):
        raise FormatError(
            f"The file holds a {type(value).__name__} for '{where[:80]}' where a tensor was expected: it is damaged."
        )
    return value


def _two_dimensional(tensor: StoredTensor, where: str) -> StoredTensor:
    """The tensor as (count, width): one of a single dimension is one vector."""
    shape = (1, *tensor.shape) if len(tensor.shape) == 1 else tensor.shape
    if len(shape) != 2 or 0 in shape:
        raise FormatError(f"The tensor '{where[:80]}' has the shape {tensor.shape}: an embedding is (count, width).")
    return StoredTensor(shape, lambda: tensor.read().reshape(shape))


def _details(values: Mapping[Any, Any]) -> dict[str, Any]:
    """What the WebUI's keys and ours say beside the tensors."""
    return {
        "step": _typed(values.get("step"), int),
        "model_hash": _typed(values.get("sd_checkpoint"), str),
        "model_name": _typed(values.get("sd_checkpoint_name"), str),
        "facts": _facts(values.get(FACTS_KEY)),
    }


def _facts(value: object) -> dict[str, Any]:
    """Facts that one of our own files carries; another program's value under that key is no fact of ours."""
    if not isinstance(value, Mapping):
        return {}
    try:
        return plain_facts({str(key): item for key, item in value.items()})
    except InputError as error:
        raise FormatError(f"The facts in the file cannot be read: {error}") from error


def _typed(value: object, kind: type) -> Any:
    return value if type(value) is kind else None


def _others(values: Mapping[Any, Any], taken: Iterable[str]) -> tuple[str, ...]:
    """Tensors that are left aside (OneTrainer's output embeddings), so that it can be told."""
    return tuple(str(key) for key, value in values.items() if isinstance(value, StoredTensor) and key not in set(taken))


def _why(key: object) -> str | None:
    return next((why for start, why in NOT_EMBEDDINGS.items() if str(key).startswith(start)), None)


def _why_not(values: Mapping[Any, Any]) -> str:
    for key in list(values)[:1000]:
        if _why(key):
            return f"The file is {_why(key)} (it holds '{str(key)[:60]}'): it cannot be read as an embedding."
    listed = ", ".join(f"'{str(key)[:40]}'" for key in list(values)[:5]) or "nothing"
    return f"The file holds {len(values)} entries ({listed}) and no known layout of an embedding."
