"""The embedding of another step than the run ended with: put where prompts find it, under the run's name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tinv_ext.core.atomic import atomic_copy
from tinv_ext.core.errors import InputError
from tinv_ext.core.formats import FOLDERS, read_embedding, write_embedding
from tinv_ext.core.messages import message
from tinv_ext.core.suffixes import TENSOR_SUFFIXES
from tinv_ext.hosts.base import Host
from tinv_ext.run.run_folder import RunFolder


def snapshot_of(folder: RunFolder, name: str, step: int) -> Path:
    """The file of a snapshot. `InputError` if that step has none, or has it no more."""
    files = folder.snapshots(name).get(step)
    if not files:
        raise InputError(
            message("run.no_snapshot", 'There is no snapshot of "{name}" at step {step}.', name=name, step=step)
        )
    return files[-1]


def use_step(folder: RunFolder, name: str, step: int, host: Host, alone: bool = False) -> Path:
    """Make a snapshot the embedding of its run; what was there is kept in the run's folder. Returns the new file.

    Where the run has further words, theirs of that step go with it, unless `alone`; so does its folder for diffusers.
    `InputError` if there is no such snapshot, `FormatError` if it is damaged, `HostError` if prompts could not use it.
    """
    config = folder.config() if folder.is_there else None
    several = config is not None and len(config.names) > 1
    others = [other for other in config.names if other != name] if config and not alone else []
    for other in others:
        snapshot_of(folder, other, step)
    files = [_use_one(folder, word, step, host) for word in (name, *others)]
    if config and config.save_format in FOLDERS:
        for file in files:
            place = folder.diffusers / file.stem if several else folder.diffusers
            write_embedding(read_embedding(file), place, format=config.save_format)
    host.refresh_embeddings([name, *others])
    return files[0]


def _use_one(folder: RunFolder, name: str, step: int, host: Host) -> Path:
    source = snapshot_of(folder, name, step)
    embedding = replace(read_embedding(source), name=name)
    target = host.embeddings_folder / f"{name}{source.suffix}"
    old = [file for suffix in TENSOR_SUFFIXES if (file := target.with_suffix(suffix)).is_file()]
    for file in old:
        atomic_copy(file, folder.backup(file))
    write_embedding(embedding, target, validate_file=host.validate_file)
    for file in old:  # of another format: a prompt would find either
        if file != target and not file.samefile(target):
            file.unlink()
    return target
