"""SDXL, SD2 and inpainting in the real WebUI, as small models of its own classes: `make test-webui`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.hosts.diffusers.small_pipelines import TOKENIZER

HERE = Path(__file__).parent
pytestmark = pytest.mark.webui
ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def its_python(*given: str | Path) -> str:
    """Run a file with the WebUI's Python; what it said. It must end well."""
    command = [os.environ["WEBUI_PYTHON"], *map(str, given)]
    done = subprocess.run(command, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-1500:]}"
    return done.stdout


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small checkpoints, each with its yaml."""
    folder = tmp_path_factory.mktemp("small")
    its_python(HERE / "small" / "make.py", os.environ["WEBUI"], folder, TOKENIZER)
    return folder


@pytest.mark.parametrize("name", ["sdxl", "sd2", "inpainting"])
def test_it_is_trained_as_the_webui_draws_with_it(name: str, checkpoints: Path, tmp_path: Path) -> None:
    """Conditions, latents, loss, gradient, a whole run and its word, files of each format: see inside/."""
    packages = Path(pytest.__file__).parents[1]
    tests = [HERE / "inside" / name for name in ("test_families.py", "test_embedding_files.py")]
    checkpoint = checkpoints / f"{name}.safetensors"
    said = its_python(HERE / "inside" / "alone.py", os.environ["WEBUI"], checkpoint, tmp_path, packages, *tests)
    assert " passed" in said
