"""Every writer against every program's loader.

The table in docs/formats.md is made here, by `make docs`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from tests.core.formats.programs import BY_HAND, LOADERS, REFUSALS, WORD, Loader
from tests.paths import ROOT
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.formats import FOLDER, FOLDERS, FORMATS, write_embedding

DOCS = ROOT / "docs" / "formats.md"
BEGIN, END = "<!-- matrix: written by `make docs` -->\n", "<!-- end of matrix -->"
YES, BY_HAND_ONLY, NO = "✓", "(✓)", "–"

FACTS = {"made_by": "tinv_ext", "settings": {"steps": 5, "learning_rate": "0.005"}, "license": "CC0"}
NUMBERS = {width: torch.linspace(-1, 1, 2 * width).reshape(2, width) for width in (768, 1024, 1280)}
FAMILIES = {
    "SD1": {"clip_l": NUMBERS[768]},
    "SD2": {"clip_h": NUMBERS[1024]},
    "SDXL": {"clip_l": NUMBERS[768], "clip_g": NUMBERS[1280]},
}
FILES = {  # what a format is called in the table, the file, the format where the suffix does not tell
    "`.pt`": ("zworble.pt", None),
    "`.safetensors`": ("zworble.safetensors", None),
    "diffusers `.safetensors`": ("zworble.safetensors", "diffusers"),
    "diffusers `.bin`": ("zworble.bin", None),
    "diffusers folder": ("zworble", FOLDER),
    "diffusers folder of `.bin`": ("zworble", "diffusers-folder-bin"),
    "OneTrainer `.safetensors`": ("zworble.safetensors", "onetrainer"),
    "`.png`": ("zworble.png", None),
}
OF_TWO_ENCODERS = ("`.safetensors`", "diffusers folder", "diffusers folder of `.bin`", "`.png`")
ROWS = [
    (family, called)
    for family, vectors in FAMILIES.items()
    for called in FILES
    if len(vectors) == 1 or called in OF_TWO_ENCODERS
]


def works(embedding: Embedding, load: Loader, path: Path) -> bool:
    """Whether the loader gives exactly the vectors that were written."""
    try:
        vectors = load(path, embedding.widths)
    except REFUSALS:
        return False
    same = vectors.keys() == embedding.vectors.keys()
    return same and all(torch.equal(vectors[key], embedding.vectors[key]) for key in vectors)


def cell(embedding: Embedding, column: str, path: Path) -> str:
    """What the table says of one loader and one file."""
    if works(embedding, LOADERS[column], path):
        return YES
    return BY_HAND_ONLY if column in BY_HAND and works(embedding, BY_HAND[column], path) else NO


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, str]]:
    """For each family and format whether each loader takes the file."""
    table = {}
    for index, (family, called) in enumerate(ROWS):
        name, chosen = FILES[called]
        path = tmp_path_factory.mktemp(f"row{index}") / name
        embedding = Embedding(WORD, FAMILIES[family], 5, "0123456789", "model", FACTS)
        write_embedding(embedding, path, format=chosen)
        table[family, called] = {column: cell(embedding, column, path) for column in LOADERS}
    return table


def test_every_format_is_in_the_table() -> None:
    """One that is added must be tried; `kohya` is the `.safetensors` of one encoder under another name."""
    tried = {
        chosen or {".pt": "a1111", ".bin": "diffusers-bin"}.get(Path(name).suffix) for name, chosen in FILES.values()
    }
    assert {*FORMATS, *FOLDERS} - {"kohya", "safetensors", "png"} == tried - {None}
    one = Embedding(WORD, FAMILIES["SD1"])
    assert FORMATS["kohya"](one) == FORMATS["safetensors"](one)


def test_everything_written_is_read_here(matrix: dict[tuple[str, str], dict[str, str]]) -> None:
    """Our own reader takes each of our files."""
    assert all(row["this"] == YES for row in matrix.values())


def test_the_usual_files_load_in_every_program(matrix: dict[tuple[str, str], dict[str, str]]) -> None:
    """A person who is given the family's usual file can use it everywhere; pictures, in every WebUI."""
    for family in ("SD1", "SD2"):
        usual = matrix[family, "`.pt`"]
        assert {column for column, cell in usual.items() if cell != YES} == {"OneTrainer"}
    assert {column for column, cell in matrix["SDXL", "`.safetensors`"].items() if cell != YES} == {"diffusers"}
    assert matrix["SDXL", "`.safetensors`"]["diffusers"] == BY_HAND_ONLY
    assert matrix["SDXL", "diffusers folder"]["diffusers"] == YES
    for family in FAMILIES:
        assert matrix[family, "`.png`"]["A1111, Forge, reForge"] == YES


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_rounded_files_load_as_the_exact_ones_do(precision: str, tmp_path: Path) -> None:
    """In the WebUI, diffusers, ComfyUI and kohya: the numbers that were rounded, and no others."""
    for family, called in (("SD1", "`.pt`"), ("SD1", "`.safetensors`"), ("SDXL", "`.safetensors`")):
        path = tmp_path / family / FILES[called][0]
        path.parent.mkdir(exist_ok=True)
        embedding = Embedding(WORD, FAMILIES[family], precision=precision)
        write_embedding(embedding, path)
        for column in ("this", "A1111, Forge, reForge", "diffusers", "ComfyUI", "kohya"):
            assert cell(embedding, column, path) in (YES, BY_HAND_ONLY), (family, called, column)


NOT_USUAL = {("OneTrainer", "SD1"), ("OneTrainer", "SD2")}
HALVES = {("ComfyUI", "SD1", "SDXL"), ("kohya", "SD1", "SDXL")}
"""Programs that may use the half of SDXL's file which fits SD1; kohya, whichever tensor the library gives it first."""


@pytest.mark.parametrize("column", [column for column in LOADERS if column not in BY_HAND])
def test_the_rules_refuse_another_familys_file(column: str, tmp_path: Path) -> None:
    """What is written down here is not blind: a file of another width is no success."""
    for family, vectors in FAMILIES.items():
        for other, theirs in FAMILIES.items():
            path = tmp_path / f"{family}-{other}" / "zworble.safetensors"
            path.parent.mkdir(exist_ok=True)
            write_embedding(Embedding(WORD, theirs), path)
            taken = works(Embedding(WORD, vectors), LOADERS[column], path)
            if (column, family, other) not in HALVES:
                assert taken == (family == other and (column, family) not in NOT_USUAL), (family, other)


def test_the_table_in_the_documentation_is_true(matrix: dict[tuple[str, str], dict[str, str]]) -> None:
    """docs/formats.md shows what was just found."""
    lines = [f"| file | {' | '.join(LOADERS)} |", "| --- |" + " :-: |" * len(LOADERS)]
    lines += [f"| {' '.join(row)} | {' | '.join(cells.values())} |" for row, cells in matrix.items()]
    before, _, rest = DOCS.read_text(encoding="utf-8").partition(BEGIN)
    text = f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n\n{END}{rest.partition(END)[2]}"
    if os.environ.get("TINV_WRITE_DOCS"):
        DOCS.write_text(text, encoding="utf-8")
    assert DOCS.read_text(encoding="utf-8") == text
