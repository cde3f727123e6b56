"""What the WebUI's start does without: the engine is imported, and things are made, when somebody asks for them."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import threading
import time

import pytest

from tests.paths import ROOT
from tinv_ext.server.late import late, was_made

ADDED = """
import json, sys
import fastapi
from tinv_ext.server import api
from tinv_ext.server.late import late
def never(): raise AssertionError("made while routes are added")
app = fastapi.FastAPI()
api.add_routes(app, late(never), True, None, lambda values: [], None, "token", (), late(never), late(never))
def found(): return [name for name in sys.modules if name.split(".")[0] == "tinv_ext"]
added = found()
app.openapi()
print(json.dumps([len(app.router.routes), added, found()]))
"""
ROOMS = ("run", "library", "hub", "hosts", "core.model", "core.embedding", "core.formats", "core.generation")
EACH = ("tinv_ext.server.routes.training", "tinv_ext.server.routes.route", "tinv_ext.server.openapi")
SETTINGS_ONLY = {"tinv_ext.run", "tinv_ext.run.status"}  # what the routes' description names


def test_routes_are_added_and_built_without_the_engine() -> None:
    """Added without anything of theirs; built without a run, a library or a model, with what openapi.json describes."""
    pytest.importorskip("fastapi")
    ran = subprocess.run([sys.executable, "-c", ADDED], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    count, added, names = json.loads(ran.stdout)
    assert count > 50
    assert not [name for name in added if name.startswith(("tinv_ext.core.settings", *EACH))]
    engine = {name for name in names for room in ROOMS if f"{name}.".startswith(f"tinv_ext.{room}.")}
    assert engine <= SETTINGS_ONLY


def test_it_is_made_once_whoever_comes_first() -> None:
    """Two threads at the same moment; before that, nothing."""
    made = []

    def make() -> list[int]:
        time.sleep(0.05)
        made.append([1])
        return made[-1]

    thing = late(make)
    assert not was_made(thing)
    threads = [threading.Thread(target=thing.append, args=(number,)) for number in (2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert was_made(thing)
    assert len(made) == 1
    assert sorted(made[0]) == [1, 2, 3]


def test_what_cannot_be_made_is_tried_again() -> None:
    """The error reaches whoever asked."""
    tried = []

    def make() -> str:
        tried.append(1)
        if len(tried) == 1:
            raise OSError("not yet")
        return "made"

    thing = late(make)
    with pytest.raises(OSError, match="not yet"):
        thing.upper()
    assert thing.upper() == "MADE"


def test_who_asks_for_what_is_made_waits_for_nobody() -> None:
    """As a signal handler that saves the runs: its thread may be the one that has the lock."""
    thing = late(lambda: "made")
    assert thing.upper() == "MADE"
    with object.__getattribute__(thing, "_making"):
        assert thing.upper() == "MADE"


def test_protocols_of_python_make_nothing() -> None:
    """As when a debugger or a copy looks at it."""
    thing = late(lambda: pytest.fail("made"))
    assert not hasattr(thing, "__len__")
    assert copy.copy(thing) is not thing
