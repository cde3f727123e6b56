"""A run in a real sibling of the WebUI: numbers, tried steps, LoRA, images of others, other checkpoints, Interrupt."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.siblings.conftest import OTHER, PATCHED_LDM
from tests.webui.browser import tab
from tests.webui.images import CONCEPT
from tests.webui.server import PATIENCE, WebUI
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.run import runner
from tinv_ext.run.preflight import parse_settings
from tinv_ext.toy import model, variants

pytestmark = pytest.mark.webui
PROMPT = "a photo of a red circle on a green background"
LORA = f"{PROMPT} <lora:style:1>"
CLOSE = 1e-5  # relative, of losses in float32 (3e-6 was seen; with vectors rounded to half precision, 3e-4)
FAR = 1_000_000  # steps: the run ends when it is told to


def settings(webui: WebUI, **changes: Any) -> dict[str, Any]:
    """Of a short run. With 4 images a step, what is rounded differently grows tenfold at clip skip 2, Neo's default."""
    values = {"name": "qizzo", "images": str(webui.data / "images" / CONCEPT), "batch_size": 8, "steps": 40}
    values |= {"width": 64, "height": 64, "preview_every": 20, "preview_width": 64, "preview_height": 64}
    return {
        **values,
        "preview_steps": 4,
        "preview_at_first": True,
        "output": str(webui.data / "runs"),
        "overwrite": True,
        **changes,
    }


def image(webui: WebUI, prompt: str = PROMPT) -> tuple[bytes, str]:
    """The pixels, and the infotext: reForge's may name words of an earlier prompt."""
    asked = {"prompt": prompt, "steps": 6, "width": 64, "height": 64, "seed": 7, "sampler_name": "DDIM", "cfg_scale": 4}
    answer = webui.post("/sdapi/v1/txt2img", asked)
    pixels = Image.open(io.BytesIO(base64.b64decode(answer["images"][0]))).tobytes()
    return pixels, json.loads(answer["info"])["infotexts"][0]


def knows(webui: WebUI, word: str) -> bool:
    """Whether an image's infotext says that the embedding was in its prompt."""
    return re.search(rf'TI(?: hashes)?: "?.*{word}', image(webui, f"a photo of {word}")[1]) is not None


def job(webui: WebUI) -> dict[str, Any]:
    """What the status route says of the run."""
    found: dict[str, Any] = webui.get("/tinv/v1/status?since=100000000")["job"]
    return found


def until(webui: WebUI, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The status when it fits."""
    end = time.monotonic() + PATIENCE
    while not (found := job(webui)) or not condition(found):
        assert time.monotonic() < end, found
        assert not found or found["status"] != "failed", found
        time.sleep(0.1)
    return found


def train(webui: WebUI, **changes: Any) -> dict[str, Any]:
    """A whole run; its last status."""
    begun = webui.post("/tinv/v1/train", settings(webui, **changes))["id"]
    return until(webui, lambda found: found["id"] == begun and found["status"] == "finished")


def choose(webui: WebUI, checkpoint: str) -> None:
    """At the top of the page."""
    webui.post("/sdapi/v1/options", {"sd_model_checkpoint": checkpoint})


def losses(run: Path) -> list[float]:
    """Of each step."""
    with (run / "loss.csv").open(encoding="utf-8") as file:
        return [float(row["loss"]) for row in csv.DictReader(file) if row["loss"]]


def run_of(folder: Path, name: str) -> Path:
    """The newest run of this name."""
    return max(folder.glob(f"*/{name}-*"), key=lambda path: path.stat().st_mtime_ns)


def same_as_diffusers(webui: WebUI, pipe: Any, tmp_path: Path, name: str, clip_skip: int) -> None:
    """The losses of the run just finished are those of the same run under diffusers."""
    host = DiffusersHost(pipe, tmp_path / "embeddings", {"model_name": "toy"})
    values = settings(webui, name=name, output=str(tmp_path / "runs"), preview_every=0, clip_skip=clip_skip)
    runner.run(parse_settings(values, host), host)
    found, right = losses(run_of(webui.data / "runs", name)), losses(run_of(tmp_path / "runs", name))
    assert len(found) == len(right) == 40
    assert max(abs(a - b) / b for a, b in zip(found, right)) < CLOSE


def test_check_and_train_load_the_model_that_was_chosen(webui: WebUI, tmp_path: Path) -> None:
    """No image was made yet. Afterwards the word works in the next prompt; the numbers are those of diffusers."""
    choose(webui, "a-toy.safetensors")
    checked = webui.post("/tinv/v1/check", settings(webui))
    assert any("gradient" in notice for notice in checked["notices"])
    finished = train(webui)
    assert (finished["steps"], finished["file"]) == (40, "qizzo.pt")
    assert knows(webui, "qizzo")
    clip_skip = int(webui.get("/sdapi/v1/options")["CLIP_stop_at_last_layers"])
    same_as_diffusers(webui, model.pipeline(), tmp_path, "qizzo", clip_skip)


def test_a_step_is_tried_without_a_file(webui: WebUI) -> None:
    """Its word draws what the embedding's file draws, also after a refresh, until it is forgotten."""
    finished = train(webui, name="trizzo", save_every=20)
    prompts = "a photo of trizzo-40", "a photo of trizzo"
    before, written = (image(webui, prompt)[0] for prompt in prompts)
    assert before != written
    assert webui.post(f"/tinv/v1/tried/add?job={finished['id']}&step=40", {})["word"] == "trizzo-40"
    assert image(webui, prompts[0])[0] == written
    webui.post("/sdapi/v1/refresh-embeddings", {})
    assert image(webui, prompts[0])[0] == written
    webui.post(f"/tinv/v1/tried/add?job={finished['id']}&step=20", {})
    assert image(webui, "a photo of trizzo-20")[0] not in (before, written)
    for word in ("trizzo-20", "trizzo-40"):
        webui.post(f"/tinv/v1/tried/forget?word={word}", {})
    assert image(webui, prompts[0])[0] == before


def test_images_are_the_same_before_and_after_a_run(webui: WebUI) -> None:
    """With and without a LoRA, to the last bit."""
    before = image(webui)[0], image(webui, LORA)[0]
    assert before[0] != before[1]
    train(webui)
    assert (image(webui, LORA)[0], image(webui)[0], image(webui, LORA)[0]) == (before[1], before[0], before[1])


def test_a_run_makes_way_waits_and_is_interrupted(webui: WebUI) -> None:
    """For images with and without a LoRA; for another checkpoint, until its own is chosen again; for Interrupt."""
    before = image(webui)[0], image(webui, LORA)[0]
    webui.post("/tinv/v1/train", settings(webui, steps=FAR, preview_every=0))
    step = until(webui, lambda found: found["steps"] > 5)["steps"]
    for prompt, right in zip((PROMPT, LORA), before):
        assert image(webui, prompt)[0] == right
        step = until(webui, lambda found, step=step: found["steps"] > step + 3)["steps"]
    choose(webui, OTHER)
    if not PATCHED_LDM:  # which load at once what is chosen
        until(webui, lambda found: found["steps"] > step + 3)
    image(webui)
    paused = until(webui, lambda found: found["status"] == "paused")
    assert "other" in paused["reason"]
    step = paused["steps"]
    choose(webui, "a-toy.safetensors")
    until(webui, lambda found: found["steps"] > step)  # it has the model again
    webui.post("/sdapi/v1/interrupt", {})
    assert until(webui, lambda found: found["status"] == "stopped")["steps"] > step
    assert image(webui)[0] == before[0]


def test_a_person_trains_and_uses_a_word_on_the_page(webui: WebUI) -> None:
    """Images dropped, named, trained, watched, and the word sent to txt2img; the page has no error."""
    with tab(webui) as page:
        page.drop(sorted((webui.data / "images" / CONCEPT).glob("0[1-6].png")), "moons")
        page.page.wait_for_selector("#tinv_part_train .tinv-tile >> nth=5")
        sizes = dict.fromkeys(("width", "height", "preview_width", "preview_height"), 64)
        for name, value in {"name": "pagezo", "steps": 40, "preview_every": 10, "preview_steps": 4, **sizes}.items():
            page.fill(name, value)
        page.click("tinv_train")
        page.wait_status("finished", "pagezo")
        page.page.wait_for_selector(".tinv-chart canvas")
        page.wait("[...document.querySelectorAll('.tinv-previews img')].filter(i => i.naturalWidth).length >= 3")
        page.page.evaluate("scrollTo(0, 0)")
        page.keep(f"{os.environ['SIBLING_NAME']}-page")
        page.page.click(".tinv-send >> text=Send to txt2img")
        page.wait("document.querySelector('#txt2img_prompt textarea').value.includes('pagezo')")
        assert page.errors == []
    assert knows(webui, "pagezo")


def test_sdxl(start: Callable[..., AbstractContextManager[WebUI]], tmp_path: Path) -> None:
    """Both encoders; the file, the word, the numbers."""
    with start("sdxl") as webui:
        choose(webui, "a-toy.safetensors")
        before = image(webui)[0]
        assert train(webui, name="qizzoxl")["file"] == "qizzoxl.safetensors"
        assert image(webui)[0] == before
        assert knows(webui, "qizzoxl")
        clip_skip = int(webui.get("/sdapi/v1/options")["CLIP_stop_at_last_layers"])
        same_as_diffusers(webui, variants.pipeline("sdxl"), tmp_path, "qizzoxl", clip_skip)
