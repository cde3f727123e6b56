"""What a client from outside may name: only paths in folders that the owner has opened, and no account of theirs."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tinv_ext.core.data.captions import own_templates
from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message
from tinv_ext.core.names import RESERVED
from tinv_ext.core.paths import path_problems
from tinv_ext.core.preflight.sources import sources_of
from tinv_ext.core.settings import SETTINGS, TrainConfig, current_names
from tinv_ext.core.settings.saving import trackers_named

SENDING = {"wandb"}
"""Trackers to which a run is sent from an account."""
PathCheck = Callable[[Mapping[str, Any]], list[Message]]
WINDOWS = os.name == "nt"
PATHS = (
    *("images", "mask_folder", "reg_images", "dataset_config", "in_json"),
    *("init_embedding", "template", "preview_file", "output", "logging_dir"),
)
"""The settings that are paths."""
OTHERS = {  # what else is one, with what the page calls it
    "source": message("server.source", "Source directory"),
    "target": message("server.target", "Destination directory"),
    "tagger": message("server.tagger", "Tagger file"),
}


def allow_only(roots: Sequence[Path]) -> PathCheck:
    """A check of settings: a sentence for each path that lies outside of `roots`, links followed.

    And for what would be sent in the owner's name: whoever is logged in on this machine is not whoever asks.
    """
    paths = _check(
        lambda path: path_problems(path) == [] and _opened(path, roots),
        lambda name: message(
            "server.path_not_allowed",
            "{label} ({name}) is outside the folders that may be used from here. Use a folder below the WebUI's "
            "data folder, or one that its owner has opened with --tinv-folder.",
            label=_label(name),
            name=name,
        ),
    )
    return lambda values: [*paths(values), *_in_the_owners_name(values)]


def _in_the_owners_name(values: Mapping[str, Any]) -> list[Message]:
    values = current_names(values)
    asked = {
        "push_to_hub": values.get("push_to_hub", False),
        "log_with": SENDING & {*trackers_named(str(values.get("log_with") or ""))},
    }
    return [
        message(
            "server.owners_account",
            "{label} ({name}) would use the account of this machine's owner. Only the owner can turn it on.",
            label=_label(name),
            name=name,
        )
        for name, given in asked.items()
        if given and str(given).strip().lower() not in ("false", "0", "no", "off")
    ]


def local_only(roots: Sequence[Path] = ()) -> PathCheck:
    """A check of settings: a sentence for each path of another machine or of a device, unless it is below `roots`.

    To open a share is to log on there, with the user's name and a hash of the password; a device or a pipe may never
    end, and reading some of them has effects. What no system can have is for others to tell.
    """
    return _check(
        lambda path: bool(path_problems(path)) or not _elsewhere(path) or _opened(path, roots),
        lambda name: message(
            "server.path_not_local",
            "{label} ({name}) is not a file or folder of this machine. Connect a network folder as a drive, or train "
            "on the command line; in the WebUI, --tinv-folder opens it.",
            label=_label(name),
            name=name,
        ),
    )


def refuse_paths(values: Mapping[str, Any], confine: PathCheck | None) -> None:
    """`InputError` where the settings name a path that may not be opened; what is not local never is unasked."""
    problems = (confine or local_only())(values)
    if problems:
        raise InputError(problems)


def refuse_sources(values: Mapping[str, Any], confine: PathCheck | None) -> None:
    """`InputError` where a file that the settings name, such as a dataset config, or one of several words names such a
    path in its turn."""
    refused: list[str] = []

    def allow(config: TrainConfig) -> None:
        try:
            refuse_paths({name: getattr(config, name) for name in PATHS if name != "output"}, confine)
        except InputError as error:
            refused.extend(error.problems)
            raise

    with suppress(InputError):  # whatever else is wrong is told when the run is prepared
        config = TrainConfig.read(values)[0]
        for word in config.word_settings if config.words else ():
            allow(config.of_word(word))
        sources_of(config, allow)
    if refused:
        raise InputError(dict.fromkeys(refused))


def _check(good: Callable[[str], bool], problem: Callable[[str], Message]) -> PathCheck:
    def problems(values: Mapping[str, Any]) -> list[Message]:
        values = current_names(values)  # the first of two names counts, as it does for the run
        given = {name: str(values.get(name) or "") for name in (*PATHS, *OTHERS)}
        if given["template"].removesuffix(".txt") in own_templates():
            given["template"] = ""
        return [problem(name) for name, path in given.items() if path and not good(path)]

    return problems


def _label(name: str) -> str:
    return OTHERS[name] if name in OTHERS else SETTINGS[name].label


def _opened(text: str, roots: Sequence[Path]) -> bool:
    """Whether the path is below one of the roots. One of another machine is opened only if it says so itself."""
    path = text.strip().strip("\"'")
    if is_remote(path):
        roots = [root for root in roots if is_remote(str(root)) and _starts(_words(path), _words(str(root)))]
    real = [Path(os.path.realpath(root)) for root in roots]
    place = Path(os.path.realpath(os.path.expanduser(path))) if real else Path()
    return any(place == root or root in place.parents for root in real)


def _elsewhere(text: str) -> bool:
    """Whether a path is that of another machine, of a device, or of what is neither file nor folder."""
    path = text.strip().strip("\"'")
    if is_remote(path) or (WINDOWS and any(word.split(".")[0].strip(" :") in RESERVED for word in _words(path))):
        return True
    absolute = os.path.abspath(os.path.expanduser(path))
    if _of_the_system(absolute):
        return True
    try:
        real = os.path.realpath(absolute)
        mode = 0 if _of_the_system(real) else os.stat(real).st_mode
    except OSError:  # not there, or not to be seen: the run says so
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _of_the_system(path: str) -> bool:
    """Whether it is below a folder of Linux and macOS that holds no files but doors; /dev/shm is one of memory."""
    _, first, *below = [*path.split("/"), ""]
    return path.startswith("/") and (first in ("proc", "sys") or (first == "dev" and below[:1] != ["shm"]))


def is_remote(path: str) -> bool:
    """Whether it begins as \\\\server\\share, \\\\?\\ or \\\\.\\ do, in either slash; the file system is not asked."""
    return path.strip().strip("\"'").replace("\\", "/").startswith("//")


def _starts(words: Sequence[str], first: Sequence[str]) -> bool:
    return list(words[: len(first)]) == list(first)


def _words(path: str) -> list[str]:
    return path.replace("\\", "/").rstrip("/").lower().split("/")
