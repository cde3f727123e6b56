"""Masks in a run: all that is wrong with them is told before it starts, and white ones change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.fake_host import FakeHost
from tests.messages import said
from tinv_ext.core.errors import InputError
from tinv_ext.core.formats import read_embedding
from tinv_ext.core.settings import TrainConfig
from tinv_ext.run import runner
from tinv_ext.run.events import Event, Prepared, RunControls
from tinv_ext.run.preflight import prepare_run


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    """Settings of a short run on three pictures."""
    images = tmp_path / "images"
    images.mkdir()
    for number in range(3):
        Image.linear_gradient("L").resize((64, 64)).rotate(90 * number).save(images / f"{number}.png")
    given = {"name": "zworble", "images": str(images), "output": str(tmp_path / "runs"), "preview_every": 0}
    return {**given, "steps": 4, "overwrite": True, "num_vectors": 2, "init_text": "a thing", "batch_size": 2}


def mask(folder: Path, name: str, half: bool, size: tuple[int, int] = (64, 64)) -> None:
    """A white mask, or one whose right half is black."""
    folder.mkdir(exist_ok=True)
    image = Image.new("L", size, 255)
    if half:
        image.paste(0, (size[0] // 2, 0, *size))
    image.save(folder / name)


def train(values: dict[str, Any], tmp_path: Path, stops: tuple[int, ...] = (), **given: Any) -> Tensor:
    """The vectors that a run learns, stopped and resumed at some steps."""
    host, folders, controls = FakeHost(tmp_path / "embeddings"), [], RunControls()

    def report(event: Event) -> None:
        if isinstance(event, Prepared):
            folders.append(event.folder)
        if getattr(event, "number", None) in stops:
            controls.stop.set()

    runner.run(TrainConfig.from_dict({**values, **given}), host, report, controls)
    for _ in stops:
        controls.stop.clear()
        runner.resume(folders[0].path, host, report=report, controls=controls)
    return read_embedding(tmp_path / "embeddings" / "zworble.pt").vectors["clip_l"]


def test_white_masks_change_nothing(values: dict[str, Any], tmp_path: Path) -> None:
    """Bit for bit; half a mask changes the run, whole again with an unmasked weight of 1."""
    plain = train(values, tmp_path)
    for number in range(3):
        mask(tmp_path / "white", f"{number}.png", half=False)
        mask(tmp_path / "half", f"{number}.png", half=True)
    assert torch.equal(train(values, tmp_path, mask_folder=str(tmp_path / "white")), plain)
    half = {"mask_folder": str(tmp_path / "half")}
    assert not torch.equal(train(values, tmp_path, **half), plain)
    assert torch.equal(train(values, tmp_path, **half, unmasked_weight=1.0), plain)


def test_a_masked_run_resumes_as_it_was(values: dict[str, Any], tmp_path: Path) -> None:
    """Whether a visit sees the mask comes from the state's generator; the mask flips with its picture."""
    for number in range(3):
        mask(Path(values["images"]), f"{number}-masklabel.png", half=True)
    given = {"masked_loss": True, "unmasked_probability": 0.4, "flip": "horizontal"}
    whole = train(values, tmp_path, **given)
    assert torch.equal(train(values, tmp_path, stops=(1, 3), **given), whole)
    assert not torch.equal(train(values, tmp_path, masked_loss=True, flip="horizontal"), whole)


def test_what_is_wrong_is_told_at_once(values: dict[str, Any], tmp_path: Path) -> None:
    """Masks of another size, a damaged one, and limits that leave no bucket; nothing is written."""
    mask(tmp_path / "masks", "0.png", half=True, size=(32, 32))
    (tmp_path / "masks" / "1.png").write_bytes(b"no image")
    before = sorted(tmp_path.rglob("*"))
    given = {"mask_folder": str(tmp_path / "masks"), "width": 64, "height": 64}
    config = TrainConfig.from_dict({**values, **given, "resize_mode": "buckets", "bucket_min": 128})
    with pytest.raises(InputError) as caught:
        prepare_run(config, FakeHost(tmp_path / "embeddings"))
    for wanted in ("masks.unusable", "masks.other_size", "preflight.bucket_limits"):
        assert said(caught.value.problems, wanted), wanted
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("folder", "wanted"), [("nowhere", "masks.no_folder"), ("images", "masks.same_folder")])
def test_a_folder_that_cannot_hold_masks_is_refused(
    values: dict[str, Any], tmp_path: Path, folder: str, wanted: str
) -> None:
    """One that is not there, and that of the pictures."""
    with pytest.raises(InputError) as caught:
        prepare_run(TrainConfig.from_dict({**values, "mask_folder": str(tmp_path / folder)}), FakeHost(tmp_path / "e"))
    assert said(caught.value.problems, wanted)


def test_masks_that_are_missing_black_or_not_used_are_told(values: dict[str, Any], tmp_path: Path) -> None:
    """By the names of the files."""
    images = Path(values["images"])
    mask(images, "0-masklabel.png", half=False)
    Image.new("L", (64, 64)).save(images / "1-masklabel.png")
    host = FakeHost(tmp_path / "embeddings")
    off = prepare_run(TrainConfig.from_dict(values), host).notices
    assert said(off, "masks.not_used", count=2)
    on = prepare_run(TrainConfig.from_dict({**values, "masked_loss": True}), host).notices
    assert said(on, "masks.missing", count=1, total=3, files="2.png")
    assert said(on, "masks.black", files="1-masklabel.png")
    for name in ("2.png", "other.png"):
        mask(tmp_path / "masks", name, half=True)
    found = prepare_run(TrainConfig.from_dict({**values, "mask_folder": str(tmp_path / "masks")}), host).notices
    assert said(found, "masks.of_no_image", count=1, files="other.png")
