"""Which program we run in, and what follows from it before any model is touched."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.hosts.a1111.ldm_model import stand_in
from tests.messages import refused
from tinv_ext import webui
from tinv_ext.core.errors import HostError
from tinv_ext.hosts.webui.program import A1111, FORGE, REFORGE, SDNEXT, program

# What lies in the folder of each program, of what can be told apart by.
FOLDERS = {
    A1111: ("modules",),
    FORGE: ("modules", "modules_forge", "backend"),
    REFORGE: ("modules", "modules_forge", "ldm_patched"),
    SDNEXT: ("modules", "modules/processing_diffusers"),
}


@pytest.fixture(params=FOLDERS)
def here(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """We run in this program."""
    for package in FOLDERS[request.param]:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "modules"]:
        monkeypatch.delitem(sys.modules, name)  # of another test's program
    return str(request.param)


def test_a_program_is_told_by_its_parts(here: str) -> None:
    """Not by what cannot be imported: Forge keeps A1111's modules, empty."""
    assert program() == here


@pytest.mark.parametrize("here", [SDNEXT], indirect=True)
def test_where_training_is_not_possible_it_says_so(here: str) -> None:
    """Where it is, and no class names."""
    with refused("webui.not_in_sdnext", HostError):
        webui._host()


@pytest.mark.parametrize(
    ("options", "folder"),
    [
        ({"textual_inversion_templates_dir": "/elsewhere"}, Path("/elsewhere")),
        ({"textual_inversion_templates_dir": None}, Path("/data/textual_inversion_templates")),
        ({}, Path("/data/textual_inversion_templates")),  # Forge Neo and Classic have no such option
    ],
)
def test_templates_lie_where_the_program_has_them(
    options: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the option the extension must be there all the same."""
    shared = {"cmd_opts": SimpleNamespace(**options)}
    stand_in({"modules": {}, "modules.shared": shared, "modules.paths": {"data_path": "/data"}}, monkeypatch)
    assert webui._templates_folder() == folder
