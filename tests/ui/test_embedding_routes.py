"""The routes of finished embeddings: what they tell, change and refuse; a key never leads out of the folder."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image
from safetensors.torch import load, save

from tinv_ext.core.embedding import Embedding
from tinv_ext.core.formats import read_embedding, write_embedding
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.library.library import Library
from tinv_ext.library.thumbnails import SIDE
from tinv_ext.server.job_queue import JobQueue

ROOT = "/tinv/v1/embeddings"
FILE = {"Content-Type": "application/octet-stream"}


@pytest.fixture
def folder(host: DiffusersHost) -> Path:
    """Two embeddings of words of the model, in the host's folder."""
    host.embeddings_folder.mkdir(parents=True)
    facts = {
        "pictures": 3,
        "settings": {"steps": 7, "learning_rate": "0.01", "nonsense": 1},
        "date": "2026-01-02T03:04",
    }
    for name, text in (("felix", "cat house"), ("rex", "dog tree")):
        vectors = host.token_table.token_vectors(host.token_table.tokenizer.ids(text))
        write_embedding(Embedding(name, vectors, 7, facts=facts), host.embeddings_folder / f"{name}.pt")
    host.refresh_embeddings()
    return host.embeddings_folder


@pytest.fixture
def routes(folder: Path, client: Callable[..., TestClient], jobs: JobQueue, host: DiffusersHost) -> TestClient:
    """A client of all routes."""
    return client(library=Library(folder, lambda: host, jobs.logs))


def vectors(file: Path) -> torch.Tensor:
    """Those of the only encoder."""
    return read_embedding(file).vectors["clip_l"]


def post(routes: TestClient, action: str, **values: Any) -> Any:
    """The answer to an action that is done."""
    answer = routes.post(f"{ROOT}/{action}", json=values)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_what_cannot_be_looked_at_stays_in_the_list(routes: TestClient, folder: Path) -> None:
    """With the reason, as somebody has it there and may look for it; a link to nothing is none."""
    (folder / "lost.pt").symlink_to(folder / "lost.pt")
    (folder / "gone.pt").symlink_to(folder / "nothing.pt")
    found = {one["key"]: one for one in routes.get(ROOT).json()["embeddings"]}
    assert set(found) == {"felix.pt", "rex.pt", "lost.pt"}
    assert (found["lost.pt"]["size"], found["lost.pt"]["problem"][:23]) == (0, "The file cannot be read")
    assert found["felix.pt"]["size"] > 0


def test_they_are_listed_and_known(routes: TestClient, tmp_path: Path) -> None:
    """Family, vectors and step; nearest words, norms beside the vocabulary's, the settings that can be taken over."""
    found = routes.get(ROOT)
    assert [(one["key"], one["vectors"], one["step"]) for one in found.json()["embeddings"]] == [
        ("felix.pt", 2, 7),
        ("rex.pt", 2, 7),
    ]
    about = routes.get(f"{ROOT}/about", params={"key": "felix.pt"})
    assert str(tmp_path) not in found.text + about.text
    (one,) = about.json()["embeddings"]
    (encoder,) = one["encoders"]
    assert [row[0]["token"] for row in encoder["nearest"]] == ["cat", "house"]
    assert encoder["vocabulary"]["least"] <= encoder["norms"][0] <= encoder["vocabulary"]["greatest"]
    assert one["settings"] == {"steps": 7, "learning_rate": "0.01"}


def test_a_thumbnail_is_small_and_changes_its_version(routes: TestClient, folder: Path) -> None:
    """None at first; then a JPEG of the image beside the file, and another one when that is replaced."""
    asked = {"key": "felix.pt"}
    assert routes.get(f"{ROOT}/thumbnail", params=asked).status_code == 404
    versions = set()
    for colour in ("red", "green"):
        Image.new("RGB", (900, 600), colour).resize((900, 600 + len(colour))).save(folder / "felix.preview.png")
        versions.add(routes.get(ROOT).json()["embeddings"][0]["thumbnail"])
        image = Image.open(io.BytesIO(routes.get(f"{ROOT}/thumbnail", params=asked).content))
        assert (image.format, max(image.size)) == ("JPEG", SIDE)
        assert image.getpixel((5, 5))[0 if colour == "red" else 1] > 100
    assert len(versions) == 2
    (folder / "felix.preview.png").write_bytes(b"no image")
    assert routes.get(f"{ROOT}/thumbnail", params=asked).status_code == 404


def test_one_is_renamed_thrown_away_and_brought_back(routes: TestClient, folder: Path, host: DiffusersHost) -> None:
    """With its picture; prompts know the new word at once."""
    Image.new("RGB", (64, 64)).save(folder / "felix.preview.png")
    assert post(routes, "rename", key="felix.pt", name="tomzo")["key"] == "tomzo.pt"
    assert {word.name for word in host.known_words()} == {"tomzo", "rex"}
    assert (folder / "tomzo.preview.png").is_file()
    post(routes, "delete", key="tomzo.pt")
    assert not list(folder.glob("tomzo*"))
    (gone,) = routes.get(ROOT).json()["deleted"]
    assert gone["key"] == "tomzo.pt"
    assert post(routes, "restore", id=gone["id"])["key"] == "tomzo.pt"
    assert len(list(folder.glob("tomzo*"))) == 2


def test_new_ones_are_made_of_old_ones(routes: TestClient, folder: Path) -> None:
    """Longer, or the mean of two, by their weights."""
    assert post(routes, "extend", key="felix.pt", count=5, name="felixlong")["key"] == "felixlong.pt"
    assert len(vectors(folder / "felixlong.pt")) == 5
    post(routes, "average", keys=["felix.pt", "rex.pt"], weights=[3, 1], name="felixrex")
    mean = vectors(folder / "felix.pt") * 0.75 + vectors(folder / "rex.pt") * 0.25
    assert torch.allclose(vectors(folder / "felixrex.pt"), mean)


def test_one_is_converted_fetched_and_added(routes: TestClient, folder: Path) -> None:
    """The bytes of another format; the file itself; a file that is sent becomes one of the folder."""
    asked = {"key": "felix.pt", "to": "safetensors", "license": "CC0"}
    converted = routes.post(f"{ROOT}/convert", json=asked)
    assert converted.headers["content-disposition"] == "attachment; filename*=utf-8''felix.safetensors"
    assert torch.equal(load(converted.content)["emb_params"], vectors(folder / "felix.pt"))
    several = routes.post(f"{ROOT}/convert", json={"key": "felix.pt", "to": "diffusers-folder"})
    assert several.status_code == 200
    assert routes.get(f"{ROOT}/file", params={"key": "felix.pt"}).content == (folder / "felix.pt").read_bytes()
    data = save({"new": vectors(folder / "rex.pt")})
    sent = routes.post(f"{ROOT}/add", params={"name": "C:\\x\\addzo.safetensors"}, content=data, headers=FILE)
    assert sent.json()["key"] == "addzo.pt"
    assert torch.equal(vectors(folder / "addzo.pt"), vectors(folder / "rex.pt"))
    again = routes.post(f"{ROOT}/add", params={"name": "addzo.safetensors"}, content=data, headers=FILE)
    assert again.json()["detail"]["ids"] == ["library.exists"]
    over = routes.post(f"{ROOT}/add", params={"name": "addzo.pt", "overwrite": True}, content=data, headers=FILE)
    assert over.status_code == 200
    wrong = routes.post(f"{ROOT}/add", params={"name": "x.pt"}, content=b"no embedding", headers=FILE)
    assert wrong.status_code == 422


def test_images_are_generated_of_one_and_of_a_blend(routes: TestClient) -> None:
    """The same request gives the same bytes; the ends of a blend are its parts; another share, another image."""

    def image(*parts: tuple[str, float], prompt: str = "a photo of [name]") -> bytes:
        values = {"prompt": prompt, "steps": 2, "seed": 3, "parts": [{"key": key, "weight": w} for key, w in parts]}
        answer = routes.post("/tinv/v1/image", json=values)
        assert answer.headers["content-type"] == "image/png", answer.text
        return Image.open(io.BytesIO(answer.content)).tobytes()

    felix, rex = image(("felix.pt", 1)), image(("rex.pt", 1))
    half = image(("felix.pt", 0.5), ("rex.pt", 0.5))
    assert image(("felix.pt", 1), ("rex.pt", 0)) == felix
    assert len({felix, rex, half}) == 3
    refused = routes.post("/tinv/v1/image", json={"prompt": "a cat", "parts": [{"key": "felix.pt"}], "steps": 0})
    assert refused.json()["detail"]["ids"][0] == "api.no_name"
    assert len(refused.json()["detail"]["ids"]) == 2


def test_an_image_has_the_clip_skip_of_its_word(routes: TestClient, values: dict[str, Any]) -> None:
    """That with which it was trained, and says so; the same word at another layer is another image."""
    texts, pixels = [], []
    for layer in (1, 2):
        job = routes.post("/tinv/v1/train", json={**values, "clip_skip": layer, "overwrite": True}).json()["id"]
        while routes.get("/tinv/v1/status", params={"job": job}).json()["job"]["status"] != "finished":
            time.sleep(0.05)
        key = routes.get("/tinv/v1/status", params={"job": job}).json()["job"]["file"]
        asked = {"prompt": "a photo of [name]", "steps": 2, "parts": [{"key": key}]}
        with Image.open(io.BytesIO(routes.post("/tinv/v1/image", json=asked).content)) as image:
            texts.append(image.text["parameters"])
            pixels.append(image.tobytes())
    assert ["Clip skip: 2" in text for text in texts] == [False, True]
    assert pixels[0] != pixels[1]


def test_while_a_run_has_the_model_no_image_is_generated(routes: TestClient, values: dict[str, Any]) -> None:
    """A sentence that says what would help, and the run goes on; where it is paused there is an image."""
    job = routes.post("/tinv/v1/train", json={**values, "steps": 100_000}).json()["id"]
    answer = routes.post("/tinv/v1/image", json={"prompt": "[name]", "parts": [{"key": "felix.pt"}]})
    assert answer.json()["detail"]["ids"] == ["server.model_busy"]
    assert "Pause it" in answer.json()["detail"]["problems"][0]
    assert routes.post("/tinv/v1/pause", params={"job": job}).json()["status"] == "paused"
    asked = {"prompt": "[name]", "parts": [{"key": "felix.pt"}], "steps": 1}
    assert routes.post("/tinv/v1/image", json=asked).headers["content-type"] == "image/png"
    assert routes.post("/tinv/v1/stop", params={"job": job}).status_code == 200


@pytest.mark.parametrize("lie", ["../outside.pt", "felix.pt/../../outside.pt", "/etc/passwd", "", "felix\0.pt"])
def test_a_client_that_lies_reaches_nothing(routes: TestClient, folder: Path, lie: str) -> None:
    """A key that is a path is refused in every route, and changes nothing."""
    outside = folder.parent / "outside.pt"
    write_embedding(Embedding("outside", {"clip_l": torch.ones(1, 32)}), outside)
    for route in ("about", "file", "thumbnail"):
        assert routes.get(f"{ROOT}/{route}", params={"key": lie}).json()["detail"]["ids"] == ["library.no_embedding"]
    for route, more in (("rename", {"name": "x"}), ("delete", {}), ("extend", {"count": 3, "name": "x"})):
        answer = routes.post(f"{ROOT}/{route}", json={"key": lie, **more})
        assert answer.json()["detail"]["ids"] == ["library.no_embedding"], route
    assert routes.post(f"{ROOT}/restore", json={"id": lie}).json()["detail"]["ids"] == ["library.not_in_trash"]
    assert outside.is_file()


def test_what_is_no_value_is_told(routes: TestClient) -> None:
    """Each with its name."""
    for values in ({"key": 3, "name": "x"}, {"key": "felix.pt", "name": None}):
        assert routes.post(f"{ROOT}/rename", json=values).json()["detail"]["ids"] == ["api.wrong_value"]
    for count in ("3", 2.5, True, None, 10**30):
        answer = routes.post(f"{ROOT}/extend", json={"key": "felix.pt", "count": count, "name": "x"})
        assert answer.json()["detail"]["ids"] == ["api.wrong_value"], count
