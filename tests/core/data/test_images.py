"""Pictures of every kind become the right pixels; what cannot be used is named with the reason."""

from __future__ import annotations

import io
import os
import time
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.core.data.fitted import load
from tests.messages import ids, refused, said
from tinv_ext.core.data.fitted_image import fit_image
from tinv_ext.core.data.image_fit import Fit, FitRules, SizeConditioning
from tinv_ext.core.data.images import TrainingImage, scan_images

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def save(path: Path, image: Image.Image, **options: Any) -> Path:
    """Write a picture; the suffix says how."""
    image.save(path, **options)
    return path


def halves(left: Any, right: Any, mode: str = "RGB", size: tuple[int, int] = (64, 64)) -> Image.Image:
    """A picture of two colours side by side."""
    image = Image.new(mode, size, right)
    image.paste(left, (0, 0, size[0] // 2, size[1]))
    return image


def only(folder: Path, size: int = 64) -> TrainingImage:
    """The one picture of a folder."""
    (picture,) = scan_images(folder, FitRules([(size, size)])).pictures
    return picture


def at(pixels: torch.Tensor, x: int, y: int) -> tuple[int, ...]:
    """Colour of a pixel, 0 to 255."""
    return tuple(round(float(value)) for value in (pixels[:, y, x] + 1) * 127.5)


def left_and_right(folder: Path, tolerance: int = 0) -> list[tuple[int, ...]]:
    """Colours in the middle of the left and of the right half of the one picture."""
    pixels, _ = load(only(folder), 64, 64).tensors()
    assert pixels.shape == (3, 64, 64)
    assert pixels.dtype == torch.float32
    return [at(pixels, 12, 30), at(pixels, 52, 30)]


@pytest.mark.parametrize(
    "mode, name, left, right, expected",
    [
        ("1", "a.png", 1, 0, [WHITE, (0, 0, 0)]),
        ("L", "a.png", 200, 10, [(200,) * 3, (10,) * 3]),
        ("L", "a.bmp", 200, 10, [(200,) * 3, (10,) * 3]),
        ("LA", "a.png", (200, 255), (10, 0), [(200,) * 3, WHITE]),
        ("RGB", "a.tif", RED, BLUE, [RED, BLUE]),
        ("RGBA", "a.png", (255, 0, 0, 255), (0, 0, 255, 0), [RED, WHITE]),
        ("RGBA", "a.webp", (255, 0, 0, 255), (0, 0, 255, 0), [RED, WHITE]),
        ("RGBA", "a.png", (0, 0, 0, 128), (0, 0, 0, 255), [(127,) * 3, (0,) * 3]),
        ("CMYK", "a.tif", (0, 255, 255, 0), (0, 0, 0, 255), [RED, (0, 0, 0)]),
        ("I", "a.tif", 65535, 6554, [WHITE, (26,) * 3]),
        ("I", "a.tif", 200, 10, [(200,) * 3, (10,) * 3]),
        ("F", "a.tif", 1.0, 0.1, [WHITE, (26,) * 3]),
        ("F", "a.tif", 200.0, 10.0, [(200,) * 3, (10,) * 3]),
        ("F", "a.tif", float("nan"), 10.0, [(0,) * 3, (10,) * 3]),
        ("F", "a.tif", float("inf"), 0.2, [WHITE, (51,) * 3]),
    ],
)
def test_every_mode_gives_its_colours(
    tmp_path: Path, mode: str, name: str, left: Any, right: Any, expected: list[tuple[int, ...]]
) -> None:
    """Grey, palette, transparent, printed and deep pictures: what is seen is what is trained on, without a warning."""
    lossless = {"lossless": True, "exact": True} if name.endswith("webp") else {}
    save(tmp_path / name, halves(left, right, mode), **lossless)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert left_and_right(tmp_path) == expected


@pytest.mark.parametrize("kind, name", [("<u2", "a.png"), ("<u2", "a.tif"), (">u2", "a.tif")])
def test_sixteen_bit_grey_keeps_its_shades(tmp_path: Path, kind: str, name: str) -> None:
    """Half of 65535 is middle grey, whichever way the bytes lie (Pillow's own conversion would clip to white)."""
    values = np.full((64, 64), 6554, kind)
    values[:, :32] = 32768
    mode = "I;16" if kind == "<u2" else "I;16B"
    save(tmp_path / name, Image.frombytes(mode, (64, 64), values.tobytes()))
    assert left_and_right(tmp_path) == [(128,) * 3, (26,) * 3]


def test_sixteen_bit_colours_keep_their_shades(tmp_path: Path) -> None:
    """A PNG of 16 bits a channel, which Pillow cannot write, so that it is put together here."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + struct.pack(">3H", 65535, 0, 0) * 32 + struct.pack(">3H", 0, 0, 32896) * 32
    header = struct.pack(">2I5B", 64, 64, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row * 64)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(data)
    assert left_and_right(tmp_path) == [RED, (0, 0, 128)]


@pytest.mark.parametrize(
    "mode, transparency", [("P", 0), ("P", b"\xff\x00\xff"), ("L", 10), ("RGB", BLUE)], ids=["P", "P bytes", "L", "RGB"]
)
def test_transparency_without_a_channel_counts(tmp_path: Path, mode: str, transparency: Any) -> None:
    """One colour, or one of a palette, that is said to be transparent becomes white and has no opacity."""
    if mode == "P":
        image = halves(1, 0, "P") if transparency == 0 else halves(0, 1, "P")
        image.putpalette([*RED, *BLUE] if transparency != 0 else [*BLUE, *RED])
    else:
        image = halves(200, 10, "L") if mode == "L" else halves(RED, BLUE)
    save(tmp_path / "a.png", image, transparency=transparency)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert left_and_right(tmp_path) == [(200,) * 3 if mode == "L" else RED, WHITE]
    picture = only(tmp_path)
    assert picture.transparent
    opacity = load(picture, 64, 64).tensors()[1]
    assert opacity is not None
    assert opacity[0, 0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


def test_colours_of_lab_are_not_transparency(tmp_path: Path) -> None:
    """The A of LAB is a colour."""
    save(tmp_path / "a.tif", halves((128, 128, 128), (0, 128, 128), "LAB"))
    assert not only(tmp_path).transparent
    assert load(only(tmp_path), 64, 64).tensors()[1] is None


@pytest.mark.parametrize("name", ["a.png", "a.tif"])  # of which Pillow turns the second as it reads it
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_stand_upright(tmp_path: Path, name: str, orientation: int) -> None:
    """Whatever the camera noted, the picture is seen as a viewer shows it: red left above, green right above."""
    upright = Image.new("RGB", (96, 64), BLUE)
    upright.paste(RED, (0, 0, 48, 32))
    upright.paste(GREEN, (48, 0, 96, 32))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(tmp_path / name, stored, **({"tiffinfo": {0x0112: orientation}} if name.endswith("tif") else {"exif": exif}))
    picture = only(tmp_path)
    assert (picture.width, picture.height) == (96, 64)
    pixels, _ = load(picture, 96, 64).tensors()
    assert [at(pixels, 10, 10), at(pixels, 86, 10), at(pixels, 48, 60)] == [RED, GREEN, BLUE]


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif"])
def test_of_an_animation_the_first_frame_is_used(tmp_path: Path, name: str) -> None:
    """With a remark that says so."""
    frames = [Image.new("RGB", (64, 64), colour) for colour in (RED, GREEN, BLUE)]
    lossless = {"lossless": True} if name.endswith("webp") else {}
    save(tmp_path / name, frames[0], save_all=True, append_images=frames[1:], **lossless)
    assert said(only(tmp_path).remarks, "images.frames", frames=3)
    assert left_and_right(tmp_path) == [RED, RED]


def png(image: Image.Image) -> bytes:
    """A picture as the bytes of a PNG."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
UNUSABLE = [
    ("cut.png", png(NOISE)[:5000], "images.damaged"),
    ("dot.png", png(Image.new("RGB", (1, 1))), "images.too_small"),
    ("text.png", b"not a picture", "images.not_an_image"),
    ("empty.jpg", b"", "images.not_an_image"),
    ("page.pdf", b"%PDF-1.4", "images.not_an_image"),
    ("Thumbs", b"\0" * 100, "images.not_an_image"),
]


def test_what_cannot_be_used_is_listed_with_the_reason(tmp_path: Path) -> None:
    """The others are used; text files, hidden files, folders and what lies in them are no pictures and not listed."""
    for name, data, _ in UNUSABLE:
        (tmp_path / name).write_bytes(data)
    for name in ("good.txt", ".hidden.png", "list.json", "latents.npz", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    save(tmp_path / "folder.png" / "below.png", NOISE)
    save(tmp_path / "good.png", NOISE)
    found = scan_images(tmp_path, FitRules([(64, 64)]))
    assert [picture.path.name for picture in found.pictures] == ["good.png"]
    reasons = {path.name: reason for path, reason in found.skipped}
    assert reasons.keys() == {name for name, _, _ in UNUSABLE}
    assert all(reasons[name].id == reason for name, _, reason in UNUSABLE)


def test_a_link_to_nothing_is_told(tmp_path: Path) -> None:
    """Of data that was not fetched; links of other names, hidden ones and those to images are as before."""
    save(tmp_path / "good.png", NOISE)
    (tmp_path / "same.png").symlink_to("good.png")
    for name in ("gone.PNG", ".gone.png", "gone.txt", "gone"):
        (tmp_path / name).symlink_to(tmp_path / "nowhere" / name)
    found = scan_images(tmp_path, FitRules([(64, 64)]))
    assert [picture.path.name for picture in found.pictures] == ["good.png", "same.png"]
    assert [(path.name, reason.id) for path, reason in found.skipped] == [("gone.PNG", "images.broken_link")]


def test_a_decompression_bomb_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not opened; the reason says what to do."""
    save(tmp_path / "good.png", NOISE)
    save(tmp_path / "huge.png", Image.new("1", (3000, 2000)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4_000_000)
    reasons = [reason for _, reason in scan_images(tmp_path, FitRules([(64, 64)])).skipped]
    assert len(reasons) == 1
    assert said(reasons, "images.too_large", most=4)


def test_a_folder_without_a_usable_picture_is_refused(tmp_path: Path) -> None:
    """Missing, a file, empty, or all of it unusable: each with its path and what to do."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"x")
    for place, id_ in (
        ("gone", "images.folder_missing"),
        ("bad/a.png", "images.folder_is_file"),
        ("empty", "images.none"),
        ("bad", "images.none_usable"),
    ):
        with refused(id_, folder=tmp_path / place) as error:
            scan_images(tmp_path / place, FitRules([(64, 64)]))
    (reason,) = error.value.problems[0].values["reasons"]
    assert said([reason.values["reason"]], "images.not_an_image")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_told_on_disk(tmp_path: Path) -> None:
    """A picture is listed with the reason; a folder is refused."""
    save(tmp_path / "good.png", NOISE)
    save(tmp_path / "locked.png", NOISE).chmod(0)
    assert said(
        [scan_images(tmp_path, FitRules([(64, 64)])).skipped[0][1]], "images.unreadable", reason="Permission denied"
    )
    tmp_path.chmod(0)
    with refused("images.folder_unreadable"):
        scan_images(tmp_path, FitRules([(64, 64)]))
    tmp_path.chmod(0o700)


def test_what_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where the system's refusal is acted."""
    save(tmp_path / "good.png", NOISE)
    save(tmp_path / "locked.png", NOISE)
    real = Path.open

    def refuse(path: Path, *how: Any, **more: Any) -> Any:
        if path.name == "locked.png":
            raise PermissionError(13, "Permission denied")
        return real(path, *how, **more)

    monkeypatch.setattr(Path, "open", refuse)
    (skipped,) = scan_images(tmp_path, FitRules([(64, 64)])).skipped
    assert skipped[0].name == "locked.png"
    assert said([skipped[1]], "images.unreadable", reason="Permission denied")


def test_an_image_that_changes_meanwhile_is_told(tmp_path: Path) -> None:
    """Another file of the name, none, and one that was damaged without a trace in size and time."""
    path = save(tmp_path / "a.png", NOISE)
    image, data, when = only(tmp_path), path.read_bytes(), path.stat()
    path.write_bytes(b"x" * len(data))
    os.utime(path, ns=(when.st_atime_ns, when.st_mtime_ns))
    with refused("images.no_longer_usable", path=path):
        load(image, 64, 64)
    path.write_bytes(b"x")
    with refused("images.changed", path=path):
        load(image, 64, 64)
    path.unlink()
    with refused("images.gone", path=path):
        load(image, 64, 64)


def test_any_name_will_do(tmp_path: Path) -> None:
    """Chinese, brackets, blanks, quotes; the order is that of the names."""
    names = ["A (1).png", "b [x].png", "c 'd' \"e\".PNG", "é.png", "第一张 猫.png"]
    for name in names:
        save(tmp_path / name, Image.new("RGB", (64, 64), (len(name), 0, 0)))
    assert [picture.path.name for picture in scan_images(tmp_path, FitRules([(64, 64)])).pictures] == names


def test_duplicates_and_enlarged_pictures_are_remarked(tmp_path: Path) -> None:
    """Both are used; by content, not by name."""
    save(tmp_path / "a.png", NOISE)
    save(tmp_path / "b.png", NOISE)
    save(tmp_path / "c.png", NOISE.crop((0, 0, 32, 32)))
    remarks = [picture.remarks for picture in scan_images(tmp_path, FitRules([(64, 64)])).pictures]
    assert [ids(remark) for remark in remarks] == [[], ["images.duplicate"], ["images.enlarged"]]
    assert said(remarks[1], "images.duplicate", file="a.png")
    assert said(remarks[2], "images.enlarged", width=32, height=32, times=2.0)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(48, 150), st.integers(48, 150), st.sampled_from([(64, 64), (64, 128), (128, 64), (72, 64)]))
def test_pictures_are_cut_at_the_middle_and_never_stretched(
    tmp_path_factory: pytest.TempPathFactory, width: int, height: int, target: tuple[int, int]
) -> None:
    """Red and green tell the place: the scales across and down agree, and as much is lost on either side."""
    across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    values = np.stack([across, down, across * 0], 2) * 255
    folder = tmp_path_factory.mktemp("ramp")
    save(folder / "a.png", Image.fromarray(values.round().astype(np.uint8)))
    pixels = (load(only(folder), *target).tensors()[0].numpy() + 1) / 2
    middle = slice(target[0] // 4, -(target[0] // 4))
    slope_x = np.gradient(pixels[0].mean(0))[middle].mean() * (width - 1)
    middle = slice(target[1] // 4, -(target[1] // 4))
    slope_y = np.gradient(pixels[1].mean(1))[middle].mean() * (height - 1)
    assert slope_x == pytest.approx(slope_y, rel=0.08)  # source pixels a target pixel
    assert slope_x == pytest.approx(min(width / target[0], height / target[1]), rel=0.08)
    assert pixels[0].mean() == pytest.approx(0.5, abs=0.02)
    assert pixels[1].mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("size", "target", "crop"),
    [((64, 64), (64, 64), (0, 0)), ((200, 100), (64, 64), (0, 32)), ((60, 120), (64, 96), (16, 0))],
)
def test_a_framing_says_what_was_cut(
    tmp_path: Path, size: tuple[int, int], target: tuple[int, int], crop: tuple[int, int]
) -> None:
    """The rows and columns of the scaled picture that `load` leaves away first; heights before widths."""
    columns = np.tile(np.arange(size[0], dtype=np.uint8), (size[1], 1))
    rows = np.tile(np.arange(size[1], dtype=np.uint8)[:, None], (1, size[0]))
    save(tmp_path / "a.png", Image.fromarray(np.stack([rows, columns, rows], 2)))
    picture = only(tmp_path)
    fit = Fit(*target)
    found = fit.size_cond(*picture.size, fit.corner(*picture.size))
    assert found == SizeConditioning((size[1], size[0]), crop, (target[1], target[0]))
    assert found.numbers == (size[1], size[0], *crop, target[1], target[0])
    scale = max(target[0] / size[0], target[1] / size[1])
    first = (load(picture, *target).tensors()[0][:2, 0, 0] + 1) * 127.5  # what came to the corner
    assert first.tolist() == pytest.approx([crop[0] / scale, crop[1] / scale], abs=1.5)
    assert Fit(*target, stretch=True).corner(*picture.size) == (0, 0)


def test_a_picture_of_the_right_size_is_not_touched(tmp_path: Path) -> None:
    """Every pixel is as it was; a bigger one of the same shape is scaled without loss at the edges."""
    save(tmp_path / "a.png", NOISE)
    pixels, _ = load(only(tmp_path), 64, 64).tensors()
    assert torch.equal(((pixels + 1) * 127.5).round().byte().permute(1, 2, 0), torch.from_numpy(np.array(NOISE)))


def test_stretching_is_done_when_asked(tmp_path: Path) -> None:
    """Then both ends of a wide picture are seen; else only its middle."""
    image = Image.new("RGB", (192, 64), GREEN)
    image.paste(RED, (0, 0, 16, 64))
    image.paste(BLUE, (176, 0, 192, 64))
    save(tmp_path / "a.png", image)
    stretched, cut = (load(only(tmp_path), 64, 64, stretch).tensors()[0] for stretch in (True, False))
    assert [at(stretched, x, 32) for x in (0, 32, 63)] == [RED, GREEN, BLUE]
    assert [at(cut, x, 32) for x in (0, 32, 63)] == [GREEN, GREEN, GREEN]


def test_opacity_is_that_of_each_latent_place(tmp_path: Path) -> None:
    """Of 128×64, the right half clear, one latent place half covered: means over 8×8 pixels, rows by columns."""
    image = halves((0, 0, 0, 255), (0, 0, 0, 0), "RGBA", (128, 64))
    image.paste((0, 0, 0, 255), (64, 0, 68, 8))
    save(tmp_path / "a.png", image)
    opacity = load(only(tmp_path), 128, 64).tensors()[1]
    assert opacity is not None
    assert opacity.shape == (1, 8, 16)
    assert opacity[0, 0].tolist() == [1] * 8 + [0.5] + [0] * 7
    assert opacity[0, 1:].tolist() == [[1] * 8 + [0] * 8] * 7


def test_an_opaque_picture_is_all_opaque(tmp_path: Path) -> None:
    """Exactly 1 everywhere after scaling, where the built-in's weight is 0/0."""
    save(tmp_path / "a.png", Image.new("RGBA", (100, 70), (9, 9, 9, 255)))
    opacity = load(only(tmp_path), 64, 64).tensors()[1]
    assert opacity is not None
    assert (opacity == 1).all()


def test_large_files_that_are_no_images_cost_nothing(tmp_path: Path) -> None:
    """A video of 20 GB, and what begins like an image: neither read nor hashed."""
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    heads = {
        "mp4": b"\0\0\0\x20ftypisom",
        "avif": b"\0\0\0\x20ftypavif\0\0\0\0avif",
        "png": b"\x89PNG\r\n\x1a\n",
        "raw": b"",
    }
    for suffix, head in heads.items():
        with (tmp_path / f"video.{suffix}").open("wb") as file:
            file.write(head)
            file.truncate(20 << 30)
    with (tmp_path / "smaller.avif").open("wb") as file:
        file.write(heads["avif"])
        file.truncate(1 << 29)
    tracemalloc.start()
    begun = time.process_time()
    scan = scan_images(tmp_path, FitRules([(64, 64)]))
    assert tracemalloc.get_traced_memory()[1] < 32 * 2**20
    tracemalloc.stop()
    assert time.process_time() - begun < 5
    assert len(scan.pictures) == 1
    assert len(scan.skipped) == len(heads) + 1


def test_many_other_files_are_few_lines(tmp_path: Path) -> None:
    """Counted by suffix; a few are named."""
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    for index in range(2000):
        (tmp_path / f"{index}.{'mp4' if index % 2 else 'dat'}").write_bytes(b"something else")
    for index in range(300):
        (tmp_path / f"other.x{index}").write_bytes(b"something else")
    skipped = dict(scan_images(tmp_path, FitRules([(64, 64)])).skipped)
    assert len(skipped) < 30
    assert skipped[tmp_path / "*.mp4"].values["count"] == 1000
    assert said([skipped[tmp_path / "*"]], "images.more", count=302 - 20)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "I;16", "F", "P"])
def test_strips_are_the_whole(mode: str) -> None:
    """An image converted in strips is what it would be at once."""
    rng = np.random.default_rng(0)
    if mode in ("I;16", "F"):
        values = rng.integers(0, 65536, (700, 40)).astype(np.uint16 if mode == "I;16" else np.float32)
        expected = np.clip(values.astype(float) / (65535 if mode == "I;16" else 255) * 255, 0, 255).round()
        fitted = fit_image(Image.fromarray(values), Fit(40, 700))
        assert np.array_equal(np.asarray(fitted.rgb)[..., 0], expected.astype(np.uint8))
        return
    image = Image.fromarray(rng.integers(0, 256, (700, 40, 4), dtype=np.uint8)).convert(mode)
    if mode == "P":
        image.info["transparency"] = 3
    rgba = image.convert("RGBA")
    white = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), rgba).convert("RGB")
    fitted = fit_image(image, Fit(40, 700))
    assert np.array_equal(np.asarray(fitted.rgb), np.asarray(white))
    assert fitted.alpha is not None
    assert np.array_equal(np.asarray(fitted.alpha), np.asarray(rgba.getchannel("A")))
