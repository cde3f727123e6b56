"""The command line: train, check, generate without a WebUI. Flags come from the settings; nothing has two names.

Exit codes: 0 done, 2 bad input, 3 stopped, 4 failed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinv_ext import __version__
from tinv_ext.cli.embeddings import add_commands
from tinv_ext.core.errors import InputError, TinvError
from tinv_ext.core.settings import DEFAULTS, GROUPS, SETTINGS

if TYPE_CHECKING:
    from tinv_ext.core.model import TokenTable
    from tinv_ext.core.preflight.prepare import PreparedRun
    from tinv_ext.hosts.diffusers.host import DiffusersHost

DONE, BAD_INPUT, STOPPED, FAILED = 0, 2, 3, 4
_NOT_SETTINGS = {"command", "config", "model", "vae", "device", "precision", "embeddings", "resume"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command; returns the exit code."""
    for library in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):  # what matters to the user is an error of ours
        os.environ.setdefault(library, "error")
    options = vars(_parser().parse_args(arguments))
    command: Callable[[dict[str, Any]], int] = options.pop("carry_out")
    try:
        return command(options)
    except InputError as error:
        print(f"tinv: {_counted(len(error.problems), 'problem')}; nothing was started.", file=sys.stderr)
        for problem in error.problems:
            print(f"  - {problem}", file=sys.stderr)
        return BAD_INPUT
    except TinvError as error:
        print(f"tinv: failed. {error}", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("tinv", description="Textual inversion for Stable Diffusion.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    train = _command(commands, "train", _train, "teach a new word from a folder of pictures")
    train.add_argument("--resume", type=Path, metavar="RUN", help="go on with the run in this folder")
    check = _command(commands, "check", _check, "say what a training would do, without starting it")
    for command in (train, check):
        _add_model(command)
        command.add_argument("--config", type=Path, metavar="FILE", help="settings from a .toml or .json file")
        _add_settings(command)
    generate = _command(commands, "generate", _generate, "draw a picture with embeddings")
    _add_model(generate)
    _add_generate(generate)
    ui = _command(commands, "ui", _ui, "serve the page of the WebUI's tab on this machine")
    _add_model(ui)
    ui.add_argument("--port", type=int, default=7870)
    add_commands(lambda *said: _command(commands, *said), _token_table)
    _add_toy(commands)
    return parser


def _add_toy(commands: Any) -> None:
    from tinv_ext.toy import VARIANTS

    said = "the tiny model that comes with the package"
    actions = commands.add_parser("toy", help=said, description=said).add_subparsers(required=True, metavar="ACTION")
    demo = _command(actions, "demo", _demo, "teach it one concept that it does not know, and show the result")
    demo.add_argument("--output", type=Path, default=Path("demo"), metavar="DIR")
    demo.add_argument("--concept", metavar="NAME", help="one of those with sample pictures in the package")
    export = _command(actions, "export", _export, "write it as a diffusers folder and in the WebUI's form")
    export.add_argument("folder", type=Path)
    export.add_argument("--variant", choices=VARIANTS, help="write this variant of it")


def _command(
    commands: Any, name: str, carry_out: Callable[[dict[str, Any]], int], said: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=said, description=said, allow_abbrev=False)
    parser.set_defaults(carry_out=carry_out)
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    from tinv_ext.toy import VARIANTS

    group = parser.add_argument_group("host")
    tiny = ", ".join(["toy (the default)", *(f"toy-{name}" for name in VARIANTS)])
    said = f"{tiny}, a diffusers folder, a checkpoint file, or owner/name on the Hugging Face hub"
    group.add_argument("--model", default=None, help=said)
    group.add_argument("--vae", type=Path, metavar="FILE", help="another VAE in place of the model's")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps …")
    group.add_argument("--precision", default="auto", choices=("auto", "fp32", "fp16", "bf16"))
    group.add_argument(
        "--embeddings", type=Path, metavar="DIR", help="folder of embeddings (default: in the log directory)"
    )


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """A flag for each setting; only those given are passed on, as text, so that all problems are told at once."""
    groups = {name: parser.add_argument_group(name) for name in GROUPS}
    for name, about in SETTINGS.items():
        flag, default = "--" + name.replace("_", "-"), DEFAULTS[name]
        said = f"{about.label}. {about.help}".replace("%", "%%")
        if isinstance(default, bool):
            action: Any = argparse.BooleanOptionalAction
            groups[about.group].add_argument(flag, action=action, default=argparse.SUPPRESS, help=said)
            continue
        shown = f" (default: {default!r})" if default != "" else ""
        metavar = "|".join(about.choices) if about.choices else type(default).__name__.upper()
        groups[about.group].add_argument(flag, default=argparse.SUPPRESS, metavar=metavar, help=said + shown)


def _add_generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompt")
    parser.add_argument("--embedding", type=Path, action="append", default=[], metavar="FILE", help="use this one too")
    parser.add_argument("--negative-prompt", default="")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cfg-scale", type=float, default=7.0)
    parser.add_argument("--width", type=int, default=0, help="in pixels; 0 takes the model's own")
    parser.add_argument("--height", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("picture.png"), metavar="FILE", help="PNG to write")


# --- train -------------------------------------------------------------------------------------------------------


def _train(options: dict[str, Any]) -> int:
    from tinv_ext.cli.progress import Progress
    from tinv_ext.run import preflight, runner

    given, run = _given(options), options["resume"]
    before, made_with = _of_run(run) if run else ({}, {})
    host = _host(options, {**before, **given}, made_with)
    with Progress(sys.stderr) as progress, _stopping() as controls:
        if run:
            status = runner.resume(run, host, given, progress.report, controls)
        else:
            status = runner.run(preflight.parse_settings(given, host), host, progress.report, controls)
    print(f"{status.status.capitalize()} at step {status.steps}.")
    if status.file:
        print(f"The embedding: {status.file}")
        print(f'Use "{Path(status.file).stem}" in a prompt, for instance:')
        model = f' --model "{host.facts["source"]}"' if host.facts.get("source") != "toy" else ""
        print(f'  python -m tinv_ext generate "a photo of {Path(status.file).stem}" --embedding "{status.file}"{model}')
    return {"finished": DONE, "stopped": STOPPED}.get(status.status, FAILED)


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Settings from the file and, above them, from the flags."""
    flags = {name: value for name, value in options.items() if name not in _NOT_SETTINGS}
    return {**(_read_config(options["config"]) if options["config"] else {}), **flags}


def _read_config(path: Path) -> dict[str, Any]:
    """Settings by name from TOML or JSON; the config.json of a run is one too."""
    try:
        data = path.read_bytes()
        values = json.loads(data) if path.suffix.lower() == ".json" else _toml(data.decode("utf-8"))
    except OSError as error:
        raise InputError(f'The settings file "{path}" cannot be read: {error.strerror or error}.') from error
    except ValueError as error:
        raise InputError(f'The settings file "{path}" is not valid: {error}. Write TOML or JSON.') from error
    if isinstance(values, dict) and isinstance(values.get("settings"), dict):
        values = values["settings"]
    if not isinstance(values, dict):
        raise InputError(f'The settings file "{path}" must hold names with values, such as steps = 500.')
    return values


def _toml(text: str) -> Any:
    try:
        import tomllib
    except ImportError:  # Python 3.10
        try:
            import tomli as tomllib
        except ImportError:
            raise InputError(
                "Reading TOML needs Python 3.11 or the package tomli. Install tomli, or write the settings as JSON."
            ) from None
    return tomllib.loads(text)


def _of_run(path: Path) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Settings of a run and what is known of the model that it was made with."""
    from tinv_ext.run.run_folder import RunFolder

    folder = RunFolder(path)
    return folder.config().to_dict(), folder.facts().get("model", {})


@contextmanager
def _stopping() -> Iterator[Any]:
    """Ctrl-C asks the run to stop and save; a second one breaks off."""
    from tinv_ext.run.events import RunControls

    controls = RunControls()
    before = signal.getsignal(signal.SIGINT)

    def ask(number: int, frame: Any) -> None:
        controls.stop.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, ask)
    try:
        yield controls
    finally:
        signal.signal(signal.SIGINT, before)


def _host(
    options: Mapping[str, Any], given: Mapping[str, Any], made_with: Mapping[str, Any] | None = None
) -> DiffusersHost:
    """The host that the flags say, else the one that a run was made with."""
    from tinv_ext.hosts.diffusers.host import DiffusersHost

    before = {} if options["model"] else (made_with or {})
    output = Path(str(given.get("output", DEFAULTS["output"]))).expanduser()
    folder = options["embeddings"] or output / "embeddings"
    vae = options["vae"] or (Path(before["vae_source"]) if before.get("vae_source") else None)
    pipeline, facts = _pipeline(options["model"] or before.get("source") or "toy", vae)
    return DiffusersHost.placed(pipeline, folder, facts, options["device"], options["precision"])


def _pipeline(model: str, vae: Path | None) -> tuple[Any, dict[str, str | None]]:
    from tinv_ext.toy import VARIANTS, pipeline

    name, _, variant = model.partition("-")
    if name == "toy" and variant in ("", *VARIANTS):
        if vae:
            raise InputError("The tiny model in the package keeps its own VAE. Leave --vae out, or give a --model.")
        return pipeline(variant), {"model_name": model, "model_hash": None, "source": model}
    from tinv_ext.hosts.diffusers.open_pipeline import open_pipeline, short_hash

    path = Path(model).expanduser()
    facts = {"model_name": path.stem if path.is_file() else path.name, "model_hash": short_hash(path), "source": model}
    facts |= {"vae": vae.stem, "vae_source": str(vae)} if vae else {}
    return open_pipeline(model, vae=vae), facts


def _token_table(model: str) -> TokenTable:
    """Tokens and token vectors of a model, wherever it runs."""
    return _host(
        {"embeddings": None, "model": model, "vae": None, "device": "cpu", "precision": "auto"}, {}
    ).token_table


# --- check -------------------------------------------------------------------------------------------------------


def _check(options: dict[str, Any]) -> int:
    from tinv_ext.run import dry_run, preflight

    given = _given(options)
    host = _host(options, given)
    print("\n".join(_said(dry_run.examine(preflight.prepare_run(preflight.parse_settings(given, host), host), host))))
    return DONE


def _said(prepared: PreparedRun) -> Iterator[str]:
    """The plan, the table of pictures, and ten training prompts with their token ids."""
    yield "Plan"
    yield from (f"  {notice}" for notice in prepared.notices)
    yield f"Pictures in {prepared.scan.folder}"
    for picture, caption in zip(prepared.scan.pictures, prepared.captions):
        yield f"  {picture.path.name}  {picture.width}×{picture.height}  {caption}"
    for path, reason in prepared.scan.skipped:
        yield f"  {path.name}  left out: it {reason}"
    yield f'Prompts, "{prepared.config.name}" standing for {prepared.initial.count} vectors'
    for text in prepared.prompts(10):
        prompt = prepared.reader.read(text)
        ids = [str(token) for chunk in prompt.chunks for token in _marked(chunk, prepared)]
        yield f"  {text}\n    {prompt.length} tokens: {' '.join(ids)}"


def _marked(chunk: Any, prepared: PreparedRun) -> list[Any]:
    """Token ids of a chunk up to its padding, the word's vectors as name#1, name#2 …"""
    ids: list[Any] = list(chunk.ids[1 : chunk.used + 1])
    counts = {word.name: word.count for word in prepared.reader.words}
    for place, name in chunk.words:
        for index in range(counts[name]):
            ids[place - 1 + index] = f"{name}#{index + 1}"
    return ids


# --- generate, toy -----------------------------------------------------------------------------------------------


def _generate(options: dict[str, Any]) -> int:
    from tinv_ext.core.formats import read_embedding
    from tinv_ext.core.generation import ImageRequest, infotext
    from tinv_ext.core.preflight.initial_vectors import unfit
    from tinv_ext.run.run_folder import write_image

    host = _host({**options, "embeddings": options["embeddings"]}, {})
    words, problems = {}, []
    for path in options["embedding"]:
        if not path.is_file():
            problems.append(f'There is no embedding file "{path}". Check the path.')
            continue
        embedding = read_embedding(path)
        problems += [problem for problem in (unfit(embedding, host.token_table.widths),) if problem]
        words[path.stem] = embedding.vectors
    request = ImageRequest(
        options["prompt"],
        options["negative_prompt"],
        options["steps"],
        options["cfg_scale"],
        options["seed"],
        options["width"] or host.native_size,
        options["height"] or host.native_size,
    )
    problems += request.problems()
    if problems:
        raise InputError(problems)
    output: Path = options["output"]
    output.parent.mkdir(parents=True, exist_ok=True)
    facts = {"Model hash": host.facts.get("model_hash"), "Model": host.facts.get("model_name")}
    write_image(host.generate(request, words), output, {"parameters": infotext(request, facts)})
    print(output)
    return DONE


def _ui(options: dict[str, Any]) -> int:
    from tinv_ext.standalone import serve

    serve(_host(options, {}), options["port"])
    return DONE


def _demo(options: dict[str, Any]) -> int:
    from tinv_ext.demo import demo

    folder: Path = options["output"]
    said = demo.run(folder, options["concept"]).report
    print(
        f'The word "{said["word"]}" now means the concept {said["concept"]}, after {said["steps"]} steps and '
        f"{said['images_seen']} pictures seen in {said['training_seconds']} seconds.\n"
        f"The judge sees the concept in {said['identity_before']:.0%} of the pictures before and "
        f"{said['identity_after']:.0%} after, and in {said['editability']:.0%} on other backgrounds, too.\n"
        f"Look at {folder / 'before-after.png'} and {folder / 'curve.png'}; use the word:  "
        f'python -m tinv_ext generate "a photo of {said["word"]}" --embedding "{folder / said["word"]}.pt"'
    )
    return DONE


def _export(options: dict[str, Any]) -> int:
    from tinv_ext.toy import export, export_variants, pipeline

    folder, variant = options["folder"], options["variant"]
    if variant:
        export_variants.write(variant, pipeline(variant), folder)
    else:
        export.export(folder)
    print(folder)
    return DONE


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")
