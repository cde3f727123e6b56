"""The part "Embeddings" in a real browser, as a person uses it; and its functions as a client that lies calls them."""

from __future__ import annotations

from html import escape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.ui.test_browser import address, page  # noqa: F401  (fixtures)
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.formats import read_embedding, write_embedding
from tinv_ext.hosts.diffusers.host import DiffusersHost

WAIT = 30_000
pytestmark = pytest.mark.skipif(
    __import__("shutil").which("chromium") is None, reason="Debian's chromium is not installed"
)


@pytest.fixture
def shelf(host: DiffusersHost) -> Path:
    """Two embeddings of words of the model, in the host's folder."""
    host.embeddings_folder.mkdir(parents=True)
    for name, text in (("felix", "cat house"), ("rex", "dog tree")):
        vectors = host.token_table.token_vectors(host.token_table.tokenizer.ids(text))
        write_embedding(Embedding(name, vectors, 7), host.embeddings_folder / f"{name}.pt")
    host.refresh_embeddings()
    return host.embeddings_folder


@pytest.fixture
def opened(shelf: Path, page: Any) -> Any:  # noqa: F811
    """The page with that part open."""
    page.click("button[role=tab]:has-text('Embeddings'), .tab-nav button:has-text('Embeddings')")
    said(page, "#tinv_shelf_list", "felix.pt")
    return page


def said(page: Any, place: str, text: str) -> None:  # noqa: F811
    """Wait until a place of the page holds a text."""
    page.wait_for_function(
        "([place, text]) => (document.querySelector(place) || {}).textContent?.includes(text)",
        arg=[place, text],
        timeout=WAIT,
    )


def choose(page: Any, what: str, text: str) -> None:  # noqa: F811
    """Choose in a dropdown."""
    page.click(f"#{what} input")
    page.click(f"#{what} ul.options li:has-text('{text}')")


def fill(page: Any, what: str, text: str) -> None:  # noqa: F811
    """Type into a text."""
    page.fill(f"#tinv_{what} textarea, #tinv_{what} input", text)


def test_an_embedding_is_looked_into_renamed_deleted_and_brought_back(
    opened: Any, shelf: Path, host: DiffusersHost
) -> None:
    """Its nearest words are shown; the new word can be used at once; what is deleted comes back."""
    choose(opened, "tinv_one", "felix.pt")
    said(opened, "#tinv_about", "cat 1.00")
    said(opened, "#tinv_about", "house 1.00")
    opened.click("#tinv_fold_rename")
    fill(opened, "rename_name", "tomzo")
    opened.click("#tinv_do_rename")
    said(opened, "#tinv_shelf_list", "tomzo.pt")
    assert torch.load(shelf / "tomzo.pt", weights_only=True)["name"] == "tomzo"
    assert {word.name for word in host.known_words()} == {"tomzo", "rex"}
    opened.click("#tinv_fold_delete")
    opened.click("#tinv_do_delete")
    said(opened, "#tinv_shelf_answer", '"tomzo.pt" was deleted')
    assert not (shelf / "tomzo.pt").exists()
    choose(opened, "tinv_gone", "tomzo.pt")
    opened.click("#tinv_do_restore")
    said(opened, "#tinv_shelf_answer", '"tomzo.pt" was restored')
    assert (shelf / "tomzo.pt").exists()


def test_an_embedding_is_converted_extended_averaged_and_added(opened: Any, shelf: Path, tmp_path: Path) -> None:
    """Files to fetch, and new words."""
    choose(opened, "tinv_one", "felix.pt")
    opened.click("#tinv_fold_convert")
    fill(opened, "convert_license", "CC0")
    opened.click("#tinv_do_convert")
    said(opened, "#tinv_shelf_answer", "1 file converted")
    with opened.expect_download(timeout=WAIT) as download:
        opened.click("#tinv_made a >> nth=0")
    download.value.save_as(tmp_path / "fetched.safetensors")
    felix = read_embedding(shelf / "felix.pt").vectors["clip_l"]
    assert torch.equal(load_file(tmp_path / "fetched.safetensors")["emb_params"], felix)
    opened.click("#tinv_fold_extend")
    fill(opened, "extend_name", "felixlong")
    opened.click("#tinv_do_extend")
    said(opened, "#tinv_shelf_list", "felixlong.pt")
    assert read_embedding(shelf / "felixlong.pt").count == 8
    opened.click("#tinv_fold_average")
    for name in ("felix.pt", "rex.pt"):
        choose(opened, "tinv_many", name)
    fill(opened, "average_name", "felixrex")
    opened.click("#tinv_do_average")
    said(opened, "#tinv_shelf_list", "felixrex.pt")
    rex = read_embedding(shelf / "rex.pt").vectors["clip_l"]
    assert torch.allclose(read_embedding(shelf / "felixrex.pt").vectors["clip_l"], (felix + rex) / 2)
    save_file({"new": felix}, str(tmp_path / "addzo.safetensors"))
    opened.click("#tinv_fold_add")
    opened.set_input_files("#tinv_add_file input[type=file]", str(tmp_path / "addzo.safetensors"))
    opened.wait_for_selector("#tinv_add_file >> text=addzo")
    opened.click("#tinv_do_add")
    said(opened, "#tinv_shelf_list", "addzo.pt")
    assert torch.equal(read_embedding(shelf / "addzo.pt").vectors["clip_l"], felix)


def test_what_is_wrong_is_told_and_markup_stays_text(opened: Any, shelf: Path) -> None:
    """A sentence in the page; a word inside a file that is a script is shown as letters."""
    evil = "<img src=x onerror=\"document.title='caught'\">"
    facts = {"made_by": evil}
    write_embedding(Embedding("evil", {"clip_l": torch.ones(1, 32)}, 1, evil, evil, facts), shelf / "evil.pt")
    write_embedding(Embedding("zibboq", {"clip_l": torch.ones(1, 32)}), shelf / "zibboq.pt")
    opened.click("#tinv_look")
    said(opened, "#tinv_shelf_list", "evil.pt")
    choose(opened, "tinv_one", "evil.pt")
    said(opened, "#tinv_about", evil)
    assert opened.query_selector("#tinv_about img") is None
    assert opened.title() != "caught"
    opened.click("#tinv_fold_rename")
    fill(opened, "rename_name", "zibboq")
    opened.click("#tinv_do_rename")
    said(opened, "#tinv_shelf_answer", '"zibboq.pt" already exists')


def test_a_client_that_lies_reaches_nothing(shelf: Path, tmp_path: Path, host: DiffusersHost) -> None:
    """A key that is a path, and an id that climbs, are refused in a sentence and change nothing."""
    from tinv_ext.library.library import Library
    from tinv_ext.ui.context import PageContext
    from tinv_ext.ui.embeddings_tab import _convert, _Lists

    outside = tmp_path / "outside.pt"
    write_embedding(Embedding("outside", {"clip_l": torch.ones(1, 32)}), outside)
    request = SimpleNamespace(headers={})
    lists = _Lists(Library(shelf, lambda: host), PageContext(), [None] * 6)
    for lie in (str(outside), "../outside.pt", "felix.pt/../../outside.pt"):
        for answer in (
            lists.inspect(lie, request),
            _convert(lists.library, lists.context)(lie, "a1111", "", "", request)[1],
            lists.do(lie, lambda lie=lie: (None, [lists.library.delete(lie).key]), request)[4],  # type: ignore[misc]
        ):
            assert escape(lie) in answer
            assert "no embedding" in answer
    assert outside.is_file()
