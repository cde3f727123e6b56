"""The picture on an embedding's card, drawn by whole runs beside pictures that are a person's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.core.fake import WIDTH
from tests.fake_host import FakeHost
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import HostError
from tinv_ext.core.formats import read_embedding
from tinv_ext.core.formats.image_write import save_png_with_embedding
from tinv_ext.core.settings import TrainConfig
from tinv_ext.run import run_folder, runner
from tinv_ext.run.events import Prepared

Run = Callable[..., run_folder.RunFolder]


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """A host with an empty folder of embeddings."""
    (tmp_path / "embeddings").mkdir()
    return FakeHost(tmp_path / "embeddings")


@pytest.fixture
def run(tmp_path: Path, host: FakeHost) -> Run:
    """Train for three steps and return the run's folder."""
    images = tmp_path / "images"
    images.mkdir()
    Image.new("RGB", (64, 64), (80, 200, 30)).save(images / "a thing.png")
    few = {"width": 64, "height": 64, "preview_steps": 1, "preview_every": 0, "evaluate_every": 0, "steps": 3}
    values = {"name": "zworble", "images": str(images), "output": str(tmp_path / "runs"), "overwrite": True}

    def make(**given: Any) -> run_folder.RunFolder:
        events: list[Any] = []
        runner.run(TrainConfig.from_dict({**values, **few, **given}), host, events.append)
        return next(event.folder for event in events if isinstance(event, Prepared))

    return make


@pytest.mark.parametrize("given", [{"preview_every": 1, "thumbnail": "none"}, {}])
def test_no_card_is_made_unasked(given: dict[str, Any], run: Run, host: FakeHost) -> None:
    """Where none is wanted, or no preview is drawn anyway, the folder holds the embedding and nothing else."""
    folder = run(**given)
    assert [path.name for path in host.embeddings_folder.iterdir()] == ["zworble.pt"]
    assert ("preview_every" in given) == (folder.last_preview("zworble") is not None)


def test_unless_told_otherwise_the_last_preview_is_the_card_where_there_is_none(run: Run, host: FakeHost) -> None:
    """A person's own stays."""
    folder, card = run(preview_every=2), host.embeddings_folder / "zworble.preview.png"
    last = folder.last_preview("zworble")
    assert last is not None
    with Image.open(card) as shown, Image.open(last) as drawn:
        assert shown.tobytes() == drawn.tobytes()
    Image.new("RGB", (8, 8)).save(card)
    run(preview_every=2)
    with Image.open(card) as shown:
        assert shown.size == (8, 8)


@pytest.mark.parametrize("given", [{"preview_every": 2}, {"preview_every": 0}])
def test_the_card_is_the_last_preview(given: dict[str, Any], run: Run, host: FakeHost) -> None:
    """Of a run with previews or without, where one is drawn for it; its parameters stay with it."""
    folder = run(thumbnail="new", **given)
    card = host.embeddings_folder / "zworble.preview.png"
    last = folder.last_preview("zworble")
    assert last is not None
    assert last.stem == "zworble-3"
    with Image.open(card) as shown, Image.open(last) as drawn:
        assert shown.tobytes() == drawn.tobytes()
        assert shown.text["parameters"] == drawn.text["parameters"]
    assert read_embedding(host.embeddings_folder / "zworble.pt").step == 3


def test_a_card_of_an_earlier_run_is_drawn_anew(run: Run, host: FakeHost) -> None:
    """It is known by its mark."""
    run(thumbnail="new")
    card = host.embeddings_folder / "zworble.preview.png"
    with Image.open(card) as image:
        before = image.text["tinv card"]
    run(thumbnail="new", steps=4)
    with Image.open(card) as image:
        assert (before, image.text["tinv card"]) == ("zworble-3.png", "zworble-4.png")


@pytest.mark.parametrize("name", ["zworble.preview.png", "zworble.png", "zworble.jpg", "zworble.preview.webp"])
def test_a_persons_own_card_stays_unless_told(name: str, run: Run, host: FakeHost) -> None:
    """Also one that could be mistaken for an embedding's file; replaced, it is kept in the run's folder."""
    own = host.embeddings_folder / name
    Image.new("RGB", (9, 9), (1, 2, 3)).save(own)
    before = own.read_bytes()
    folder = run(thumbnail="new")
    assert own.read_bytes() == before
    assert "left as it was" in folder.log.read_text("utf-8")
    folder = run(thumbnail="replace")
    assert sorted(path.name for path in host.embeddings_folder.iterdir()) == ["zworble.preview.png", "zworble.pt"]
    assert (folder.path / "replaced" / name).read_bytes() == before


def test_a_picture_that_is_an_embedding_is_still_replaced(run: Run, host: FakeHost) -> None:
    """Two files under one word: the old one moves into the run's folder, as before."""
    old = host.embeddings_folder / "zworble.png"
    save_png_with_embedding(Image.new("RGB", (64, 64)), Embedding("zworble", {"clip_l": torch.ones(1, WIDTH)}), old)
    folder = run()
    assert not old.exists()
    assert (folder.path / "replaced" / "zworble.png").is_file()


def test_a_card_that_cannot_be_drawn_stops_nothing(run: Run, host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedding is there, the run finished, and its log says why there is no picture."""

    def draw(*_: object) -> Image.Image:
        raise HostError("The model is gone.")

    monkeypatch.setattr(host, "generate", draw)
    folder = run(thumbnail="new")
    assert folder.status().status == "finished"
    assert "no thumbnail was made: The model is gone." in folder.log.read_text("utf-8")


def test_author_and_licence_of_the_settings_are_facts(run: Run, host: FakeHost) -> None:
    """Once, and not at all when they are empty."""
    run(author=" Ada ", license="CC0")
    facts = read_embedding(host.embeddings_folder / "zworble.pt").facts
    assert (facts["author"], facts["license"], "license" in facts["settings"]) == ("Ada", "CC0", False)
    run()
    assert "license" not in read_embedding(host.embeddings_folder / "zworble.pt").facts
