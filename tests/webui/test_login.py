"""An owner who wants a login: without it nothing is changed, with it all is there."""

from __future__ import annotations

import base64
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.webui.browser import tab
from tests.webui.images import CONCEPT
from tests.webui.server import WebUI

pytestmark = pytest.mark.webui
CHANGING = ("train", "check", "stop?job=x", "pause?job=x", "resume?job=x", "snapshot?job=x", "preview?job=x")


@pytest.fixture(scope="module")
def guarded(start: Any) -> Iterator[WebUI]:
    """With an API behind a password."""
    with start("--api", "--api-auth", "ann:secret") as webui:
        yield webui


@pytest.mark.parametrize("login", ["", "ann:wrong", "bob:secret", "ann:"])
def test_wrong_credentials_are_401(guarded: WebUI, login: str) -> None:
    """On every route that changes or tells of runs."""
    for name in CHANGING:
        assert guarded.ask(f"/tinv/v1/{name}", {}, login).code == 401, name
    assert guarded.ask("/tinv/v1/runs", login=login).code == 401
    assert guarded.ask("/tinv/v1/status").code == 200


def test_the_right_ones_are_let_in(guarded: WebUI) -> None:
    """To be told what is wrong with the settings."""
    answer = guarded.ask("/tinv/v1/check", {}, "ann:secret")
    assert answer.code == 422
    assert answer.body["detail"]["problems"]
    assert guarded.ask("/tinv/v1/runs", login="ann:secret").body == []


def test_the_tab_works_behind_the_pages_own_login(start: Any) -> None:
    """Whoever is logged in checks and trains by the page, although there is no API."""
    with start("--gradio-auth", "ann:secret") as webui, tab(webui, "ann:secret") as page:
        page.fill("name", "zibbo")
        page.fill("images", f"~/images/{CONCEPT}")
        page.fill("steps", 20)
        page.click("tinv_train")
        page.wait_status("finished", "zibbo")
        assert webui.inside("word", name="zibbo")["step"] == 20
        assert page.errors == []
        assert webui.ask("/tinv/v1/status").code == 401  # the page has the login's cookie
        assert webui.ask("/tinv/v1/picture?job=x&index=0").code == 401


def test_another_page_is_refused(guarded: WebUI) -> None:
    """Its origin, and what it may send without asking."""
    for headers, code in (
        ({"Origin": "http://evil.test"}, 403),
        ({"Origin": guarded.address, "Content-Type": "text/plain"}, 415),
        ({"Origin": guarded.address, "Content-Type": "application/json"}, 422),
    ):
        login = {"Authorization": "Basic " + base64.b64encode(b"ann:secret").decode()}
        request = urllib.request.Request(guarded.address + "/tinv/v1/train", b"{}", {**headers, **login})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=60)
        assert refused.value.code == code, headers
