"""Another web page in the same browser: what it sends to our server in every way that a browser has."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.ui.browser import CHROMIUM, FLAGS, needs_chromium, sync_api
from tests.ui.test_browser import address, jobs_home  # noqa: F401  (fixtures)

pytestmark = [needs_chromium, pytest.mark.once]
STRANGERS = ("http://127.0.0.1:{port}/", "http://localhost:{port}/", "http://evil.test:{port}/")
ATTACK = """async ([target, body, file]) => {
    const tried = [];
    const ask = async (name, path, options) => {
        try {
            const answer = await fetch(target + path, options);
            tried.push([name, answer.type === 'opaque' ? 'opaque' : await answer.text()]);
        } catch (error) { tried.push([name, 'refused']); }
    };
    for (const path of ['file=' + file, 'config', 'tinv/v1/status', 'tinv/v1/jobs']) {
        await ask('read', path, {});
        await ask('look', path, {mode: 'no-cors'});
    }
    for (const path of ['tinv/v1/train', 'queue/join', 'run/predict', 'api/predict', 'upload']) {
        for (const type of ['text/plain', 'application/x-www-form-urlencoded'])
            await ask('post', path, {method: 'POST', mode: 'no-cors', headers: {'Content-Type': type}, body});
        await ask('untyped', path, {method: 'POST', mode: 'no-cors', body: new Blob([body])});
        await ask('json', path, {method: 'POST', headers: {'Content-Type': 'application/json'}, body});
        await ask('beacon', path, {method: 'POST', mode: 'no-cors', keepalive: true, body});
    }
    for (const enctype of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data']) {
        const frame = document.createElement('iframe'), form = document.createElement('form');
        frame.name = 'frame' + enctype;
        Object.assign(form, {method: 'post', enctype, action: target + 'tinv/v1/train', target: frame.name});
        const field = document.createElement('input');
        [field.name, field.value] = [body.slice(0, -2) + ',"x":"', '"}'];
        form.append(field);
        document.body.append(frame, form);
        await new Promise((done) => { frame.onload = done; form.submit(); setTimeout(done, 3000); });
    }
    for (const path of ['file=' + target, 'file=' + file, 'tinv/v1/status']) {
        const image = new Image();
        await new Promise((done) => {
            image.onload = image.onerror = done;
            image.src = target + path;
            setTimeout(done, 3000);
        });
        tried.push(['image', image.naturalWidth ? 'seen' : 'refused']);
    }
    const socket = new WebSocket(target.replace('http', 'ws') + 'queue/join');
    tried.push(['socket', await new Promise((done) => {
        socket.onopen = () => done('open');
        socket.onerror = () => done('refused');
    })]);
    const page = document.createElement('iframe');
    page.src = target;
    await new Promise((done) => { page.onload = done; document.body.append(page); setTimeout(done, 3000); });
    return tried;
}"""


@pytest.fixture
def elsewhere() -> Iterator[int]:
    """The port of another server, with an empty page."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>another page</title>")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join(20)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Chromium, for which evil.test is this machine, as an attacker's name server says."""
    with sync_api.sync_playwright() as playwright:
        rules = "--host-resolver-rules=MAP evil.test 127.0.0.1"
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, rules])
        yield chromium
        chromium.close()


@pytest.fixture
def browser(chromium: Any) -> Iterator[Any]:
    """It, with nothing from other tests."""
    context = chromium.new_context()
    yield context
    context.close()


def asked(address: str, path: str) -> Any:  # noqa: F811
    """What a program is answered, within some seconds."""
    with urllib.request.urlopen(address + path, timeout=20) as answer:
        return json.loads(answer.read())


@pytest.mark.parametrize("stranger", STRANGERS)
def test_another_page_gets_nothing_and_starts_nothing(
    browser: Any,
    address: str,  # noqa: F811
    elsewhere: int,
    stranger: str,
    values: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each request is answered 403, nothing is read or started, and our server still answers afterwards."""
    (tmp_path / "secret.txt").write_text("classified", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    page = browser.new_page()
    answers: list[tuple[int, str]] = []
    ours = urlsplit(address).netloc
    page.on(
        "response",
        lambda answer: answers.append((answer.status, answer.url)) if urlsplit(answer.url).netloc == ours else None,
    )
    page.goto(stranger.format(port=elsewhere))
    tried = page.evaluate(ATTACK, [address, json.dumps(values), str(tmp_path / "secret.txt")])
    assert {what for _, what in tried} <= {"opaque", "refused"}, tried
    assert dict(tried)["socket"] == "refused"
    assert len(answers) > 20
    assert {status for status, _ in answers} == {403}, [answer for answer in answers if answer[0] != 403]
    assert asked(address, "tinv/v1/jobs") == []
    assert asked(address, "tinv/v1/status")["job"] is None


def test_a_strangers_name_for_this_machine_is_refused(browser: Any, address: str, values: dict[str, Any]) -> None:  # noqa: F811
    """DNS rebinding: the browser takes us for the stranger's own server, so that nothing is foreign to it."""
    port = urlsplit(address).port
    page = browser.new_page()
    opened = page.goto(f"http://evil.test:{port}/")
    assert opened.status == 403
    assert "evil.test" in page.inner_text("body")
    status = page.evaluate(
        """async (body) => (await fetch('/tinv/v1/train', {
            method: 'POST', headers: {'Content-Type': 'application/json'}, body})).status""",
        json.dumps(values),
    )
    assert status == 403
    assert (
        page.evaluate(
            "(port) => new Promise((done) => { const socket = new WebSocket(`ws://evil.test:${port}/queue/join`);"
            "socket.onopen = () => done('open'); socket.onerror = () => done('refused'); })",
            port,
        )
        == "refused"
    )
    assert asked(address, "tinv/v1/jobs") == []


def test_an_uploaded_page_is_not_shown(browser: Any, address: str) -> None:  # noqa: F811
    """Our own page uploads it, as a person who was sent it would; opened, it is a download and no page of ours."""
    page = browser.new_page()
    page.goto(address + "tinv/v1/labels")
    path = page.evaluate(
        """async () => {
            const data = new FormData();
            const evil = "<script>document.title = 'caught'</script>";
            data.append('files', new File([evil], 'evil.html', {type: 'text/html'}));
            return (await (await fetch('/upload', {method: 'POST', body: data})).json())[0];
        }"""
    )
    with page.expect_download() as download:
        page.evaluate("(path) => { location.href = '/file=' + path; }", path)
    assert download.value.url.endswith("evil.html")
    assert page.title() != "caught"


def test_a_link_to_the_page_works(browser: Any, address: str, elsewhere: int) -> None:  # noqa: F811
    """From anywhere: a person follows it. The page then works."""
    page = browser.new_page()
    page.goto(f"http://localhost:{elsewhere}/")
    page.evaluate("(address) => { location.href = address; }", address)
    page.wait_for_selector("#tinv_train")
    page.wait_for_function("/No run yet/.test(document.querySelector('#tinv_live').textContent)")
