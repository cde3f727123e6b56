"""A wheel, installed where the repository is out of reach, has everything that the command line and the page need."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paths import ROOT
from tinv_ext import __version__

SOURCES = ("tinv_ext", "javascript", "style.css", "setup.py", "pyproject.toml", "README.md", "LICENSE")
SECONDS = 120  # for the server to answer: it imports torch and gradio and opens the toy first

# The build must not need the network, so it uses the setuptools of the requirements.
pytestmark = pytest.mark.skipif(importlib.util.find_spec("setuptools") is None, reason="setuptools is not installed")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a clean copy of the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, folder / name)
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder / "out"))
    run(["-m", "pip", "wheel", *options, str(folder)], folder)
    (file,) = (folder / "out").glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """A folder that holds the installed wheel and nothing else; it is also the working folder of every command."""
    folder = wheel.parent / "installed"
    options = ("--quiet", "--no-deps", "--no-index", "--no-compile", "--target", str(folder))
    run(["-m", "pip", "install", *options, str(wheel)], wheel.parent)
    return folder


def environment(folder: Path) -> dict[str, str]:
    """Python finds `folder`, and no checkout."""
    return {**os.environ, "PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1", "HF_HUB_OFFLINE": "1"}


def run(arguments: list[str], folder: Path) -> str:
    """What a Python command prints; its errors are the test's."""
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def test_the_wheel_has_every_file_of_the_package_and_the_page(wheel: Path) -> None:
    """Templates, translations, configs, weights, sample images, script and style: nothing stays behind."""
    package = [path for path in (ROOT / "tinv_ext").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    page = [ROOT / "style.css", *(path for path in (ROOT / "javascript").rglob("*") if path.is_file())]
    wanted = {path.relative_to(ROOT).as_posix() for path in package}
    wanted |= {f"tinv_ext/assets/{path.relative_to(ROOT).as_posix()}" for path in page}
    assert wanted - set(zipfile.ZipFile(wheel).namelist()) == set()


def test_the_command_is_installed_and_knows_its_version(installed: Path) -> None:
    """`tinv --version`, by the script that pip makes."""
    (script,) = (path for path in (installed / "bin", installed / "Scripts") if path.is_dir())
    command = [str(next(script.glob("tinv*"))), "--version"]
    assert subprocess.check_output(command, cwd=installed, env=environment(installed), text=True).strip() == __version__


def test_check_works(installed: Path) -> None:
    """The toy, its tokenizer, the templates and the sample images are all found, in the installed package."""
    images = installed / "tinv_ext" / "toy" / "samples" / "clover"
    printed = run(["-m", "tinv_ext", "check", "--name", "zibbo", "--images", str(images)], installed)
    assert "01.png" in printed
    assert "zibbo#1" in printed


@pytest.fixture
def page(installed: Path) -> Iterator[str]:
    """The address of `tinv ui`, served from the installed package."""
    pytest.importorskip("gradio", reason="the page needs gradio; it is tested under the WebUI's versions and gradio 4")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tinv_ext", "ui", "--model", "toy", "--port", str(port)]
    with (installed / "ui.log").open("w") as log:
        server = subprocess.Popen(command, cwd=installed, env=environment(installed), stdout=log, stderr=log)
        try:
            yield _when_it_answers(f"http://127.0.0.1:{port}/", server, installed / "ui.log")
        finally:
            server.terminate()
            server.wait(30)


def _when_it_answers(address: str, server: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            fetch(address)
            return address
        except urllib.error.URLError:
            time.sleep(0.5)
    raise AssertionError(f"The page did not come up: {log.read_text()[-3000:]}")


def fetch(address: str) -> str:
    """The text at an address; an HTTP error raises."""
    with urllib.request.urlopen(address, timeout=30) as answer:
        return str(answer.read().decode("utf-8"))


def test_the_page_is_served_with_script_and_style(page: str) -> None:
    """`/` is the tab with our style; the scripts that it loads are those of the repository."""
    shown = fetch(page)
    first_rule = (ROOT / "style.css").read_text(encoding="utf-8").split("{")[0].split("*/")[-1].strip()
    assert first_rule in fetch(f"{page}config") + shown
    for path in (ROOT / "javascript").glob("*.js"):
        assert path.name in fetch(f"{page}config") + shown
        assert fetch(f"{page}tinv/javascript/{path.name}") == path.read_text(encoding="utf-8")
