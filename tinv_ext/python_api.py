"""For programs: train, load, save and inspect embeddings from Python. `import tinv_ext` offers these names.

What is offered here stays as it is within a version (`tests/surface`). Examples are in docs/python.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import InputError, TinvError
from tinv_ext.core.formats import read_embedding, write_embedding
from tinv_ext.core.messages import message
from tinv_ext.core.paths import impossible_path, path_given
from tinv_ext.core.settings import DEFAULTS, current_names
from tinv_ext.library.inspect import inspect as inspect_file
from tinv_ext.models import TOY, open_host
from tinv_ext.run import preflight, runner
from tinv_ext.run.events import Event, Prepared, RunControls
from tinv_ext.run.run_folder import RunFolder

__all__ = ["Embedding", "RunControls", "TinvError", "Trained", "inspect", "load", "resume", "save", "train"]
Report = Callable[[Event], None]
AnyPath = str | Path


@dataclass(frozen=True)
class Trained:
    """How a training ended: "finished" or "stopped", at which step, its embedding, and the folder of its run."""

    status: str
    step: int
    embedding: Embedding | None
    file: Path | None
    folder: Path


def train(
    name: str,
    images: AnyPath,
    *,
    model: AnyPath = TOY,
    vae: AnyPath | None = None,
    device: str = "auto",
    precision: str = "auto",
    embeddings: AnyPath | None = None,
    report: Report | None = None,
    controls: RunControls | None = None,
    **settings: Any,
) -> Trained:
    """Train the word `name` on a folder of images, and return it.

    `model` is "toy", a folder or an id of diffusers, or a checkpoint file; `device` and `precision` are those of the
    command line. `embeddings` is the folder for the finished file (default: "embeddings" in the log directory). The
    settings are those of docs/settings.md. `report` hears every event (`tinv_ext.run.events`), `controls` pauses and
    stops. Raises InputError with every problem before anything starts; any other error leaves a run to `resume`.
    """
    given = _plain({"name": name, "images": str(images), **settings})
    output = path_given(str(current_names(given).get("output", DEFAULTS["output"])))
    host = open_host(
        str(model),
        Path(embeddings).expanduser() if embeddings else output / "embeddings",
        vae=Path(vae) if vae else None,
        device=device,
        precision=precision,
        verdicts=output,
    )
    config = preflight.parse_settings(given, host)
    return _trained(lambda watch: runner.run(config, host, watch, controls), report)


def resume(
    run: AnyPath,
    *,
    device: str = "auto",
    precision: str = "auto",
    embeddings: AnyPath | None = None,
    report: Report | None = None,
    controls: RunControls | None = None,
    **settings: Any,
) -> Trained:
    """Resume the run in the folder `run` on the model that it was made with, perhaps with other settings."""
    folder = RunFolder(_path(run))
    changes = _plain(settings)
    made_with = folder.facts().get("model", {})
    output = Path(folder.config().output).expanduser()
    host = open_host(
        str(made_with.get("source") or TOY),
        Path(embeddings).expanduser() if embeddings else output / "embeddings",
        vae=Path(made_with["vae_source"]) if made_with.get("vae_source") else None,
        device=device,
        precision=precision,
        verdicts=output,
    )
    return _trained(lambda watch: runner.resume(folder.path, host, changes, watch, controls), report, folder.path)


def _trained(carry_out: Callable[[Report], Any], report: Report | None, folder: Path = Path()) -> Trained:
    place = folder

    def watch(event: Event) -> None:
        nonlocal place
        if isinstance(event, Prepared):
            place = event.folder.path
        if report:
            report(event)

    status = carry_out(watch)
    file = Path(status.file) if status.file else None
    return Trained(status.status, status.steps, read_embedding(file) if file else None, file, place)


def load(path: AnyPath) -> Embedding:
    """The embedding in a file of any format that docs/formats.md lists, or in a diffusers folder.

    Raises FormatError where there is none, or more than one.
    """
    return read_embedding(_path(path))


def save(embedding: Embedding, path: AnyPath, format: str | None = None) -> None:  # noqa: A002 (the word of the flag)
    """Write an embedding, whole or not at all; the suffix decides on the format unless `format` names one.

    Raises InputError where it is no embedding or the format cannot hold it, HostError where the disk refuses.
    """
    if not isinstance(embedding, Embedding):
        raise InputError(
            message(
                "embedding.not_one",
                "Only an Embedding can be saved, not a value of type {type}. Make one of its vectors: {example}.",
                type=type(embedding).__name__,
                example='Embedding("word", {"clip_l": vectors})',
            )
        )
    write_embedding(embedding, _path(path), format=format)


def inspect(path: AnyPath, model: AnyPath | None = None, nearest: int = 5) -> dict[str, Any]:
    """What a file holds, as plain values; with a `model` also its `nearest` tokens to each vector."""
    table = open_host(str(model), Path(), device="cpu", precision="fp32").token_table if model else None
    return inspect_file(_path(path), table, nearest)


def _path(path: AnyPath) -> Path:
    """The path that a caller means. InputError where no system can have it."""
    if problems := impossible_path(path):
        raise InputError(problems)
    return Path(path).expanduser()


def _plain(value: Any) -> Any:
    """Settings as config files have them: paths as text, the numbers of numpy and torch as Python's."""
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, PurePath):
        return str(value)
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    return value
