"""The command line: train, check and generate without a WebUI. The flags of a training come from the settings.

Exit codes: see `tinv_ext.cli.failures`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinv_ext import __version__
from tinv_ext.cli import launched
from tinv_ext.cli.arguments import commands_of, path_if_any, path_needed, path_or, spelled, unknown, without_launcher
from tinv_ext.cli.create import add_create
from tinv_ext.cli.embeddings import add_commands
from tinv_ext.cli.failures import DONE, FAILED, STOPPED, explain, refuse_lost_folder
from tinv_ext.cli.flags import add_generate, add_model, add_settings
from tinv_ext.cli.given import given_settings, tell
from tinv_ext.cli.language import say
from tinv_ext.cli.outcome import Written, outcome, resume_with
from tinv_ext.cli.output import begin_output, output_lost, show
from tinv_ext.cli.prepare import add_prepare
from tinv_ext.cli.presets import add_presets
from tinv_ext.cli.queue import add_queue
from tinv_ext.cli.signals import leave, watched
from tinv_ext.cli.steering import others
from tinv_ext.cli.sweep import add_sweep
from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, encodable, message
from tinv_ext.core.paths import path_given
from tinv_ext.core.settings import DEFAULTS, current_names, overridden

if TYPE_CHECKING:
    from tinv_ext.core.model import TokenTable
    from tinv_ext.core.preflight.prepare import PreparedRun
    from tinv_ext.core.preflight.subsets import PreparedSubset
    from tinv_ext.core.prompts.reader import Chunk
    from tinv_ext.core.training.ranks import Ranks
    from tinv_ext.hosts.diffusers.host import DiffusersHost
    from tinv_ext.run.status import Status


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command and return the exit code."""
    for library in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):  # what matters to the user is an error of ours
        os.environ.setdefault(library, "error")
    begin_output()
    with watched(lambda: leave(STOPPED, "" if launched.is_beside(os.environ) else say(_BROKEN_OFF))) as ending:
        try:
            options = read_options(sys.argv[1:] if arguments is None else arguments)
            refuse_lost_folder()
            command: Callable[[dict[str, Any]], int] = options.pop("carry_out")
            if options["command"] != "train" and launched.is_beside(os.environ):
                return DONE  # only a training is for several processes
            code = command({**options, "ending": ending})
            return FAILED if code == DONE and output_lost() and options["command"] not in _GOES_ON else code
        except KeyboardInterrupt:
            show(say(_BROKEN_OFF), sys.stderr)
            return STOPPED
        except Exception as error:  # noqa: BLE001 (the end of the program: what nobody expected is told as such)
            return explain(error)


_DEMO = Path("demo")
_GOES_ON = ("train", "queue", "ui")
"""Commands whose results are files, or a page: what they say beside it may get lost."""
_BROKEN_OFF = message("cli.broken_off", "tinv: stopped before it was done.")


def read_options(arguments: Sequence[str]) -> dict[str, Any]:
    """The options of a command by name. Those of a training that nobody knows are told with its other problems."""
    parser = _parser()
    below = commands_of(parser).get(arguments[0]) if arguments else None
    launcher: list[str] = []
    if below:
        after = list(arguments[1:])
        if below.get_default("settings"):
            after, launcher = without_launcher(after)
        arguments = [arguments[0], *spelled(after, below)]
    namespace, left = parser.parse_known_args(arguments)
    problems = list(unknown(left, below._option_string_actions)) if below else []
    options = vars(namespace)
    if not options.pop("settings", False):
        if problems:
            raise InputError(problems)
        return options
    return {**options, "problems": problems, "launcher": launcher}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "tinv", description=say(message("cli.tinv", "Textual inversion for Stable Diffusion."))
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    train = _command(commands, "train", _train, message("cli.train", "train an embedding on a folder of images"))
    train.add_argument(
        "--resume",
        type=path_if_any,
        metavar="RUN",
        help=say(message("cli.resume", "resume the run in this folder; latest = the newest")),
    )
    events = message("cli.events", "also write what happens to this file, as lines of JSON")
    train.add_argument("--events", type=path_if_any, metavar="FILE", help=say(events))
    steered = message(
        "cli.steered",
        "obey the lines stop, pause, resume, snapshot and preview from standard input, and stop at its end; --events"
        " then has every step",
    )
    train.add_argument("--steered", action="store_true", help=say(steered))
    check = _command(
        commands, "check", _check, message("cli.check", "say what a training would do, without starting it")
    )
    for command in (train, check):
        command.set_defaults(settings=True)
        add_model(command)
        config = message("cli.config", "read settings from a .toml or .json file, such as a run's config.json")
        command.add_argument("--config", type=path_if_any, metavar="FILE", help=say(config))
        add_settings(command)
    generate = _command(commands, "generate", _generate, message("cli.generate", "generate an image with embeddings"))
    add_model(generate)
    add_generate(generate)
    ui = _command(commands, "ui", _ui, message("cli.ui", "serve the WebUI's tab as a page on this machine"))
    add_model(ui)
    ui.add_argument("--port", type=int, default=7870)
    about_hosts = message("cli.allow_host", "also answer to this name, as behind a proxy or tunnel (repeatable)")
    ui.add_argument("--allow-host", action="append", default=[], metavar="NAME", help=say(about_hosts))
    add_create(lambda *about: _command(commands, *about), host_of)
    add_queue(lambda *about: _command(commands, *about), host_of)
    add_sweep(lambda *about: _command(commands, *about))
    add_prepare(lambda *about: _command(commands, *about))
    add_presets(lambda *about: _command(commands, *about))
    add_commands(lambda *about: _command(commands, *about), _token_table)
    _add_toy(commands)
    return parser


def _add_toy(commands: Any) -> None:
    from tinv_ext.toy import VARIANTS

    about = say(message("cli.toy", "the tiny model that comes with the package"))
    actions = commands.add_parser("toy", help=about, description=about).add_subparsers(required=True, metavar="ACTION")
    demo = _command(
        actions, "demo", _demo, message("cli.demo", "teach it a concept that it does not know, and show the result")
    )
    demo.add_argument("--output", type=path_or(_DEMO), default=_DEMO, metavar="DIR")
    concept = say(message("cli.concept", "a concept that the package has sample images of"))
    demo.add_argument("--concept", metavar="NAME", help=concept)
    export = _command(
        actions,
        "export",
        _export,
        message("cli.export", "write it as a diffusers folder and as a checkpoint for the WebUI"),
    )
    export.add_argument("folder", type=path_needed)
    export.add_argument("--variant", choices=VARIANTS, help=say(message("cli.variant", "write this variant instead")))


def _command(
    commands: Any, name: str, carry_out: Callable[[dict[str, Any]], int], about: str
) -> argparse.ArgumentParser:
    text = say(about)
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    parser.set_defaults(carry_out=carry_out)
    return parser


# --- train -------------------------------------------------------------------------------------------------------


def _train(options: dict[str, Any]) -> int:
    ranks = launched.meet()  # several, where accelerate launch or torchrun has started this
    with launched.letting_go(ranks, options["ending"]):
        given = launched.by_all(ranks, lambda: given_settings(options, launched.shown_by_first(tell)))
        if options.pop("debug_dataset", False):  # kohya's way to look at the prompts without a training
            return DONE if launched.is_beside(os.environ) else _check_run(options, given)
        launched.take_device(ranks, options)
        return _train_together(options, given, ranks)


def _train_together(options: dict[str, Any], given: dict[str, Any], ranks: Ranks) -> int:
    from tinv_ext.cli.progress import Progress
    from tinv_ext.core.data.images import FITTED_BYTES
    from tinv_ext.run import preflight, runner
    from tinv_ext.run.events import Event, Prepared, RunControls
    from tinv_ext.run.resume import prepare_resume
    from tinv_ext.run.status import Status

    run, ending, room = options["resume"], options["ending"], FITTED_BYTES // ranks.count

    def prepare() -> tuple[DiffusersHost, PreparedRun | Status]:
        before, made_with = _of_run(run) if run else ({}, {})
        host = host_of(options, overridden(before, given), made_with)
        if run:
            return host, prepare_resume(run, host, launched.total_changes(given, ranks), room=room)
        config = launched.total(preflight.parse_settings(given, host), ranks)
        return host, preflight.prepare_run(config, host, room=room)

    host, prepared = launched.prepared_by_all(ranks, prepare)
    if launched.is_beside(os.environ):
        return launched.follow(prepared, host, ranks, ending)
    controls, folder, written = RunControls(ranks=ranks), run, Written()
    carry_out = partial(runner.resume_prepared, run) if run else runner.start
    listeners = [written.report, *others(options, controls)]
    launched.stopped_by(ranks, controls.stop.set)
    with ExitStack() as going_on:  # to the last line: more signals may come while the outcome is being told
        with Progress(sys.stderr) as progress:

            def report(event: Event) -> None:
                nonlocal folder
                if isinstance(event, Prepared):  # from here on there is something to save
                    folder = event.folder.path
                    going_on.enter_context(ending.stopping(controls.stop.set))
                for listen in (*listeners, progress.report):
                    listen(event)

            try:
                status = prepared if isinstance(prepared, Status) else carry_out(prepared, host, report, controls)
            except KeyboardInterrupt:  # a second one, if the run has begun
                if ending.stop is not None:
                    show(say(resume_with(folder)), sys.stderr)
                raise
        for line in outcome(status, host, written.embeddings):
            show(say(line))
        if status.status == "stopped":
            show(say(resume_with(folder)))
    return {"finished": DONE, "stopped": STOPPED}.get(status.status, FAILED)


def _of_run(path: Path) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """The settings of a run, and what its folder knows beside them."""
    from tinv_ext.run.run_folder import RunFolder

    folder = RunFolder(path)
    return folder.config().to_dict(), folder.facts()


def host_of(
    options: Mapping[str, Any], given: Mapping[str, Any], made_with: Mapping[str, Any] | None = None
) -> DiffusersHost:
    """The host that the flags name, else the one that a run was `made_with`, by its facts."""
    from tinv_ext.models import TOY, open_host

    run: Mapping[str, Any] = made_with or {}
    before = {} if options["model"] else run.get("model", {})
    output = path_given(str(current_names(given).get("output", DEFAULTS["output"])))
    same = str(run.get("embeddings", ""))  # an older run does not say; nor need it be there on another machine
    folder = options["embeddings"] or (Path(same) if os.path.isdir(same) else output / "embeddings")
    vae = options["vae"] or (Path(before["vae_source"]) if before.get("vae_source") else None)
    model = options["model"] or before.get("source") or TOY
    graphs = options.get("cuda_graphs") != "off"
    return open_host(
        model,
        folder,
        vae=vae,
        device=options["device"],
        precision=options["precision"],
        cuda_graphs=graphs,
        verdicts=output,
    )


def _token_table(model: str) -> TokenTable:
    """The tokens of a model with their vectors."""
    return host_of(
        {"embeddings": None, "model": model, "vae": None, "device": "cpu", "precision": "fp32"}, {}
    ).token_table


# --- check -------------------------------------------------------------------------------------------------------


def _check(options: dict[str, Any]) -> int:
    return _check_run(options, given_settings(options))


def _check_run(options: Mapping[str, Any], given: Mapping[str, Any]) -> int:
    from tinv_ext.run import dry_run, preflight

    host = host_of(options, given)
    prepared = preflight.prepare_run(preflight.parse_settings(given, host), host)
    show("\n".join(_report(dry_run.examine(prepared, host))))
    return DONE


def _report(prepared: PreparedRun) -> Iterator[str]:
    """The plan, the table of images, the tags, and ten training prompts with their token ids."""
    yield say(message("cli.plan", "Plan"))
    yield from (f"  {say(notice)}" for notice in prepared.notices)
    for subset in prepared.subsets:
        yield say(_images_in(subset))
        for image in subset.images:
            picture, caption = image.picture, image.caption.text.replace("\n", " | ")
            yield f"  {encodable(image.name)}  {picture.width}×{picture.height}  {caption}"
        for path, reason in subset.scan.skipped:
            file = subset.file(path)
            yield "  " + say(message("cli.skipped", "{file}  skipped: it {reason}", file=file, reason=reason))
    if prepared.tag_table:
        yield say(prepared.tag_table)
    for one in prepared.words:
        count = one.initial.count
        yield say(message("cli.prompts", 'Prompts ("{word}" has {count:vector|vectors})', word=one.name, count=count))
    for text in prepared.prompts(10):
        prompt = prepared.reader.read(text)
        ids = [str(token) for chunk in prompt.chunks for token in _chunk_tokens(chunk, prepared)]
        tokens = message("cli.tokens", "{count:token|tokens}: {ids: }", count=prompt.length, ids=ids)
        yield f"  {text}\n    {say(tokens)}"


def _images_in(subset: PreparedSubset) -> Message:
    folder, repeats = subset.scan.folder, subset.config.repeats
    if repeats == 1:
        return message("cli.images", "Images in {folder}", folder=folder)
    return message(
        "cli.images_repeated",
        "Images in {folder}, {repeats:time|times} in each epoch",
        folder=folder,
        repeats=repeats,
    )


def _chunk_tokens(chunk: Chunk, prepared: PreparedRun) -> list[Any]:
    """Token ids of a chunk up to its padding, with the word's vectors as name#1, name#2 …"""
    ids: list[Any] = list(chunk.ids[1 : chunk.used + 1])
    counts = {word.name: word.count for word in prepared.reader.words}
    for place, name in chunk.words:
        for index in range(counts[name]):
            ids[place - 1 + index] = f"{name}#{index + 1}"
    return ids


# --- generate, toy -----------------------------------------------------------------------------------------------


def _generate(options: dict[str, Any]) -> int:
    from tinv_ext.cli.generate import generate

    return generate(options, host_of(options, {}))


def _ui(options: dict[str, Any]) -> int:
    try:
        from tinv_ext import standalone
    except ImportError as error:  # missing, or of a version that does not go with the others
        if (error.name or "tinv_ext").startswith("tinv_ext"):
            raise
        raise InputError(
            message(
                "cli.no_gradio",
                'The page needs gradio and what goes with it ({reason}). Install them with: pip install "tinv_ext[ui]" '
                '(in a clone: pip install ".[ui]").',
                reason=error,
            )
        ) from error
    socket = standalone.listen(options["port"])
    stopping = options["ending"].stopping
    stopped = standalone.serve(
        host_of(options, {}), socket, stopping, lambda text: show(say(text)), options["allow_host"]
    )
    # torch's and the server's threads end in "terminate called …" where the interpreter takes them apart
    leave(STOPPED if stopped else DONE)


def _demo(options: dict[str, Any]) -> int:
    from tinv_ext.cli.progress import Progress
    from tinv_ext.demo import demo

    folder: Path = options["output"]
    with Progress(sys.stderr) as progress:
        results = demo.run(folder, options["concept"], progress.report)
    show("\n".join(demo.summary(results, folder)))
    return DONE


def _export(options: dict[str, Any]) -> int:
    from tinv_ext.toy import export, export_variants, pipeline

    folder, variant = options["folder"], options["variant"]
    if variant:
        export_variants.write(variant, pipeline(variant), folder)
    else:
        export.export(folder)
    show(str(folder))
    return DONE
