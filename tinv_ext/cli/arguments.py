"""Arguments as people write them, made ready for argparse: underscores, flags with a value, another launcher."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from tinv_ext.core.errors import InputError, TinvError
from tinv_ext.core.messages import Message, message

_ON, _OFF = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}


def commands_of(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    """The commands of a parser by name."""
    return {
        name: below
        for action in parser._actions  # argparse has no public way to what was added
        if isinstance(action, argparse._SubParsersAction)
        for name, below in action.choices.items()
    }


def without_launcher(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments of a command, and what launches another trainer before them.

    Of `accelerate launch --num_processes 2 train_textual_inversion.py --seed 1` the options after the script are left.
    """
    launcher = next((place for place, text in enumerate(arguments) if _is_script(text)), -1)
    before = list(arguments[: launcher + 1])
    return list(arguments[launcher + 1 :]), before


def _is_script(text: str) -> bool:
    return not text.startswith("-") and text.endswith(".py") and "textual_inversion" in text


def spelled(arguments: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    """The arguments of `parser` with options as it has them: `--Shuffle_tags=no` is `--no-shuffle-tags`."""
    flags = {text for action in parser._actions if action.nargs == 0 for text in action.option_strings}
    known = set(parser._option_string_actions)
    found: list[str] = []
    waiting = list(arguments)
    while waiting:
        text = waiting.pop(0)
        if text == "--":
            return [*found, text, *waiting]
        name, equals, value = text.partition("=")
        if name.startswith("--"):
            name = _known(name, known)
        if name not in flags:
            found.append(name + equals + value)
            continue
        if not equals and waiting and waiting[0].lower() in _ON | _OFF:
            value = waiting.pop(0)
        found += _flag(name, value, equals, known)
    return found


def _known(name: str, known: Collection[str]) -> str:
    dashed = name.replace("_", "-")
    return next((spelling for spelling in (name, dashed, dashed.lower()) if spelling in known), name)


def _flag(name: str, value: str, equals: str, known: Collection[str]) -> list[str]:
    """A flag that was given a value: itself, its opposite, or nothing where it has none and is turned off."""
    if value.lower() in _ON or not value:
        return [name]
    if value.lower() not in _OFF:
        return [name + equals + value]  # argparse refuses it
    opposite = name.replace("--no-", "--", 1) if name.startswith("--no-") else name.replace("--", "--no-", 1)
    return [opposite] if opposite in known else []


def unknown(left: Sequence[str], known: Collection[str]) -> Iterator[Message]:
    """A sentence for each argument that the parser has left, with the option that is nearest."""
    expects = False
    for text in left:
        name = text.partition("=")[0]
        if name.startswith("-") and not name.lstrip("-").replace(".", "").isdigit():
            expects = "=" not in text
            near = get_close_matches(name.replace("_", "-").lower(), known, 1)
            if near:
                yield message(
                    "cli.unknown_option_near",
                    'There is no option "{name}". Did you mean "{near}"?',
                    name=name,
                    near=near[0],
                )
            else:
                yield message("cli.unknown_option", 'There is no option "{name}".', name=name)
        elif not expects:
            yield message(
                "cli.stray_argument",
                '"{text}" belongs to no option. Put values with spaces in quotes.',
                text=text,
            )


def path_if_any(text: str) -> Path | None:
    """The path that an argument names; none for an empty text, as a script's empty variable leaves it."""
    return Path(text) if text.strip() else None


def path_or(default: Path) -> Callable[[str], Path]:
    """As `path_if_any`, with a default in place of none."""
    return lambda text: path_if_any(text) or default


def path_needed(text: str) -> Path:
    """The path that an argument names. `InputError` for an empty text, which would mean the current folder."""
    path = path_if_any(text)
    if path is None:
        raise InputError(
            message("cli.empty_path", "A file or folder among the arguments is empty. Has a variable no value?")
        )
    return path


def word_or_auto(text: str) -> str:
    """The word that an argument is, "auto" for an empty one."""
    return text.strip() or "auto"


def embedding_file(text: str) -> Path:
    """The file that an argument names, fetched where it is at the hub: "hub:owner/name", or "owner/name" alone.

    TinvError where it cannot be had from there.
    """
    from tinv_ext.hub.fetch import fetch_embedding, is_at_the_hub, may_be_at_the_hub

    if is_at_the_hub(text):
        return fetch_embedding(text)
    if not may_be_at_the_hub(text):
        return path_needed(text)
    try:
        return fetch_embedding(text)
    except TinvError as error:
        told = message(
            "hub.neither",
            'There is no file "{text}" here, so it was looked for at the hub. {reason}',
            text=text,
            reason=error.problems[0],
        )
        raise type(error)(told) from error
