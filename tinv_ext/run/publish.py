"""A finished run's embedding at the hub, where that was chosen. A failure is told, with how to try again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tinv_ext.core.errors import HostError, InputError, TinvError
from tinv_ext.core.formats import read_embedding
from tinv_ext.core.messages import Message, message
from tinv_ext.core.settings import TrainConfig
from tinv_ext.hub.model_card import AFTER, BEFORE, Other, Shown
from tinv_ext.hub.push import Repository, push, refuse_push
from tinv_ext.run.provenance import public_settings
from tinv_ext.run.reporter import RunReporter
from tinv_ext.run.run_folder import RunFolder
from tinv_ext.run.tasks import reason_of

_SHOWN = 4  # prompts of the previews on a card


def refuse_unpublishable(config: TrainConfig) -> list[Message]:
    """Look whether the embedding can be uploaded when it is finished; a notice where that cannot be known yet.

    InputError where it cannot be.
    """
    if not config.push_to_hub:
        return []
    try:
        refuse_push(_repository(config), replace=config.overwrite)
    except HostError as error:
        return [
            message(
                "run.not_pushed_yet",
                "The embedding cannot be uploaded as things are; that is tried again when it is finished. {reason}",
                reason=reason_of(error),
            )
        ]
    return []


def publish(config: TrainConfig, reporter: RunReporter) -> None:
    """Upload the finished embedding of a run, and say where it is."""
    if not config.push_to_hub:
        return
    try:
        address = push_run(reporter.folder)
    except TinvError as error:
        reporter.notify(
            message(
                "run.not_pushed",
                'The embedding could not be uploaded. {reason} Try again with: tinv push "{folder}"',
                reason=reason_of(error),
                folder=reporter.folder.path,
            )
        )
    else:
        reporter.notify(message("run.pushed", "The embedding is at {address}.", address=address))


def push_run(folder: RunFolder, id: str = "", private: bool = False) -> str:  # noqa: A002 (the hub's word)
    """Upload what a run has finished, each word with what it drew before and after, to one repository; the address.

    InputError where an embedding is missing, or the hub refuses it.
    """
    config, status = folder.config(), folder.status()
    first = Path(status.file) if status and status.file else None
    files = [first.with_name(f"{name}{first.suffix}") for name in config.names] if first else []
    if not first or not all(file.is_file() for file in (first, *files)):
        raise InputError(
            message(
                "run.nothing_to_push",
                'The run in "{folder}" has no embedding yet, or it was moved. Finish it, or name the file.',
                folder=folder.path,
            )
        )
    wanted = _repository(config)
    repository = Repository(id or wanted.id, private or wanted.private)
    others = [Other(read_embedding(file), _before_and_after(folder, file.stem)) for file in files if file != first]
    shown = Shown(_before_and_after(folder, config.name), public_settings(config), _base_model(folder), others)
    return push(read_embedding(first), repository, shown, folder.path / "hub")


def _before_and_after(folder: RunFolder, name: str) -> list[dict[str, Path]]:
    """For each of the first prompts of the previews, what it showed before the first step and after the last."""
    by_step: dict[int, list[Path]] = {}
    for step, path in folder.previews(name):
        by_step.setdefault(step, []).append(path)
    before, after = by_step.pop(0, []), by_step[max(by_step)] if by_step else []
    pairs = [{BEFORE: path} for path in before[:_SHOWN]]
    for index, path in enumerate(after[:_SHOWN]):
        pairs[index : index + 1] = [{**(pairs[index] if index < len(pairs) else {}), AFTER: path}]
    return pairs


def _base_model(folder: RunFolder) -> str:
    """The name at the hub of the model that was trained on; empty where it is a file or folder of this machine."""
    model = folder.facts().get("model")
    source = str(model.get("source") or "") if isinstance(model, Mapping) else ""
    return "" if Path(source).expanduser().exists() else source


def _repository(config: TrainConfig) -> Repository:
    return Repository(config.hub_model_id.strip() or config.name, config.hub_private)
