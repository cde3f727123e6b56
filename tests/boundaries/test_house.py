"""The rooms: which one a file belongs to, which ones it may import from, and that docs/architecture.md is true."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.boundaries.sources import Import, files, imports, module_name, tree
from tests.paths import DOCS, ROOT

pytestmark = pytest.mark.once

# From the ground up. A file imports from its own room and from lower floors only, so rooms on one floor do not know
# each other and no circle is possible. A room is a package or, where files of one folder stand on several floors, a
# module; the longest prefix decides. Imports inside functions and under TYPE_CHECKING count, too.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("tinv_ext", "tinv_ext.core"),
    ("tinv_ext.core.formats", "tinv_ext.core.prompts"),
    ("tinv_ext.core.data",),
    ("tinv_ext.core.model",),
    ("tinv_ext.core.training",),
    ("tinv_ext.core.settings.peers",),
    ("tinv_ext.core.settings",),
    ("tinv_ext.core.generation",),
    ("tinv_ext.core.preflight",),
    ("tinv_ext.hosts",),
    ("tinv_ext.hosts.diffusers", "tinv_ext.hosts.patchers", "tinv_ext.hosts.webui", "tinv_ext.toy"),
    ("tinv_ext.hosts.a1111", "tinv_ext.hosts.forge"),
    ("tinv_ext.hub",),
    ("tinv_ext.run", "tinv_ext.prepare"),
    ("tinv_ext.scheduler",),
    ("tinv_ext.server", "tinv_ext.library"),
    ("tinv_ext.server.routes",),
    ("tinv_ext.server.api",),
    ("tinv_ext.models",),
    ("tinv_ext.ui", "tinv_ext.demo", "tinv_ext.python_api"),
    ("tinv_ext.standalone", "tinv_ext.webui"),
    ("tinv_ext.cli",),
    ("tinv_ext.__main__", "scripts", "install", "preload"),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

VAGUE = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc"}
# What this project once called things that the field has a word for.
PRIVATE = {"job", "jobs", "lesson", "shelf", "standing", "material", "rescue", "probe", "framing", "lexicon", "frugal"}
PRIVATE |= {"pace", "card", "facts", "trying", "checking", "kinds", "turns", "places", "additions", "wishes"}

QUESTION = re.compile(r"^\| (?P<question>[^|]+\?) \| `(?P<file>[^`|]+\.py)` \| (?P<names>[^|]+) \|", re.MULTILINE)
TEST = re.compile(r"`(tests/[\w/.]+|test_\w+\.py)`")


def room_of(module: str) -> str:
    """The room that a module or a name in one belongs to; LookupError if it is in none."""
    parts = module.split(".")
    prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in FLOOR_OF), "") or _homeless(module)


def _homeless(module: str) -> str:
    raise LookupError(
        f"{module} is in no room: give it a floor in {Path(__file__).name}, and a row in architecture.md."
    )


def upward(module: str, found: list[Import]) -> list[str]:
    """A line for each import that leads neither into the module's own room nor to a lower floor."""
    here = room_of(module)
    wrong = []
    for item in found:
        if item.module.split(".")[0] != "tinv_ext":
            continue
        there = room_of(item.module)
        if there != here and FLOOR_OF[there] >= FLOOR_OF[here]:
            wrong.append(f"{module}:{item.line} ({here}) imports {item.module} ({there}): not on a lower floor")
    return wrong


def test_imports_lead_downwards() -> None:
    """No file imports from a higher floor or another room on its own, so no rooms import each other in a circle."""
    wrong = []
    for path in files():
        name = module_name(path)
        wrong += upward(name, imports(tree(path), name, path.name == "__init__.py"))
    assert wrong == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("tinv_ext.core.errors", "from tinv_ext.core.data import images"),
        ("tinv_ext.core.prompts.reader", "from tinv_ext.core.formats import read_embedding"),
        ("tinv_ext.core.data.dataset", "from tinv_ext.core.training.state import State"),
        ("tinv_ext.core.training.trainer", "def f():\n    from tinv_ext.core.settings import TrainConfig"),
        ("tinv_ext.hosts.base", "from tinv_ext.run import runner"),
        ("tinv_ext.hosts.diffusers.host", "from tinv_ext.hosts.a1111 import host"),
        ("tinv_ext.run.runner", "from tinv_ext.server import job_queue"),
        ("tinv_ext.library.library", "from tinv_ext.server import templates"),
        ("tinv_ext.demo.demo", "from tinv_ext.cli.progress import Progress"),
        ("tinv_ext.ui.page", "if TYPE_CHECKING:\n    from tinv_ext import standalone"),
    ],
)
def test_an_upward_import_is_found(module: str, line: str) -> None:
    """The rule refuses imports that go up or sideways, wherever in the file they stand."""
    assert upward(module, imports(ast.parse(line), module))


def test_every_folder_of_the_package_is_a_room() -> None:
    """A new folder needs a floor of its own: it must not slip in under the room above it."""
    folders = [path.parent for path in (ROOT / "tinv_ext").rglob("__init__.py")]
    inner = ("tinv_ext.hosts.diffusers.",)  # the checkpoint files and configs of one host
    names = [module_name(folder / "__init__.py") for folder in folders]
    assert [name for name in names if name not in FLOOR_OF and not name.startswith(inner)] == []


def test_few_files_stand_outside_the_rooms() -> None:
    """At the package's top are only the ways in."""
    assert len(list((ROOT / "tinv_ext").glob("*.py"))) <= 6


def test_no_file_has_a_vague_or_private_name() -> None:
    """A name says what is inside, in the field's words; "utils" would say that nobody knew."""
    tests_and_tools = [path for folder in ("tests", "tools", "bench") for path in (ROOT / folder).rglob("*.py")]
    named = [path.relative_to(ROOT) for path in [*files(), *tests_and_tools]]
    assert [str(path) for path in named if VAGUE & set(path.with_suffix("").parts[1:])] == []
    assert [str(path) for path in named if PRIVATE & set(path.with_suffix("").parts)] == []


# --- docs/architecture.md --------------------------------------------------------------------------------------------


def questions() -> list[tuple[str, str, list[str]]]:
    """(question, file, functions or constants) of each row of the table in docs/architecture.md."""
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    rows = QUESTION.finditer(text)
    return [(row["question"], row["file"], re.findall(r"`([^`]+)`", row["names"])) for row in rows]


def definitions(path: Path) -> set[str]:
    """Functions, classes, `Class.method` and constants that a file defines."""
    found: set[str] = set()
    for node in tree(path).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
            inside = (item for item in ast.walk(node) if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)))
            found.update(f"{node.name}.{item.name}" for item in inside)
        elif isinstance(node, ast.AnnAssign):
            found.add(ast.unparse(node.target))
        elif isinstance(node, ast.Assign):
            found.update(ast.unparse(target) for target in node.targets)
    return found


def test_the_ten_questions_are_answered() -> None:
    """The table has them all, each with a file and at least one name."""
    assert len(questions()) >= 10
    assert all(names for _, _, names in questions())


@pytest.mark.parametrize(("question", "file", "names"), questions(), ids=lambda value: str(value)[:40])
def test_an_answer_is_true(question: str, file: str, names: list[str]) -> None:
    """The file is there and defines what the answer names."""
    path = ROOT / "tinv_ext" / file
    assert path.is_file(), f"{question} docs/architecture.md says {file}, which does not exist"
    assert [name for name in names if name not in definitions(path)] == [], question


@pytest.mark.parametrize("doc", sorted(path.name for path in DOCS.glob("*.md")))
def test_the_tests_that_a_document_names_exist(doc: str) -> None:
    """By their path, or by their name alone."""
    named = set(TEST.findall((DOCS / doc).read_text(encoding="utf-8")))
    there = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    gone = [name for name in named if not ((ROOT / name).exists() if "/" in name else name in there)]
    assert not gone, f"docs/{doc} names tests that do not exist: {sorted(gone)}"


def test_memory_and_checkpointing_can_be_searched_for() -> None:
    """Somebody who looks for the field's term finds the file that does it."""
    text = (ROOT / "tinv_ext" / "hosts" / "checkpointing.py").read_text(encoding="utf-8")
    assert "gradient checkpointing" in text.lower()


def test_the_architecture_names_every_room() -> None:
    """Each room stands in the table of rooms, and no path in the page leads nowhere."""
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    paths = {
        name.replace("tinv_ext.", "").replace(".", "/")
        for name in FLOOR_OF
        if name.startswith("tinv_ext.") and "__" not in name
    }
    assert sorted(path for path in paths if f"`{path}" not in text) == []
    named = re.findall(r"`((?:[\w-]+/)+[\w-]*\*?(?:\.\w+)?)`", text)
    assert [path for path in named if not any(list(top.glob(path)) for top in (ROOT, ROOT / "tinv_ext"))] == []
