"""The command `queue`: a list of settings files worked off, checked as a whole before anything starts."""

from __future__ import annotations

import glob
import json
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinv_ext.cli.arguments import path_if_any, path_needed
from tinv_ext.cli.embeddings import Add
from tinv_ext.cli.failures import DONE, FAILED, STOPPED
from tinv_ext.cli.given import given_settings, tell
from tinv_ext.cli.language import say
from tinv_ext.cli.output import show
from tinv_ext.core.errors import InputError, TinvError
from tinv_ext.core.messages import message
from tinv_ext.core.names import name_problems
from tinv_ext.core.paths import path_given, path_problems
from tinv_ext.core.settings import TrainConfig, current_names, overridden

if TYPE_CHECKING:
    from tinv_ext.core.data.images import TrainingImage
    from tinv_ext.hosts.diffusers.host import DiffusersHost
    from tinv_ext.scheduler.entry import Entry
    from tinv_ext.scheduler.summary import Row

HostOf = Callable[[Mapping[str, Any], Mapping[str, Any]], "DiffusersHost"]
_OPTIONS = ("model", "vae", "precision", "cuda_graphs", "embeddings")
"""What a settings file may say beside settings. Which device a run gets is for the queue to say."""


def add_queue(add: Add, host: HostOf) -> None:
    """Add the command with `add(name, carry_out, about)`; `host(options, settings)` opens the model of the options."""
    about = message("cli.queue", "train a list of settings files, one after the other on each device of this machine")
    parser = add("queue", lambda options: _queue(options, host), about)
    files = message("cli.queue_files", "settings files (.toml or .json), a run each; tinv sweep writes such files")
    parser.add_argument("files", type=path_needed, nargs="+", metavar="FILE", help=say(files))
    devices = message("cli.queue_devices", "such as 0,1 or cpu (default: every CUDA device, else the CPU)")
    parser.add_argument("--devices", default="", metavar="D,D…", help=say(devices))
    jobs = message("cli.queue_jobs", "runs at the same time on each device (default: 1)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help=say(jobs))
    output = message("cli.queue_output", "log directory of all runs (default: the one that the files name)")
    parser.add_argument("--output", type=path_if_any, metavar="DIR", help=say(output))
    retry = message("cli.queue_retry", "also go on with runs that have failed; without it only with those that stopped")
    parser.add_argument("--retry-failed", action="store_true", help=say(retry))
    as_json = message("cli.queue_json", "put the summary out as JSON instead of a table")
    parser.add_argument("--json", action="store_true", help=say(as_json))


def _queue(options: dict[str, Any], host: HostOf) -> int:
    from tinv_ext.cli.queue_progress import QueueProgress
    from tinv_ext.scheduler.devices import slots_of
    from tinv_ext.scheduler.summary import summary_of
    from tinv_ext.scheduler.work_off import Queue

    slots = slots_of(options["devices"], options["jobs"])
    entries = _checked(_files(options["files"]), options, host)
    stop = threading.Event()
    with options["ending"].stopping(stop.set), QueueProgress(sys.stderr, len(entries)) as progress:
        queue = Queue(list(entries), slots, progress, options["retry_failed"])
        queue.work_off(stop)
    rows = summary_of(entries, queue.outcomes)
    _tell_summary(rows, options["json"], options["retry_failed"])
    outcomes = {outcome for outcome, _ in queue.outcomes.values()}
    return FAILED if "failed" in outcomes else STOPPED if outcomes & {"stopped", "not started"} else DONE


def _files(named: Sequence[Path]) -> list[Path]:
    """The files that are named, each once; Windows' shells leave patterns to the program."""
    found: list[Path] = []
    for file in named:
        matching = [] if file.exists() else sorted(glob.glob(str(file)))
        found += [Path(path) for path in matching] or [file]
    return list({path.absolute(): path for path in found}.values())


# --- checked ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Read:
    """A settings file as it was read: its options of the command line, its settings, the word that its run goes by and
    all of its words, and where it belongs."""

    file: Path
    options: dict[str, Any]
    given: dict[str, Any]
    name: str
    words: tuple[str, ...]
    output: str


def _checked(files: Sequence[Path], options: Mapping[str, Any], host: HostOf) -> list[Entry]:
    """The entries of the list. `InputError` with the problems of all files."""
    problems: dict[Path, list[str]] = {file: [] for file in files}
    notices: list[str] = []
    read: list[_Read] = []
    for file in files:
        try:
            read.append(_read(file, options, notices))
        except TinvError as error:
            problems[file] += error.problems
    for notice in dict.fromkeys(notices):
        tell(notice)
    entries = [_entry(one) for one in read]
    of_all = _of_all(read)
    _check_runs(read, entries, problems, options["retry_failed"], host)
    told = [
        message("queue.in_file", "{file}: {problem}", file=file, problem=problem)
        for file, some in problems.items()
        for problem in some
    ]
    if of_all or told:
        raise InputError([*of_all, *told])
    return entries


def _read(file: Path, options: Mapping[str, Any], notices: list[str]) -> _Read:
    own = {**dict.fromkeys(_OPTIONS), "precision": "auto", "device": "auto", "config": file}
    given = given_settings(own, notices.append)
    if options["output"]:
        given = overridden(given, {"output": str(options["output"])})
    config, _ = TrainConfig.read(given)
    if wrong := path_problems(config.output):
        raise InputError(wrong)
    return _Read(file, {name: own[name] for name in _OPTIONS}, given, config.name, tuple(config.names), config.output)


def _entry(read: _Read) -> Entry:
    from tinv_ext.scheduler.entry import Entry, digest_of

    settings = {name: value for name, value in current_names(read.given).items() if name != "output"}
    digest = digest_of({**settings, "": read.options})
    overwrite = TrainConfig.read(read.given)[0].overwrite
    return Entry(read.file, read.name, path_given(read.output), digest, overwrite)


def _of_all(read: Sequence[_Read]) -> list[str]:
    """What keeps the files from being one list: two for one word, or results that land in several folders."""
    problems: list[str] = []
    by_word: dict[str, list[tuple[_Read, str]]] = {}
    for one in read:
        for word in {word.lower(): word for word in one.words}.values():
            by_word.setdefault(word.lower(), []).append((one, word))
    for same in by_word.values():
        if len(same) > 1:
            problems.append(
                message(
                    "queue.same_name",
                    'The files {files:, } train the same name "{name}". Give each its own.',
                    files=[str(one.file) for one, _ in same],
                    name=same[0][1],
                )
            )
    folders = dict.fromkeys(str(one.options["embeddings"] or path_given(one.output) / "embeddings") for one in read)
    outputs = dict.fromkeys(str(path_given(one.output)) for one in read)
    if len(outputs) > 1:
        problems.append(
            message(
                "queue.outputs",
                "The files name different log directories ({folders:, }), but all results of a list go into one. Name "
                "it with --output.",
                folders=[*outputs],
            )
        )
    elif len(folders) > 1:
        problems.append(
            message(
                "queue.embeddings",
                "The files name different folders of embeddings ({folders:, }), but all results of a list go into one. "
                "Name the same in each of them, or none.",
                folders=[*folders],
            )
        )
    return problems


def _check_runs(
    read: Sequence[_Read], entries: Sequence[Entry], problems: dict[Path, list[str]], retry: bool, host: HostOf
) -> None:
    """Add what keeps each run from starting or going on; models are opened one after the other, on the CPU."""
    from tinv_ext.scheduler.entry import RESUME, START, Todo, todo

    known: dict[Path, TrainingImage] = {}
    opened: tuple[str, DiffusersHost | InputError] | None = None
    for one, entry in sorted(zip(read, entries), key=lambda pair: str(pair[0].options)):
        next_one = Todo(START) if name_problems(one.name) else todo(entry, retry)
        if next_one.act not in (START, RESUME):
            continue
        if opened is None or opened[0] != str(one.options):
            opened = None  # lets go of the model before another is opened
            opened = (str(one.options), _opened(one, host))
        try:
            if isinstance(opened[1], InputError):
                raise opened[1]
            _check_run(one, opened[1], next_one.run if next_one.act == RESUME else None, next_one.changed, known)
        except TinvError as error:
            problems[one.file] += error.problems


def _opened(read: _Read, host: HostOf) -> DiffusersHost | InputError:
    try:
        return host({**read.options, "device": "cpu"}, read.given)
    except TinvError as error:
        return InputError(error.problems)


def _check_run(
    read: _Read, host: DiffusersHost, run: Path | None, changed: bool, known: dict[Path, TrainingImage]
) -> None:
    from tinv_ext.run import preflight
    from tinv_ext.run.resume import prepare_resume
    from tinv_ext.run.status import Status

    if run is None:
        prepared: Any = preflight.prepare_run(preflight.parse_settings(read.given, host), host, known)
    else:
        prepared = prepare_resume(run, host, read.given, known)
    if not isinstance(prepared, Status):
        known.update({image.picture.path: image.picture for image in prepared.images})
    elif changed:
        raise InputError(
            message(
                "queue.changed_since",
                'The file has changed since its run "{run}" finished, and there is nothing to train on. Give it '
                "another name, more steps, or set overwrite to train it again.",
                run=run.name if run else "",
            )
        )


# --- the summary ------------------------------------------------------------------------------------------------------


def _tell_summary(rows: Sequence[Row], as_json: bool, retried: bool) -> None:
    from tinv_ext.cli.queue_progress import outcome_word
    from tinv_ext.scheduler import summary

    if as_json:
        show(json.dumps(summary.as_json(rows), indent=2).replace("\x7f", "\\u007f"))
    else:
        heads = (
            message("queue.head_name", "name"),
            message("queue.head_steps", "steps"),
            message("queue.head_best", "best evaluation"),
            message("queue.head_seconds", "seconds"),
            message("queue.head_outcome", "outcome"),
            message("queue.head_file", "file"),
        )
        table = [[say(head) for head in heads], *([*_cells(row, say(outcome_word(row.outcome)))] for row in rows)]
        widths = [max(len(cell) for cell in column) for column in zip(*table)]
        show("\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in table))
    for row in rows:
        if row.outcome == "failed":
            tell(message("queue.why", "{name}: {reason}", name=row.name, reason=row.reason))
    if any(row.outcome in ("stopped", "not started") for row in rows):
        tell(message("queue.again", "Give the same command again to go on."))
    if any(row.outcome == "failed" for row in rows) and not retried:
        tell(message("queue.retry", "Give the same command with --retry-failed to try again what has failed."))


def _cells(row: Row, outcome: str) -> list[str]:
    best = "" if row.best is None else f"{row.best:.5f} @ {row.best_step}"
    return [row.name, f"{row.steps}/{row.total}", best, f"{row.seconds:.0f}", outcome, row.file or ""]
