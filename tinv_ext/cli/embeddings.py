"""The commands for finished files: inspect, convert, extend, average."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinv_ext.cli.arguments import embedding_file, path_if_any, path_needed
from tinv_ext.cli.failures import DONE
from tinv_ext.cli.language import say
from tinv_ext.cli.output import show
from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message
from tinv_ext.core.printable import valid_json
from tinv_ext.core.settings import DEFAULTS, SETTINGS
from tinv_ext.core.settings.saving import PRECISIONS

if TYPE_CHECKING:
    from tinv_ext.core.model import TokenTable
    from tinv_ext.library.convert import ConvertOptions, Written
    from tinv_ext.run.run_folder import RunFolder

# Known here so that `--help` does not wait for torch; a test holds them to `core.formats` and `library.combine`.
FORMATS = ("a1111", "safetensors", "kohya", "diffusers", "diffusers-bin", "onetrainer", "png")
FOLDERS = ("diffusers-folder", "diffusers-folder-bin")
FILLS = ("repeat", "zeros")
ANY_FILE = message("cli.any_file", "a file of any format, a diffusers folder, or owner/name at the hub")
Add = Callable[[str, Callable[[dict[str, Any]], int], str], argparse.ArgumentParser]


def add_commands(add: Add, token_table: Callable[[str], TokenTable]) -> None:
    """Add the commands with `add(name, carry_out, about)`; `token_table(model)` opens a model's tokens."""
    _add_inspect(add, token_table)
    _add_convert(add)
    _add_extend(add)
    _add_average(add)
    _add_restore(add)
    _add_push(add)


def _add_inspect(add: Add, token_table: Callable[[str], TokenTable]) -> None:
    about = message("cli.inspect", "show what an embedding file contains")
    inspect = add("inspect", lambda options: _inspect(options, token_table), about)
    inspect.add_argument("file", type=embedding_file, help=say(ANY_FILE))
    inspect.add_argument(
        "--model", help=say(message("cli.inspect_model", "also show this model's tokens nearest to each vector"))
    )
    inspect.add_argument(
        "--nearest", type=int, default=5, metavar="N", help=say(message("cli.nearest", "how many tokens (default: 5)"))
    )
    inspect.add_argument("--json", action="store_true", help=say(message("cli.json", "as JSON")))


def _add_convert(add: Add) -> None:
    convert = add("convert", _convert, message("cli.convert", "write an embedding in another program's format"))
    _add_pair(convert)
    convert.add_argument(
        "--pick", metavar="WORD", help=say(message("cli.pick", "which embedding of a file with several"))
    )
    every = message("cli.all", "all embeddings of a file with several; OUT is a folder")
    convert.add_argument("--all", action="store_true", help=say(every))


def _add_extend(add: Add) -> None:
    about = message("cli.extend", "give an embedding more vectors, to continue training it with --init-embedding")
    extend = add("extend", _extend, about)
    _add_pair(extend)
    extend.add_argument(
        "--vectors", type=int, required=True, metavar="M", help=say(message("cli.vectors", "how many vectors it gets"))
    )
    fill = message(
        "cli.fill", "repeat: stretch the vectors as a text is stretched (default); zeros: add zeros at the end"
    )
    extend.add_argument("--fill", choices=FILLS, default=FILLS[0], help=say(fill))


def _add_average(add: Add) -> None:
    about = message("cli.average", "average several embeddings, such as the last snapshots of a run")
    average = add("average", _average, about)
    average.add_argument("files", type=embedding_file, nargs="+", metavar="IN")
    out = message("cli.out", "file or folder to write")
    average.add_argument("--output", type=path_needed, required=True, metavar="OUT", help=say(out))
    shares = message("cli.shares", "a weight for each, such as 1,1,2")
    average.add_argument("--shares", help=say(shares), metavar="W,W…", default="")
    _add_options(average)


def _add_restore(add: Add) -> None:
    restore = add("restore", _restore, message("cli.restore", "restore the embedding that a run replaced"))
    run = message("cli.restore_run", "folder of the run; latest = the newest")
    restore.add_argument("run", type=path_needed, metavar="RUN", help=say(run))
    restore.add_argument(
        "--file", default="", help=say(message("cli.restore_file", "which file, where the run replaced several"))
    )
    folder = message("cli.restore_to", "folder of embeddings (default: where the run wrote its own)")
    restore.add_argument("--to", type=path_if_any, metavar="DIR", help=say(folder))


def _add_push(add: Add) -> None:
    push = add("push", _push, message("cli.push", "upload the embedding of a finished run to the hub"))
    run = message("cli.push_run", "folder of the run; latest = the newest")
    push.add_argument("run", type=path_needed, metavar="RUN", help=say(run))
    push.add_argument("--to", default="", metavar="ID", help=say(SETTINGS["hub_model_id"].help))
    push.add_argument("--private", action="store_true", help=say(SETTINGS["hub_private"].help))


def _push(options: dict[str, Any]) -> int:
    from tinv_ext.run.publish import push_run

    show(push_run(_run_named(options["run"]), options["to"], options["private"]))
    return DONE


def _run_named(path: Path) -> RunFolder:
    """The run in a folder; `latest` is the newest of the usual log directory, unless something is called so."""
    from tinv_ext.run.run_folder import RunFolder, find_runs

    if str(path) != "latest" or path.exists():
        return RunFolder(path)
    output = Path(DEFAULTS["output"])
    found = next(iter(find_runs(output)), None)
    if found is None:
        raise InputError(message("cli.no_run", 'There is no run in "{output}". Name the folder of one.', output=output))
    show(say(message("cli.latest_run", "tinv: the latest run is {folder}.", folder=found.path)), sys.stderr)
    return found


def _add_pair(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=embedding_file, metavar="IN", help=say(ANY_FILE))
    parser.add_argument(
        "target",
        type=path_needed,
        metavar="OUT",
        help=say(message("cli.target", "file or folder to write; its name becomes the word")),
    )
    _add_options(parser)


def _add_options(parser: argparse.ArgumentParser) -> None:
    to = message("cli.to", "format (default: from the suffix of OUT)")
    parser.add_argument("--to", choices=(*FORMATS, *FOLDERS), default="", help=say(to))
    precision = message("cli.save_precision", "of the numbers in the file (default: float32)")
    parser.add_argument(
        "--save-precision", dest="precision", choices=PRECISIONS, default="float32", help=say(precision)
    )
    parser.add_argument(
        "--name", default="", metavar="WORD", help=say(message("cli.name", "the word, if it is not the name of OUT"))
    )
    parser.add_argument(
        "--picture",
        dest="image",
        type=path_if_any,
        metavar="FILE",
        help=say(message("cli.shown", "the image that a png shows")),
    )
    parser.add_argument("--author", default="", help=say(message("cli.author", "written into the file")))
    parser.add_argument(
        "--license", default="", help=say(message("cli.license", "name or text, written into the file"))
    )
    parser.add_argument(
        "--overwrite", action="store_true", help=say(message("cli.overwrite", "replace an existing file"))
    )


def _inspect(options: dict[str, Any], token_table: Callable[[str], TokenTable]) -> int:
    from tinv_ext.library import inspect

    if not 0 <= options["nearest"] <= 100:
        raise InputError(
            message("cli.nearest_range", "--nearest must be from 0 to 100, not {count}.", count=options["nearest"])
        )
    opened = token_table(options["model"]) if options["model"] else None
    found = inspect.inspect(options["file"], opened, options["nearest"])
    if options["json"]:
        show(json.dumps(valid_json(found), indent=2).replace("\x7f", "\\u007f"))  # ASCII in any terminal
    else:
        for line in inspect.lines(found):
            show(say(line))
    return 0


def _convert(options: dict[str, Any]) -> int:
    from tinv_ext.library import convert

    if options["all"]:
        return _convert_all(options)
    return _written(convert.convert(options["source"], options["target"], _options(options), options["pick"]))


def _convert_all(options: dict[str, Any]) -> int:
    from tinv_ext.core.names import name_problems
    from tinv_ext.library import convert
    from tinv_ext.library.inspect import inspect

    if options["pick"] or options["name"]:
        raise InputError(
            message("cli.all_names", "With --all every embedding keeps its word. Remove --pick and --name, or --all.")
        )
    names = [one["name"] for one in inspect(options["source"])["embeddings"]]
    problems = [problem for name in names for problem in name_problems(name)]
    if problems:
        one_by_one = message("cli.one_by_one", "Convert these one at a time, with --pick and a file as OUT.")
        raise InputError([*problems, one_by_one])
    options["target"].mkdir(parents=True, exist_ok=True)
    for name in names:
        folder = options["target"] / name if options["to"] in FOLDERS else options["target"]
        _written(convert.convert(options["source"], folder, _options(options), name if len(names) > 1 else None))
    return 0


def _extend(options: dict[str, Any]) -> int:
    from tinv_ext.library import convert
    from tinv_ext.library.combine import extended

    embedding, notices = convert.open_embedding(options["source"])
    longer = extended(embedding, options["vectors"], options["fill"])
    return _written(convert.write_new(longer, options["target"], _options(options)), notices)


def _average(options: dict[str, Any]) -> int:
    from tinv_ext.library import convert
    from tinv_ext.library.combine import averaged

    opened = [convert.open_embedding(path) for path in options["files"]]
    embeddings = [embedding for embedding, _ in opened]
    mean = averaged(embeddings, embeddings[-1].name, weights_of(options["shares"]))
    notices = [notice for _, some in opened for notice in some]
    return _written(convert.write_new(mean, options["output"], _options(options)), notices)


def _restore(options: dict[str, Any]) -> int:
    from tinv_ext.library.library import Library

    run = _run_named(options["run"])
    run.config()  # says so if this is no run
    replaced = run.replaced()
    chosen = [backup for backup in replaced if options["file"] in ("", backup[0].name)]
    if not chosen:
        raise InputError(_nothing_replaced(run.path, options["file"], [path.name for path, _ in replaced]))
    written = run.last_status().file
    folder = options["to"] or (Path(written).parent if written else None)
    if folder is None:
        raise InputError(
            message("cli.restore_where", "The run has written no embedding. Name the folder to restore to with --to.")
        )
    library = Library(folder)
    before = {item.id for item in library.deleted()}
    show(str(library.restore_replaced(*chosen[0])))
    for item in [item for item in library.deleted() if item.id not in before]:
        moved = message(
            "cli.moved",
            "tinv: the {name} that was there is now in {folder}.",
            name=item.key,
            folder=library.trash.path / item.id,
        )
        show(say(moved), sys.stderr)
    return 0


def _nothing_replaced(run: Path, file: str, there: list[str]) -> str:
    if not there:
        return message("cli.nothing_replaced", 'The run in "{run}" has replaced no embedding.', run=run)
    return message(
        "cli.not_replaced",
        'The run in "{run}" has not replaced {file}. It has replaced {there:, }.',
        run=run,
        file=file,
        there=there,
    )


def weights_of(text: str) -> list[float]:
    """Numbers separated by commas. `InputError` if one is not a number."""
    try:
        return [float(part) for part in text.split(",")] if text.strip() else []
    except ValueError as error:
        raise InputError(
            message(
                "cli.not_weights",
                'The weights must be numbers separated by commas, such as 1,1,2, not "{text}".',
                text=text,
            )
        ) from error


def _options(options: dict[str, Any]) -> ConvertOptions:
    from tinv_ext.library.convert import ConvertOptions

    return ConvertOptions(
        **{key: options[key] for key in ("to", "name", "image", "author", "license", "overwrite", "precision")}
    )


def _written(written: Written, notices: list[str] | None = None) -> int:
    for notice in (*(notices or ()), *written.notices):
        show(f"tinv: {say(notice)}", sys.stderr)
    show(str(written.path))
    return 0
