"""Run in the WebUI's process with a small model: its own loader takes our files of this family, with every number."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

if "modules.shared" not in sys.modules:
    pytest.skip("needs the process of the real WebUI: make test-webui", allow_module_level=True)

import torch
from modules import sd_hijack, shared
from PIL import Image

from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import InputError
from tinv_ext.core.formats import FORMATS, suffix_of, write_embedding
from tinv_ext.core.formats.image_write import image_with_embedding
from tinv_ext.hosts.a1111 import original
from tinv_ext.hosts.a1111.host import A1111Host

OF_TWO_ENCODERS = ("safetensors", "png")


EVERY = [(chosen, "float32") for chosen in (*FORMATS, "pixels alone")]
ROUNDED = [(chosen, precision) for chosen in ("a1111", "safetensors") for precision in ("fp16", "bf16")]


@pytest.mark.parametrize("chosen, precision", [*EVERY, *ROUNDED])
def test_the_webui_takes_the_file(chosen: str, precision: str, tmp_path: Path) -> None:
    """Known under the file's name, whatever the token inside; SDXL in the formats that hold two encoders."""
    widths = A1111Host(original).token_table.widths
    vectors = {key: torch.linspace(-0.3, 0.4, 2 * width).view(2, width) for key, width in widths.items()}
    facts = {"a": [1], "token": "<zworbfile>"}
    embedding = Embedding("zworbfile", vectors, 5, "0123456789", "model", facts, precision)
    path = tmp_path / f"zworbfile{'.png' if chosen == 'pixels alone' else suffix_of(chosen)}"
    if chosen == "pixels alone":
        image_with_embedding(Image.new("RGB", (64, 256), (90, 80, 70)), embedding).save(path)
    elif len(widths) > 1 and chosen not in OF_TWO_ENCODERS:
        with pytest.raises(InputError, match="SDXL"):
            write_embedding(embedding, path, format=chosen)
        return
    else:
        write_embedding(embedding, path, format=chosen)
    database = sd_hijack.model_hijack.embedding_db
    database.expected_shape = database.get_expected_shape()
    try:
        database.load_from_file(str(path), path.name)
        assert "zworbfile" not in database.skipped_embeddings
        found = database.word_embeddings["zworbfile"]
        known = found.vec if isinstance(found.vec, dict) else dict.fromkeys(vectors, found.vec)
        assert known.keys() == vectors.keys()
        assert all(torch.equal(known[key].float().cpu(), embedding.vectors[key]) for key in vectors)
        assert found.vectors == 2
    finally:
        database.load_textual_inversion_embeddings(force_reload=True)
    assert bool(shared.sd_model.is_sdxl) == (len(widths) > 1)
