"""What previews show: a prompt a line, in the setting or in a file, with options for its size, seed and the like.

The format is kohya's (sd-scripts 48d368f, library/train_util.py: line_to_prompt_dict, load_prompts): "a cat --n a dog
--w 512 --h 768 --d 1 --l 7.5 --s 28", and "#" begins a comment. A .json file is a list of such lines or of tables; a
.toml file has in [prompt] what all share and in [[prompt.subset]] what each has of its own. OneTrainer's samples are
read, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tinv_ext.core.data.captions import NAME, read_text
from tinv_ext.core.errors import InputError
from tinv_ext.core.generation.requests import LIMITS, ImageRequest
from tinv_ext.core.messages import Message, message
from tinv_ext.core.paths import path_given
from tinv_ext.core.settings import SETTINGS, TrainConfig
from tinv_ext.core.settings.peers.conversions import SAMPLERS
from tinv_ext.core.settings.setting import converted, type_problem, value_problems
from tinv_ext.core.settings.words import WordSettings
from tinv_ext.core.toml import parse_toml

MAX_BYTES = 1 << 20
"""Of a file of prompts."""

OPTIONS: Mapping[str, str] = {
    "n": "negative_prompt",
    "w": "width",
    "h": "height",
    "d": "seed",
    "s": "steps",
    "l": "cfg_scale",
    "ss": "sampler",
}
_KEYS: Mapping[str, str] = {
    **{name: name for name in ("prompt", *OPTIONS.values())},
    "sample_steps": "steps",
    "scale": "cfg_scale",
    "sample_sampler": "sampler",
    "diffusion_steps": "steps",
    "noise_scheduler": "sampler",
}
_OF_OTHER_MODELS = {"g", "cn", "ctr", "rcfg", "fs"}
_OF_OTHER_MODELS |= {"guidance_scale", "controlnet_image", "cfg_trunc_ratio", "renorm_cfg", "flow_shift"}
_OF_OTHER_MODELS |= {"frames", "length", "random_seed", "transformer_attention_mask", "force_last_timestep"}
_OF_OTHER_MODELS |= {"sample_inpainting", "base_image_path", "mask_image_path"}  # OneTrainer's
_OF_OTHER_MODELS |= {
    f"text_encoder_{number}_{what}" for number in range(1, 5) for what in ("layer_skip", "sequence_length")
}
_OPTION = re.compile(r"(?:^|\s)--(?=\w)")
_TYPES: Mapping[str, Any] = {"width": 0, "height": 0, "seed": 0, "steps": 0, "cfg_scale": 0.0}
_SIDE = 8  # pixels: kohya rounds sizes down to multiples of it
Entry = tuple[Message, "str | Mapping[str, Any]"]


@dataclass(frozen=True)
class PreviewPrompt:
    """One prompt of previews: where it stands, its images, which differ in their seed, options that have no use, and
    which word it is of."""

    place: Message
    requests: tuple[ImageRequest, ...]
    unused: tuple[str, ...] = ()
    word: str = ""


def preview_prompts(config: TrainConfig) -> list[PreviewPrompt]:
    """What a preview of a run shows, with [name] filled in. `InputError` with every problem, each with its place.

    What a prompt does not say itself is as the settings say. Of several words, each is [name] in turn.
    """
    prompts, problems = [], list[str]()
    for place, entry in _entries(config):
        values, unused, wrong = _read(entry)
        problems += [message("generation.at", "{place}: {problem}", place=place, problem=text) for text in wrong]
        if not wrong:
            prompts += [
                PreviewPrompt(place, _requests(values, config, word), unused, word.name)
                for word in _words_of(values, config)
            ]
    if problems:
        raise InputError(problems)
    return prompts


def _words_of(values: Mapping[str, Any], config: TrainConfig) -> list[WordSettings]:
    """The words that a prompt is to show: all where it has [name]; else the first, for the run as a whole."""
    words = [word for word in config.word_settings if not word.negative_of]
    both = values["prompt"] + values.get("negative_prompt", config.preview_negative_prompt)
    return words if NAME in both else words[:1]


def _requests(values: Mapping[str, Any], config: TrainConfig, word: WordSettings) -> tuple[ImageRequest, ...]:
    prompt = _filled(values["prompt"], config, word)
    given = _filled(values.get("negative_prompt", config.preview_negative_prompt), config, word)
    first = ImageRequest(
        prompt,
        _with_negatives(given, prompt, config),
        values.get("steps", config.preview_steps),
        values.get("cfg_scale", config.preview_cfg_scale),
        values.get("seed", config.preview_seed),
        values.get("width", config.preview_width or config.width),
        values.get("height", config.preview_height or config.height),
        values.get("sampler", config.preview_sampler),
        config.preview_scheduler,
    )
    return tuple(replace(first, seed=first.seed + number) for number in range(config.preview_images))


def _filled(text: str, config: TrainConfig, word: WordSettings) -> str:
    return config.bare(text.replace(NAME, word.name))


def _with_negatives(negative: str, prompt: str, config: TrainConfig) -> str:
    """A negative prompt with the negative words of those in the prompt, which are meant to be used together."""
    missing = [
        one.name
        for one in config.word_settings
        if one.negative_of and one.negative_of in prompt and one.name not in negative
    ]
    return ", ".join([*([negative] if negative.strip() else []), *missing]) if missing else negative


# --- where prompts stand ---------------------------------------------------------------------------------------------


def _entries(config: TrainConfig) -> list[Entry]:
    """The prompts of the file, or of the setting where there is none, each with its place."""
    if config.preview_file.strip():
        return _of_file(path_given(config.preview_file))
    label = SETTINGS["preview_prompt"].label

    def place(line: int) -> Message:
        return message("generation.line_of_setting", "{label} (preview_prompt), line {line}", label=label, line=line)

    return list(_lines(config.preview_prompt, place))


def _lines(text: str, place: Callable[[int], Message]) -> Iterator[Entry]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.strip().startswith("#"):
            yield place(number), line.strip()


def _of_file(path: Path) -> list[Entry]:
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise InputError(
            message("generation.file_too_large", '"{file}" is too large for a file of prompts.', file=path)
        )
    text = read_text(path)
    kind = path.suffix.lower()
    if kind not in (".json", ".toml"):
        return list(_lines(text, lambda line: message("generation.line", "{file}, line {line}", file=path, line=line)))
    try:
        found = _of_toml(parse_toml(text)) if kind == ".toml" else json.loads(text)
        if not isinstance(found, list) or not all(isinstance(entry, (str, Mapping)) for entry in found):
            raise ValueError(message("generation.no_list", "it is no list of prompts"))
    except (ValueError, RecursionError) as error:
        raise InputError(
            message(
                "generation.invalid_file",
                '"{file}" cannot be read as prompts of previews: {reason}.',
                file=path,
                reason=error.args[0] if error.args else type(error).__name__,
            )
        ) from error
    return [
        (message("generation.entry", "{file}, prompt {number}", file=path, number=number), entry)
        for number, entry in enumerate(found, 1)
        if not (isinstance(entry, Mapping) and entry.get("enabled") is False)
    ]


def _of_toml(table: Mapping[str, Any]) -> Any:
    """The prompts of [[prompt.subset]], each with what [prompt] has for all; or that one alone."""
    shared = table.get("prompt")
    if not isinstance(shared, Mapping):
        return None
    common = {key: value for key, value in shared.items() if key != "subset"}
    subsets = shared.get("subset", [{}])
    whole = isinstance(subsets, list) and all(isinstance(subset, Mapping) for subset in subsets)
    return [{**common, **subset} for subset in subsets] if whole else None


# --- what a prompt says ----------------------------------------------------------------------------------------------


def _read(entry: str | Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...], list[str]]:
    """Values by the fields of `ImageRequest`, options that have no use, and what is wrong."""
    if isinstance(entry, str):
        prompt, *options = _OPTION.split(entry)
        pairs = [(f"--{name}", text.strip()) for name, _, text in (option.partition(" ") for option in options)]
        given = [("prompt", prompt.strip()), *pairs]
        names = {"prompt": "prompt", **{f"--{option}": name for option, name in OPTIONS.items()}}
    else:
        given, names = list(entry.items()), dict(_KEYS)
    values: dict[str, Any] = {}
    unused, problems = [], list[str]()
    for option, value in given:
        if value is None or option == "enabled":
            continue  # as if it were not there
        if option.lstrip("-").lower() in _OF_OTHER_MODELS:
            unused.append(option)
        elif option.lower() not in names:
            problems.append(_unknown(option, names))
        else:
            name = names[option.lower()]
            values[name], wrong = _value(name, option, value)
            problems += wrong
    if not values.get("prompt"):
        problems.append(message("generation.no_prompt", "there is no prompt"))
    return values, tuple(unused), problems


def _value(name: str, option: str, value: Any) -> tuple[Any, list[Message]]:
    """The value of an option as its type, and what is wrong with it."""
    if name == "sampler":
        return SAMPLERS.get(str(value).lower(), str(value)), []
    if name not in _TYPES:
        return str(value), []
    about = LIMITS[name]
    try:
        typed = converted(_TYPES[name], value)
    except (ValueError, OverflowError):
        return None, [type_problem(about, option, _TYPES[name], value)]
    if name in ("width", "height"):
        typed -= typed % _SIDE
    return typed, value_problems(about, option, typed)


def _unknown(option: str, known: Iterable[str]) -> Message:
    return message(
        "generation.unknown_option",
        '"{option}" is not known. A prompt can have {known:, }.',
        option=option,
        known=[name for name in known if name != "prompt"],
    )
