"""Every writer against every program's loader: diffusers' own code, the other programs' rules written down here.

The table in docs/formats.md is made here: TINV_WRITE_DOCS=1 pytest tests/core/test_files_matrix.py
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders.textual_inversion import TextualInversionLoaderMixin, load_textual_inversion_state_dicts
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from tinv_ext.core.embedding import Embedding
from tinv_ext.core.files import FOLDER, read_embedding, write_embedding

DOCS = Path(__file__).parents[2] / "docs" / "formats.md"
BEGIN, END = "<!-- matrix: written by the test -->\n", "<!-- end of matrix -->"
Vectors = dict[str, Tensor]

SD1 = Embedding("word", {"clip_l": torch.linspace(-1, 1, 1536).reshape(2, 768)}, 5, facts={"steps": 5})
SDXL = Embedding("word", {**SD1.vectors, "clip_g": torch.linspace(1, 2, 2560).reshape(2, 1280)}, 5, facts={"steps": 5})
WRITERS = {
    "SD1 `.pt`": (SD1, "word.pt", None),
    "SD1 `.safetensors`": (SD1, "word.safetensors", None),
    "SD1 diffusers `.safetensors`": (SD1, "word.safetensors", "diffusers"),
    "SD1 diffusers `.bin`": (SD1, "word.bin", None),
    "SD1 diffusers folder": (SD1, "word", FOLDER),
    "SD1 OneTrainer `.safetensors`": (SD1, "word.safetensors", "onetrainer"),
    "SD1 `.png`": (SD1, "word.png", None),
    "SDXL `.safetensors`": (SDXL, "word.safetensors", None),
    "SDXL diffusers folder": (SDXL, "word", FOLDER),
    "SDXL `.png`": (SDXL, "word.png", None),
}


def loaded(path: Path) -> dict[str, Any]:
    """The values of a file as other programs load them: by suffix; pictures only where the caller looks at them."""
    assert path.suffix in (".pt", ".bin", ".safetensors")
    if path.suffix == ".safetensors":
        return dict(load_file(path))
    return dict(torch.load(path, weights_only=True))


def in_picture(path: Path) -> dict[str, Any]:
    """The values in a picture's text."""
    with Image.open(path) as image:
        coded = base64.b64decode(image.text["sd-ti-embedding"])
    return dict(json.loads(coded, object_hook=lambda item: _tensor(item) if "TORCHTENSOR" in item else item))


def _tensor(item: dict[str, Any]) -> Tensor:
    return torch.tensor(item["TORCHTENSOR"], dtype=torch.float32)


def webui(path: Path) -> Vectors:
    """A1111 v1.10.1 `create_embedding_from_data`; Forge and reForge have it from there."""
    values = in_picture(path) if path.suffix == ".png" else loaded(path)
    if "string_to_param" in values:
        (vectors,) = values["string_to_param"].values()
    elif "clip_g" in values and "clip_l" in values:
        return {key: value.detach() for key, value in values.items()}
    else:
        (vectors,) = values.values()
    return {"clip_l": vectors.detach()}


def diffusers(path: Path) -> Vectors:
    """diffusers' own functions behind `load_textual_inversion`: the word and its vectors; one encoder a call."""
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    return dict(zip(("clip_l", "clip_g"), map(_diffusers, files)))


def _diffusers(path: Path) -> Tensor:
    class Vocabulary:
        def get_vocab(self) -> dict[str, int]:
            return {}

    state = load_textual_inversion_state_dicts([str(path)])
    retrieve = TextualInversionLoaderMixin._retrieve_tokens_and_embeddings
    tokens, vectors = retrieve([None], state, Vocabulary())
    assert tokens == ["word"]
    return vectors[0]


def comfy(path: Path) -> Vectors:
    """ComfyUI comfy/sd1_clip.py `load_embed`, for each encoder of the family; it looks for these suffixes only."""
    values = loaded(path)
    if "string_to_param" in values:
        return {"clip_l": next(iter(values["string_to_param"].values()))}
    keys = [key for key in ("clip_l", "clip_g") if key in values]
    return {key: values[key] for key in keys} if keys else {"clip_l": next(iter(values.values()))}


def invoke(path: Path) -> Vectors:
    """InvokeAI: what its model manager recognises on import, then what it reads."""
    values = loaded(path)
    if "string_to_token" in values:
        return {"clip_l": next(iter(values["string_to_param"].values()))}
    if "emb_params" in values:
        return {"clip_l": values["emb_params"]}
    if "clip_g" in values:
        return {key: values[key] for key in ("clip_l", "clip_g")}
    first = next(iter(values.values()))
    assert first.shape[0] in (768, 1024, 1280)
    return {"clip_l": first}


def kohya(path: Path) -> Vectors:
    """sd-scripts' `--weights`: train_textual_inversion.py, and the _XL one for two encoders."""
    values = loaded(path)
    if "clip_g" in values:
        return {"clip_l": values["clip_l"], "clip_g": values["clip_g"]}
    holder = values.get("string_to_param", values)
    return {"clip_l": next(iter(holder.values()))}


def onetrainer(path: Path) -> Vectors:
    """OneTrainer reads its own keys only."""
    values = loaded(path)
    return {"clip_l": values["emp_params"]} if "emp_params" in values else {key: values[key] for key in SDXL.vectors}


def ours(path: Path) -> Vectors:
    """This project."""
    return dict(read_embedding(path).vectors)


LOADERS: dict[str, Callable[[Path], Vectors]] = {
    "this": ours,
    "A1111, Forge, reForge": webui,
    "diffusers": diffusers,
    "ComfyUI": comfy,
    "InvokeAI": invoke,
    "kohya": kohya,
    "OneTrainer": onetrainer,
}
REFUSES = (AssertionError, ValueError, KeyError, OSError, AttributeError, StopIteration)


def works(embedding: Embedding, load: Callable[[Path], Vectors], path: Path) -> bool:
    """Whether the loader gives exactly the vectors that were written."""
    try:
        vectors = load(path)
    except REFUSES:
        return False
    same = vectors.keys() == embedding.vectors.keys()
    return same and all(torch.equal(vectors[key], embedding.vectors[key]) for key in vectors)


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bool]]:
    """For each writer whether each loader takes its file."""
    table = {}
    for index, (row, (embedding, name, chosen)) in enumerate(WRITERS.items()):
        path = tmp_path_factory.mktemp(f"row{index}") / name
        write_embedding(embedding, path, format=chosen)
        table[row] = {column: works(embedding, load, path) for column, load in LOADERS.items()}
    return table


def test_everything_written_is_read_here(matrix: dict[str, dict[str, bool]]) -> None:
    """Our own reader takes each of our files."""
    assert all(row["this"] for row in matrix.values())


def test_the_usual_files_load_in_every_webui(matrix: dict[str, dict[str, bool]]) -> None:
    """The default of each family, and pictures, in A1111, Forge and reForge; SD1's `.pt` in diffusers too."""
    for row in ("SD1 `.pt`", "SD1 `.safetensors`", "SD1 `.png`", "SDXL `.safetensors`", "SDXL `.png`"):
        assert matrix[row]["A1111, Forge, reForge"], row
    assert matrix["SD1 `.pt`"]["diffusers"]
    assert matrix["SDXL diffusers folder"]["diffusers"]


def test_the_table_in_the_documentation_is_true(matrix: dict[str, dict[str, bool]]) -> None:
    """docs/formats.md shows what was just found."""
    lines = [f"| file | {' | '.join(LOADERS)} |", "| --- |" + " :-: |" * len(LOADERS)]
    lines += [
        f"| {row} | " + " | ".join("✓" if ok else "–" for ok in cells.values()) + " |" for row, cells in matrix.items()
    ]
    before, _, rest = DOCS.read_text(encoding="utf-8").partition(BEGIN)
    text = f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n\n{END}{rest.partition(END)[2]}"
    if os.environ.get("TINV_WRITE_DOCS"):
        DOCS.write_text(text, encoding="utf-8")
    assert DOCS.read_text(encoding="utf-8") == text
