"""The gallery of embeddings in a browser: looked into, changed and undone, blended and compared as a person does it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.ui.browser import needs_chromium
from tests.ui.test_browser import address, jobs_home, page  # noqa: F401  (fixtures)
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.formats import read_embedding, write_embedding
from tinv_ext.core.settings import DEFAULTS
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.library.library import Library
from tinv_ext.server.job_queue import JobQueue

WAIT = 30_000
EVIL = "<img src=x onerror=\"document.title='caught'\">"
pytestmark = [needs_chromium, pytest.mark.once]


@pytest.fixture
def shelf(host: DiffusersHost) -> Path:
    """Two embeddings of words of the model, in the host's folder."""
    host.embeddings_folder.mkdir(parents=True)
    facts = {"pictures": 3, "settings": {"steps": 7, "num_vectors": 2}}
    for name, text in (("felix", "cat house"), ("rex", "dog tree")):
        vectors = host.token_table.token_vectors(host.token_table.tokenizer.ids(text))
        write_embedding(Embedding(name, vectors, 7, facts=facts), host.embeddings_folder / f"{name}.pt")
    host.refresh_embeddings()
    return host.embeddings_folder


@pytest.fixture
def gallery(shelf: Path, page: Any) -> Any:  # noqa: F811
    """The page with that part open."""
    return shown(page)


def shown(page: Any) -> Any:  # noqa: F811
    """Click the tab, and wait for its cards."""
    page.click("button[role=tab]:has-text('Embeddings'), .tab-nav button:has-text('Embeddings')")
    page.wait_for_selector(".tinv-embeddings .tinv-card")
    return page


def choose(page: Any, name: str) -> None:  # noqa: F811
    """Click a card, and wait for what is known of it."""
    page.click(f".tinv-embeddings .tinv-card > button:has(.tinv-name:text-is('{name}'))")
    page.wait_for_selector(f".tinv-about h2:text-is('{name}')")


def fold(page: Any, label: str) -> Any:  # noqa: F811
    """Open one of the actions of the chosen embedding."""
    page.click(f".tinv-changes summary:text-is('{label}')")
    return page.locator(f".tinv-changes details:has(summary:text-is('{label}'))")


def said(page: Any, text: str) -> None:  # noqa: F811
    """Wait until the page says that something was done."""
    page.wait_for_selector(f".tinv-said:has-text({json.dumps(text)})", timeout=WAIT)


def test_one_is_looked_into_renamed_deleted_and_brought_back(gallery: Any, shelf: Path, host: DiffusersHost) -> None:
    """Facts, nearest words, norms; the new word can be used at once; each step can be undone by a click."""
    choose(gallery, "felix")
    gallery.wait_for_selector(".tinv-about .tinv-chip")
    about = gallery.inner_text(".tinv-about")
    assert "Trained on 3 images for 7 steps." in about
    assert "2 vectors, for an unknown model family." in about  # no other model's: they fit the one that is loaded
    assert gallery.locator(".tinv-about .tinv-problems").count() == 0
    assert gallery.locator(".tinv-about .tinv-chip").first.inner_text().split() == ["cat", "1.00"]
    marks = gallery.locator(".tinv-norm .tinv-mark").count(), gallery.locator(".tinv-norm .tinv-range").count()
    assert marks == (2, 2)
    place = fold(gallery, "Rename")
    place.locator("input").fill("tomzo")
    place.locator("input").press("Enter")
    gallery.wait_for_selector(".tinv-about h2:text-is('tomzo')")
    assert torch.load(shelf / "tomzo.pt", weights_only=True)["name"] == "tomzo"
    assert {word.name for word in host.known_words()} == {"tomzo", "rex"}
    gallery.click(".tinv-changes button:text-is('Delete')")
    said(gallery, "tomzo.pt")
    assert not (shelf / "tomzo.pt").exists()
    gallery.click(".tinv-said button:text-is('Undo')")
    said(gallery, '"tomzo.pt" was restored')
    assert (shelf / "tomzo.pt").exists()
    gallery.wait_for_selector(".tinv-about h2:text-is('tomzo')")
    gallery.click(".tinv-changes button:text-is('Delete')")
    gallery.click(".tinv-embeddings summary:has-text('Trash (1)')")
    gallery.click(".tinv-embeddings details:has-text('Trash (1)') button:text-is('Restore')")
    said(gallery, '"tomzo.pt" was restored')


def test_one_is_downloaded_converted_extended_and_added(gallery: Any, shelf: Path, tmp_path: Path) -> None:
    """Files to fetch, and new words."""
    felix = read_embedding(shelf / "felix.pt").vectors["clip_l"]
    choose(gallery, "felix")
    with gallery.expect_download(timeout=WAIT) as download:
        gallery.click(".tinv-about button:text-is('Download')")
    assert download.value.suggested_filename == "felix.pt"
    assert Path(download.value.path()).read_bytes() == (shelf / "felix.pt").read_bytes()
    place = fold(gallery, "Convert")
    place.get_by_label("License").fill("CC0")
    with gallery.expect_download(timeout=WAIT) as download:
        place.get_by_role("button", name="Convert").click()
    download.value.save_as(tmp_path / download.value.suggested_filename)
    assert torch.equal(load_file(tmp_path / "felix.safetensors")["emb_params"], felix)
    place = fold(gallery, "Extend")
    for count in ("12", "8"):
        place.locator("input[type=range]").fill(count)
        assert place.get_by_label("Name of the result").input_value() == f"felix-{count}v"
    place.get_by_label("Name of the result").fill("felixlong")
    place.get_by_role("button", name="Extend").click()
    gallery.wait_for_selector(".tinv-about h2:text-is('felixlong')")
    assert read_embedding(shelf / "felixlong.pt").count == 8
    save_file({"new": felix}, str(tmp_path / "addzo.safetensors"))
    for text in ("addzo.pt", "already exists"):
        gallery.set_input_files(".tinv-embeddings .tinv-drop input[type=file]", str(tmp_path / "addzo.safetensors"))
        gallery.wait_for_selector(f".tinv-embeddings :is(.tinv-said, .tinv-problems):has-text('{text}')")
    assert torch.equal(read_embedding(shelf / "addzo.pt").vectors["clip_l"], felix)
    gallery.click("button:text-is('Replace those of the same name')")
    said(gallery, "Added addzo.pt")


def test_those_of_one_name_are_told_apart_by_their_folder(shelf: Path, page: Any) -> None:  # noqa: F811
    """On the card and at its tick; a renaming that makes two of one name is refused, and one is taken back."""
    for place in ("cats/old", "cats/new"):
        (shelf / place).mkdir(parents=True)
        shutil.copy(shelf / "felix.pt", shelf / place / "felix.pt")
    shutil.copy(shelf / "felix.pt", shelf / "cats" / "new" / "tomzo.pt")
    gallery = shown(page)
    cards = gallery.locator(".tinv-card:has(.tinv-name:text-is('felix'))").all_inner_texts()
    assert sorted("in cats/new" in card for card in cards) == [False, False, True]
    assert sorted("in cats/old" in card for card in cards) == [False, False, True]
    gallery.check(".tinv-pick input[aria-label='Compare or blend cats/old/felix']")
    assert "cats/old/felix.pt" in gallery.inner_text(".tinv-mix .tinv-chips")
    gallery.click(".tinv-card > button[title='cats/old/felix.pt']")
    gallery.wait_for_selector(".tinv-about:has-text('cats/old/felix.pt')")
    place = fold(gallery, "Rename")
    for name, told in (
        ("tomzo", ".tinv-problems:has-text('prompts could not tell the two apart')"),
        ("tomzy", ".tinv-said"),
    ):
        place.locator("input").fill(name)
        place.locator("input").press("Enter")
        gallery.wait_for_selector(f".tinv-embeddings {told}")
    assert (shelf / "cats" / "old" / "tomzy.pt").is_file()
    gallery.click(".tinv-said button:text-is('Undo')")
    said(gallery, 'Renamed to "felix"')
    assert (shelf / "cats" / "old" / "felix.pt").is_file()


def test_what_is_ticked_is_in_sight_among_many_cards(shelf: Path, page: Any) -> None:  # noqa: F811
    """With the ways to compare, to blend and to clear, by the keyboard alone."""
    for number in range(60):
        shutil.copy(shelf / "felix.pt", shelf / f"many{number}.pt")
    gallery = shown(page)
    gallery.select_option(".tinv-embeddings select >> nth=0", "name")
    gallery.focus(".tinv-pick input[aria-label='Compare or blend felix']")
    gallery.keyboard.press("Space")
    bar = gallery.locator(".tinv-ticked")
    bar.wait_for()
    assert "1 chosen" in bar.inner_text()
    box, height = bar.bounding_box(), gallery.viewport_size["height"]
    assert box["y"] + box["height"] <= height
    assert bar.get_by_role("button", name="Blend").is_disabled()
    gallery.check(".tinv-pick input[aria-label='Compare or blend many0']")
    assert "2 chosen" in bar.inner_text()
    gallery.keyboard.press("Tab")
    assert gallery.evaluate("document.activeElement.textContent") == "Go to what is chosen"
    gallery.keyboard.press("Enter")
    assert gallery.evaluate("document.activeElement.textContent.trim()") == "Compare"
    gallery.keyboard.press("Tab")
    gallery.keyboard.press("Enter")
    gallery.wait_for_selector(".tinv-blend")
    assert gallery.evaluate("document.activeElement.textContent") == "Compare and blend"
    gallery.wait_for_function(f"document.querySelector('.tinv-mix').getBoundingClientRect().bottom <= {height}")
    bar.get_by_role("button", name="Clear").click()
    bar.wait_for(state="detached")
    assert gallery.evaluate("document.activeElement.type") == "search"
    assert gallery.locator(".tinv-pick input:checked").count() == 0


def test_several_are_compared_and_blended_with_a_live_preview(gallery: Any, shelf: Path) -> None:
    """Side by side on one prompt; the slider changes the image; what is saved has the slider's shares."""
    assert "Tick an embedding to try it on a prompt" in gallery.inner_text(".tinv-embeddings")
    for name in ("felix", "rex"):
        gallery.check(f".tinv-pick input[aria-label='Compare or blend {name}']")
    for label, value in (("Steps", "2"), ("Prompt", "a photo of [name]")):
        gallery.locator(".tinv-mix").get_by_label(label).fill(value)
    gallery.click(".tinv-mix button:text-is('Generate')")
    gallery.wait_for_function("document.querySelectorAll('.tinv-images img').length === 2", timeout=WAIT)
    gallery.wait_for_function("[...document.querySelectorAll('.tinv-images img')].every((i) => i.naturalWidth === 64)")
    gallery.locator(".tinv-mix").get_by_label("Blend into one").check()
    gallery.wait_for_selector(".tinv-blend img", timeout=WAIT)
    before = gallery.get_attribute(".tinv-blend img", "src")
    gallery.locator(".tinv-blend input[type=range]").fill("25")
    assert "rex.pt: 25 %" in gallery.inner_text(".tinv-blend")
    gallery.wait_for_function(
        "(before) => document.querySelector('.tinv-blend img').src !== before", arg=before, timeout=WAIT
    )
    gallery.locator(".tinv-blend").get_by_label("Name of the result").fill("felixrex")
    gallery.click("button:text-is('Save the blend')")
    said(gallery, 'Created "felixrex.pt"')
    felix, rex = (read_embedding(shelf / f"{name}.pt").vectors["clip_l"] for name in ("felix", "rex"))
    assert torch.allclose(read_embedding(shelf / "felixrex.pt").vectors["clip_l"], felix * 0.75 + rex * 0.25)


def test_long_names_stay_in_their_places(
    shelf: Path,
    page: Any,  # noqa: F811
    jobs: JobQueue,
    jobs_home: Path,  # noqa: F811
    values: dict[str, Any],
) -> None:
    """Of embeddings and of snapshots that are compared, on a phone; and in the verdict on a name."""
    long = "zibbozibbozibbo" * 5
    settings = {**values, "output": str(jobs_home / str(DEFAULTS["output"]))}  # so that its snapshots are offered
    assert jobs.wait(jobs.submit({**settings, "name": long, "steps": 2, "save_every": 1}), 120)
    page.set_viewport_size({"width": 420, "height": 900})
    page.reload(wait_until="domcontentloaded")
    page.fill("#tinv_name", f"{long}s")
    page.wait_for_selector(f".tinv-verdict:has-text('\"{long}s\" is free.')")
    assert page.evaluate(STICKING_OUT, ".tinv-verdict, .tinv-verdict *") == []
    gallery = shown(page)
    gallery.check(f".tinv-card:has(.tinv-name:text-is('{long}')) input")
    gallery.wait_for_selector(f".tinv-mix option:has-text('{long}')", state="attached")
    assert gallery.evaluate(STICKING_OUT, ".tinv-mix *") == []
    assert gallery.evaluate("document.documentElement.scrollWidth <= innerWidth")


# What is wider than the window, or holds more than there is room for in sight.
STICKING_OUT = """(places) => [...document.querySelectorAll(places)].filter((one) => {
    const {right, width} = one.getBoundingClientRect();
    const open = getComputedStyle(one).overflowX === 'visible' && one.tagName !== 'SELECT';
    return width > 1 && (right > innerWidth || (open && one.scrollWidth > one.clientWidth + 1 && one.clientWidth));
}).map((one) => one.outerHTML.slice(0, 80))"""


def test_the_gallery_is_searched_and_sorted_and_has_pictures(shelf: Path, page: Any) -> None:  # noqa: F811
    """A thumbnail where there is one, a letter else; by name; only what is searched for."""
    Image.new("RGB", (600, 400), "red").save(shelf / "rex.preview.png")
    gallery = shown(page)
    gallery.wait_for_function("document.querySelector('.tinv-card img')?.naturalWidth === 320")
    assert gallery.inner_text(".tinv-card .tinv-letter").lower() == "f"
    gallery.locator(".tinv-embeddings select").first.select_option("name")
    assert gallery.locator(".tinv-card .tinv-name").all_inner_texts() == ["felix", "rex"]
    gallery.fill(".tinv-embeddings input[type=search]", "RE")
    assert gallery.locator(".tinv-card .tinv-name").all_inner_texts() == ["rex"]
    gallery.fill(".tinv-embeddings input[type=search]", EVIL)
    gallery.wait_for_selector(f".tinv-embeddings p:has-text({json.dumps(EVIL)})")
    assert gallery.title() != "caught"


def test_train_like_this_hands_over_the_settings(gallery: Any) -> None:
    """To whoever has the form, which is shown."""
    gallery.evaluate("document.addEventListener('tinv:settings', (event) => { window.taken = event.detail; })")
    choose(gallery, "felix")
    gallery.click(".tinv-about button:text-is('Train like this')")
    assert gallery.evaluate("window.taken") == {"settings": {"steps": 7, "num_vectors": 2}, "from": "felix"}
    gallery.wait_for_selector("#tinv_tab_train", state="visible")


def test_what_is_wrong_is_told_and_markup_stays_text(gallery: Any, shelf: Path) -> None:
    """A sentence in the page; scripts in names and facts are shown as letters."""
    facts = {"made_by": EVIL, "settings": {"preview_prompt": EVIL}}
    evil = Embedding("evil", {"clip_l": torch.ones(1, 32)}, 1, EVIL, EVIL, facts)
    write_embedding(evil, shelf / "evil.pt")
    hostile = shelf / "<img src=x onerror=document.title=1>"
    hostile.mkdir()
    write_embedding(Embedding("x", {"clip_l": torch.ones(1, 32)}), hostile / "&quot;<b>.pt")
    write_embedding(Embedding("zibboq", {"clip_l": torch.ones(1, 32)}), shelf / "zibboq.pt")
    (shelf / "broken<b>.pt").write_bytes(b"no embedding")
    gallery.reload(wait_until="domcontentloaded")
    shown(gallery)
    choose(gallery, "evil")
    gallery.click(".tinv-about summary:text-is('All that the file says')")
    gallery.wait_for_selector(f".tinv-about td:has-text({json.dumps(EVIL)})")
    assert gallery.query_selector(".tinv-about img") is None
    place = fold(gallery, "Rename")
    place.locator("input").fill("zibboq")
    place.get_by_role("button", name="Rename").click()
    gallery.wait_for_selector(".tinv-changes .tinv-problems:has-text('\"zibboq.pt\" already exists')")
    gallery.click(".tinv-card > button:has(.tinv-name:text-is('&quot;<b>'))")
    assert "<img src=x onerror=document.title=1>/&quot;<b>.pt" in gallery.inner_text(".tinv-about")
    gallery.click(".tinv-card > button:has(.tinv-name:text-is('broken<b>'))")
    gallery.wait_for_selector(".tinv-about .tinv-problems")
    assert gallery.title() not in ("caught", "1")
    assert gallery.query_selector(".tinv-embeddings .tinv-card b") is None


def test_thousands_do_not_slow_the_page_down(shelf: Path, page: Any, host: DiffusersHost) -> None:  # noqa: F811
    """At most so many cards at once; the rest by a click or a search."""
    data = (shelf / "felix.pt").read_bytes()
    for number in range(400):
        (shelf / f"zz{number}.pt").write_bytes(data)
    assert len(Library(shelf, lambda: host).items()) == 402
    gallery = shown(page)
    assert gallery.locator(".tinv-card").count() == 120
    gallery.click("button:text-is('Show more (282)')")
    assert gallery.locator(".tinv-card").count() == 402
    gallery.fill(".tinv-embeddings input[type=search]", "zz399")
    assert gallery.locator(".tinv-card").count() == 1
