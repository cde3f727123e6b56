"""Finished embeddings in the real WebUI: what it loads of our formats, and the part of our tab for its folder."""

from __future__ import annotations

import pytest
import torch

from tests.webui.browser import Tab
from tests.webui.server import WebUI
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.formats import FOLDER, FORMATS, suffix_of, write_embedding

pytestmark = pytest.mark.webui


def refresh(webui: WebUI) -> dict[str, dict[str, dict[str, object]]]:
    """Have the WebUI read its folder; what it loaded and what it skipped."""
    webui.post("/sdapi/v1/refresh-embeddings", {})
    found: dict[str, dict[str, dict[str, object]]] = webui.get("/sdapi/v1/embeddings")
    return found


@pytest.fixture(scope="module")
def width(webui: WebUI) -> int:
    """Of the toy's token vectors, told by the size that the WebUI does not skip."""
    folder = webui.data / "embeddings"
    folder.mkdir(exist_ok=True)
    for size in (32, 48, 64, 96, 128, 192, 256, 384, 512, 768):
        write_embedding(Embedding(f"wide{size}", {"clip_l": torch.ones(1, size)}), folder / f"wide{size}.pt")
    (name,) = (name for name in refresh(webui)["loaded"] if name.startswith("wide"))
    for path in folder.glob("wide*.pt"):
        path.unlink()
    refresh(webui)
    return int(name.removeprefix("wide"))


def test_the_webui_loads_every_format_with_every_number(webui: WebUI, width: int) -> None:
    """Files of one embedding in each format that is a file: none is skipped, the vectors are equal bit for bit."""
    vectors = torch.linspace(-0.3, 0.4, 2 * width).view(2, width)
    for chosen in FORMATS:
        name = f"zz-{chosen}"
        path = webui.data / "embeddings" / f"{name}{suffix_of(chosen)}"
        write_embedding(Embedding(name, {"clip_l": vectors}, 5, "0123456789", "model", {"a": [1]}), path, format=chosen)
    told = refresh(webui)
    assert {name for name in told["loaded"] if name.startswith("zz-")} == {f"zz-{chosen}" for chosen in FORMATS}
    assert not [name for name in told["skipped"] if name.startswith("zz-")]
    for chosen in FORMATS:
        assert torch.equal(torch.tensor(webui.inside("word", name=f"zz-{chosen}")["vectors"]), vectors), chosen
    assert FOLDER not in FORMATS


def test_the_part_embeddings_keeps_the_webuis_folder(webui: WebUI, page: Tab, width: int) -> None:
    """Looked into with the loaded model's words, renamed, deleted and brought back: the WebUI knows each time."""
    vectors = torch.ones(1, width)
    write_embedding(Embedding("zzold", {"clip_l": vectors}, 5), webui.data / "embeddings" / "zzold.pt")
    refresh(webui)
    page.page.click(".tab-nav button:has-text('Embeddings') >> visible=true")
    page.page.click(".tinv-card > button:has-text('zzold')")
    page.page.wait_for_selector(".tinv-about .tinv-chip")
    rename = page.page.locator(".tinv-changes details:has(summary:text-is('Rename'))")
    rename.locator("summary").click()
    rename.locator("input").fill("zznew")
    rename.get_by_role("button", name="Rename").click()
    page.page.wait_for_selector(".tinv-said:has-text('Renamed to')")
    assert webui.inside("word", name="zzold") is None
    assert webui.inside("word", name="zznew")["vectors"] == vectors.tolist()
    page.keep("embeddings")
    page.page.click(".tinv-changes button:text-is('Delete')")
    page.page.wait_for_selector(".tinv-said:has-text('moved to the trash')")
    assert webui.inside("word", name="zznew") is None
    page.page.click(".tinv-said button:text-is('Undo')")
    page.page.wait_for_selector(".tinv-said:has-text('was restored')")
    assert webui.inside("word", name="zznew")["vectors"] == vectors.tolist()
    assert page.errors == []


def test_nothing_of_the_part_is_kept_as_a_default(webui: WebUI) -> None:
    """The WebUI writes the values of controls into ui-config.json; an embedding chosen once is no default."""
    kept = (webui.data / "ui-config.json").read_text("utf-8") if (webui.data / "ui-config.json").is_file() else ""
    assert "New word" not in kept
    assert "Number of vectors/" not in kept
