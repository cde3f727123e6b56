"""The command `create`: an embedding as a training would start with it, as the WebUI's Create embedding makes one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinv_ext.cli.embeddings import FOLDERS, FORMATS, Add
from tinv_ext.cli.failures import DONE
from tinv_ext.cli.flags import add_model
from tinv_ext.cli.given import tell
from tinv_ext.cli.language import say
from tinv_ext.cli.output import show
from tinv_ext.core.errors import InputError
from tinv_ext.core.families import FAMILIES, Family
from tinv_ext.core.messages import message
from tinv_ext.core.names import word_problems
from tinv_ext.core.settings import ALIASES, DEFAULTS, SETTINGS, TrainConfig, current_names

if TYPE_CHECKING:
    from tinv_ext.core.embedding import Embedding
    from tinv_ext.hosts.diffusers.host import DiffusersHost

_SETTINGS = ("init_text", "num_vectors", "overwrite", "author", "license", "save_precision")
HostOf = Callable[[Mapping[str, Any], Mapping[str, Any]], "DiffusersHost"]


def add_create(add: Add, host: HostOf) -> None:
    """Add the command with `add(name, carry_out, about)`; `host(options, settings)` opens the model of the options."""
    about = message("cli.create", "make an embedding without training it")
    parser = add("create", lambda options: _create(options, host), about)
    parser.add_argument("name", metavar="NAME", help=say(SETTINGS["name"].help))
    _add_settings(parser)
    family = message(
        "cli.create_family", "make it for any model of this family, starting from zero, instead of --model"
    )
    parser.add_argument("--family", choices=tuple(FAMILIES), help=say(family))
    parser.add_argument(
        "--to", choices=(*FORMATS, *FOLDERS), default="", help=say(message("cli.create_to", "format (default: .pt)"))
    )
    add_model(parser, default=False)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """The settings that say how an embedding starts, by all their names."""
    names = [*_SETTINGS, *(alias for alias, name in ALIASES.items() if name in _SETTINGS)]
    for name in names:
        setting = ALIASES.get(name, name)
        kind: dict[str, Any] = {"action": "store_true"} if isinstance(DEFAULTS[setting], bool) else {}
        text = say(SETTINGS[setting].help).replace("%", "%%") if name == setting else argparse.SUPPRESS
        parser.add_argument("--" + name.replace("_", "-"), default=argparse.SUPPRESS, help=text, **kind)


def _create(options: dict[str, Any], host: HostOf) -> int:
    from tinv_ext.core.embedding import TOKEN
    from tinv_ext.library.convert import ConvertOptions, write_new

    given = {name: value for name, value in options.items() if ALIASES.get(name, name) in _SETTINGS}
    if options["family"] and "init_text" not in current_names(given):
        given["init_text"] = ""
    config, problems = TrainConfig.read({**given, "name": options["name"]})
    if bool(options["model"]) == bool(options["family"]):
        problems.append(
            message("cli.create_for", "Say what it is for: a model (--model) or a family (--family), one of the two.")
        )
    elif options["family"] and config.init_text.strip():
        problems.append(
            message(
                "cli.create_text",
                "The initialization text needs a model, which has the vectors of its tokens. Use --model instead of "
                "--family.",
            )
        )
    if problems:
        raise InputError(problems)
    folder = Path(options["embeddings"] or Path(DEFAULTS["output"]) / "embeddings")
    family = FAMILIES[options["family"]] if options["family"] else None
    embedding = _of_family(config, family) if family else _of_model(config, host({**options, "embeddings": folder}, {}))
    if config.angle_brackets:
        embedding = replace(embedding, facts={**embedding.facts, TOKEN: config.token})
    replaced = _make_room(folder, config)
    folder.mkdir(parents=True, exist_ok=True)
    writing = ConvertOptions(
        to=options["to"], author=config.author, license=config.license, precision=config.save_precision
    )
    target = folder / config.name if options["to"] in FOLDERS else folder
    written = write_new(embedding, target, writing)
    for notice in replaced:
        show(say(notice), sys.stderr)
    for notice in written.notices:
        tell(notice)
    show(str(written.path))
    return DONE


def _of_family(config: TrainConfig, family: Family) -> Embedding:
    from tinv_ext.core.embedding import Embedding
    from tinv_ext.core.preflight.initial_vectors import from_zero

    return Embedding(config.name, from_zero(config.num_vectors or 1, dict(family.encoders)).vectors, step=0)


def _of_model(config: TrainConfig, host: DiffusersHost) -> Embedding:
    from tinv_ext.core.embedding import Embedding
    from tinv_ext.core.preflight.initial_vectors import from_text

    problems: list[str] = [*word_problems(config.name, host.token_table.tokenizer.ids(config.name))]
    try:
        initial = from_text(config.init_text, config.num_vectors, host.token_table)
    except InputError as error:
        raise InputError([*problems, *error.problems]) from error
    if problems:
        raise InputError(problems)
    facts = host.facts
    return Embedding(
        config.name, initial.vectors, step=0, model_hash=facts.get("model_hash"), model_name=facts.get("model_name")
    )


def _make_room(folder: Path, config: TrainConfig) -> list[str]:
    """Delete what has the name, so that it can be undeleted; `InputError` if it is not to be overwritten."""
    from tinv_ext.library.library import Library

    library = Library(folder)
    there = [item for item in library.items() if Path(item.key).stem.lower() == config.name.lower()]
    if there and not config.overwrite:
        raise InputError(
            message(
                "cli.create_exists",
                'There is already an embedding "{name}" in "{folder}". Choose another name, or use --overwrite, after '
                "which the old one can be undeleted.",
                name=Path(there[0].key).stem,
                folder=folder,
            )
        )
    return [
        message(
            "cli.moved",
            "tinv: the {name} that was there is now in {folder}.",
            name=key,
            folder=library.trash.path / old.id,
        )
        for key, old in ((item.key, library.delete(item.key)) for item in there)
    ]
