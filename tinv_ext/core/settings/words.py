"""Several words in one run: the tables [[words]] of a settings file, each with what its word has of its own.

    [[words]]
    name = "cat-x1"               # what a table does not say is as the settings of the run say
    init_text = "cat"
    images = "photos/cat"
    [[words]]
    name = "dog-x1"
    lr_factor = 0.5
    stop_training_after = 500

Keys are the settings of the word, those of images and captions that a subset may have, and `OWN`. OneTrainer's names
(modules/util/config/TrainConfig.py, TrainEmbeddingConfig) are taken, too. Within the settings the tables are one text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message
from tinv_ext.core.names import bare_name
from tinv_ext.core.settings.aliases import read_names
from tinv_ext.core.settings.setting import Setting, converted, type_problem, value_problems
from tinv_ext.core.settings.word_own import ABOUT_OWN, OWN
from tinv_ext.core.toml import parse_toml

NEGATIVE = "-neg"
"""What DreamArtist puts behind the name of a word for that of its negative word (cptuning.py, `train_embedding`)."""
_OF_THE_WORD = ("name", "angle_brackets", "init_text", "num_vectors", "init_embedding", "use_negative", "nvpt_neg")
_ONETRAINER = {
    "placeholder": "name",
    "initial_embedding_text": "init_text",
    "token_count": "num_vectors",
    "model_name": "init_embedding",
}
_GROUPS, _NOT_OF_A_WORD = ("images", "captions"), {"cache_latents", "latent_sampling", "emphasis"}
Tables = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class WordSettings:
    """What is set for one word of a run.

    Its steps are `lr_factor` times as long as they would be, or as its `learning_rate` says where that is not empty. It
    is not changed from step `stop_training_after` on (0: to the end), or never where it is not to `train`. One with
    `negative_of` is the negative word of that name. `own` are settings of images and captions.
    """

    name: str
    init_text: str
    num_vectors: int
    init_embedding: str = ""
    angle_brackets: bool = False
    lr_factor: float = 1.0
    learning_rate: str = ""
    train: bool = True
    stop_training_after: int = 0
    negative_of: str = ""
    own: Mapping[str, Any] = field(default_factory=dict)

    @property
    def token(self) -> str:
        """The word as diffusers has it."""
        return f"<{self.name}>" if self.angle_brackets else self.name

    @property
    def of_the_word(self) -> dict[str, Any]:
        """Its settings of those of the group of the word, by name."""
        names = ("name", "angle_brackets", "init_text", "num_vectors", "init_embedding")
        return {name: getattr(self, name) for name in names}

    @property
    def beginning(self) -> tuple[Any, ...]:
        """What cannot change once a run has begun with it."""
        return (self.name, self.init_text, self.num_vectors, self.init_embedding, self.negative_of)


def as_text(tables: Tables) -> str:
    """Tables as the setting `words` has them; "" for none."""
    return json.dumps([dict(table) for table in tables], ensure_ascii=False) if tables else ""


@lru_cache(maxsize=64)
def tables_in(text: str) -> tuple[Mapping[str, Any], ...]:
    """The tables of a text that `as_text` made."""
    return tuple(json.loads(text)) if text else ()


def text_problems(text: str) -> list[str]:
    """What keeps a text from being tables that `as_text` made."""
    try:
        tables = tables_in(text)
    except (ValueError, TypeError, RecursionError) as error:
        return [message("settings.words_no_tables", "it is no list of tables ({reason}).", reason=str(error))]
    if all(isinstance(table, Mapping) and table.get("name") for table in tables):
        return []
    return [message("settings.word_without_name", "it has no name.")]


def read_tables(
    value: Any, settings: Mapping[str, Setting], defaults: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], list[Message]]:
    """The tables of words in a list, or in a text that is TOML or JSON, and what is wrong in them.

    `settings` and their `defaults` are those of the run. What is wrong in a table is left out of it.
    """
    try:
        given = _given(value)
    except (ValueError, RecursionError) as error:
        return [], [
            message("settings.words_invalid", "The words (words) are no tables [[words]]: {error}.", error=str(error))
        ]
    except InputError as error:
        return [], [problem for problem in error.problems if isinstance(problem, Message)]
    tables, problems = [], list[Message]()
    for number, table in enumerate(given, 1):
        found, wrong = _read(table, settings, defaults)
        place = f"[[words]] {number}" + (f' "{found["name"]}"' if found.get("name") else "")
        problems += [
            message("settings.in_words", "{place}: {problem}", place=place, problem=problem, number=number)
            for problem in wrong
        ]
        tables.append(found)
    tables, twice = _without_twins(tables)
    return tables, [*problems, *twice]


def _given(value: Any) -> list[Any]:
    """The tables as they are given. ValueError where it is something else."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return []
    if isinstance(value, str):
        text = value.strip()
        value = json.loads(text) if text[:1] in "[{" and not text.startswith("[[") else parse_toml(text)
    if isinstance(value, Mapping):
        value = value.get("words", [value] if "name" in value else None)
    if not isinstance(value, (list, tuple)):
        raise ValueError(message("settings.words_none", "there is no [[words]] in it"))
    return list(value)


def _read(
    table: Any, settings: Mapping[str, Setting], defaults: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Message]]:
    if not isinstance(table, Mapping):
        return {}, [message("settings.not_a_table", "it is no table of names and values.")]
    values, problems = read_names(_by_our_keys(table))
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key not in OWN and not _may_be_own(key, settings):
            problems.append(_unknown(key, settings))
            continue
        default = OWN.get(key, defaults.get(key))
        about = ABOUT_OWN.get(key) or settings[key]
        try:
            typed = converted(default, about.chosen(value))
        except (ValueError, OverflowError):
            problems.append(type_problem(about, key, default, value))
            continue
        if key == "name":
            typed, token = bare_name(typed), typed
            found |= {"angle_brackets": True} if typed != token else {}
        wrong = value_problems(about, key, typed)
        problems += wrong
        if not wrong or key == "name":  # by which the rest is told
            found[key] = typed
    if "name" not in values:
        problems.append(message("settings.word_without_name", "it has no name."))
    return found, problems


def _may_be_own(name: str, settings: Mapping[str, Setting]) -> bool:
    if name in _OF_THE_WORD:
        return True
    return name in settings and settings[name].group in _GROUPS and name not in _NOT_OF_A_WORD


def read_key(key: str, value: Any, settings: Mapping[str, Setting]) -> tuple[dict[str, Any], list[Message]]:
    """What a key of a table says, by the names of our keys, and why no word can have it. The value is not looked at."""
    found, problems = read_names(_by_our_keys({key: value}))
    unknown = [name for name in found if name not in OWN and not _may_be_own(name, settings)]
    return found, [*problems, *(_unknown(name, settings) for name in unknown)]


def _unknown(key: str, settings: Mapping[str, Setting]) -> Message:
    known = [*OWN, *_ONETRAINER, *(name for name in settings if _may_be_own(name, settings))]
    near = get_close_matches(key, known, 1)
    if not near:
        return message("settings.unknown_key", 'there is no key "{key}".', key=key)
    return message(
        "settings.unknown_key_near", 'there is no key "{key}". Did you mean "{near}"?', key=key, near=near[0]
    )


def names_in(value: Any) -> list[str]:
    """The names in tables of words that are given, "" for one without; none where they cannot be read."""
    try:
        given = _given(value)
    except (ValueError, RecursionError, InputError):
        return []
    named = [read_names(table)[0] if isinstance(table, Mapping) else {} for table in map(_by_our_keys, given)]
    return [bare_name(str(table.get("name") or "")) for table in named]


def _by_our_keys(table: Any) -> Any:
    if not isinstance(table, Mapping):
        return table
    return {_ONETRAINER.get(str(key), str(key)): value for key, value in table.items()}


def _without_twins(tables: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Message]]:
    """The tables, those of one name as one, so that nothing else is told of it; a problem for each such name."""
    merged: dict[Any, dict[str, Any]] = {}
    spelled: dict[Any, list[str]] = {}
    for number, table in enumerate(tables):
        name = str(table.get("name", ""))
        key = name.lower() or number
        merged[key] = {**table, **merged.get(key, {})}
        spelled.setdefault(key, []).append(name)
    return [*merged.values()], [_same_word(names) for names in spelled.values() if len(names) > 1]


UNKNOWN_KEY = "settings.unknown_key"
"""How the problems of keys that no word has begin."""
UNNAMED = "settings.word_without_name"
SAME_WORD = ("settings.same_word_twice", "settings.words_differ_in_case")
"""Problems of words that have one name."""


def _same_word(names: Sequence[str]) -> Message:
    one, other = names[0], next((name for name in names if name != names[0]), names[0])
    if one != other:
        return message(
            "settings.words_differ_in_case",
            'The words "{one}" and "{other}" differ only in capital letters: they are the same to the model and as '
            "names of files. Give one of them another name.",
            one=one,
            other=other,
        )
    return message(
        "settings.same_word_twice",
        'Two of the words are called "{name}". Each has a file of its name: give one of them another.',
        name=one,
    )


def name_first(usable: dict[str, Any]) -> list[Message]:
    """Of several words: have the run go by the name of the first, or the one that has the name be among them.

    A problem where one of them has that name in other capital letters, and is taken for it.
    """
    tables = [table for table in tables_in(usable.get("words", "")) if table.get("name")]
    if not tables:
        return []
    problems = []
    if not usable.setdefault("name", tables[0]["name"]):
        usable["name"] = tables[0]["name"]
    named = {table["name"].lower(): table["name"] for table in tables}
    same = named.get(usable["name"].lower())
    if same is None:
        tables.insert(0, {"name": usable["name"]})
    elif same != usable["name"]:
        problems.append(_same_word([usable["name"], same]))
        usable["name"] = same
    usable["words"] = as_text(tables)
    return problems


def settings_of_words(text: str, run: Mapping[str, Any]) -> tuple[WordSettings, ...]:
    """What is set for the words in a text of tables, or for the one that the run has; that of its name comes first."""
    tables = tables_in(text) or ({"name": run["name"]},)
    found = [word for table in tables for word in _settings_of(table, run)]
    return tuple(sorted(found, key=lambda word: word.name != run["name"]))


def _settings_of(table: Mapping[str, Any], run: Mapping[str, Any]) -> list[WordSettings]:
    """A word as its table says, with the settings of the `run` beneath, and its negative word, if it has one."""
    named = {name: table.get(name, run[name]) for name in _OF_THE_WORD}
    use_negative, count = named.pop("use_negative"), named.pop("nvpt_neg")
    named["angle_brackets"] = bool(table.get("angle_brackets", run["angle_brackets"] and table["name"] == run["name"]))
    rest = {key: table.get(key, default) for key, default in OWN.items()}
    own = {key: value for key, value in table.items() if key not in named and key not in rest}
    own = {key: value for key, value in own.items() if key not in _OF_THE_WORD}
    word = WordSettings(**named, **rest, own=own)
    return [word, *([negative_of(word, count, run["neg_lr_w"])] if use_negative else [])]


def negative_of(word: WordSettings, count: int, weight: float) -> WordSettings:
    """The negative word of a word, with `count` vectors (0: as many), trained at `weight` times its rate."""
    return WordSettings(
        word.name + NEGATIVE,
        word.init_text,
        count or word.num_vectors,
        word.init_embedding and _beside(word.init_embedding),
        False,
        word.lr_factor * weight,
        "",
        word.train,
        word.stop_training_after,
        word.name,
    )


def _beside(path: str) -> str:
    """The file of the negative word beside that of its word, as DreamArtist names both."""
    folder, dot, suffix = path.rpartition(".")
    return f"{folder}{NEGATIVE}{dot}{suffix}" if dot else path + NEGATIVE
