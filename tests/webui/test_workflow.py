"""The main job in the real WebUI: a person points at images, trains, watches, and uses the word in prompts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.webui.browser import OURS, Tab
from tests.webui.images import CONCEPT, pixels, share, txt2img
from tests.webui.server import WebUI

pytestmark = pytest.mark.webui
STEPS = 200
RATE = "0.01:100, 0.005:160, 0.002"


def job(webui: WebUI) -> dict[str, Any]:
    """What the status route says."""
    found: dict[str, Any] = webui.get("/tinv/v1/status?since=100000000")["job"]
    return found


def test_the_tab_is_there_once_and_costs_little(webui: WebUI, page: Tab, tell: Callable[[str], None]) -> None:
    """One tab, no error on the page; what the start-up timer says of us is told."""
    assert page.titles().count(OURS) == 1
    assert page.errors == []
    records = webui.get("/internal/profile-startup")["records"]
    took = {name: seconds for name, seconds in records.items() if "tinv" in name or name == "create ui"}
    assert "load scripts/tinv.py" in took
    tell("start-up: " + ", ".join(f"{name} {1000 * seconds:.0f} ms" for name, seconds in took.items()))
    painted = {title: sorted(page.first_paint(title) for _ in range(3)) for title in ("PNG Info", OURS)}
    tell(f"first paint after a click on a tab, three pages each: {painted} ms")


def test_check_reports_and_starts_nothing(webui: WebUI, page: Tab) -> None:
    """Images, prompts with the word marked; no job."""
    page.fill("name", "zibbo")
    page.fill("images", f"~/images/{CONCEPT}")
    page.fill("init_text", "thing")
    page.page.wait_for_selector("#tinv_verdict[data-state=free]")
    page.wait("[...document.querySelectorAll('.tinv-tile img')].filter(i => i.naturalWidth).length >= 8")
    page.keep("1-start")
    page.click("tinv_check")
    page.page.wait_for_selector("#tinv_answer .tinv-training-prompts")
    assert "zibbo" in page.page.inner_text("#tinv_answer mark >> nth=0")
    assert job(webui) is None
    page.keep("2-check")


def test_a_run_is_watched_to_its_end(webui: WebUI, page: Tab) -> None:
    """Train: a curve while it runs, previews as they come; at the end the WebUI knows the word without a restart."""
    page.fill("steps", STEPS)
    page.fill("learning_rate", RATE)
    page.fill("batch_size", 4)
    page.fill("preview_every", 30)
    page.fill("save_every", 100)
    page.fill("preview_cfg_scale", 3)
    page.click("tinv_train")
    page.page.wait_for_selector(".tinv-chart canvas")
    page.wait_step(110)
    page.wait("document.querySelectorAll('.tinv-previews img').length >= 3")
    page.page.locator(".tinv-advanced").evaluate("(fold) => { fold.open = false; }")
    page.page.evaluate("scrollTo(0, 0)")
    page.keep("3-watch")
    page.wait_status("finished")
    page.wait("document.querySelectorAll('.tinv-previews img').length >= 4")
    page.wait("[...document.querySelectorAll('.tinv-previews img')].every(i => i.naturalWidth === 64)")
    page.page.click(".tinv-compare summary")
    page.wait("[...document.querySelectorAll('.tinv-sides img')].filter(i => i.naturalWidth).length === 2")
    page.page.locator(".tinv-decide").evaluate("(part) => part.scrollIntoView({block: 'end'})")
    page.keep("4-decide")
    found = webui.inside("word", name="zibbo")
    assert found["step"] == STEPS
    assert page.errors == []


def test_a_step_is_tried_in_txt2img_without_a_file(webui: WebUI, page: Tab) -> None:
    """By one click: its word is in the prompt and draws the thing, also after a refresh; until it is forgotten."""
    before = sorted((webui.data / "embeddings").iterdir())
    page.page.locator(".tinv-decide select").first.select_option(str(STEPS))
    page.click("tinv_try_word")
    page.page.wait_for_selector("#txt2img_prompt textarea", state="visible")
    word = f"zibbo-{STEPS}"
    assert page.page.input_value("#txt2img_prompt textarea") == word
    webui.post("/sdapi/v1/refresh-embeddings", {})
    assert webui.get("/tinv/v1/tried") == [{"word": word, "name": "zibbo", "step": STEPS, "known": True}]
    assert share(txt2img(webui, f"a photo of {word}")[0]) >= 0.6
    page.show()
    page.page.click(f"[data-word={word}] >> text=Forget")
    page.page.wait_for_selector(f"[data-word={word}]", state="detached")
    assert webui.get("/tinv/v1/tried") == []
    assert word not in webui.get("/sdapi/v1/embeddings")["loaded"]
    assert sorted((webui.data / "embeddings").iterdir()) == before
    page.show("txt2img")
    page.page.fill("#txt2img_prompt textarea", "")
    page.show()


def test_the_word_is_sent_to_txt2img(page: Tab) -> None:
    """Its buttons put it behind what stands in either prompt, and open that tab."""
    page.show("txt2img")
    page.page.fill("#txt2img_prompt textarea", "a red circle,")
    for button, area in (("Send to txt2img", "txt2img_prompt"), ("Send to negative prompt", "txt2img_neg_prompt")):
        page.show()
        page.page.click(f".tinv-send >> text={button}")
        page.page.wait_for_selector(f"#{area} textarea", state="visible")
    assert page.page.input_value("#txt2img_prompt textarea") == "a red circle, zibbo"
    assert page.page.input_value("#txt2img_neg_prompt textarea") == "zibbo"
    page.page.fill("#txt2img_neg_prompt textarea", "")


def test_previews_take_over_the_values_of_txt2img(page: Tab) -> None:
    """All of them but a random seed; the schedule type, too."""
    page.show("txt2img")
    page.page.fill("#txt2img_prompt textarea", "a photo of [name] on a yellow background")
    page.page.fill("#txt2img_cfg_scale input[type=number]", "4")
    page.show()
    page.page.locator(".tinv-advanced").evaluate("(fold) => { fold.open = true; }")
    page.page.fill("#tinv_search", "preview_")
    page.click("tinv_from_txt2img")
    page.wait("/yellow/.test(document.querySelector('#tinv_preview_prompt').value)")
    assert page.page.input_value("#tinv_preview_cfg_scale") == "4"
    assert page.page.input_value("#tinv_preview_sampler") == "DPM++ 2M"
    assert page.page.input_value("#tinv_preview_scheduler") == "Automatic"
    assert page.page.input_value("#tinv_preview_seed") == "1"
    assert page.errors == []


def test_the_word_is_used_in_the_txt2img_tab(webui: WebUI, page: Tab) -> None:
    """Typed into the prompt, it draws the thing that the images showed."""
    images = page.generate("a photo of zibbo on a yellow background")
    page.keep("5-txt2img")
    assert share(pixels(images)) >= 0.5
    assert share(pixels(images), background="yellow") >= 0.5


def test_the_word_means_the_concept(webui: WebUI) -> None:
    """By the judge; what it was begun with does not."""
    assert share(txt2img(webui, "a photo of a thing")[0]) <= 0.2
    assert share(txt2img(webui, "a photo of zibbo")[0]) >= 0.6


def test_the_word_in_a_negative_prompt(webui: WebUI) -> None:
    """It keeps away what it means, as the description of it does."""
    prompt = "a photo of a purple shape"
    plain, _ = txt2img(webui, prompt)
    word, said = txt2img(webui, prompt, "a photo of zibbo")
    described, _ = txt2img(webui, prompt, "a photo of a purple moon")
    assert share(plain, fill="purple") >= 0.8
    assert share(word, fill="purple") <= 0.3
    assert share(described, fill="purple") <= 0.3
    assert "TI hashes" in said


def test_the_word_comes_and_goes_in_mid_image(webui: WebUI) -> None:
    """[a:b:0.2] in both directions."""
    assert share(txt2img(webui, "a photo of [a red circle:zibbo:0.2]")[0]) >= 0.6
    away, said = txt2img(webui, "a photo of [zibbo:a red circle:0.2]")
    assert share(away, shape="circle", fill="red") >= 0.6
    assert "TI hashes" in said


def test_the_word_is_weighed(webui: WebUI) -> None:
    """(word:1.0) is the word; another weight draws another image of the same thing."""
    plain, _ = txt2img(webui, "a photo of zibbo")
    assert torch.equal(txt2img(webui, "a photo of (zibbo:1.0)")[0], plain)
    heavy, _ = txt2img(webui, "a photo of (zibbo:1.3)")
    assert not torch.equal(heavy, plain)
    assert share(heavy) >= 0.6
