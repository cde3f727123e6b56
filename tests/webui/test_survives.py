"""The files that a run leaves, read by the WebUI's own code."""

from __future__ import annotations

import hashlib
import re
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.webui.images import CONCEPT, txt2img
from tests.webui.server import PATIENCE, WebUI
from tinv_ext.core.formats import read_embedding

pytestmark = pytest.mark.webui
NAME = "keepo"


@pytest.fixture(scope="module")
def folder(webui: WebUI) -> Path:
    """The folder of a short run with previews and copies on the way."""
    train(webui, steps=20, save_every=10, preview_every=10, preview_steps=5)
    (found,) = (webui.data / "textual_inversion").glob(f"*/{NAME}-*")
    return found


def train(webui: WebUI, **given: Any) -> None:
    """A run by the API, to its end."""
    job = webui.post("/tinv/v1/train", {"name": NAME, "images": f"~/images/{CONCEPT}", **given})["id"]
    end = time.monotonic() + PATIENCE
    while (found := webui.get(f"/tinv/v1/status?job={job}")["job"])["status"] != "finished":
        assert found["status"] not in ("failed", "stopped"), found["reason"]
        assert time.monotonic() < end, found
        time.sleep(0.1)


def own(path: Path) -> list[Any]:
    """The vectors as we read them."""
    return [tensor.tolist() for tensor in read_embedding(path).vectors.values()]


def test_the_file_is_safe_to_unpickle_and_known(webui: WebUI, folder: Path) -> None:
    """The WebUI's checker takes it, its loader reads it, the word is in its database; copies likewise."""
    word = webui.inside("word", name=NAME)
    file = Path(word["file"])
    assert file.parent == webui.data / "embeddings"
    copies = sorted((folder / "embeddings").glob("*.pt"))
    assert copies
    for path in (file, *copies):
        assert webui.inside("safe_to_unpickle", path=str(path))
        assert webui.inside("loaded", path=str(path)) == own(path)
    assert [word["vectors"]] == own(file)


def test_previews_carry_the_embedding(webui: WebUI, folder: Path, tmp_path: Path) -> None:
    """The WebUI reads the vectors of that step from the text chunk, and with that taken away from the pixels."""
    images = sorted((folder / "image_embeddings").glob("*.png"))
    assert len(images) >= 2
    for path in images:
        assert webui.inside("loaded", path=str(path)) == own(path)
        bare = tmp_path / path.name
        Image.open(path).convert("RGB").save(bare)
        assert "sd-ti-embedding" not in Image.open(bare).info
        (found,) = webui.inside("loaded", path=str(bare))
        # the pixels hold each number in fewer bits (modules/textual_inversion/image_embedding.py)
        assert torch.allclose(torch.tensor(found), torch.tensor(own(path)[0]), atol=1e-2)
    assert webui.inside("loaded", path=str(images[0])) != webui.inside("loaded", path=str(images[-1]))


def test_previews_tell_how_they_were_made(webui: WebUI, folder: Path) -> None:
    """PNG Info reads the parameters."""
    path = sorted((folder / "images").glob("*.png"))[-1]
    import base64

    given = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    said = webui.post("/sdapi/v1/png-info", {"image": given})
    assert said["parameters"]["Steps"] == "5"
    assert NAME in said["parameters"]["Prompt"]


def test_the_image_names_the_new_files_hash(webui: WebUI, folder: Path) -> None:
    """TI hashes are of the file that lies there now, also after it was replaced, and so is the image."""
    prompt = f"a photo of {NAME}"
    before, said = txt2img(webui, prompt, count=1)
    assert named(said) == digest(webui)
    train(webui, steps=200, batch_size=2, learning_rate="0.02", seed=7, overwrite=True, evaluate_every=0)
    after, said_after = txt2img(webui, prompt, count=1)
    assert named(said_after) == digest(webui)
    assert named(said_after) != named(said)
    assert not torch.equal(after, before)


def named(parameters: str) -> str:
    """The hash that an image's parameters name."""
    found = re.search(rf'TI hashes: "{NAME}: ([0-9a-f]+)"', parameters)
    assert found, parameters
    return found.group(1)


def digest(webui: WebUI) -> str:
    """The file's, as the WebUI shortens it (modules/hashes.py and textual_inversion.py, Embedding.set_hash)."""
    file = Path(webui.inside("word", name=NAME)["file"])
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]
