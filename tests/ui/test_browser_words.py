"""Several words on the page, in a real browser: a card for each further word, and what is wrong told at it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
from tests.ui.test_browser import address, drop, fill, jobs_home, opened, page, pytestmark  # noqa: F401  (fixtures)
from tests.ui.test_browser_chinese import english
from tests.ui.test_browser_live import AXE
from tinv_ext.core.formats import read_embedding
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.toml import parse_toml
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.server.image_sets import FOLDER

SECOND = "#tinv_word1_"  # what the ids of the first card begin with


@pytest.fixture
def sent(page: Any) -> list[dict[str, Any]]:  # noqa: F811
    """The settings with which the page has asked for runs."""
    bodies: list[dict[str, Any]] = []

    def seen(request: Any) -> None:
        if "/tinv/v1/train" in request.url:
            bodies.append(json.loads(request.post_data))

    page.on("request", seen)
    return bodies


@pytest.fixture
def others(tmp_path: Path) -> list[Path]:
    """Images of another word."""
    folder = tmp_path / "others"
    folder.mkdir()
    for number, colour in enumerate(("yellow", "cyan")):
        Image.new("RGB", (64, 64), colour).save(folder / f"o{number}.png")
    return sorted(folder.iterdir())


def begun(page: Any, values: dict[str, Any]) -> None:  # noqa: F811
    """The first word is filled in."""
    for name in ("name", "images", "output"):
        fill(page, name, str(values[name]))
    fill(page, "steps", "4")
    fill(page, "preview_every", "0")


def added(page: Any, name: str) -> None:  # noqa: F811
    """A card by the keyboard alone: the button, then the name that it leads to."""
    page.focus("#tinv_add_word")
    page.keyboard.press("Enter")
    page.wait_for_function("/^tinv_word[0-9]+_name$/.test(document.activeElement.id)")
    page.keyboard.type(name)


def test_a_word_is_added_and_both_are_trained(
    page: Any,  # noqa: F811
    jobs_home: Path,  # noqa: F811
    values: dict[str, Any],
    others: list[Path],
    host: DiffusersHost,
    sent: list[dict[str, Any]],
) -> None:
    """Name, initial text, vectors, dropped images, an end: kept over a reload, and what a settings file would say."""
    begun(page, values)
    assert page.locator(".tinv-word").count() == 0
    added(page, "quixxly")
    page.wait_for_selector(f"{SECOND}verdict[data-state=free]")
    page.fill(f"{SECOND}init_text", "dog")
    page.fill(f"{SECOND}num_vectors", "2")
    drop(page, "[data-word=quixxly] [data-drop=new]", others, "dogs")
    page.wait_for_function("document.querySelectorAll('.tinv-word .tinv-tile img').length === 2")
    page.click(f"{SECOND}more")
    page.fill(f"{SECOND}stop_training_after", "3")
    page.fill(f"{SECOND}lr_factor", "0.5")
    page.wait_for_function("localStorage.getItem('tinv.train').includes('lr_factor')")
    page.reload(wait_until="domcontentloaded")
    page.wait_for_selector(f"{SECOND}verdict[data-state=free]")
    page.wait_for_function("document.querySelectorAll('.tinv-word .tinv-tile img').length === 2")
    page.wait_for_function("document.querySelectorAll('.tinv-tile img').length === 5")
    page.wait_for_function("document.querySelector('.tinv-figures-line').textContent.includes('5 images')")
    page.click("#tinv_check")
    page.wait_for_selector("#tinv_answer mark:has-text('quixxly')")
    assert page.locator("#tinv_answer mark:has-text('zibbo')").count() > 0
    page.click("#tinv_train")
    page.wait_for_selector(".tinv-is-finished")
    assert len(read_embedding(host.embeddings_folder / "quixxly.pt").vectors["clip_l"]) == 2
    assert (host.embeddings_folder / "zibbo.pt").is_file()
    folder = json.dumps(str(jobs_home / FOLDER / "dogs"))
    toml = f"""
        name = "zibbo"
        [[words]]
        name = "quixxly"
        init_text = "dog"
        num_vectors = 2
        images = {folder}
        lr_factor = 0.5
        stop_training_after = 3
    """
    ours, theirs = TrainConfig.from_dict(sent[0]), TrainConfig.from_dict(parse_toml(toml))
    assert ours.word_settings == theirs.word_settings
    sorted_tables = [[sorted(table.items()) for table in json.loads(one.words)] for one in (ours, theirs)]
    assert sorted_tables[0] == sorted_tables[1]

    page.click("[data-word=quixxly] button:text-is('Remove')")
    page.wait_for_selector(".tinv-word", state="detached")
    assert page.evaluate("document.activeElement.id") == "tinv_add_word"
    page.wait_for_function("!('words' in JSON.parse(localStorage.getItem('tinv.train')))")  # kept after it is painted
    page.click(".tinv-said button:text-is('Undo')")
    assert page.input_value(".tinv-word [data-setting=init_text] input") == "dog"


def test_what_is_wrong_is_told_at_the_word(
    page: Any,  # noqa: F811
    values: dict[str, Any],
    others: list[Path],
) -> None:
    """While it is typed and by Check; at that card and no other, until it is mended."""
    begun(page, values)
    added(page, "Zibbo")
    page.wait_for_selector(f"{SECOND}verdict[data-state=bad]")
    assert "capital letters" in page.inner_text(f"{SECOND}verdict")
    page.click("#tinv_check")
    page.wait_for_selector("#tinv_answer .tinv-problems:has-text('capital letters')")
    assert page.locator("#tinv_answer .tinv-problems :is(p, li)").count() == 1
    assert page.inner_text("[data-word=Zibbo]").count("capital letters") == 1
    page.focus(f"{SECOND}name")
    for key in ("Home", "Delete", "z", "End", "x"):  # zibbo, as the first is called, on the way to zibbox
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.id") == f"{SECOND}name"[1:]
    page.wait_for_selector(f"[data-word=zibbox] {SECOND}verdict[data-state=free]")
    page.fill("#tinv_name", "zibbox")
    page.wait_for_selector(f"{SECOND}verdict[data-state=bad]")
    page.fill("#tinv_name", "zibbo")
    assert page.input_value(f"{SECOND}name") == "zibbox", "only the first is called otherwise"
    page.fill(f"{SECOND}name", "quixxly")
    page.wait_for_selector(f"{SECOND}verdict[data-state=free]")
    added(page, "blorfin")
    page.fill("[data-word=blorfin] [data-setting=images] input", "nowhere")
    page.wait_for_selector("[data-word=blorfin] .tinv-problems")
    told = page.inner_text("[data-word=blorfin]")
    assert told.count('The image folder "nowhere" does not exist') == 1, told
    assert page.get_attribute("#tinv_images", "aria-invalid") is None
    page.fill("[data-word=quixxly] [data-setting=num_vectors] input", "1000")
    page.wait_for_selector("[data-word=quixxly] .tinv-problems:has-text('num_vectors')")
    page.fill("[data-word=quixxly] [data-setting=num_vectors] input", "1")
    page.wait_for_selector("[data-word=quixxly] .tinv-problems", state="detached")
    page.fill("[data-word=blorfin] [data-setting=images] input", str(others[0].parent))
    page.wait_for_selector("[data-word=blorfin] .tinv-problems", state="detached")
    page.click("#tinv_check")  # that no prompt has a word is found by reading all captions
    page.wait_for_selector("[data-word=quixxly] .tinv-problems:has-text('No prompt contains')")
    assert "quixxly" in page.inner_text("#tinv_answer")
    assert page.locator("[data-word=blorfin] .tinv-problems").count() == 0
    page.click("[data-word=quixxly] button:text-is('Remove')")
    page.click("#tinv_check")
    page.wait_for_selector("#tinv_answer .tinv-training-prompts")


def test_words_of_a_file_become_cards(page: Any, values: dict[str, Any]) -> None:  # noqa: F811
    """Also where the first has images of its own; its new name is new in both places, and nothing is lost."""
    toml = '[[words]]\nname = "zibbo"\ninit_text = "cat"\n[[words]]\nname = "quixxly"\nrepeats = 3\ntrain = false\n'
    taken = {"name": "zibbo", "words": toml, "images": values["images"]}
    page.evaluate(
        "(settings) => document.dispatchEvent(new CustomEvent('tinv:settings', {detail: {settings, from: 'x'}}))", taken
    )
    page.wait_for_selector("[data-word=quixxly]")
    assert page.locator(".tinv-word").count() == 2
    assert page.locator("[data-word=zibbo] [data-setting=name]").count() == 0
    page.fill("#tinv_name", "zibbox")
    page.wait_for_selector("[data-word=zibbox]")
    page.click("[data-word=quixxly] summary")
    assert page.input_value("[data-word=quixxly] [data-setting=repeats] input") == "3"
    assert page.is_checked("[data-word=quixxly] [data-setting=train] input")
    kept = json.loads(page.evaluate("localStorage.getItem('tinv.train')"))
    assert kept["words"] == [
        {"name": "zibbox", "init_text": "cat"},
        {"name": "quixxly", "repeats": 3, "train": False},
    ]
    page.evaluate(
        "(settings) => document.dispatchEvent(new CustomEvent('tinv:settings', {detail: {settings, from: 'x'}}))",
        {"name": "zibbo", "words": "[[words"},
    )
    page.wait_for_selector("#tinv_words[aria-invalid=true]")
    assert page.locator(".tinv-word").count() == 0
    page.fill("#tinv_words", '[[words]]\nname = "quixxly"')
    page.wait_for_selector("[data-word=quixxly]")


def test_cards_are_told_in_chinese(address: str, values: dict[str, Any]) -> None:  # noqa: F811
    """With what is wrong, the fold, and a removal."""
    with opened(address, "zh-CN") as chinese:
        begun(chinese, values)
        chinese.click("#tinv_add_word")
        chinese.wait_for_selector(".tinv-word")
        assert english(chinese) == []
        chinese.fill(f"{SECOND}name", "Zibbo")
        chinese.click(f"{SECOND}more")
        chinese.wait_for_selector(f"{SECOND}verdict[data-state=bad]")
        chinese.click("#tinv_check")
        chinese.wait_for_selector("#tinv_answer .tinv-problems")
        assert english(chinese) == []
        chinese.click("[data-word=Zibbo] > .tinv-row button")
        chinese.wait_for_selector(".tinv-word", state="detached")
        assert english(chinese) == []


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed: npm ci")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_cards_can_be_read_by_everybody(page: Any, values: dict[str, Any], dark: bool) -> None:  # noqa: F811
    """axe-core finds nothing serious, and nothing sticks out on a phone."""
    page.set_viewport_size({"width": 390, "height": 900})
    begun(page, values)
    added(page, "Zibbo")
    page.wait_for_selector(f"{SECOND}verdict[data-state=bad]")
    page.click(f"{SECOND}more")
    page.evaluate("dark => document.body.classList.toggle('dark', dark)", dark)
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("axe.run('.tinv-word', {resultTypes: ['violations']})")["violations"]
    serious = [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]
    assert serious == []
    right = "[...document.querySelectorAll('.tinv-word *')].map((one) => one.getBoundingClientRect().right)"
    assert max(page.evaluate(right)) <= 390
