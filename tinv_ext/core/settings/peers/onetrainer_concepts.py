"""OneTrainer's concepts (23df383, modules/util/config/ConceptConfig.py): folders of images with settings of their own.

They stand in its configuration, or in a file of their own (training_concepts/concepts.json), which is a list of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tinv_ext.core.errors import InputError
from tinv_ext.core.settings.peers.conversions import resolution


def is_concepts(values: Any) -> bool:
    """Whether a file holds a list of concepts and nothing else."""
    return isinstance(values, list) and all(isinstance(one, Mapping) and "path" in one for one in values)


def trained(concepts: Any) -> list[tuple[int, Mapping[str, Any]]]:
    """The concepts that are enabled and of the usual type, with their places in the list."""
    found = enumerate(concepts if isinstance(concepts, list) else [])
    return [(place, one) for place, one in found if isinstance(one, Mapping) and _enabled(one) and not _other_type(one)]


def not_trained(concepts: Any) -> list[str]:
    """The concepts that are enabled and for something else: OneTrainer's validation and prior prediction."""
    found = enumerate(concepts if isinstance(concepts, list) else [])
    return [
        f"concepts[{place}].type={_other_type(one)}"
        for place, one in found
        if isinstance(one, Mapping) and _enabled(one) and _other_type(one)
    ]


def concept_settings(concept: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The settings of a concept by name, the folder among them, and the names of what it has and is not used."""
    found: dict[str, Any] = {"images": concept.get("path", "")}
    if "include_subdirectories" in concept:
        found["recursive"] = concept["include_subdirectories"]
    left = [f"concepts.{name}" for name in _left_of(concept)]
    repeats = concept.get("balancing", concept.get("repeats", 1.0))  # as it was called before
    if concept.get("balancing_strategy", "REPEATS") == "REPEATS" and isinstance(repeats, (int, float)):
        found["repeats"] = max(1, round(repeats))
        left += ["concepts.balancing"] if repeats != found["repeats"] else []
    else:
        left.append(f"concepts.balancing_strategy={concept.get('balancing_strategy')}")
    found.update(_of_texts(_part(concept, "text")))
    found.update(_of_images(_part(concept, "image"), concept.get("image_variations", 1)))
    return found, left


def as_tables(concepts: list[tuple[int, Mapping[str, Any]]]) -> tuple[dict[str, Any], list[str]]:
    """Concepts as a dataset config of kohya's: a subset for each, in one dataset; and the names of what is not used."""
    subsets, left = [], dict[str, None]()
    for _, concept in concepts:
        settings, unused = concept_settings(concept)
        left |= dict.fromkeys(unused)
        subsets.append({**settings, "loss_weight": concept.get("loss_weight", 1.0)})
    return {"datasets": [{"subsets": subsets}]}, list(left)


def _enabled(concept: Mapping[str, Any]) -> bool:
    return bool(concept.get("enabled", True))


def _other_type(concept: Mapping[str, Any]) -> str:
    kind = "VALIDATION" if concept.get("validation_concept") else str(concept.get("type", "STANDARD"))
    return "" if kind == "STANDARD" else kind


def _part(concept: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = concept.get(name)
    return part if isinstance(part, Mapping) else {}


def _of_texts(text: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """A prompt beside each image, or its name, is the whole prompt; a file of prompts is a template."""
    if text.get("prompt_source", "sample") != "concept":
        yield "template", "none"
    elif text.get("prompt_path"):
        yield "template", text["prompt_path"]
    for name, setting in _TEXT.items():
        if text.get(name) not in (None, ""):
            yield setting, text[name]
    if text.get("tag_dropout_enable"):
        whole = text.get("tag_dropout_mode", "FULL") == "FULL"
        yield "caption_dropout_rate" if whole else "tag_dropout", text.get("tag_dropout_probability", 0.0)


_TEXT = {"enable_tag_shuffling": "shuffle_tags", "tag_delimiter": "caption_separator", "keep_tags_count": "keep_tokens"}


def _of_images(image: Mapping[str, Any], variations: Any) -> Iterator[tuple[str, Any]]:
    """Flips and colours; crops vary where an image is encoded several times."""
    if image.get("enable_random_flip"):
        yield "flip", "horizontal"
    if any(image.get(f"enable_random_{name}") for name in _COLORS):
        yield "color_aug", True
    if isinstance(variations, int) and variations > 1:
        yield "image_variants", variations
        if image.get("enable_crop_jitter", True):
            yield "crop_mode", "random"
    if image.get("enable_resolution_override"):
        yield from resolution_of(image.get("resolution_override")).items()


_COLORS = ("brightness", "hue")


def resolution_of(value: Any) -> Mapping[str, Any]:
    """One of OneTrainer's resolutions as width and height; nothing where it is none."""
    try:
        return resolution(value)
    except InputError:
        return {}


def _left_of(concept: Mapping[str, Any]) -> Iterator[str]:
    """What is switched on and cannot be had here."""
    image, text = _part(concept, "image"), _part(concept, "text")
    for name, value in image.items():
        if value is True and name.startswith("enable_") and name not in _IMAGE_TAKEN:
            yield f"image.{name}"
    if text.get("caps_randomize_enable"):
        yield "text.caps_randomize_enable"
    if text.get("tag_dropout_enable") and text.get("tag_dropout_special_tags_mode", "NONE") != "NONE":
        yield "text.tag_dropout_special_tags_mode"


_IMAGE_TAKEN = {"enable_crop_jitter", "enable_random_flip", "enable_resolution_override"}
_IMAGE_TAKEN |= {f"enable_random_{name}" for name in _COLORS}
