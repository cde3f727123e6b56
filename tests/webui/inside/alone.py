"""Run test files in a process of the WebUI that has a model loaded but serves nobody.

    <the WebUI's python> alone.py <WebUI> <checkpoint> <data folder> <folder with pytest> <test file> …

Its exit code is pytest's. The WebUI's own packages go before those of the folder with pytest. The small OpenCLIP
models of tests/webui/small are made known to open_clip in this process alone.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
FLAGS = ["--skip-prepare-environment", "--skip-torch-cuda-test", "--skip-python-version-check", "--skip-version-check"]
FLAGS += ["--no-half", "--use-cpu", "all", "--no-download-sd-model"]


def main(webui: str, checkpoint: str, data: str, packages: str, files: list[str]) -> int:
    """Load the model as the WebUI does when it starts, then run the files."""
    os.chdir(webui)
    sys.path.insert(0, webui)
    sys.argv = ["launch.py", *FLAGS, "--data-dir", data, "--ckpt", checkpoint]
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", COMMANDLINE_ARGS="")
    from modules import initialize

    initialize.imports()
    initialize.initialize()
    import open_clip
    from modules import shared

    for folder in (ROOT / "tests" / "webui" / "small" / "open_clip", Path(checkpoint).parent):
        open_clip.add_model_config(folder)
    assert shared.sd_model is not None
    sys.path.append(packages)
    sys.path.insert(0, str(ROOT))
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    import pytest

    options = ["-p", "no:cacheprovider", "--tb=short", "--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml")]
    return int(pytest.main([*options, *files]))


if __name__ == "__main__":
    code = main(*sys.argv[1:5], sys.argv[5:])
    sys.stdout.flush()
    os._exit(code)  # the WebUI's threads would wait
