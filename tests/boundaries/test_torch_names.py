"""The package runs on torch 2.1: every name of torch that it uses is one that torch 2.1 has."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache

import pytest

from tests.boundaries.sources import ROOT, files, tree

pytestmark = pytest.mark.once

LIST = ROOT / "tests" / "data" / "torch-2.1-names.txt"
# The list leaves out torch.distributed; of it these are in the documentation of torch 2.1.
COLLECTIVES = ("all_gather_object", "all_reduce", "broadcast", "broadcast_object_list", "gather")
GROUPS = ("init_process_group", "new_group", "destroy_process_group")
DISTRIBUTED = frozenset(("torch.distributed.", *(f"torch.distributed.{name}" for name in COLLECTIVES + GROUPS)))
VERSION = "torch.__version__"  # it leaves out names in underscores, too


@cache
def known() -> frozenset[str]:
    """Return the list's lines: names, and modules with a dot behind."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#")) | DISTRIBUTED | {VERSION}


def bound(source: ast.Module) -> dict[str, str]:
    """Return what the file's names stand for: `from torch import nn` → {"nn": "torch.nn"}."""
    names: dict[str, str] = {}
    for node in ast.walk(source):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "torch":
                    names[alias.asname or "torch"] = alias.name if alias.asname else "torch"
        elif isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == "torch":
            names.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    return names


def used(source: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield each dotted name of torch in a file, as long as it is written, with its line."""
    names = bound(source)
    for node in ast.walk(source):
        if isinstance(node, ast.Import):
            yield from ((a.name, node.lineno) for a in node.names if a.name.split(".")[0] == "torch")
        elif isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == "torch":
            yield from ((f"{node.module}.{a.name}", node.lineno) for a in node.names)
        elif isinstance(node, ast.Attribute):
            root, *rest = chain(node)
            if root in names:
                yield ".".join([names[root], *rest]), node.lineno


def chain(node: ast.expr) -> list[str]:
    """`F.softmax` → ["F", "softmax"]; [""] first where it starts with anything but a name."""
    if isinstance(node, ast.Attribute):
        return [*chain(node.value), node.attr]
    return [node.id] if isinstance(node, ast.Name) else [""]


def exists(name: str) -> bool:
    """Walk down the modules; what lies below the first attribute is that attribute's own affair."""
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        step = ".".join(parts[:count])
        if step + "." not in known():
            return step in known()
    return True


def test_the_package_names_only_what_torch_2_1_has() -> None:
    """Each torch name in the package is in the list made from torch 2.1.2 itself."""
    places = {f"{path.relative_to(ROOT)}:{line}": name for path in files() for name, line in used(tree(path))}
    missing = [f"{place}: torch 2.1 has no {name}" for place, name in places.items() if not exists(name)]
    assert not missing, "\n".join(missing)


def test_the_package_names_some_of_torch() -> None:
    """The collector is not blind: the engine does use torch.Tensor."""
    assert any(name == "torch.Tensor" for path in files() for name, _ in used(tree(path)))


@pytest.mark.parametrize(
    "code",
    [
        "import torch\ntry: pass\nexcept torch.OutOfMemoryError: pass",
        "import torch\ntorch.amp.GradScaler()",
        "from torch.amp import GradScaler",
        "from torch.nn.attention import sdpa_kernel",
        "import torch.nn.attention as a",
        "from torch import nn\nnn.attention.sdpa_kernel()",
        "from torch import serialization as s\ns.add_safe_globals([])",
        "import torch.nn.functional as F\nF.rms_norm(x, (1,))",
        "from torch.nn import functional\nfunctional.scaled_dot_product_attention_newer()",
        "import torch\ntorch.serialization.safe_globals([])",
        "import torch as t\nt.accelerator.current_accelerator()",
    ],
)
def test_newer_names_are_found(code: str) -> None:
    """Names that came after 2.1 are caught in whichever way they are written."""
    assert not all(exists(name) for name, _ in used(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "import torch\nx: torch.Tensor = torch.zeros(1).float()",
        "import torch.nn.functional as F\nF.scaled_dot_product_attention(q, k, v)",
        "from torch import Tensor, nn\nnn.Embedding(1, 1)",
        "import torch\ntorch.cuda.OutOfMemoryError\ntorch.backends.cuda.matmul.allow_tf32 = True",
        "from torch.utils.checkpoint import checkpoint",
        "import torch\ntorch.Generator('cpu').manual_seed(1)\ntorch.Tensor.to",
    ],
)
def test_older_names_pass(code: str) -> None:
    """Names that 2.1 has are let through."""
    assert all(exists(name) for name, _ in used(ast.parse(code)))
