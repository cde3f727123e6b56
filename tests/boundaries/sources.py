"""The package's source files as syntax trees, and what each of them imports by itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.paths import ROOT


@dataclass(frozen=True)
class Import:
    """One imported module (`from a import b` counts as `a.b`), and whether it waits inside a function."""

    module: str
    line: int
    deferred: bool


def files() -> list[Path]:
    """Return the program's own files: the package, and the WebUI's way into it."""
    ways_in = [ROOT / "install.py", ROOT / "preload.py", *sorted((ROOT / "scripts").glob("*.py"))]
    return sorted((ROOT / "tinv_ext").rglob("*.py")) + [path for path in ways_in if path.exists()]


def module_name(path: Path) -> str:
    """`tinv_ext/core/formats/__init__.py` → `tinv_ext.core.formats`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree(path: Path) -> ast.Module:
    """Parse a file once."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(source: ast.Module, name: str, is_package: bool = False) -> list[Import]:
    """Return every import of a module called `name`, with relative ones made absolute."""
    return list(_imports(source, name if is_package else name.rpartition(".")[0], False))


def _imports(node: ast.AST, package: str, deferred: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, node.lineno, deferred) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = absolute(node, package)
        yield from (Import(f"{base}.{alias.name}", node.lineno, deferred) for alias in node.names)
    inside = deferred or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or _only_types(node)
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, package, inside)


def absolute(node: ast.ImportFrom, package: str) -> str:
    """`from ..errors import x` in package `tinv_ext.core.formats` → `tinv_ext.core.errors`."""
    if not node.level:
        return node.module or ""
    kept = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*kept, node.module] if node.module else kept)


def _only_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
