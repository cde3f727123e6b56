"""What others rely on is frozen: settings with defaults and limits, flags, files of a run, columns, statuses.

A change here is a change for every saved config, script and preset: it belongs into CHANGELOG.md, and then
`python -m tests.surface.test_surface` rewrites the snapshot.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tinv_ext
from tests.paths import ROOT
from tinv_ext.cli import failures
from tinv_ext.cli import main as cli
from tinv_ext.core.settings import ALIASES, DEFAULTS, GROUPS, SETTINGS
from tinv_ext.run import run_folder
from tinv_ext.run.curve import COLUMNS
from tinv_ext.run.status import STATUSES, Status

pytestmark = pytest.mark.once
SNAPSHOT = Path(__file__).with_name("surface.json")


def settings() -> dict[str, dict[str, Any]]:
    """Each setting with what a saved config relies on; labels are for people and may change."""
    limits = ("minimum", "maximum", "multiple", "zero", "choices")
    return {
        name: {
            "default": DEFAULTS[name],
            "type": type(DEFAULTS[name]).__name__,
            "group": about.group,
            **{
                limit: list(value) if limit == "choices" else value
                for limit in limits
                if (value := getattr(about, limit))
            },
            **({"minimum": about.minimum} if about.minimum == 0 else {}),
        }
        for name, about in SETTINGS.items()
    }


def commands(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, list[str]]]:
    """Each command with its flags and places, below `parser`."""
    flags: list[str] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, below in action.choices.items():
                yield from commands(below, f"{name} {word}".strip())
        else:
            flags += action.option_strings or [action.dest]
    yield name, sorted(flags)


def run_files(folder: Path) -> dict[str, str]:
    """Where a run keeps what."""
    run = run_folder.RunFolder(folder)
    places = {
        "state": run.state,
        "curve": run.curve,
        "log": run.log,
        "snapshot": run.snapshot("NAME", 500),
        "snapshot of an epoch": run.snapshot("NAME", 500, epoch=3),
        "preview": run.preview("NAME", 500, 0),
        "second preview": run.preview("NAME", 500, 1),
        "image embedding": run.image_embedding("NAME", 500, 0),
        "backup": run.backup(Path("NAME.pt")),
    }
    return {name: path.relative_to(folder).as_posix() for name, path in places.items()}


def python_names() -> dict[str, str]:
    """What `import tinv_ext` offers, with its signatures."""
    return {name: str(inspect.signature(getattr(tinv_ext, name))) for name in tinv_ext.__all__}


def surface(folder: Path) -> dict[str, Any]:
    """Everything that is frozen, as JSON holds it."""
    found = {
        "settings": settings(),
        "groups": list(GROUPS),
        "other names of settings": ALIASES,
        "commands": dict(commands(cli._parser())),
        "python": python_names(),
        "exit codes": [failures.DONE, failures.BAD_INPUT, failures.STOPPED, failures.FAILED],
        "files of a run": run_files(folder),
        "columns of loss.csv": COLUMNS,
        "statuses": STATUSES,
        "fields of status.json": list(Status.__dataclass_fields__),
    }
    return json.loads(json.dumps(found))


def test_the_surface_is_as_it_was(tmp_path: Path) -> None:
    """Each part equals the snapshot."""
    kept = json.loads(SNAPSHOT.read_text("utf-8"))
    found = surface(tmp_path)
    assert found.keys() == kept.keys()
    for part, value in found.items():
        assert value == kept[part], f"{part} changed: {__doc__}"


def test_the_names_have_types() -> None:
    """What type checkers read offers the same names, from where they really are."""
    stub = ast.parse((ROOT / "tinv_ext" / "__init__.pyi").read_text("utf-8"))
    names = {alias.asname for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert names == set(tinv_ext.__all__)
    assert (ROOT / "tinv_ext" / "py.typed").is_file()
    for name in names:
        assert inspect.getdoc(getattr(tinv_ext, name)), name


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        SNAPSHOT.write_text(json.dumps(surface(Path(place)), indent=2, ensure_ascii=False) + "\n", "utf-8")
