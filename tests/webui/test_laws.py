"""The laws of the WebUI's host inside the real WebUI's process, and what an owner who wants a login gets."""

from __future__ import annotations

import sysconfig
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.webui.server import WebUI

pytestmark = pytest.mark.webui
LAWS = ["test_exact.py", "test_restored.py", "test_txt2img.py", "test_queue_lock.py"]
CHANGING = ("train", "check", "stop", "pause", "resume", "snapshot", "preview")


@pytest.fixture(scope="module")
def webui(start: Any) -> Iterator[WebUI]:
    """With a login, and without --api."""
    with start("--gradio-auth", "ann:secret") as webui:
        yield webui


def test_without_api_nothing_can_be_changed_from_outside(webui: WebUI) -> None:
    """--gradio-auth without --api: no such routes. What only looks is there."""
    for name in CHANGING:
        assert webui.ask(f"/tinv/v1/{name}", {}).code == 404, name
        assert webui.ask(f"/tinv/v1/{name}", {}, "ann:secret").code == 404, name
    assert webui.ask("/tinv/v1/runs").code == 404
    assert webui.ask("/tinv/v1/status").code == 401  # what only looks asks for the page's login, too


@pytest.mark.parametrize("file", LAWS)
def test_the_hosts_laws_hold_in_the_real_process(webui: WebUI, file: str, tell: Callable[[str], None]) -> None:
    """Condition, loss and gradient are those of diffusers; the host is put back on every exit; turns are taken."""
    packages = [sysconfig.get_path("purelib")]
    told = webui.inside("laws", files=[f"tests/hosts/a1111/{file}"], packages=packages)
    tell(f"inside the WebUI, {file}: {len(told['passed'])} passed, {len(told['skipped'])} skipped")
    assert told["failed"] == [], "\n".join(told["words"])
    assert told["skipped"] == []
    assert told["passed"], told["said"]
    assert told["code"] == 0
