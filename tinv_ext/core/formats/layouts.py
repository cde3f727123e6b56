"""From what a container holds to embeddings: which program's layout is it, and which tensors belong together.

Each layout is a function from the container's values to the file's contents, or None when it is not that layout; the
first that answers is right. Sources: the writers and loaders listed in each function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tinv_ext.core.embedding import plain_facts
from tinv_ext.core.errors import FormatError, InputError
from tinv_ext.core.families import WIDTHS, encoder_of_width
from tinv_ext.core.formats.pickle_names import Built
from tinv_ext.core.formats.tensors import StoredTensor
from tinv_ext.core.messages import Message, message

FACTS_KEY = "tinv"
"""Where our own writers put the facts of the run."""

MAX_NAMES = 1000
_T5 = "t5xxl"
NOT_EMBEDDINGS: Mapping[str, Message] = {
    "lora_": message("formats.is_lora", "a LoRA without embeddings in it"),
    "model.diffusion_model.": message("formats.is_checkpoint", "a whole checkpoint"),
    "cond_stage_model.": message("formats.is_checkpoint", "a whole checkpoint"),
    "first_stage_model.": message("formats.is_vae", "a VAE"),
    "text_model.": message("formats.is_text_encoder", "a text encoder"),
    "unet.": message("formats.is_lora", "a LoRA without embeddings in it"),
    "IN01": message("formats.is_xti", "XTI (a vector for each layer of the UNet), which no other program loads"),
    _T5: message("formats.is_sd3", "an embedding for SD3, which is not supported"),
    "optimizer_state_dict": message("formats.is_optimizer", "the WebUI's optimizer state (.optim) of an embedding"),
}
"""What a file is that has a key beginning like this."""


@dataclass(frozen=True)
class StoredEmbedding:
    """One embedding as it lies in a file. `vectors` by encoder; `label` is the name that the file gives it, if any.

    `left_out` are keys of tensors and texts in the file that belong to no prompt.
    """

    vectors: Mapping[str, StoredTensor]
    label: str | None = None
    step: int | None = None
    model_hash: str | None = None
    model_name: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class FileContents:
    """What a file holds: the layout in a few words, and its embeddings (most layouts have one).

    `named` when the labels are the embeddings' names rather than a remark beside them; `container` in a few words.
    """

    layout: str
    embeddings: tuple[StoredEmbedding, ...]
    named: bool = False
    container: str = ""


def contents_of(values: object) -> FileContents:
    """Recognise the layout of a container's values (texts to StoredTensors and plain values). Raises FormatError."""
    if isinstance(values, StoredTensor):
        return FileContents("bare tensor", (_single(values, None),))
    if not isinstance(values, Mapping):
        raise FormatError(
            message(
                "formats.no_dictionary",
                "The file holds a {type} where a dictionary of tensors was expected. It is not an embedding.",
                type=type(values).__name__,
            )
        )
    for layout in LAYOUTS:
        contents = layout(values)
        if contents is not None:
            return contents
    raise FormatError(_not_an_embedding(values))


def _bundle(values: Mapping[Any, Any]) -> FileContents | None:
    """LoRA with embeddings: `bundle_emb.<name>.<rest>` (v1.10.1 extensions-builtin/Lora/networks.py)."""
    bundled: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        parts = key.split(".", 2) if isinstance(key, str) else []
        if len(parts) == 3 and parts[0] == "bundle_emb":
            bundled.setdefault(parts[1], {})[parts[2]] = value
    if not bundled:
        return None
    embeddings = [_bundled(name, _nested(inside)) for name, inside in _not_too_many(bundled).items()]
    return FileContents("LoRA bundle", tuple(embeddings), named=True)


def _not_too_many(named: Mapping[str, Any]) -> Mapping[str, Any]:
    if len(named) > MAX_NAMES:
        raise FormatError(
            message(
                "formats.too_many_embeddings",
                "The file claims to hold {count} embeddings; at most {limit} are read from one file.",
                count=len(named),
                limit=MAX_NAMES,
            )
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


def _bundled(name: str, inside: Mapping[str, Any]) -> StoredEmbedding:
    contents = contents_of(inside) if not any(key.startswith("bundle_emb") for key in inside) else None
    if contents is None or len(contents.embeddings) != 1:
        raise FormatError(
            message(
                "formats.bundle_ambiguous",
                'The embedding "{name}" in the bundle has several words, so it is not clear which one to use.',
                name=name,
            )
        )
    only = contents.embeddings[0]
    return StoredEmbedding(only.vectors, name, left_out=only.left_out)


def _webui(values: Mapping[Any, Any]) -> FileContents | None:
    """A1111's dictionary (v1.10.1 `Embedding.save`), and the original repository's with a ParameterDict."""
    if "string_to_param" not in values:
        return None
    parameters = _parameters(values["string_to_param"])
    several = len(parameters) > 1
    details = _details(values)
    labels = {key: key if several else _if_type(values.get("name"), str) for key in _not_too_many(parameters)}
    embeddings = [_single(parameters[key], label, **details) for key, label in labels.items()]
    return FileContents("A1111", tuple(embeddings), named=several)


def _parameters(holder: object) -> Mapping[str, Any]:
    """The tensors of `string_to_param`: a dictionary, or a ParameterDict (its `_parameters`)."""
    inside = holder.state.get("_parameters") if isinstance(holder, Built) else holder
    if not isinstance(inside, Mapping) or not inside:
        raise FormatError(
            message(
                "formats.no_parameters",
                "The file's \"string_to_param\" has no tensors. The file is damaged, or another program's.",
            )
        )
    return {str(key): value for key, value in inside.items()}


def _by_encoder(values: Mapping[Any, Any]) -> FileContents | None:
    """kohya SDXL, OneTrainer, InvokeAI, diffusers' pivotal tuning, ours: a tensor by each encoder's name."""
    present = {key: values[key] for key in WIDTHS if key in values}
    if not present or _T5 in values:
        return None
    vectors = {key: _two_dimensional(_tensor(value, key), key) for key, value in present.items()}
    label = _if_type(values.get("name"), str)
    embedding = StoredEmbedding(vectors, label, left_out=_others(values, present), **_details(values))
    return FileContents("by encoder (SDXL)" if len(vectors) > 1 else "by encoder", (embedding,))


def _parameters_key(values: Mapping[Any, Any]) -> FileContents | None:
    """kohya and InvokeAI: `emb_params`; OneTrainer: `emp_params` (its spelling)."""
    for key, layout in (("emb_params", "kohya"), ("emp_params", "OneTrainer")):
        if key in values:
            return FileContents(layout, (_single(values[key], None, left_out=_others(values, [key])),))
    return None


def _diffusers(values: Mapping[Any, Any]) -> FileContents | None:
    """diffusers' learned_embeds: {placeholder: tensor}; old scripts wrote it without the first dimension."""
    tensors = {key: value for key, value in values.items() if isinstance(value, StoredTensor)}
    if (
        not tensors
        or len(tensors) > MAX_NAMES
        or any(_other_kind(key) or len(value.shape) > 2 for key, value in tensors.items())
    ):
        return None
    embeddings = [_single(value, str(key)) for key, value in tensors.items()]
    return FileContents("diffusers", tuple(embeddings), named=len(embeddings) > 1)


LAYOUTS: tuple[Callable[[Mapping[Any, Any]], FileContents | None], ...] = (
    _bundle,
    _webui,
    _parameters_key,
    _by_encoder,
    _diffusers,
)


def _single(value: object, label: str | None, **details: Any) -> StoredEmbedding:
    """An embedding of one tensor; its width tells the encoder."""
    tensor = _two_dimensional(_tensor(value, label or "*"), label or "*")
    return StoredEmbedding({encoder_of_width(tensor.shape[1]): tensor}, label, **details)


def _tensor(value: object, key: str) -> StoredTensor:
    if not isinstance(value, StoredTensor):
        raise FormatError(
            message(
                "formats.no_tensor",
                'The file holds a {type} under "{key}" where a tensor was expected. It is damaged.',
                type=type(value).__name__,
                key=key[:80],
            )
        )
    return value


def _two_dimensional(tensor: StoredTensor, key: str) -> StoredTensor:
    """The tensor as (count, width): one of a single dimension is one vector."""
    shape = (1, *tensor.shape) if len(tensor.shape) == 1 else tensor.shape
    if len(shape) != 2 or 0 in shape:
        raise FormatError(
            message(
                "formats.wrong_dimensions",
                'The tensor "{key}" has shape {shape}; an embedding has (count, width).',
                key=key[:80],
                shape=str(tensor.shape),
            )
        )
    return StoredTensor(shape, lambda: tensor.read().reshape(shape))


def _details(values: Mapping[Any, Any]) -> dict[str, Any]:
    """What the WebUI's keys and ours say beside the tensors."""
    return {
        "step": _if_type(values.get("step"), int),
        "model_hash": _if_type(values.get("sd_checkpoint"), str),
        "model_name": _if_type(values.get("sd_checkpoint_name"), str),
        "facts": _facts(values.get(FACTS_KEY)),
    }


def _facts(value: object) -> dict[str, Any]:
    """Facts that one of our own files carries; another program's value under that key is no fact of ours."""
    if not isinstance(value, Mapping):
        return {}
    try:
        return plain_facts({str(key): item for key, item in value.items()})
    except InputError as error:
        raise FormatError(
            message(
                "formats.bad_facts", "The metadata in the file cannot be read: {problems: }", problems=error.problems
            )
        ) from error


def _if_type(value: object, wanted: type) -> Any:
    return value if type(value) is wanted else None


def _others(values: Mapping[Any, Any], taken: Iterable[str]) -> tuple[str, ...]:
    """Tensors that are left aside (OneTrainer's output embeddings), so that it can be told."""
    return tuple(str(key) for key, value in values.items() if isinstance(value, StoredTensor) and key not in set(taken))


def _other_kind(key: object) -> Message | None:
    return next((kind for start, kind in NOT_EMBEDDINGS.items() if str(key).startswith(start)), None)


def _not_an_embedding(values: Mapping[Any, Any]) -> Message:
    for key in list(values)[:1000]:
        kind = _other_kind(key)
        if kind:
            return message(
                "formats.other_kind",
                'The file is {kind} (it contains "{key}"), not an embedding.',
                kind=kind,
                key=str(key)[:60],
            )
    return message(
        "formats.no_layout",
        "The file has {count:entry|entries} ({keys:, }) in no known layout of an embedding.",
        count=len(values),
        keys=[f'"{str(key)[:40]}"' for key in list(values)[:5]],
    )
