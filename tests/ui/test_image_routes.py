"""The routes of training images: shown, uploaded, changed, undone; and what is said while settings are typed."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image, ImageDraw

from tests.prepare.pictures import photo
from tinv_ext.core.data.image_fit import Fit
from tinv_ext.core.settings import DEFAULTS, SETTINGS, TrainConfig
from tinv_ext.core.training.outliers import Outliers
from tinv_ext.run.odd_images import OddImages
from tinv_ext.server.allowed_paths import allow_only
from tinv_ext.server.image_sets import FOLDER
from tinv_ext.server.job_queue import JobQueue

Client = Callable[..., TestClient]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A wide image, its copy, a blurred one, a caption that names the subject, and what is no image."""
    folder = tmp_path / "猫"
    folder.mkdir()
    photo(1, 200, 100).save(folder / "wide.png")
    photo(1, 200, 100).save(folder / "copy.jpg", quality=95)
    photo(2, 100, 100).resize((8, 8)).resize((100, 100)).save(folder / "blurred.png")
    (folder / "wide.txt").write_text("a cat on a sofa")
    (folder / "broken.png").write_bytes(b"no image")
    return folder


def post(client: TestClient, route: str, values: Any, **query: Any) -> Any:
    """The answer's JSON of a request that is granted."""
    answer = client.post(f"/tinv/v1/{route}", json=values, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def images(client: TestClient, values: dict[str, Any]) -> dict[str, Any]:
    """The images by name when all were looked at, and the rest of the answer."""
    for _ in range(200):
        found = post(client, "images", values)
        if found["looked_at"] == found["total"]:
            return {**found, "images": {one["name"]: one for one in found["images"]}}
        time.sleep(0.05)
    raise AssertionError(found)


def test_images_are_shown_as_they_will_be_trained(client: Client, folder: Path) -> None:
    """Size, crop, caption and where it is from, findings; what cannot be used says why."""
    found = images(client(), {"images": str(folder), "template": "subject_filewords", "init_text": "cat"})
    assert (found["total"], found["uses_captions"], list(found["images"])) == (
        4,
        True,
        ["blurred.png", "broken.png", "copy.jpg", "wide.png"],
    )
    wide = found["images"]["wide.png"]
    left, _ = Fit(64, 64).corner(200, 100)
    assert wide["frame"] == [left / 128, 0, 0.5, 1]
    assert (wide["width"], wide["height"], wide["trained"]) == (200, 100, [64, 64])
    assert (wide["caption"], wide["caption_file"]) == ("a cat on a sofa", "wide.txt")
    assert found["images"]["copy.jpg"]["caption_file"] == ""
    assert found["images"]["broken.png"]["unusable"]
    kinds = {name: {one["kind"] for one in image["findings"]} for name, image in found["images"].items()}
    assert kinds["wide.png"] == {"subject", "duplicates"}
    assert "duplicates" not in kinds["copy.jpg"]
    assert "blurred" in kinds["blurred.png"]


def test_sub_folders_that_are_not_used_are_told_beside_images(client: Client, folder: Path) -> None:
    """But not those that are of another source, or hold the masks."""
    for name in ("more/deep", "masks", "class", ".hidden"):
        (folder / name).mkdir(parents=True)
        photo(3, 64, 64).save(folder / name / "wide.png")
    given = {"images": str(folder), "mask_folder": str(folder / "masks"), "reg_images": str(folder / "class")}
    found = images(client(), given)
    assert (found["total"], found["below"]) == (4, ["more"])
    assert images(client(), {**given, "recursive": True})["below"] == []


def test_thumbnails_are_small_and_need_a_known_id(client: Client, folder: Path) -> None:
    """Of what was shown; nothing else can be named."""
    routes = client()
    shown = images(routes, {"images": str(folder)})["images"]
    answer = routes.get("/tinv/v1/images/thumbnail", params={"id": shown["wide.png"]["id"], "v": "1"})
    with Image.open(io.BytesIO(answer.content)) as small:
        assert (small.format, small.size) == ("JPEG", (200, 100))
    for other in (shown["broken.png"]["id"], "nothing", str(folder / "wide.png"), ""):
        assert routes.get("/tinv/v1/images/thumbnail", params={"id": other}).status_code == 404


def test_a_caption_is_changed_and_undone(client: Client, folder: Path) -> None:
    """Beside the image, and in the next look."""
    routes, values = client(), {"images": str(folder)}
    image = images(routes, values)["images"]["copy.jpg"]
    post(routes, "images/caption", {"ids": [image["id"]], "text": "zibbo 在沙发上"})
    assert (folder / "copy.txt").read_text("utf-8") == "zibbo 在沙发上\n"
    found = images(routes, values)
    assert found["images"]["copy.jpg"]["caption"] == "zibbo 在沙发上"
    assert found["undo"] == {"folder": str(folder), "what": "The caption of copy.jpg was changed"}
    chinese = post(routes, "images", values, language="zh_CN")["undo"]["what"]
    assert chinese == "更改了 copy.jpg 的描述"
    post(routes, "images/undo", {"folder": str(folder)})
    assert not (folder / "copy.txt").exists()
    assert images(routes, values)["undo"] is None
    assert routes.post("/tinv/v1/images/undo", json={"folder": str(folder)}).status_code == 422


def test_images_are_turned_and_removed_and_come_back(client: Client, folder: Path) -> None:
    """What is shown follows."""
    routes, values = client(), {"images": str(folder)}
    wide = images(routes, values)["images"]["wide.png"]["id"]
    post(routes, "images/turn", {"ids": [wide], "how": "left"})
    turned = images(routes, values)["images"]["wide.png"]
    assert (turned["width"], turned["height"]) == (100, 200)
    post(routes, "images/remove", {"ids": [wide]})
    assert "wide.png" not in images(routes, values)["images"]
    assert routes.get("/tinv/v1/images/thumbnail", params={"id": wide}).status_code == 404
    for _ in range(2):
        post(routes, "images/undo", {"folder": str(folder)})
    assert images(routes, values)["images"]["wide.png"]["width"] == 200
    assert routes.post("/tinv/v1/images/turn", json={"ids": [wide], "how": "over"}).status_code == 422
    assert routes.post("/tinv/v1/images/turn", json={"ids": [], "how": "left"}).status_code == 422


def test_a_mask_is_painted_shown_and_undone(client: Client, folder: Path) -> None:
    """Over what is shown of the image; anything but a picture in base64 is refused."""
    routes, values = client(), {"images": str(folder)}
    wide = images(routes, values)["images"]["wide.png"]
    assert wide["mask"] is None
    asked = {"id": wide["id"], "v": "1"}
    assert routes.get("/tinv/v1/images/mask", params=asked).status_code == 404
    with Image.open(io.BytesIO(routes.get("/tinv/v1/images/canvas", params=asked).content)) as canvas:
        assert (canvas.format, canvas.size) == ("JPEG", (200, 100))
        mask = Image.new("L", canvas.size, 255)
    mask.paste(0, (0, 0, 50, 100))
    data = io.BytesIO()
    mask.save(data, "PNG")
    post(routes, "images/mask", {"ids": [wide["id"]], "mask": base64.b64encode(data.getvalue()).decode()})
    found = images(routes, values)
    assert found["images"]["wide.png"]["mask"]
    assert found["undo"] == {"folder": str(folder), "what": "The mask of wide.png was changed"}
    with Image.open(io.BytesIO(routes.get("/tinv/v1/images/mask", params=asked).content)) as shown:
        assert (shown.format, shown.mode, shown.tobytes()) == ("PNG", "L", mask.tobytes())
    assert "wide-masklabel.png" not in found["images"]
    for odd in ("no base64!", base64.b64encode(b"no picture").decode()):
        refused = routes.post("/tinv/v1/images/mask", json={"ids": [wide["id"]], "mask": odd})
        assert refused.status_code == 422
    post(routes, "images/undo", {"folder": str(folder)})
    assert images(routes, values)["images"]["wide.png"]["mask"] is None


def test_backgrounds_are_masked_where_all_images_have_one(client: Client, tmp_path: Path) -> None:
    """Told once all were looked at; a folder's images are masked at once, which is undone; one alone is proposed."""
    folder = tmp_path / "figures"
    folder.mkdir()
    for number in range(4):
        figure(number).save(folder / f"{number}.png")
    photo(1, 200, 200).save(tmp_path / "figures" / "4.png")
    routes, values = client(), {"images": str(folder)}
    found = images(routes, values)
    assert (found["same_background"], found["background"]) == (True, ["on a white background"])
    assert images(routes, {**values, "name_background": False})["background"] == []
    asked = {"id": found["images"]["0.png"]["id"], "v": "1"}
    with Image.open(io.BytesIO(routes.get("/tinv/v1/images/background", params=asked).content)) as proposed:
        assert (proposed.mode, proposed.size) == ("L", (200, 200))
        assert [proposed.getpixel(place) for place in ((5, 5), (100, 100))] == [0, 255]
    assert not list(folder.glob("*masklabel*"))
    assert post(routes, "images/background", {"folder": str(folder)}) == {"changed": 4}
    found = images(routes, values)
    assert [bool(found["images"][f"{number}.png"]["mask"]) for number in range(5)] == [True] * 4 + [False]
    assert found["undo"]["what"] == "The backgrounds were masked"
    refused = routes.post("/tinv/v1/images/background", json={"folder": str(folder)})
    assert refused.status_code == 422
    assert "No plain background was found" in refused.text
    photograph = {"id": found["images"]["4.png"]["id"], "v": "1"}
    assert routes.get("/tinv/v1/images/background", params=photograph).status_code == 404
    post(routes, "images/undo", {"folder": str(folder)})
    assert not list(folder.glob("*masklabel*"))
    assert routes.post("/tinv/v1/images/background", json={"folder": str(tmp_path / "gone")}).status_code == 422


def figure(number: int) -> Image.Image:
    """One on a light background."""
    image = Image.new("RGB", (200, 200), (230, 226, 220))
    ImageDraw.Draw(image).ellipse((50 + 5 * number, 40, 140 + 5 * number, 170), fill=(20, 90, 40 * number))
    return image


def test_dropped_images_get_a_folder_of_their_own(client: Client, jobs: JobQueue, tmp_path: Path) -> None:
    """Below the data folder; one that is no image is named and leaves nothing."""
    jobs._home = tmp_path
    routes = client()
    new = [Path(post(routes, "images/new", {"name": name})["folder"]) for name in ("小猫", "小猫", "../..", "")]
    assert [one.parent for one in new] == [tmp_path / FOLDER] * 4
    assert [one.name for one in new[:2]] == ["小猫", "小猫 (2)"]
    data = io.BytesIO()
    photo(1, 90, 90).save(data, "PNG")
    sent = routes.put(
        "/tinv/v1/images/upload", params={"folder": str(new[0]), "name": "a/б.png"}, content=data.getvalue()
    )
    assert sent.json() == {"name": "a-б.png"}
    wrong = routes.put("/tinv/v1/images/upload", params={"folder": str(new[0]), "name": "x.png"}, content=b"no")
    assert wrong.status_code == 422
    assert "x.png" in wrong.json()["detail"]["problems"][0]
    nowhere = routes.put("/tinv/v1/images/upload", params={"folder": str(tmp_path / "no"), "name": "x.png"})
    assert nowhere.json()["detail"]["ids"] == ["uploads.no_folder"]
    assert [path.name for path in new[0].iterdir()] == ["a-б.png"]


def test_folders_are_browsed_within_what_is_open(client: Client, tmp_path: Path, folder: Path) -> None:
    """Down and up, but not out; hidden ones are left out."""
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "link").symlink_to("/etc")
    found = client().get("/tinv/v1/folders", params={"path": str(tmp_path)}).json()
    assert {"猫", "link"} <= set(found["folders"])
    assert ".hidden" not in found["folders"]
    assert found["above"] == str(tmp_path.parent)
    routes = client(allowed_paths=allow_only([tmp_path]))
    found = routes.get("/tinv/v1/folders", params={"path": str(tmp_path)}).json()
    assert (found["above"], "link" in found["folders"]) == (None, False)
    below = routes.get("/tinv/v1/folders", params={"path": str(folder)}).json()
    assert (below["above"], below["images"]) == (str(tmp_path), 4)
    for path in ("/etc", str(tmp_path / "link"), str(tmp_path / "gone"), "a\0b"):
        assert routes.get("/tinv/v1/folders", params={"path": path}).status_code == 422, path


def test_what_is_closed_is_neither_shown_nor_written(client: Client, tmp_path: Path, folder: Path) -> None:
    """By any of the routes."""
    (tmp_path / "open").mkdir()
    routes = client(allowed_paths=allow_only([tmp_path / "open"]))
    before = sorted(tmp_path.rglob("*"))
    for route, body in (("images", {"images": str(folder)}), ("images/undo", {"folder": str(folder)})):
        assert routes.post(f"/tinv/v1/{route}", json=body).status_code == 422
    sent = routes.put("/tinv/v1/images/upload", params={"folder": str(folder), "name": "x.png"}, content=b"x")
    assert sent.status_code == 422
    assert routes.post("/tinv/v1/images/new", json={}).status_code == 422
    assert post(routes, "outlook", {"images": str(folder)})["images"] is None
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "state"),
    [("", "empty"), ("zibbo-x1", "free"), ("cat", "bad"), ("a(b", "bad"), ("red cat", "warning"), ("zibbo-x2", "bad")],
)
def test_the_name_has_a_verdict(client: Client, host: Any, name: str, state: str) -> None:
    """While it is typed."""
    host.embeddings_folder.mkdir(exist_ok=True)
    (host.embeddings_folder / "zibbo-x2.pt").write_bytes(b"whatever")
    said = post(client(), "outlook", {"name": name})["name"]
    assert said["state"] == state
    assert bool(said["texts"]) == (state != "empty")
    assert said["replaceable"] == (name == "zibbo-x2")


def test_a_name_that_is_taken_is_not_called_free(client: Client, host: Any) -> None:
    """Where its file would be replaced; what else is wrong with it is still said."""
    host.embeddings_folder.mkdir(exist_ok=True)
    for name in ("zibbo-x2", "cat"):
        (host.embeddings_folder / f"{name}.pt").write_bytes(b"whatever")
    routes = client()
    (text,) = (said := post(routes, "outlook", {"name": "zibbo-x2", "overwrite": True})["name"])["texts"]
    assert said["state"] == "warning"
    assert "replaces" in text
    known = post(routes, "outlook", {"name": "cat"})["name"]
    assert (known["state"], known["replaceable"]) == ("bad", False)


def test_the_outlook_follows_the_settings(client: Client, values: dict[str, Any]) -> None:
    """Images, steps, the model, each problem beside its setting; a time as soon as a step was measured."""
    routes = client()
    first = post(routes, "outlook", values)
    assert (first["images"], first["steps"], first["model"]) == (3, 5, {"text": "tiny (SD1)", "ready": True})
    assert post(routes, "outlook", {**values, "max_train_epochs": 4, "batch_size": 1})["steps"] == 12
    wrong = post(routes, "outlook", {**values, "steps": "many", "batch_size": 0, "images": "nowhere"})["problems"]
    assert set(wrong) == {"steps", "batch_size", "images"}
    unfit = {"preview_sampler": "Euler of tomorrow", "zero_terminal_snr": True, "preview_every": 5}
    assert set(post(routes, "outlook", {**values, **unfit})["problems"]) == {"preview_sampler", "zero_terminal_snr"}
    assert post(routes, "outlook", {**values, **unfit, "images": ""})["problems"].keys() >= {"preview_sampler"}
    assert "about" not in first["figures"][-1]
    post(routes, "check", values)
    assert "about" in post(routes, "outlook", values)["figures"][-1]


def test_the_form_has_every_setting(client: Client) -> None:
    """In order, with what a control needs."""
    form = client().get("/tinv/v1/settings", params={"language": "zh_CN"}).json()
    named = {one["name"]: one for one in form["settings"]}
    assert list(named) == list(SETTINGS)
    assert {one["group"] for one in form["settings"]} == {one["name"] for one in form["groups"]}
    assert named["steps"]["kind"] == "whole"
    assert named["images"]["kind"] == "path"
    assert named["preview_prompt"]["kind"] == "lines"
    assert [one["value"] for one in named["flip"]["choices"]] == list(SETTINGS["flip"].choices)
    assert "subject" in named["template"]["suggestions"]
    assert {name: one["default"] for name, one in named.items()} == dict(DEFAULTS)


@pytest.mark.parametrize(("preset", "purpose"), [("classic", "object"), ("fast", "style"), ("thorough", "negative")])
def test_what_is_shown_follows_preset_and_purpose(client: Client, preset: str, purpose: str) -> None:
    """It is what a run with nothing else set would have; what is set stays."""
    routes, chosen = client(), {"preset": preset, "purpose": purpose}
    assert post(routes, "outlook", chosen)["values"] == TrainConfig.from_dict(chosen).to_dict()
    assert post(routes, "outlook", {**chosen, "num_vectors": 7})["values"]["num_vectors"] == 7


def test_images_that_need_a_look_are_asked_for_alone(client: Client, folder: Path) -> None:
    """How many there are is told with any images; a page of them has only these, in their order."""
    values, page = {"images": str(folder)}, client()
    found = images(page, values)
    odd = [name for name, one in found["images"].items() if one["findings"] or one["unusable"]]
    assert 0 < len(odd) == found["remarkable"] < found["total"]
    pages = [post(page, "images", values, only_remarkable=True, first=first, count=1) for first in range(3)]
    assert [one["name"] for some in pages for one in some["images"]] == odd[:3]
    assert all((some["total"], some["remarkable"]) == (found["total"], len(odd)) for some in pages)


def test_an_image_that_a_run_has_told_of_says_so_where_it_is_shown(
    client: Client, jobs: JobQueue, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the run's name; until the next run on these images, which has not found anything yet."""
    for number in range(3):
        photo(number, 64, 64).save(Path(values["images"]) / f"{number}.png")
    tell_of(monkeypatch, "2.png")
    page, shown = client(), {"images": values["images"]}
    job = jobs.submit({**values, "steps": 2})
    assert jobs.wait(job, 120)
    assert job.odd == {Path(values["images"]) / "2.png"}
    found = images(page, shown)
    told = {
        name: [one["text"] for one in image["findings"] if one["kind"] == "odd"]
        for name, image in found["images"].items()
    }
    assert told["2.png"][0].startswith("pulls the word back")
    assert 'run of "zibbo"' in told["2.png"][0]
    assert [name for name, texts in told.items() if texts] == ["2.png"]
    (alone,) = post(page, "images", shown, only_remarkable=True)["images"]
    assert (alone["name"], found["remarkable"]) == ("2.png", 1)
    tell_of(monkeypatch)
    assert jobs.wait(jobs.submit({**values, "steps": 2, "overwrite": True}), 120)
    assert images(page, shown)["remarkable"] == 0


def tell_of(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Have each run tell of these images after its last step, as it would of odd ones."""

    def judged(outliers: Outliers) -> Outliers:
        return replace(outliers, odd=frozenset(("zibbo", name) for name in names))

    monkeypatch.setattr(Outliers, "judged", judged)
    monkeypatch.setattr(OddImages, "due", lambda odd_images, moment: moment.last)
