"""Files and functions stay small enough to be read, and classes stay simple."""

from __future__ import annotations

import ast

import pytest

from tests.boundaries.sources import ROOT, files, tree

pytestmark = pytest.mark.once


def test_no_file_is_longer_than_400_lines() -> None:
    """A longer file hides a missing one."""
    long = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in files()}
    assert {name: lines for name, lines in long.items() if lines > 400} == {}


def test_no_function_is_longer_than_60_lines() -> None:
    """A function fits a screen."""
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in files()
        for node in ast.walk(tree(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and (node.end_lineno or 0) - node.lineno >= 60
    ]
    assert long == []


def test_only_exceptions_and_protocols_inherit() -> None:
    """A choice among variants is a dict of functions, not a tree of classes."""
    allowed = {"Protocol", "Exception", "Enum", "NamedTuple", "TypedDict", "nn.Module", "torch.optim.Optimizer"}
    allowed |= {"torch.autograd.Function", "TorchFunctionMode"}  # as torch asks
    allowed |= {"str", "string.Formatter"}  # core/messages.py: a sentence is a text, wherever it goes
    wrong = []
    for path in files():
        for node in ast.walk(tree(path)):
            bases = [ast.unparse(base).split("[")[0] for base in node.bases] if isinstance(node, ast.ClassDef) else []
            if bases and not allowed & set(bases) and not all(base.endswith("Error") for base in bases):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}: {bases}")
    assert wrong == []
