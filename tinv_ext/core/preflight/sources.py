"""Where a run's images come from: one folder, the `N_name` folders in it, or the subsets of a dataset config.

A source is a run's settings with its own in their place, so whatever can be set for a run can be set for a source.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tinv_ext.core.data.captions import read_text
from tinv_ext.core.data.image_folder import folders_with_images, holds_images
from tinv_ext.core.data.metadata_file import read_metadata
from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message
from tinv_ext.core.paths import path_given
from tinv_ext.core.settings import SETTINGS, TrainConfig
from tinv_ext.core.settings.dataset_config import DatasetConfig, SubsetValues, read_dataset_config
from tinv_ext.core.settings.word import WORD
from tinv_ext.core.settings.words import WordSettings

REGULARIZATION = "regularization"
"""What sources of regularization images are called."""
_REPEATED = re.compile(r"(\d{1,6})_(.*)")
_CONCEPT_IMAGES, _CONCEPT_TYPE = "concept_images", "type_of_concept.txt"  # of Hugging Face's sd-concepts-library


@dataclass(frozen=True)
class Source:
    """One folder of images, with the settings for it, as a part of a dataset.

    `name` is "" where there is no other. The loss of each image is multiplied by `weight`. `is_reg`: its images are for
    regularization. `words` are those that it teaches, of which [name] is the first; none where any may be.
    """

    name: str
    config: TrainConfig
    weight: float = 1.0
    dataset: int = 1
    is_reg: bool = False
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sources:
    """All sources of a run, the settings that are the whole run's, and what people should know of them.

    With `problems`, the sources are what is left without these.
    """

    config: TrainConfig
    sources: tuple[Source, ...]
    notices: tuple[Message, ...] = ()
    problems: tuple[str, ...] = ()


Allow = Callable[[TrainConfig], None]


def sources_of(config: TrainConfig, allow: Allow = lambda config: None) -> Sources:
    """The sources that the settings of a run name, those of regularization images last.

    `InputError` if what they name cannot be used. `allow` is asked before anything that the settings of a source name
    is opened, and may raise.
    """
    found = usable_sources(config, allow)
    if found.problems:
        raise InputError(found.problems)
    return found


def usable_sources(config: TrainConfig, allow: Allow = lambda config: None) -> Sources:
    """The same, with what is wrong in some sources as `problems`, so that the others can be checked, too."""
    words = [word for word in config.word_settings if not word.negative_of]
    if not any(word.own for word in words):
        return _of_settings(config, allow)
    parts = [_of_word(config, word, number, allow) for number, word in enumerate(words, 2) if word.own]
    if config.dataset_config.strip() or not all(word.own for word in words):
        parts.insert(0, _of_settings(config, allow))
    sources = [source for part in parts for source in part.sources]
    sources.sort(key=lambda source: source.is_reg)
    notices, problems = (dict.fromkeys(text for part in parts for text in getattr(part, kind)) for kind in _TOLD)
    return replace(_of(config, sources, [*notices]), problems=tuple(problems))


_TOLD = ("notices", "problems")


def _of_word(config: TrainConfig, word: WordSettings, number: int, allow: Allow) -> Sources:
    """The sources of the images that a word has for itself, as of a dataset with this number."""
    found = _of_settings(config.of_word(word).but(dataset_config=word.own.get("dataset_config", "")), allow)
    named = (
        replace(one, name=f"{word.name}/{one.name}".rstrip("/"), dataset=number, words=(word.name,))
        for one in found.sources
    )
    problems = tuple(
        message("preflight.of_subset", "{subset}: {text}", subset=word.name, text=text) for text in found.problems
    )
    return replace(found, sources=tuple(named), problems=problems)


def _of_settings(config: TrainConfig, allow: Allow) -> Sources:
    """What can be used of the sources that the settings of a run, or of a word, name."""
    allow(config)
    trained = _of_dataset_config(config, allow) if config.dataset_config.strip() else _sources_in(config, allow)
    if not (config.reg_images.strip() and config.prior_loss_weight):
        return trained
    found = _sources_in(config.but(images=config.reg_images, in_json="", mask_folder="", repeats=1), allow)
    regularizing = tuple(
        replace(one, name=f"{REGULARIZATION}/{one.name}".rstrip("/"), weight=config.prior_loss_weight, is_reg=True)
        for one in found.sources
    )
    return replace(trained, sources=(*trained.sources, *regularizing), notices=(*trained.notices, *found.notices))


def _sources_in(config: TrainConfig, allow: Allow) -> Sources:
    """The sources in the image folder of the settings."""
    config, notices = _in_place(config)
    allow(config)
    folder = path_given(config.images)
    if config.recursive or config.in_json.strip() or not config.images.strip() or not _is_divided(folder):
        return Sources(config, (Source("", config),), tuple(notices))
    sources = []
    for path in folders_with_images(folder):
        repeats, words = _repeats(path.name)
        if repeats:
            sources.append(Source(path.name, config.but(images=str(path), repeats=repeats, class_tokens=words)))
        else:
            notices.append(_not_repeated(path.name))
    return _of(config, sources, notices)


def _of(config: TrainConfig, sources: list[Source], notices: Sequence[Message]) -> Sources:
    """In what all sources agree, it is what the whole run has; a single one needs no name.

    Those of regularization images come last, and have no say in it.
    """
    trained = [source for source in sources if not source.is_reg]
    of_all = [source.config.to_dict() for source in trained]
    common = {name: value for name, value in of_all[0].items() if all(one[name] == value for one in of_all)}
    if len(trained) == 1:
        trained = [replace(trained[0], name="")]
    regularizing = [source for source in sources if source.is_reg]
    of_words = {name: getattr(config, name) for name in WORD}  # which each word has for itself
    return Sources(config.but(**{**common, **of_words}), (*trained, *regularizing), tuple(notices))


# --- a dataset config ----------------------------------------------------------------------------------------------


def _of_dataset_config(config: TrainConfig, allow: Allow) -> Sources:
    path = path_given(config.dataset_config)
    found = read_dataset_config(path)
    notices = [*found.notices, *_unused_others(config, found)]
    used = [subset for subset in found.subsets if not subset.is_reg or config.prior_loss_weight]
    sources: list[Source] = []
    problems: list[str] = [*found.problems]
    for subset in used:
        own = config.with_own({"recursive": False, **subset.settings})
        try:
            taught = _taught(subset, config)
            own = own.but(name=taught[0]) if taught else own
            allow(own)
            own, more = _in_place(own)
            allow(own)
        except InputError as error:
            problems += error.problems
            continue
        notices += more
        sources.append(replace(_source(own, subset, sources), words=taught))
    sources, same = _without_twins(sources)
    problems += same
    if all(source.is_reg for source in sources):
        raise InputError(problems or message("preflight.no_subset", '"{file}" has no subset to train on.', file=path))
    if config.images.strip() and all(source.config.images != config.images for source in sources):
        label = SETTINGS["images"].label
        notices.append(
            message(
                "preflight.images_not_used",
                "{label} (images) is not used: {file} says where they are.",
                label=label,
                file=path.name,
            )
        )
    return replace(_of(config, sources, notices), problems=tuple(problems))


def _taught(subset: SubsetValues, config: TrainConfig) -> tuple[str, ...]:
    """The words that a subset says it teaches. `InputError` for one that the run does not train."""
    known = {text: word.name for word in config.word_settings for text in (word.name, word.token)}
    given = [name.strip() for name in subset.words.split(",") if name.strip()]
    unknown = [name for name in given if name not in known]
    if unknown:
        raise InputError(
            message(
                "preflight.subset_of_unknown_word",
                'A subset is to teach "{word}" (words), which is none of the words of the run: {known:, }.',
                word=unknown[0],
                known=[word.name for word in config.word_settings],
            )
        )
    return tuple(known[name] for name in given)


def _source(config: TrainConfig, subset: SubsetValues, others: Sequence[Source]) -> Source:
    """A source, called as its folder is; where that name is taken, with a number."""
    folder = path_given(config.images)
    name = base = folder.absolute().name or str(folder)
    number, taken = 1, {other.name for other in others}
    while name in taken:
        number += 1
        name = f"{base} ({number})"
    weight = subset.loss_weight * (config.prior_loss_weight if subset.is_reg else 1.0)
    return Source(name, config, weight, subset.dataset, subset.is_reg)


def _without_twins(sources: Sequence[Source]) -> tuple[list[Source], list[Message]]:
    """The sources, and a problem for each that is the folder of another of its dataset, which is left out.

    (In another dataset, a folder may come at another size.)
    """
    seen: dict[tuple[int, Path, str], Source] = {}
    problems = []
    for source in sources:
        key = (source.dataset, path_given(source.config.images).absolute(), source.config.in_json)
        if key in seen:
            problems.append(
                message(
                    "preflight.same_folder",
                    'Two subsets of one dataset have the folder "{folder}". Remove one of them; num_repeats says how '
                    "often images are used.",
                    folder=source.config.images,
                )
            )
        seen.setdefault(key, source)
    return [*seen.values()], problems


def _unused_others(config: TrainConfig, found: DatasetConfig) -> list[Message]:
    """Settings of the run in a file that was not given as --config."""
    run = config.to_dict()
    others = {
        name: value for name, value in found.others.items() if name in run and not (name == "words" and run[name])
    }
    names = [name for name, value in others.items() if str(run[name]) != str(value)]
    if not names:
        return []
    return [
        message(
            "preflight.settings_beside_datasets",
            "The dataset config also has settings of the run that are not used: {names:, }. Give the file with "
            "--config to use them.",
            names=names,
        )
    ]


# --- folders -------------------------------------------------------------------------------------------------------


def _in_place(config: TrainConfig) -> tuple[TrainConfig, list[Message]]:
    """The settings of a source with the folder where its images really are."""
    if config.in_json.strip():
        found = read_metadata(path_given(config.in_json), config.caption_separator)
        if not config.images.strip() and found.folder:
            return config.but(images=str(found.folder), recursive=True), []
        return config.but(recursive=config.recursive or found.below), []
    folder = path_given(config.images)
    inner = folder / _CONCEPT_IMAGES
    if not config.images.strip() or config.recursive or holds_images(folder) or not holds_images(inner):
        return config, []
    return config.but(images=str(inner)), [_of_the_library(folder, config)]


def _of_the_library(folder: Path, config: TrainConfig) -> Message:
    try:
        kind = " ".join(read_text(folder / _CONCEPT_TYPE).split())[:20]
    except InputError:
        kind = ""
    if kind == "style" and config.template.startswith("subject"):
        return message(
            "preflight.concept_style",
            'The images are those in "{folder}". They are said to be a style: the template "style" is for that.',
            folder=_CONCEPT_IMAGES,
        )
    return message("preflight.concept_images", 'The images are those in "{folder}".', folder=_CONCEPT_IMAGES)


def _is_divided(folder: Path) -> bool:
    """Whether a folder holds no images itself, but sub-folders called `N_name` that do.

    As kohya's trainers have them (sd-scripts library/config_util.py, generate_dreambooth_subsets_config_by_subdirs).
    """
    if not folder.is_dir() or holds_images(folder):
        return False
    return any(_repeats(path.name)[0] for path in folders_with_images(folder))


def _repeats(name: str) -> tuple[int, str]:
    """How often the images of a folder called so come in an epoch, and the rest of its name; 0 if it does not say."""
    match = _REPEATED.fullmatch(name)
    return (int(match[1]), match[2]) if match else (0, "")


def _not_repeated(name: str) -> Message:
    return message(
        "preflight.folder_not_repeated",
        'The folder "{name}" is not used: its name does not begin with how often its images are repeated, as in '
        '"10_{name}".',
        name=name,
    )
