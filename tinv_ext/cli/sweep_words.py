"""The words of a sweep: which of their keys take values, and what each is called in a combination.

Every word of a file gets the values behind its name, as embeddings of one name would replace each other. What names a
word in the settings, a preview's prompt or the `words` of a subset, follows. Captions, templates and files of prompts
are the same for all combinations: a word that is named there, and not by [name], would not be found any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

from tinv_ext.core.messages import Message, message
from tinv_ext.core.names import bare_name
from tinv_ext.core.paths import path_given
from tinv_ext.core.settings import DEFAULTS, SETTINGS, TrainConfig
from tinv_ext.core.settings.words import UNKNOWN_KEY, read_key, tables_in

ALL = "words"
"""What stands for every word in the name of a key, as in words.num_vectors."""
_PROMPTS = {"preview_prompt", "preview_negative_prompt", "class_prompt", "class_tokens"}
_PROMPTS |= {"caption_prefix", "caption_suffix"}
_NAMES = ("name", "angle_brackets")


def is_of_word(axis: str) -> bool:
    """Whether what takes values is a key of words, such as cat-x1.lr_factor, and no setting of the run."""
    return "." in axis


def clean_axis(text: str) -> str:
    """What takes values as it is called in messages and names: without dashes in front, a word without its brackets."""
    word, dot, key = text.strip().rpartition(".")
    key = key.strip().replace("-", "_")
    return f"{bare_name(word.strip())}.{key}" if dot else key.lstrip("_")


def words_of(settings: Mapping[str, Any]) -> list[str]:
    """The names of the words in a list of settings; none where it has no list."""
    return [str(table["name"]) for table in tables_in(TrainConfig.read(settings)[0].words) if table.get("name")]


def read_axis(axis: str, values: Sequence[str], words: Sequence[str]) -> tuple[list[str], list[Message]]:
    """Which keys of which words a key of words means, and why it cannot take these values."""
    word, _, key = axis.rpartition(".")
    meant: dict[str, None] = {}
    problems: dict[Message, None] = {}
    for value in values:
        found, wrong = read_key(key, value, SETTINGS)
        meant.update(dict.fromkeys(found))
        problems.update(dict.fromkeys(wrong))
    if not words:
        return [], [
            message(
                "sweep.no_list",
                'The file has no list of words ([[words]]), of which "{name}" could be one. Write {key} alone.',
                name=axis,
                key=key,
            )
        ]
    if word not in (ALL, *words):
        return [], [_unknown_word(axis, word, words)]
    if any(name in _NAMES for name in meant):
        return [], [name_of_word(axis)]
    if any(problem.id.startswith(UNKNOWN_KEY) for problem in problems) and any(name in SETTINGS for name in meant):
        return [], [
            message(
                "sweep.not_of_a_word",
                '{name}: a word has no "{key}" of its own; it is a setting of the run. Write {key} alone.',
                name=axis,
                key=key,
            )
        ]
    if problems:
        return [], [message("sweep.of_word", "{name}: {problem}", name=axis, problem=problem) for problem in problems]
    return [f"{one}.{name}" for one in words if word in (ALL, one) for name in meant], []


def name_of_word(axis: str) -> Message:
    """That names of the words in a list take no values."""
    return message(
        "sweep.name_of_word",
        "The words of a list are told apart by the values, which are put behind their names: leave {name} out.",
        name=axis,
    )


def _unknown_word(axis: str, word: str, words: Sequence[str]) -> Message:
    near = get_close_matches(word, words, 1)
    if near:
        return message(
            "sweep.unknown_word_near",
            '{name}: there is no word "{word}". Did you mean "{near}"?',
            name=axis,
            word=word,
            near=near[0],
        )
    return message(
        "sweep.unknown_word",
        '{name}: there is no word "{word}". There are {words:, }; "words" stands for all of them.',
        name=axis,
        word=word,
        words=list(words),
    )


def with_values(settings: Mapping[str, Any], chosen: Mapping[str, str]) -> dict[str, Any]:
    """Settings whose tables of words have the values that are chosen for keys of theirs."""
    tables = [dict(table) for table in tables_in(TrainConfig.read(settings)[0].words)]
    for axis, value in chosen.items():
        word, _, key = axis.rpartition(".")
        meant, _ = read_key(key, value, SETTINGS)
        for table in tables:
            if word in (ALL, table.get("name")):
                table.update(meant)
    return {**settings, "words": tables} if tables else dict(settings)


# --- names ------------------------------------------------------------------------------------------------------------


def renamed(name: str, value: Any, names: Mapping[str, str]) -> Any:
    """The value of a setting, or of the `words` of a subset, with new names for words: each by the one it had."""
    if name == "words" and isinstance(value, (list, str)):
        given = value if isinstance(value, list) else value.split(",")
        return [_renamed_token(str(one).strip(), names) for one in given]
    if name not in _PROMPTS or not isinstance(value, str) or not names:
        return value
    from tinv_ext.core.preflight.literal_names import pattern_of

    called = {old.lower(): new for old, new in names.items()}
    return pattern_of(names).sub(lambda match: called[match[0].lower()], value)


def _renamed_token(token: str, names: Mapping[str, str]) -> str:
    bare = bare_name(token)
    return token.replace(bare, names[bare]) if bare in names else token


def renamed_table(table: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """A table of [[words]] with the new names, by which it begins."""
    rest = {key: renamed(key, value, names) for key, value in table.items() if key not in _NAMES}
    new = names[table["name"]]
    return {"name": f"<{new}>" if table.get("angle_brackets") else new, **rest}


def renamed_datasets(config: TrainConfig, base: Path, names: Mapping[str, str]) -> dict[str, Any]:
    """[general] and [[datasets]] as a file of the sweep has to have them; none where it can name those there are.

    That is so unless they are in the base itself or name a word. `InputError` if they cannot be read.
    """
    from tinv_ext.core.settings.dataset_config import moved_tables

    path = path_given(config.dataset_config)
    if not config.dataset_config.strip() or not path.is_file():  # which the check of the run tells
        return {}
    tables = moved_tables(path, partial(renamed, names=names))
    own = path.resolve() == base.resolve()
    return tables if own or tables != moved_tables(path, lambda name, value: value) else {}


class Literal:
    """Looks for words that files name literally; what the same settings name is read once."""

    def __init__(self) -> None:
        self.notices: dict[str, None] = {}
        self._seen: dict[str, list[Message]] = {}

    def problems(self, config: TrainConfig, names: Sequence[str]) -> list[Message]:
        """A sentence on each word that stands in a file. Why files could not be looked at is among the `notices`."""
        read = {name: value for name, value in config.to_dict().items() if SETTINGS[name].group in _READ}
        own = [(word.name, sorted(word.own.items())) for word in config.word_settings]
        key = repr((read, own, config.preview_file, sorted(names)))
        if key not in self._seen:
            self._seen[key] = self._look(config, names)
        return self._seen[key]

    def _look(self, config: TrainConfig, names: Sequence[str]) -> list[Message]:
        from tinv_ext.core.preflight.literal_names import files_naming
        from tinv_ext.core.preflight.notices import listed

        found, unread = files_naming(config, names)
        for reason in unread:
            told = message(
                "sweep.not_looked_at", "Whether files of captions name a word was not seen: {reason}", reason=reason
            )
            self.notices[told] = None
        return [
            message(
                "sweep.named_in_files",
                'The word "{word}" stands in {files}, but each run of a sweep has another name for it. Write [name] '
                "there for the word that the images are of; captions that name several words cannot be swept.",
                word=word,
                files=listed(files),
            )
            for word, files in found.items()
        ]


_READ = ("images", "captions")
assert set(DEFAULTS) >= _PROMPTS, "what is renamed is a setting"
