"""The real WebUI as a process of its own: on a free port of this machine, with a data folder of the test's."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

ROOT = Path(__file__).parents[2]
INSIDE = Path(__file__).parent / "inside"
OTHER = "other.safetensors"  # a second checkpoint, with the same weights
READY = "Startup time:"  # an earlier request can kill it
PATIENCE = 600.0  # seconds until it must be up, or have answered
# Nothing is downloaded, looked for or reported; the rest of the machine is left alone.
FLAGS = ["--skip-prepare-environment", "--skip-torch-cuda-test", "--skip-python-version-check", "--skip-version-check"]
FLAGS += ["--no-half", "--use-cpu", "all", "--no-download-sd-model", "--server-name", "127.0.0.1"]
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "COMMANDLINE_ARGS": "",
    "OMP_WAIT_POLICY": "PASSIVE",
    "OMP_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
    "TINV_REPOSITORY": str(ROOT),
}
SETTINGS = {"show_progress_type": "Approx cheap"}  # the default live preview wants a download


@dataclass(frozen=True)
class Answer:
    """Status code and body of an answer, JSON where it is."""

    code: int
    body: Any


@dataclass(frozen=True)
class WebUI:
    """A WebUI that runs."""

    address: str
    data: Path
    log: Path

    def ask(self, path: str, given: Any = None, login: str = "") -> Answer:
        """GET, or POST of `given` as JSON; `login` is "name:password"."""
        headers = {"Content-Type": "application/json"}
        if login:
            headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
        data = None if given is None else json.dumps(given).encode()
        request = urllib.request.Request(self.address + path, data=data, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return Answer(answer.status, _read(answer.read()))
        except urllib.error.HTTPError as error:
            return Answer(error.code, _read(error.read()))

    def get(self, path: str) -> Any:
        """The body of an answer that must be a good one."""
        return _good(path, self.ask(path))

    def post(self, path: str, given: Any) -> Any:
        """Likewise, of a POST."""
        return _good(path, self.ask(path, given))

    def inside(self, what: str, **given: Any) -> Any:
        """The answer of a function in inside/asked.py, run in the WebUI's process."""
        return self.post(f"/inside/{what}", given)

    def starts(self) -> int:
        """How often it has come up, reloads of its page among them."""
        return self.log.read_text(encoding="utf-8", errors="replace").count(READY)


def _read(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body


def _good(path: str, answer: Answer) -> Any:
    assert answer.code in (200, 202), f"{path}: {answer.code} {str(answer.body)[:3000]}"
    return answer.body


@contextmanager
def running(
    code: Path,
    python: str,
    checkpoint: Path,
    data: Path,
    flags: Sequence[str],
    settings: Mapping[str, Any],
    always: Sequence[str] = tuple(FLAGS),
    beside: Mapping[str, Path] = MappingProxyType({"inside": INSIDE}),
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[WebUI]:
    """The WebUI of the folder `code` with this extension and a checkpoint; everything it writes lies in `data`.

    A sibling has flags of its own (`always`), and perhaps other extensions `beside` this one.
    """
    (data / "extensions").mkdir(parents=True, exist_ok=True)
    for name, target in {"tinv_ext": ROOT, **beside}.items():
        link = data / "extensions" / name
        if not link.exists():
            link.symlink_to(target, target_is_directory=True)
    (data / "config.json").write_text(json.dumps({**SETTINGS, **settings}), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = data / "webui.log"
    own = {**environment, "HOME": str(data), "USERPROFILE": str(data)}  # caches, and what ~ means, are not the user's
    own["TINV_ARCHITECTURES"] = str(checkpoint.parent) if list(checkpoint.parent.glob("*.json")) else ""
    command = [python, "launch.py", *always, "--port", str(port), "--data-dir", str(data), "--ckpt", str(checkpoint)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, *flags], cwd=code, env={**os.environ, **ENVIRONMENT, **own}, stdout=out, stderr=subprocess.STDOUT
        )
    webui = WebUI(f"http://127.0.0.1:{port}", data, log)
    try:
        _wait(process, webui)
        yield webui
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], webui: WebUI) -> None:
    end = time.monotonic() + PATIENCE
    while not webui.starts():
        assert process.poll() is None, f"the WebUI has ended ({process.returncode}): {_tail(webui.log)}"
        assert time.monotonic() < end, f"the WebUI is not up: {_tail(webui.log)}"
        time.sleep(0.3)


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-3000:]
