"""The commands for finished files: inspect, convert, extend, average."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinv_ext.core.errors import InputError

if TYPE_CHECKING:
    from tinv_ext.core.model import TokenTable
    from tinv_ext.library.convert import ConvertOptions, Written

# Known here so that `--help` does not wait for torch; a test holds them to `core.files.FORMATS` and `core.combining`.
FORMATS = ("a1111", "safetensors", "kohya", "diffusers", "diffusers-bin", "diffusers-folder", "onetrainer", "png")
FILLS = ("repeat", "zeros")
Carry = Callable[[dict[str, Any]], int]


def add_commands(
    add: Callable[[str, Carry, str], argparse.ArgumentParser], token_table: Callable[[str], TokenTable]
) -> None:
    """Add the commands by `add(name, carry out, what it does)`; `token_table(model)` opens a model's tokens."""
    inspect = add("inspect", lambda options: _inspect(options, token_table), "say what an embedding's file holds")
    inspect.add_argument("file", type=Path, help="a file of any format, or a folder of diffusers")
    inspect.add_argument("--model", help="also show the words of this model that are nearest to each vector")
    inspect.add_argument("--nearest", type=int, default=5, metavar="N", help="how many (default: 5)")
    inspect.add_argument("--json", action="store_true", help="as JSON")
    convert = add("convert", _convert, "write an embedding in the format of another program")
    _add_pair(convert)
    convert.add_argument("--pick", metavar="WORD", help="which one of a file that holds several")
    convert.add_argument("--all", action="store_true", help="every one of a file that holds several; OUT is a folder")
    extend = add("extend", _extend, "give a word more vectors, to train on with --init-embedding")
    _add_pair(extend)
    extend.add_argument("--vectors", type=int, required=True, metavar="M", help="how many it shall have")
    extend.add_argument(
        "--fill", choices=FILLS, default=FILLS[0], help="repeat: as a text is stretched (default); zeros: at the end"
    )
    average = add("average", _average, "write the mean of several embeddings, such as the last snapshots of a run")
    average.add_argument("files", type=Path, nargs="+", metavar="IN")
    average.add_argument("--output", type=Path, required=True, metavar="OUT", help="file to write, or a folder")
    restore = add("restore", _restore, "bring back the embedding that a run has replaced")
    restore.add_argument("run", type=Path, metavar="RUN", help="the folder of the run")
    restore.add_argument("--file", default="", help="which one, where the run has replaced several times")
    restore.add_argument("--to", type=Path, metavar="DIR", help="folder of embeddings (default: where the run wrote)")
    average.add_argument("--shares", help="a weight for each, such as 1,1,2", metavar="W,W…", default="")
    _add_wish(average)


def _add_pair(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="IN", help="a file of any format, or a folder of diffusers")
    parser.add_argument("target", type=Path, metavar="OUT", help="file to write, or a folder; its name is the word")
    _add_wish(parser)


def _add_wish(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", choices=FORMATS, default="", help="format (default: by the suffix of OUT)")
    parser.add_argument("--name", default="", metavar="WORD", help="the word, where OUT does not tell it")
    parser.add_argument("--picture", dest="image", type=Path, metavar="FILE", help="the image that a png shows")
    parser.add_argument("--author", default="", help="written into the file")
    parser.add_argument("--license", default="", help="name or text, written into the file")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")


def _inspect(options: dict[str, Any], token_table: Callable[[str], TokenTable]) -> int:
    from tinv_ext.library import inspect

    if not 0 <= options["nearest"] <= 100:
        raise InputError(f"{options['nearest']} nearest words cannot be shown; give 0 to 100.")
    opened = token_table(options["model"]) if options["model"] else None
    said = inspect.inspect(options["file"], opened, options["nearest"])
    print(json.dumps(said, ensure_ascii=False, indent=2) if options["json"] else "\n".join(inspect.lines(said)))
    return 0


def _convert(options: dict[str, Any]) -> int:
    from tinv_ext.library import convert

    if options["all"]:
        return _convert_all(options)
    return _told(convert.convert(options["source"], options["target"], _wish(options), options["pick"]))


def _convert_all(options: dict[str, Any]) -> int:
    from tinv_ext.core.names import name_problems
    from tinv_ext.library import convert
    from tinv_ext.library.inspect import inspect

    if options["pick"] or options["name"]:
        raise InputError("All embeddings keep their words: leave --pick and --name out, or leave out --all.")
    names = [one["name"] for one in inspect(options["source"])["embeddings"]]
    problems = [problem for name in names for problem in name_problems(name)]
    if problems:
        raise InputError([*problems, "Convert those with other names one by one, with --pick and a file as OUT."])
    options["target"].mkdir(parents=True, exist_ok=True)
    for name in names:
        folder = options["target"] / name if options["to"] == "diffusers-folder" else options["target"]
        _told(convert.convert(options["source"], folder, _wish(options), name if len(names) > 1 else None))
    return 0


def _extend(options: dict[str, Any]) -> int:
    from tinv_ext.library import convert
    from tinv_ext.library.combine import extended

    embedding, notices = convert.open_embedding(options["source"])
    longer = extended(embedding, options["vectors"], options["fill"])
    return _told(convert.write_new(longer, options["target"], _wish(options)), notices)


def _average(options: dict[str, Any]) -> int:
    from tinv_ext.library import convert
    from tinv_ext.library.combine import averaged

    opened = [convert.open_embedding(path) for path in options["files"]]
    embeddings = [embedding for embedding, _ in opened]
    mean = averaged(embeddings, embeddings[-1].name, weights_of(options["shares"]))
    notices = [notice for _, some in opened for notice in some]
    return _told(convert.write_new(mean, options["output"], _wish(options)), notices)


def _restore(options: dict[str, Any]) -> int:
    from tinv_ext.library.library import Library
    from tinv_ext.run.run_folder import RunFolder

    run = RunFolder(options["run"])
    run.config()  # says so if this is no run
    kept = run.replaced()
    chosen = [one for one in kept if options["file"] in ("", one[0].name)]
    if not chosen:
        there = f": it has {', '.join(path.name for path, _ in kept)}" if kept else ""
        raise InputError(f'The run in "{run.path}" has replaced no embedding {options["file"]}'.rstrip() + f"{there}.")
    written = run.last_status().file
    folder = options["to"] or (Path(written).parent if written else None)
    if folder is None:
        raise InputError("The run has written no embedding: say with --to into which folder the old one shall go.")
    shelf = Library(folder)
    before = {one.id for one in shelf.deleted()}
    print(shelf.restore_replaced(*chosen[0]))
    for gone in [one for one in shelf.deleted() if one.id not in before]:
        print(f"tinv: {gone.key} was there; it lies in {shelf.trash.path / gone.id} now.", file=sys.stderr)
    return 0


def weights_of(text: str) -> list[float]:
    """Numbers between commas. InputError if one is none."""
    try:
        return [float(part) for part in text.split(",")] if text.strip() else []
    except ValueError as error:
        raise InputError(f'The weights "{text}" are not numbers between commas, such as 1,1,2.') from error


def _wish(options: dict[str, Any]) -> ConvertOptions:
    from tinv_ext.library.convert import ConvertOptions

    return ConvertOptions(**{key: options[key] for key in ("to", "name", "image", "author", "license", "overwrite")})


def _told(written: Written, notices: list[str] | None = None) -> int:
    for notice in (*(notices or ()), *written.notices):
        print(f"tinv: {notice}", file=sys.stderr)
    print(written.path)
    return 0
