"""Which third-party packages and rooms each part may import, and which only inside functions."""

from __future__ import annotations

import ast
import sys

import pytest

from tests.boundaries.sources import Import, files, imports, module_name, tree

pytestmark = pytest.mark.once

NUMBERS = {"torch", "numpy", "PIL", "safetensors"}
OFFLINE = NUMBERS | {"diffusers", "transformers", "yaml"}
WEBUI = {"modules", "ldm", "sgm", "open_clip", "torch"}
WHOLE = {"tinv_ext"}
# What hosts share, on the ground floor of hosts/.
HOSTS = tuple(
    f"tinv_ext.hosts.{name}"
    for name in (
        "base",
        "prompt_vectors",
        "vae",
        "checkpointing",
        "freezing",
        "loss_scale",
        "dtypes",
        "cuda_graphs",
        "offloading",
        "offline_samplers",
    )
)
# What stands below the hosts of single programs.
PROGRAMS = {"tinv_ext.core", "tinv_ext.hosts.webui", "tinv_ext.hosts.patchers", *HOSTS}
ENGINE = {"tinv_ext.core", "tinv_ext.hosts.base"}

# part: (its modules, what it may import beside the standard library). The longest prefix decides the part.
PARTS: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "root": (("tinv_ext",), set()),
    "models": (("tinv_ext.models",), ENGINE | {"tinv_ext.toy", "tinv_ext.hosts.diffusers"}),
    "python": (("tinv_ext.python_api",), ENGINE | {"tinv_ext.models", "tinv_ext.run", "tinv_ext.library"}),
    "core": (("tinv_ext.core",), NUMBERS | {"tinv_ext.core"}),
    "faces": (("tinv_ext.core.data.faces",), NUMBERS | {"cv2"}),  # where it is installed
    "run": (("tinv_ext.run",), NUMBERS | ENGINE | {"tinv_ext.run", "tinv_ext.hub"}),
    "hub": (("tinv_ext.hub",), {"huggingface_hub", "tinv_ext.core", "tinv_ext.hub"}),
    "trackers": (("tinv_ext.run.trackers",), NUMBERS | ENGINE | {"wandb", "tinv_ext.run"}),  # where it is installed
    "server": (
        ("tinv_ext.server",),
        ENGINE
        | {
            "tinv_ext.run",
            "tinv_ext.prepare",
            "tinv_ext.server",
            "tinv_ext.scheduler",
            "tinv_ext.hosts.offline_samplers",
        },
    ),
    "scheduler": (("tinv_ext.scheduler",), ENGINE | {"torch", "tinv_ext.run", "tinv_ext.scheduler"}),
    "api": (("tinv_ext.server.api", "tinv_ext.server.routes"), {"fastapi", "starlette", "pydantic"} | WHOLE),
    "library": (
        ("tinv_ext.library",),
        NUMBERS
        | ENGINE
        | {"tinv_ext.library", "tinv_ext.run.run_folder", "tinv_ext.run.thumbnail", "tinv_ext.run.run_lock"},
    ),
    "prepare": (("tinv_ext.prepare",), {"numpy", "PIL", "tinv_ext.core", "tinv_ext.prepare"}),
    "tagger": (("tinv_ext.prepare.wd14",), {"numpy", "PIL", "onnxruntime", "tinv_ext.core", "tinv_ext.prepare"}),
    "hosts": (("tinv_ext.hosts",), set()),
    "base": (HOSTS, NUMBERS | {"tinv_ext.core"}),
    "diffusers": (("tinv_ext.hosts.diffusers",), OFFLINE | {"tinv_ext.core", "tinv_ext.hosts.diffusers", *HOSTS}),
    "webui host": (("tinv_ext.hosts.webui",), NUMBERS | WEBUI | {"tinv_ext.core", "tinv_ext.hosts.webui", *HOSTS}),
    # it is told where the program's own parts are
    "patchers": (("tinv_ext.hosts.patchers",), NUMBERS | {"tinv_ext.core", "tinv_ext.hosts.patchers", *HOSTS}),
    "a1111": (("tinv_ext.hosts.a1111",), NUMBERS | WEBUI | PROGRAMS | {"tinv_ext.hosts.a1111"}),
    "reforge": (
        ("tinv_ext.hosts.a1111.reforge",),
        NUMBERS | {"modules", "modules_forge", "ldm_patched", "tinv_ext.hosts.a1111"} | PROGRAMS,
    ),
    "forge": (("tinv_ext.hosts.forge",), NUMBERS | {"modules", "backend", "tinv_ext.hosts.forge"} | PROGRAMS),
    "ui": (
        ("tinv_ext.ui",),
        {
            "gradio",
            "modules",
            "tinv_ext.core.settings",
            "tinv_ext.core.errors",
            "tinv_ext.core.messages",
            "tinv_ext.core.paths",
        }
        | {"tinv_ext.core.preflight.prepare", "tinv_ext.server", "tinv_ext.library", "tinv_ext.prepare", "tinv_ext.ui"},
    ),
    "cli": (("tinv_ext.cli", "tinv_ext.__main__"), WHOLE),
    "progress": (
        ("tinv_ext.cli.progress",),
        {"tqdm", "tinv_ext.core", "tinv_ext.run", "tinv_ext.cli.language", "tinv_ext.cli.lasting_stream"},
    ),
    "queue progress": (
        ("tinv_ext.cli.queue_progress",),
        {"tqdm", "tinv_ext.core", "tinv_ext.scheduler", "tinv_ext.cli.language", "tinv_ext.cli.lasting_stream"},
    ),
    "demo": (("tinv_ext.demo",), NUMBERS | {"matplotlib"} | WHOLE),
    "standalone": (("tinv_ext.standalone",), {"gradio", "fastapi", "uvicorn"} | WHOLE),
    "toy": (("tinv_ext.toy",), OFFLINE | {"tinv_ext.core", "tinv_ext.toy"}),
    "webui": (("tinv_ext.webui",), {"modules"} | WHOLE),
    "script": (("scripts",), {"modules.script_callbacks", "tinv_ext.webui"}),
    "way in": (("install", "preload"), set()),
}
# These call any part, but only from inside a function: `--help` must not wait for torch.
LATE = {"api", "cli", "webui"}
LATE_TOP = {
    "tinv_ext.core",
    "tinv_ext.cli.arguments",
    "tinv_ext.cli.command_options",
    "tinv_ext.cli.create",
    "tinv_ext.cli.failures",
    "tinv_ext.cli.flags",
    "tinv_ext.cli.outcome",
    "tinv_ext.cli.given",
    "tinv_ext.cli.language",
    "tinv_ext.cli.launched",
    "tinv_ext.cli.main",
    "tinv_ext.cli.output",
    "tinv_ext.cli.prepare",
    "tinv_ext.cli.presets",
    "tinv_ext.cli.queue",
    "tinv_ext.cli.sweep",
    "tinv_ext.cli.sweep_words",
    "tinv_ext.cli.signals",
    "tinv_ext.cli.steering",
    "tinv_ext.cli.embeddings",
    "tinv_ext.hosts.offline_samplers",
    "tinv_ext.server.api",
    "tinv_ext.server.late",
    "tinv_ext.server.routes",
    "fastapi",
    "starlette",
    "pydantic",
}
EVERYONE = set(sys.stdlib_module_names) | {"tomllib", "tomli", "tinv_ext.__version__"}


def within(module: str, allowed: set[str]) -> bool:
    """Say whether a dotted name is one of the allowed ones or lies below one."""
    return any(module == name or module.startswith(name + ".") for name in allowed)


def part_of(module: str) -> str:
    """Return the part that a module belongs to."""
    homes = [(len(home), part) for part, (prefixes, _) in PARTS.items() for home in prefixes if within(module, {home})]
    part = max(homes)[1] if homes else ""
    if not part or (part in ("root", "hosts") and module not in PARTS[part][0]):
        raise LookupError(f"{module} belongs to no part: add it to the table in {__file__} and in the architecture.")
    return part


def refused(module: str, found: list[Import]) -> list[str]:
    """Return a line for each import that the part of `module` must not make."""
    part = part_of(module)
    allowed = PARTS[part][1]
    wrong = []
    for item in found:
        if within(item.module, EVERYONE):
            continue
        if not within(item.module, allowed):
            wrong.append(f"{module}:{item.line} ({part}) must not import {item.module}")
        elif part in LATE and not item.deferred and not within(item.module, LATE_TOP):
            wrong.append(f"{module}:{item.line} ({part}) may import {item.module} only inside a function")
    return wrong


def test_each_file_imports_only_what_its_part_may() -> None:
    """No file of the program imports what the table forbids to its part."""
    wrong = []
    for path in files():
        name = module_name(path)
        wrong += refused(name, imports(tree(path), name, path.name == "__init__.py"))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("tinv_ext.core.training.trainer", "import diffusers"),
        ("tinv_ext.core.training.trainer", "from ...hosts import base"),
        ("tinv_ext.core.training.trainer", "def f():\n    import gradio"),
        ("tinv_ext.core.training.trainer", "from modules import shared"),
        ("tinv_ext.run.runner", "from tinv_ext.hosts.diffusers import Host"),
        ("tinv_ext.run.run_folder", "from ..hosts import diffusers"),
        ("tinv_ext.hosts.base", "import transformers"),
        ("tinv_ext.hosts.a1111.model", "import gradio"),
        ("tinv_ext.hosts.a1111.model", "from tinv_ext.hosts import diffusers"),
        ("tinv_ext.hosts.diffusers.open_pipeline", "from modules import sd_models"),
        ("tinv_ext.ui.page", "import torch"),
        ("tinv_ext.ui.page", "from tinv_ext.core.training.trainer import train"),
        ("tinv_ext.cli.main", "def run():\n    import torch"),
        ("tinv_ext.cli.main", "from tinv_ext.run import runner"),
        ("tinv_ext.server.api", "import gradio"),
        ("tinv_ext.toy.export", "from tinv_ext.run import runner"),
        ("scripts.tinv", "import torch"),
    ],
)
def test_a_forbidden_import_is_found(module: str, line: str) -> None:
    """Each rule of the table refuses a file that breaks it."""
    assert refused(module, imports(ast.parse(line), module))


@pytest.mark.parametrize(
    ("module", "line"),
    [
        (
            "tinv_ext.core.training.trainer",
            "import torch.nn.functional as F\nfrom PIL import Image\nfrom ..errors import InputError",
        ),
        ("tinv_ext.run.runner", "from tinv_ext.hosts.base import Host\nfrom tinv_ext.run import run_folder"),
        ("tinv_ext.cli.main", "def run():\n    from tinv_ext.hosts.diffusers import open_host"),
        ("tinv_ext.hosts.diffusers.host", "from diffusers import StableDiffusionPipeline"),
        ("scripts.tinv", "from modules import script_callbacks\nfrom tinv_ext import webui"),
    ],
)
def test_an_allowed_import_passes(module: str, line: str) -> None:
    """The rules let through what the parts are for."""
    assert not refused(module, imports(ast.parse(line), module))


def test_a_file_without_a_part_is_refused() -> None:
    """A new file must find its place in the table."""
    with pytest.raises(LookupError, match="belongs to no part"):
        part_of("tinv_ext.helpers")


def test_tomllib_is_imported_with_a_fallback() -> None:
    """Python 3.10 has no tomllib, so each import of it stands in a try."""
    for path in files():
        tried = {id(node) for block in ast.walk(tree(path)) if isinstance(block, ast.Try) for node in ast.walk(block)}
        for node in ast.walk(tree(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert "tomllib" not in names or id(node) in tried, f"{path}: import tomllib without a fallback to tomli"
