"""Masks as loss weights: found beside the pictures or in a folder, right for any size, crop and flip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.core.fake import SUBSET, dataset, examples, initial
from tests.messages import refused
from tinv_ext.core.data.fitted_image import fit_image
from tinv_ext.core.data.image_fit import Fit, FitRules
from tinv_ext.core.data.images import ImageScan, scan_images
from tinv_ext.core.data.masks import MaskRules, load_mask, masks_of, shown_by
from tinv_ext.core.errors import InputError

RULES = FitRules([(64, 64)])


def pictures(folder: Path, names: Sequence[str], size: tuple[int, int] = (64, 64)) -> ImageScan:
    """Pictures of these names, scanned."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, "red").save(folder / name)
    return scan_images(folder, RULES, recursive=True)


def mask(path: Path, size: tuple[int, int] = (64, 64), mode: str = "L") -> None:
    """A mask whose left half is white."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("L", size, 0)
    image.paste(255, (0, 0, size[0] // 2, size[1]))
    image.convert(mode).save(path)


# --- found ---------------------------------------------------------------------------------------------------------


def test_an_image_of_the_longest_name_has_no_mask_beside_it(tmp_path: Path) -> None:
    """Its own name is as long as a name may be, so a mask's would be too long: that is no mask, and no error."""
    name = f"{'x' * 251}.png"
    assert masks_of(pictures(tmp_path, [name, "a.png"]), None) == {}
    (tmp_path / "masks").mkdir()
    mask(tmp_path / "masks" / "a.png")
    assert {path.name for path in masks_of(pictures(tmp_path, [name, "a.png"]), tmp_path / "masks")} == {"a.png"}


def test_masks_lie_beside_their_pictures_and_are_no_pictures(tmp_path: Path) -> None:
    """As OneTrainer names them; the pictures are not more for it."""
    for name in ("a", "sub/b"):
        mask(tmp_path / f"{name}-masklabel.png")
    scan = pictures(tmp_path, ["a.jpg", "sub/b.png", "c.png"])
    assert [scan.name(image.path) for image in scan.pictures] == ["a.jpg", "c.png", "sub/b.png"]
    found = masks_of(scan, None)
    assert {scan.name(path): mask.path.name for path, mask in found.items()} == {
        "a.jpg": "a-masklabel.png",
        "sub/b.png": "b-masklabel.png",
    }


def test_masks_of_a_folder_have_the_names_of_their_pictures(tmp_path: Path) -> None:
    """With any suffix and in the same sub-folders; what lies in the folder of masks is no picture."""
    images = tmp_path / "images"
    for name in ("a.png", "sub/b.png"):
        mask(images / "masks" / name)
    pictures(images, ["a.jpg", "sub/b.png", "c.png"])
    scan = scan_images(images, RULES, recursive=True, without=images / "masks")
    assert [scan.name(image.path) for image in scan.pictures] == ["a.jpg", "c.png", "sub/b.png"]
    assert sorted(scan.name(path) for path in masks_of(scan, images / "masks")) == ["a.jpg", "sub/b.png"]


def test_a_subset_may_have_a_folder_of_its_own_among_the_masks(tmp_path: Path) -> None:
    """Of masks/10_cat and masks, that of the subset's name is taken."""
    mask(tmp_path / "masks" / "10_cat" / "a.png")
    scan = pictures(tmp_path / "10_cat", ["a.png"])
    assert [found.path.parent.name for found in masks_of(scan, tmp_path / "masks").values()] == ["10_cat"]


# --- refused -------------------------------------------------------------------------------------------------------


def test_masks_of_another_size_and_damaged_ones_are_told_together(tmp_path: Path) -> None:
    """Each kind in a sentence, with an example and what to do."""
    scan = pictures(tmp_path, [f"{n}.png" for n in range(8)])
    for number in range(6):
        mask(tmp_path / f"{number}-masklabel.png", (32, 64))
    (tmp_path / "6-masklabel.png").write_bytes(b"no image")
    mask(tmp_path / "7-masklabel.png")
    with pytest.raises(InputError) as caught:
        masks_of(scan, None)
    assert [problem.id for problem in caught.value.problems] == ["masks.unusable", "masks.other_size"]  # type: ignore[attr-defined]
    about = caught.value.problems[1].values  # type: ignore[attr-defined]
    assert (about["count"], about["width"], about["image_width"], len(about["files"])) == (6, 32, 64, 6)


def test_many_damaged_masks_are_few_sentences(tmp_path: Path) -> None:
    """The rest is counted."""
    scan = pictures(tmp_path, [f"{n}.png" for n in range(50)])
    for number in range(50):
        (tmp_path / f"{number}-masklabel.png").write_bytes(b"no image")
    with refused("masks.more", count=30):
        masks_of(scan, None)


def test_a_folder_of_masks_that_fit_no_picture_is_refused(tmp_path: Path) -> None:
    """With the name that a mask would have."""
    mask(tmp_path / "masks" / "other.png")
    with refused("masks.none", file="a.png"):
        masks_of(pictures(tmp_path / "images", ["a.png"]), tmp_path / "masks")


def test_a_mask_that_changed_since_the_check_is_refused(tmp_path: Path) -> None:
    """What was checked is what is trained with."""
    scan = pictures(tmp_path, ["a.png"])
    mask(tmp_path / "a-masklabel.png")
    (found,) = masks_of(scan, None).values()
    assert load_mask(found).size == (64, 64)
    Image.new("L", (64, 64), 7).save(tmp_path / "a-masklabel.png")
    with refused("masks.changed", file="a-masklabel.png"):
        load_mask(found)
    (tmp_path / "a-masklabel.png").unlink()
    with refused("masks.unusable", file="a-masklabel.png"):
        load_mask(found)


@pytest.mark.parametrize("mode", ["L", "1", "RGB", "RGBA", "P", "I;16"])
def test_masks_of_any_kind_are_read_in_gray(mode: str, tmp_path: Path) -> None:
    """16 bits are scaled, not cut off; a mask's own transparency does not count."""
    scan = pictures(tmp_path, ["a.png"])
    path = tmp_path / "a-masklabel.png"
    mask(path, mode="L" if mode == "I;16" else mode)
    if mode == "I;16":
        values = np.zeros((64, 64), np.uint16)
        values[:, :32] = 65535
        Image.fromarray(values).save(path)
    (found,) = masks_of(scan, None).values()
    values = np.asarray(load_mask(found))
    assert (values[:, :32] == 255).all()
    assert (values[:, 32:] == 0).all()
    assert not found.black


# --- weights -------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(20, 300),
    st.integers(20, 300),
    st.sampled_from([(64, 64), (128, 64), (64, 192)]),
    st.sampled_from(["none", "horizontal", "vertical", "both"]),
    st.sampled_from([Fraction(0), Fraction(1, 2), Fraction(1)]),
    st.booleans(),
)
def test_a_mask_goes_where_its_picture_goes(
    width: int, height: int, target: tuple[int, int], flip: str, place: Fraction, stretch: bool
) -> None:
    """A mask that is the picture in gray shows what the brought picture shows, whatever is done to it."""
    rng = np.random.default_rng(width * height)
    gray = Image.fromarray(rng.integers(0, 255, (height // 10 + 1, width // 10 + 1), dtype=np.uint8))
    gray = gray.resize((width, height))
    fit = Fit(*target, stretch, place=place, flip=flip)
    brought = fit_image(gray.convert("RGB"), fit)
    seen = torch.nn.functional.avg_pool2d((brought.tensors()[0][:1] + 1) / 2, 8)
    assert torch.allclose(shown_by(gray, fit, brought.corner), seen, atol=1e-5)


def test_weights_by_hand() -> None:
    """OneTrainer's: black counts the unmasked weight; scaled to average 1, or not."""
    half = torch.tensor([[[1.0, 0.0]]])
    assert MaskRules().weights(half).tolist() == [[[2.0, 0.0]]]
    assert MaskRules(normalize=False).weights(half).tolist() == [[[1.0, 0.0]]]
    assert MaskRules(0.25, normalize=False).weights(half).tolist() == [[[1.0, 0.25]]]
    assert MaskRules(0.25).weights(half).flatten().tolist() == pytest.approx([1.6, 0.4])
    assert MaskRules(1.0, normalize=False).weights(half).tolist() == [[[1.0, 1.0]]]
    for rules in (MaskRules(), MaskRules(normalize=False), MaskRules(0.1)):
        assert rules.weights(torch.zeros(1, 2, 2)).tolist() == torch.ones(1, 2, 2).tolist()


def test_a_mask_is_left_out_as_often_as_asked() -> None:
    """A third of the visits see the whole picture, by the generator given; without a mask nothing is sampled."""
    weights = torch.tensor([[[2.0, 0.0], [2.0, 0.0]]])
    subset = replace(SUBSET, unmasked_probability=1 / 3)
    (masked,) = (replace(one, pixel_weights=weights, subset=subset) for one in examples(1))
    rng = torch.Generator().manual_seed(1)
    assert 150 < sum(masked.unmasked(rng).pixel_weights is None for _ in range(600)) < 250
    before = rng.get_state()
    assert replace(masked, pixel_weights=None).unmasked(rng).pixel_weights is None
    assert replace(masked, subset=SUBSET).unmasked(rng).pixel_weights is weights
    assert torch.equal(rng.get_state(), before)
    state = initial()
    batches = [dataset([masked]).batch(2, state.order, state.rng) for _ in range(3)]
    assert all(batch.pixel_weights is not None for batch in batches)
