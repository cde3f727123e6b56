"""From what a container holds to embeddings: which program's layout is it, and which tensors belong together.

Each layout is a function from the container's values to the file's contents, or None when it is not that layout; the
first that answers is right. Sources: the writers and loaders listed in each function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor

from tinv_ext.core.embedding import plain_facts
from tinv_ext.core.errors import FormatError, InputError
from tinv_ext.core.families import FAMILIES, SDXL, WIDTHS, encoder_of_width
from tinv_ext.core.formats.other_kinds import (
    OTHER_MODEL,
    OUTPUT,
    WEIGHTS,
    foreign_key,
    is_weight,
    of_other_kind,
    other_kind,
    output_key,
)
from tinv_ext.core.formats.pickle_names import Built
from tinv_ext.core.formats.tensors import StoredTensor, load_tensor
from tinv_ext.core.messages import Message, message

FACTS_KEY = "tinv"
"""Where our own writers put the facts of the run."""

MAX_NAMES = 1000
_ENCODERS: Mapping[str, str] = {
    **{key: key for key in WIDTHS},
    "text_encoders_0": "clip_l",
    "text_encoders_1": "clip_g",
    "text_encoder": "clip_l",
    "text_encoder_2": "clip_g",
}
"""Encoders by the keys that files have: ours, Replicate's cog-sdxl and early pivotal tuning's (`embeddings.pti`), and
diffusers' names of a pipeline's parts."""


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
    foreign = foreign_key(values, _ENCODERS)
    if foreign is not None:
        raise FormatError(of_other_kind(foreign, OTHER_MODEL))
    output = output_key(values)
    if output is not None:
        raise FormatError(of_other_kind(output, OUTPUT))
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
    if set(parameters) <= set(_ENCODERS):
        return _by_encoder({**values, **parameters})
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
    present = {encoder: key for key, encoder in _ENCODERS.items() if key in values}
    if not present or any(is_weight(key) for key in values):
        return None
    present = _with_twin(values, present)
    vectors = {encoder: _for_encoder(encoder, values[key], key) for encoder, key in present.items()}
    label = _if_type(values.get("name"), str)
    embedding = StoredEmbedding(vectors, label, left_out=_others(values, present.values()), **_details(values))
    return FileContents("by encoder (SDXL)" if len(vectors) > 1 else "by encoder", (embedding,))


def _with_twin(values: Mapping[Any, Any], present: dict[str, str]) -> dict[str, str]:
    """The keys of encoders; where one is of SDXL's and the other is missing, with the key of the only tensor of the
    other's width and as many vectors ("text_encoder_1" beside "text_encoder_2").

    Not OneTrainer's output embeddings ("clip_l_out"), which are after the encoder's layers.
    """
    if len(present) > 1 or not set(present) <= set(_SDXL_WIDTHS):
        return present
    ((encoder, key),) = present.items()
    (other,) = set(_SDXL_WIDTHS) - {encoder}
    shape = (_two_dimensional(_tensor(values[key], key), key).shape[0], _SDXL_WIDTHS[other])
    twins = [
        name for name in _others(values, [key]) if tuple(values[name].shape) == shape and not name.endswith("_out")
    ]
    return {**present, other: twins[0]} if len(twins) == 1 else present


def _parameters_key(values: Mapping[Any, Any]) -> FileContents | None:
    """kohya and InvokeAI: `emb_params`; OneTrainer: `emp_params` (its spelling)."""
    for key, layout in (("emb_params", "kohya"), ("emp_params", "OneTrainer")):
        if key in values:
            return FileContents(layout, (_single(values[key], None, left_out=_others(values, [key])),))
    return None


def _second_dictionary(values: Mapping[Any, Any]) -> FileContents | None:
    """AI Runner's SDXL: `string_to_param` and `string_to_param_2`, or keys that begin so and end in "/<token>"."""
    found: dict[str, Any] = {}
    for encoder, start in (("clip_l", "string_to_param"), ("clip_g", "string_to_param_2")):
        inside = values.get(start)
        flat = {key[len(start) + 1 :]: value for key, value in values.items() if str(key).startswith(f"{start}/")}
        tensors = _parameters(inside) if inside is not None else flat
        if len(tensors) == 1:
            ((label, found[encoder]),) = tensors.items()
    if not found or (len(found) == 1 and "string_to_param" in values):
        return None
    vectors = {encoder: _for_encoder(encoder, value, encoder) for encoder, value in found.items()}
    return FileContents("AI Runner", (StoredEmbedding(vectors, str(label), left_out=(), **_details(values)),))


def _diffusers(values: Mapping[Any, Any]) -> FileContents | None:
    """diffusers' learned_embeds: {placeholder: tensor}; old scripts wrote it without the first dimension.

    Two tensors that are SDXL's two widths are one word, whatever they are called.
    """
    tensors = {key: value for key, value in values.items() if isinstance(value, StoredTensor)}
    if (
        not tensors
        or len(tensors) > MAX_NAMES
        or any(other_kind(key) or is_weight(key) or len(value.shape) > 2 for key, value in tensors.items())
    ):
        return None
    embeddings = [_single(value, str(key)) for key, value in tensors.items()]
    if [sorted(one.vectors) for one in embeddings] in ([["clip_l"], ["clip_g"]], [["clip_g"], ["clip_l"]]):
        both = {encoder: tensor for one in embeddings for encoder, tensor in one.vectors.items()}
        if both["clip_l"].shape == (both["clip_g"].shape[0], WIDTHS["clip_l"]):
            return FileContents("by encoder (SDXL)", (StoredEmbedding(both),))
    return FileContents("diffusers", tuple(embeddings), named=len(embeddings) > 1)


LAYOUTS: tuple[Callable[[Mapping[Any, Any]], FileContents | None], ...] = (
    _bundle,
    _second_dictionary,
    _webui,
    _parameters_key,
    _by_encoder,
    _diffusers,
)


def _single(value: object, label: str | None, **details: Any) -> StoredEmbedding:
    """An embedding of one tensor; its width tells the encoder, or that both of SDXL's lie side by side."""
    tensor = _two_dimensional(_tensor(value, label or "*"), label or "*")
    width = tensor.shape[1]
    if width == sum(_SDXL_WIDTHS.values()):  # HCP-Diffusion's compose hook
        return StoredEmbedding(_side_by_side(tensor), label, **details)
    if width > max(WIDTHS.values()):
        raise FormatError(
            message(
                "formats.fits_no_encoder",
                "The file has vectors of width {width}, which fit no text encoder of {families:, }.",
                width=width,
                families=list(FAMILIES),
            )
        )
    return StoredEmbedding({encoder_of_width(width): _few(tensor, label or "*")}, label, **details)


_SDXL_WIDTHS = dict(SDXL.encoders)


def _side_by_side(tensor: StoredTensor) -> dict[str, StoredTensor]:
    """Each encoder's columns of a tensor that has both."""
    first, count = SDXL.encoders[0][1], tensor.shape[0]
    parts = (slice(0, first), slice(first, None))
    return {
        encoder: StoredTensor((count, width), partial(_columns, tensor, part))
        for (encoder, width), part in zip(SDXL.encoders, parts)
    }


def _columns(tensor: StoredTensor, part: slice) -> Tensor:
    return load_tensor(tensor, "*")[:, part].contiguous()


def _for_encoder(encoder: str, value: object, key: str) -> StoredTensor:
    """A tensor that its key says is for an encoder. One of another encoder's width is not taken for that."""
    tensor = _few(_two_dimensional(_tensor(value, key), key), key)
    width = tensor.shape[1]
    if width != WIDTHS[encoder] and (width in WIDTHS.values() or width > max(WIDTHS.values())):
        raise FormatError(
            message(
                "formats.wrong_width",
                'The tensor "{key}" has vectors of width {width}; that text encoder takes {wanted}.',
                key=key,
                width=width,
                wanted=WIDTHS[encoder],
            )
        )
    return tensor


def _few(tensor: StoredTensor, key: str) -> StoredTensor:
    """A tensor of as many vectors as a word may have; more are a model's table of tokens."""
    if tensor.shape[0] > MAX_NAMES:
        raise FormatError(of_other_kind(key, WEIGHTS))
    return tensor


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


def _not_an_embedding(values: Mapping[Any, Any]) -> Message:
    for key in list(values)[:1000]:
        kind = other_kind(key) or (WEIGHTS if is_weight(key) else None)
        if kind:
            return of_other_kind(key, kind)
    return message(
        "formats.no_layout",
        "The file has {count:entry|entries} ({keys:, }) in no known layout of an embedding.",
        count=len(values),
        keys=[f'"{str(key)[:40]}"' for key in list(values)[:5]],
    )
