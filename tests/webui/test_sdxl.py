"""The main job on SDXL in the real WebUI: the toy's SDXL is taught a concept on the page, and the judge sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from tests.webui.browser import Tab, tab
from tests.webui.images import CONCEPT, share, txt2img
from tests.webui.server import WebUI
from tinv_ext.toy import export_variants, pipeline

pytestmark = pytest.mark.webui
STEPS = 200


@pytest.fixture(scope="module")
def webui(
    start: Callable[..., AbstractContextManager[WebUI]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WebUI]:
    """With the SDXL toy, whose second text encoder is made known to open_clip by the JSON beside it."""
    checkpoint = export_variants.write("sdxl", pipeline("sdxl"), tmp_path_factory.mktemp("sdxl"))
    with start("--api", checkpoint=checkpoint) as webui:
        yield webui


@pytest.fixture(scope="module")
def page(webui: WebUI) -> Iterator[Tab]:
    """A browser with our tab open."""
    with tab(webui) as page:
        yield page


def test_sdxl_is_taught_and_its_word_used(webui: WebUI, page: Tab) -> None:
    """Check names the family and both encoders; the file is loaded, none is skipped; txt2img draws the concept."""
    page.fill("name", "zibbo")
    page.fill("images", f"~/images/{CONCEPT}")
    page.fill("init_text", "thing")
    page.fill("width", 64)
    page.fill("height", 64)
    page.fill("steps", STEPS)
    page.fill("learning_rate", "0.01:100, 0.005:160, 0.002")
    page.fill("batch_size", 4)
    page.click("tinv_check")
    page.page.wait_for_selector("#tinv_answer .tinv-training-prompts")
    said = page.page.inner_text("#tinv_answer")
    assert "(SDXL)" in said
    assert "(clip_l, clip_g)" in said
    assert share(txt2img(webui, "a photo of a thing")[0]) <= 0.2
    page.click("tinv_train")
    page.wait_status("finished")
    assert page.errors == []
    assert (webui.data / "embeddings" / "zibbo.safetensors").is_file()
    known = webui.get("/sdapi/v1/embeddings")
    assert "zibbo" in known["loaded"]
    assert known["skipped"] == {}
    images, infotext = txt2img(webui, "a photo of zibbo")
    assert share(images) >= 0.6
    assert "zibbo: " in infotext.partition("TI hashes")[2]
