"""A whole preparation: what is planned, what is written, what is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.messages import ids, refused, said
from tests.prepare.pictures import photo
from tests.prepare.test_undo import content
from tinv_ext.core.data.caption_files import CaptionFiles
from tinv_ext.core.errors import HostError
from tinv_ext.prepare.captions import Captioner, CaptionOf
from tinv_ext.prepare.options import PrepareOptions, chosen
from tinv_ext.prepare.plan import Plan, plan
from tinv_ext.prepare.preparation import Progress, prepare
from tinv_ext.prepare.undo import undo_last


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of images as people have them, some of them captioned."""
    folder = tmp_path / "in"
    folder.mkdir()
    photo(1, 800, 600).save(folder / "1 cat.jpg", quality=95)
    photo(1, 800, 600).resize((400, 300)).save(folder / "copy.png")
    photo(2, 1600, 500).save(folder / "wide.png")
    barred = Image.new("RGB", (640, 720), "black")
    barred.paste(photo(3, 640, 480), (0, 120))
    barred.save(folder / "film.png")
    photo(4, 100, 100).save(folder / "tiny.png")
    Image.new("RGB", (512, 512), "white").save(folder / "white.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    (folder / "1 cat.txt").write_text("a cat, indoors\n", "utf-8")
    (folder / "wide.caption").write_text("a street", "utf-8")
    return folder


def options(source: Path, **changes: Any) -> PrepareOptions:
    """Into a folder beside it, at a quarter of the usual size."""
    return PrepareOptions(source, **{"target": source.parent / "out", "width": 256, "height": 256, **changes})


def carry_out(found: Plan, captioners: Mapping[str, Captioner] | None = None) -> Progress:
    """The end of it."""
    *_, last = prepare(found, captioners or {})
    return last


def captioner(texts: list[Any], open_models: list[str]) -> Captioner:
    """Says the texts one after the other; an exception is raised."""
    left = iter(texts)

    @contextmanager
    def opened() -> Iterator[CaptionOf]:
        open_models.append("open")

        def say(image: Image.Image) -> str:
            assert image.mode == "RGB"
            text = next(left)
            if isinstance(text, Exception):
                raise text
            return str(text)

        try:
            yield say
        finally:
            open_models.append("closed")

    return opened


def kinds(found: Plan) -> dict[str, list[str]]:
    """The kinds of findings of each image."""
    return {image.name: sorted(image.findings) for image in found.images}


def test_everything_remarkable_is_found(source: Path) -> None:
    """Each image with what is wrong with it, those that cannot be read with the reason; nothing is written."""
    before = content(source.parent)
    found = plan(options(source))
    assert kinds(found) == {
        "1 cat.jpg": [],
        "copy.png": ["caption", "duplicates"],
        "film.png": ["bars", "caption"],
        "tiny.png": ["caption", "small"],
        "white.png": ["caption", "empty"],
        "wide.png": [],
    }
    assert said(found.skipped, "prepare.skipped", file="broken.png")
    assert said([image.findings["duplicates"] for image in found.images[1:2]], "prepare.is_duplicate", file="1 cat.jpg")
    summary = list(found.summary())
    assert said(summary, "prepare.counts_made", count=6, made=6)
    assert said(summary, "prepare.kind_count", count=4, kind="no caption")
    assert content(source.parent) == before


def test_the_middle_at_the_size_with_captions(source: Path) -> None:
    """One PNG for each image, called as the WebUI's Preprocess called them, without metadata; captions beside them."""
    before = content(source)
    done = carry_out(plan(options(source)))
    out = source.parent / "out"
    assert (done.done, done.images, done.captions) == (6, 6, 2)
    written = content(out)
    assert sorted(written) == [
        "00000-0-1 cat.png",
        "00000-0-1 cat.txt",
        "00001-0-copy.png",
        "00002-0-film.png",
        "00003-0-tiny.png",
        "00004-0-white.png",
        "00005-0-wide.png",
        "00005-0-wide.txt",
    ]
    assert written["00000-0-1 cat.txt"] == b"a cat, indoors"
    assert written["00005-0-wide.txt"] == b"a street"
    with Image.open(out / "00000-0-1 cat.png") as made, Image.open(source / "1 cat.jpg") as image:
        assert (made.size, made.mode, made.info) == ((256, 256), "RGB", {})
        wanted = image.resize((342, 256), Image.Resampling.LANCZOS).crop((43, 0, 299, 256))
        assert np.array_equal(np.asarray(made), np.asarray(wanted))
    assert content(source) == before


def test_all_at_once(source: Path) -> None:
    """Left out, bars cut off, split, flipped: the pieces of an image and their flipped copies follow each other."""
    found = plan(
        options(
            source,
            trim_bars=True,
            split=True,
            flip=("horizontal", "vertical", "both"),
            leave_out=("duplicates", "empty"),
        )
    )
    assert {image.name for image in found.images if image.left_out} == {"copy.png", "white.png"}
    assert {image.name: len(image.made) for image in found.used} == {
        "1 cat.jpg": 4,
        "film.png": 4,
        "tiny.png": 4,
        "wide.png": 16,
    }
    carry_out(found)
    out = source.parent / "out"
    made = {path.name: np.asarray(Image.open(path)) for path in out.glob("*.png")}
    assert len(made) == 28
    assert {pixels.shape for pixels in made.values()} == {(256, 256, 3)}
    whole = np.asarray(Image.open(source / "wide.png").resize((820, 256), Image.Resampling.LANCZOS))
    for number, left in ((0, 0), (4, 188), (8, 376), (12, 564)):
        assert np.array_equal(made[f"00005-{number}-wide.png"], whole[:, left : left + 256])
    plain, mirrored, upside_down, both = (made[f"00000-{number}-1 cat.png"] for number in range(4))
    assert np.array_equal(mirrored, plain[:, ::-1])
    assert np.array_equal(upside_down, plain[::-1])
    assert np.array_equal(both, plain[::-1, ::-1])
    assert made["00002-0-film.png"].max(axis=(1, 2)).min() > 40  # no black row is left
    assert len(list(out.glob("*wide.txt"))) == 16


def test_a_focal_crop_shows_the_subject(tmp_path: Path) -> None:
    """At the side, where the middle does not; wherever it is."""
    (tmp_path / "in").mkdir()
    for name, left in (("left", 20), ("right", 560)):
        image = Image.new("RGB", (800, 300), "beige")
        image.paste(photo(5, 200, 200), (left, 50))
        image.save(tmp_path / "in" / f"{name}.png")
    carry_out(plan(options(tmp_path / "in", crop="focal")))
    for path in (tmp_path / "out").glob("*.png"):
        seen = np.asarray(Image.open(path)).astype(int)
        assert (np.abs(seen - (245, 245, 220)).max(axis=-1) > 16).mean() > 0.4, path.name


def test_original_size_and_transparency_are_kept(tmp_path: Path) -> None:
    """Pixels and opacity to the bit; a colour beneath full transparency does not bleed into what is scaled."""
    (tmp_path / "in").mkdir()
    image = photo(1, 300, 200).convert("RGBA")
    image.putalpha(photo(2, 300, 200).convert("L"))
    image.save(tmp_path / "in" / "a.png")
    carry_out(plan(options(tmp_path / "in", crop="none")))
    with Image.open(tmp_path / "out" / "00000-0-a.png") as made:
        assert made.mode == "RGBA"
        assert np.array_equal(np.asarray(made), np.asarray(image))


def test_a_mask_is_cut_as_its_image_is(tmp_path: Path) -> None:
    """Bars, focal crop, pieces, flips: where the mask is white, the new image shows what it showed; undo takes both."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name, size in (("focal", (500, 340)), ("long", (1000, 340))):
        image = Image.new("RGB", size, "black")
        image.paste(photo(6, size[0], 300), (0, 20))
        square = (size[0] // 2 - 50, 90, size[0] // 2 + 50, 190)
        image.paste("lime", square)
        image.save(folder / f"{name}.png")
        mask = Image.new("RGB", size, "black")
        mask.paste("white", square)
        mask.save(folder / f"{name}-masklabel.png")
    found = plan(options(folder, crop="focal", trim_bars=True, split=True, flip=("horizontal", "both")))
    assert list(kinds(found)) == ["focal.png", "long.png"]
    carry_out(found)
    out, shown = tmp_path / "out", 0
    images = [path for path in sorted(out.glob("*.png")) if "masklabel" not in path.name]
    assert len(images) == sum(len(image.made) for image in found.images) > 6
    for path in images:
        pixels = np.asarray(Image.open(path)).astype(int)
        mask = np.asarray(Image.open(path.with_name(f"{path.stem}-masklabel.png")))
        assert mask.shape == (256, 256)
        lime = np.abs(pixels - (0, 255, 0)).max(axis=-1) < 24
        assert lime[mask == 255].mean() > 0.98 if (mask == 255).any() else True
        assert lime[mask == 0].mean() < 0.02
        shown += bool((mask == 255).any())
    assert shown >= 6
    undo_last(out)
    assert not out.exists()


@pytest.fixture
def on_plain(tmp_path: Path) -> Path:
    """A square on grey, one that has a mask already, two of one name, and a scene without a plain background."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("plain.png", "masked.png", "twin.png", "twin.jpg"):
        image = Image.new("RGB", (400, 300), (150, 160, 170))
        image.paste("lime", (60, 100, 160, 200))
        image.save(folder / name, quality=95, subsampling=0)
    Image.new("L", (400, 300), 128).save(folder / "masked-masklabel.png")
    photo(7, 400, 300).save(folder / "scene.png")
    return folder


def test_masks_of_plain_backgrounds_are_cut_as_their_images_are(on_plain: Path) -> None:
    """White where the new image shows the square, also in copies; a mask that was there stays what it was."""
    done = carry_out(plan(options(on_plain, mask_backgrounds=True, flip=("horizontal",))))
    out = on_plain.parent / "out"
    assert (done.images, done.masks) == (10, 6)
    assert [said([one], "prepare.unmasked", file="scene.png") for one in done.problems] == [True]
    for path in (one for one in sorted(out.glob("*.png")) if "masklabel" not in one.name and "scene" not in one.name):
        mask = np.asarray(Image.open(path.with_name(f"{path.stem}-masklabel.png"))).astype(int)
        lime = np.abs(np.asarray(Image.open(path)).astype(int) - (0, 255, 0)).max(axis=-1) < 24
        if "masked" in path.name:
            assert (mask == 128).all()
        else:
            assert ((mask > 127) & lime).sum() / ((mask > 127) | lime).sum() > 0.9, path.name
    assert not list(out.glob("*scene-masklabel.png"))
    assert ids([done.sentence(out)]) == ["prepare.done"]
    assert ids([done.sentence(out).values["written"]]) == ["prepare.written_masks"]
    undo_last(out)
    assert not out.exists()


def test_masks_of_plain_backgrounds_where_the_images_are(on_plain: Path) -> None:
    """Beside each image that has none and shares its name with no other; the others are told. Undo takes them back."""
    before = content(on_plain)
    done = carry_out(plan(options(on_plain, target=None, mask_backgrounds=True)))
    assert (done.images, done.captions, done.masks) == (0, 0, 1)
    told = [
        name for name in ("scene.png", "twin.jpg", "twin.png") if said(done.problems, "prepare.unmasked", file=name)
    ]
    assert told == ["scene.png", "twin.jpg", "twin.png"]
    assert len(done.problems) == 3
    assert content(on_plain).keys() - before.keys() == {"plain-masklabel.png"}
    with Image.open(on_plain / "plain-masklabel.png") as mask:
        assert mask.size == (400, 300)
    undo_last(on_plain)
    assert content(on_plain) == before


def test_where_nothing_was_written_the_preparation_before_is_undone(on_plain: Path) -> None:
    """Masks that are all there already: a second time does nothing, and leaves no record of nothing."""
    before = content(on_plain)
    found = options(on_plain, target=None, mask_backgrounds=True)
    assert carry_out(plan(found)).wrote
    again = carry_out(plan(found))
    assert not again.wrote
    assert ids([again.sentence(on_plain).values["written"]]) == ["prepare.written"]
    assert undo_last(on_plain).removed
    assert content(on_plain) == before


def test_a_preparation_stopped_at_once_leaves_no_record(on_plain: Path) -> None:
    """The one before it is what there is to undo."""
    before = content(on_plain)
    carry_out(plan(options(on_plain, target=None, mask_backgrounds=True)))
    assert not list(prepare(plan(options(on_plain, target=None, mask_backgrounds=True)), {}, lambda: True))
    undo_last(on_plain)
    assert content(on_plain) == before


def test_no_mask_is_made_unless_asked_for(on_plain: Path) -> None:
    """Those that are there are taken over, and no image is told of."""
    done = carry_out(plan(options(on_plain)))
    assert (done.masks, done.problems) == (None, ())
    assert [path.name for path in (on_plain.parent / "out").glob("*masklabel*")] == ["00000-0-masked-masklabel.png"]


def test_masks_that_do_not_fit_are_refused(source: Path) -> None:
    """One of another size, one that is no image; nothing is written."""
    Image.new("L", (10, 10)).save(source / "film-masklabel.png")
    (source / "wide-masklabel.png").write_bytes(b"none")
    with refused("prepare.mask_size", mask="10×10", image="640×720") as caught:
        plan(options(source))
    assert said(caught.value.problems, "masks.unusable", file="wide-masklabel.png")


def test_everything_can_be_undone(source: Path) -> None:
    """To the byte, the folder made for it included."""
    before = content(source.parent)
    carry_out(plan(options(source, split=True)))
    assert content(source.parent) != before
    undo_last(source.parent / "out")
    assert content(source.parent) == before
    assert not (source.parent / "out").exists()


def test_captions_where_the_images_are(source: Path) -> None:
    """Into the file that there is, else a new .txt; kept ones are not asked for. Undo brings all back."""
    before, models = content(source), list[str]()
    found = plan(options(source, target=None, captioners=("blip",)))
    done = carry_out(found, {"blip": captioner(["one,", "two", "", "four"], models)})
    assert (done.images, done.captions) == (0, 3)
    assert models == ["open", "closed"]
    after = content(source)
    assert {name: after[name] for name in after if after[name] != before.get(name)} == {
        "copy.txt": b"one",
        "film.txt": b"two",
        "white.txt": b"four",
    }
    undo_last(source)
    assert content(source) == before


def test_images_of_one_name_are_captioned_each_for_itself(tmp_path: Path) -> None:
    """cat.JPG and cat.png: a single cat.txt would hold what was said of the last of them."""
    photo(1, 300, 300).save(tmp_path / "cat.JPG")
    photo(2, 300, 300).save(tmp_path / "cat.png")
    photo(3, 300, 300).save(tmp_path / "dog.png")
    carry_out(plan(options(tmp_path, target=None, captioners=("blip",))), {"blip": captioner(["1", "2", "3"], [])})
    texts = {path.name: path.read_text("utf-8") for path in tmp_path.glob("*.txt")}
    assert texts == {"cat.JPG.txt": "1", "cat.png.txt": "2", "dog.txt": "3"}
    captions = CaptionFiles(tmp_path)
    assert [captions.of(tmp_path / name).text for name in ("cat.JPG", "cat.png", "dog.png")] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("action", "wanted"),
    [
        ("ignore", "tags, a sentence"),
        ("prepend", "a street, tags, a sentence"),
        ("append", "tags, a sentence, a street"),
    ],
)
def test_existing_captions_and_two_captioners(source: Path, action: str, wanted: str) -> None:
    """Tags come before the sentence, as in the WebUI; a .caption file stays one."""
    for name in ("1 cat.jpg", "copy.png", "film.png", "tiny.png", "white.png"):
        (source / name).unlink()
    found = plan(options(source, target=None, captioners=("deepbooru", "blip"), existing_captions=action))
    both = {"blip": captioner(["a sentence"], []), "deepbooru": captioner(["tags"], [])}
    carry_out(found, both)
    assert (source / "wide.caption").read_text("utf-8") == wanted
    undo_last(source)
    assert (source / "wide.caption").read_text("utf-8") == "a street"


def test_each_new_image_gets_a_caption_of_its_own(source: Path) -> None:
    """Also pieces and flipped copies: a captioner may see another thing in each."""
    found = plan(options(source, flip=("horizontal",), captioners=("blip",), existing_captions="ignore"))
    done = carry_out(found, {"blip": captioner([f"caption {number}" for number in range(12)], [])})
    assert done.captions == 12
    assert (source.parent / "out" / "00000-1-1 cat.txt").read_text() == "caption 1"


def test_a_captioner_that_fails_stops_it(source: Path) -> None:
    """It is told on which image; what was written is there, its model is put away, and undo takes it back."""
    before, models = content(source), list[str]()
    found = plan(options(source, target=None, captioners=("blip",)))
    with refused(
        "prepare.captioner_failed", HostError, captioner="blip", file="film.png", reason="OSError: no network"
    ):
        carry_out(found, {"blip": captioner(["one", OSError("no network")], models)})
    assert models == ["open", "closed"]
    assert (source / "copy.txt").read_text() == "one"
    undo_last(source)
    assert content(source) == before


def test_stopped_in_between(source: Path) -> None:
    """What was written until then stays."""
    found = plan(options(source))
    seen: list[Progress] = []
    for progress in prepare(found, {}, lambda: len(seen) == 2):
        seen.append(progress)
    assert [progress.done for progress in seen] == [1, 2]
    assert len(list((source.parent / "out").glob("*.png"))) == 2
    assert ids([seen[-1].sentence(source)]) == ["prepare.progress"]


def test_an_image_that_is_gone_meanwhile_is_told(source: Path) -> None:
    """The others are done."""
    found = plan(options(source))
    (source / "film.png").write_bytes(b"gone")
    done = carry_out(found)
    assert said(done.problems, "prepare.skipped", file="film.png")
    assert (done.done, done.images) == (6, 5)


def test_existing_files_are_in_the_way_until_they_may_be_replaced(source: Path) -> None:
    """Replaced, they come back by undo."""
    out = source.parent / "out"
    out.mkdir()
    (out / "00000-0-1 cat.png").write_bytes(b"mine")
    (out / "own.png").write_bytes(b"mine, too")
    before = content(out)
    with refused("prepare.in_the_way", count=2, target=out):
        plan(options(source))
    carry_out(plan(options(source, overwrite=True)))
    assert content(out)["00000-0-1 cat.png"] != b"mine"
    undo_last(out)
    assert content(out) == before


def test_bad_options_are_told_all_at_once(source: Path) -> None:
    """Each with its value."""
    bad = options(
        source,
        width=100,
        height=8,
        crop="left",
        flip=("up",),
        leave_out=("ugly",),
        captioners=("me",),
        overlap_ratio=1.0,
    )
    with refused("prepare.size", name="width", value=100) as caught:
        plan(bad)
    assert ids(caught.value.problems).count("prepare.no_choice") == 4
    assert said(caught.value.problems, "prepare.size", name="height", value=8)
    assert said(caught.value.problems, "prepare.ratio", value=1.0)


def test_images_are_never_changed_where_they_are(source: Path) -> None:
    """A target that is the source, or below what is read, is refused; so is a change without a target."""
    for target, more in ((source, {}), (source / "." / "out", {"recursive": True})):
        with refused("prepare.target_is_source"):
            plan(options(source, target=target, **more))
    with refused("prepare.needs_target"):
        plan(options(source, target=None, split=True))
    with refused("prepare.target_is_file"):
        plan(options(source, target=source / "film.png"))
    with refused("prepare.target_is_file"):
        plan(options(source, target=source / "film.png" / "new" / "images"))


def test_what_cannot_be_done_is_refused_before_anything_is_written(source: Path) -> None:
    """Captioners that are not there, nothing to do, everything left out, no images."""
    with refused("prepare.only_in_webui", captioner="blip"):
        carry_out(plan(options(source, captioners=("blip",))))
    with refused("prepare.no_wd14"):
        carry_out(plan(options(source, captioners=("wd14",))))
    with refused("prepare.nothing_to_do"):
        carry_out(plan(options(source, target=None)))
    for name in ("1 cat.jpg", "wide.png", "film.png", "copy.png"):
        (source / name).unlink()
    with refused("prepare.none_left", count=2):
        plan(options(source, leave_out=("empty", "small")))
    for name in ("white.png", "tiny.png"):
        (source / name).unlink()
    with refused("prepare.no_image"):
        plan(options(source))
    with refused("images.folder_missing"):
        plan(options(source / "nowhere"))
    assert not (source.parent / "out").exists()


def test_sub_folders(source: Path) -> None:
    """Named where they are left out; with `recursive` their images come, too, in their order."""
    below = source / "more"
    below.mkdir()
    photo(7).save(below / "b.png")
    assert said(plan(options(source)).notices, "prepare.below", folders=("more",))
    assert "more/b.png" in kinds(plan(options(source, recursive=True)))


def test_names_that_are_too_long_or_odd_are_made_to_fit(tmp_path: Path) -> None:
    """A file system takes 255 bytes."""
    (tmp_path / "in").mkdir()
    photo(1).save(tmp_path / "in" / ("猫" * 80 + ".png"))
    carry_out(plan(options(tmp_path / "in")))
    (made,) = (tmp_path / "out").glob("*.png")
    assert made.name.startswith("00000-0-猫猫")


def test_choices_are_read_from_text() -> None:
    """With commas, blanks and capitals."""
    assert chosen(" Horizontal, both, both,") == ("horizontal", "both")
    assert chosen("") == ()
