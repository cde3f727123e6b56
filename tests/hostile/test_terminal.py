"""What files hold never steers a terminal, and `inspect --json` is JSON that anybody reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image, PngImagePlugin

from tests.core.formats.files_made_wrong import safetensors
from tests.core.formats.test_hostile import MEGABYTES, largest_memory
from tinv_ext.cli import main as cli
from tinv_ext.cli.failures import BAD_INPUT
from tinv_ext.core.errors import FormatError
from tinv_ext.core.formats import read_embedding
from tinv_ext.core.formats.torch_bytes import torch_bytes
from tinv_ext.core.printable import printable

EVIL = "a\x1b[2J\x07\x9b1m\u202eb\x7f\r"


def harmless(printed: str) -> bool:
    """Whether no character in it does anything but end a line."""
    return all(character.isprintable() or character == "\n" for character in printed)


def hostile_embedding(path: Path) -> Path:
    """One whose texts are all evil."""
    values = {"string_to_param": {"*": torch.ones(1, 16)}, "name": EVIL, "sd_checkpoint_name": EVIL, "step": 3}
    values["tinv"] = {EVIL: EVIL, "author": EVIL, "half": "\ud800"}
    path.write_bytes(torch_bytes(values))
    return path


@pytest.mark.parametrize(
    "command", ["inspect", "inspect --json", "convert", "extend", "average", "restore", "generate"]
)
def test_no_command_prints_control_characters_of_a_file(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of its name and of its content."""
    monkeypatch.chdir(tmp_path)
    path = hostile_embedding(tmp_path / f"{EVIL.strip()}.pt")
    arguments = {
        "inspect": ["inspect", str(path)],
        "inspect --json": ["inspect", "--json", str(path)],
        "convert": ["convert", str(path), f"{EVIL}.safetensors"],
        "extend": ["extend", str(path), f"{EVIL}2.pt", "--vectors=3"],
        "average": ["average", str(path), str(path), f"--output={EVIL}3.pt"],
        "restore": ["restore", f"{EVIL}4"],
        "generate": ["generate", "a photo", f"--embedding={path}", "--steps=1", "--width=64", "--height=64"],
    }[command]
    cli.main(arguments)
    printed = capsys.readouterr()
    assert printed.out + printed.err
    assert harmless(printed.out + printed.err)


def test_check_and_train_print_none_of_captions_and_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """File names, captions, prompts made of them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    for index in range(2):
        Image.new("RGB", (64, 64), (90 * index, 9, 9)).save(tmp_path / "images" / f"{index}{EVIL}.png")
        (tmp_path / "images" / f"{index}{EVIL}.txt").write_text(f"caption {EVIL}", "utf-8", newline="")
    (tmp_path / "images" / f"broken{EVIL}.png").write_bytes(b"\x89PNG nothing")
    assert cli.main(["check", "--images=images", "--name=zworble", "--output=runs", "--template=style_filewords"]) == 0
    printed = capsys.readouterr()
    assert "caption" in printed.out
    assert harmless(printed.out + printed.err)


def test_json_is_valid_whatever_the_file_holds(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """UTF-8, without halves of characters and without NaN."""
    assert cli.main(["inspect", "--json", str(hostile_embedding(tmp_path / "a.pt"))]) == 0
    text = capsysbinary.readouterr().out.decode("utf-8")

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    found = json.loads(text, parse_constant=refuse)
    json.dumps(found, ensure_ascii=False).encode("utf-8")
    assert found["embeddings"][0]["vectors"] == 1


def test_joiners_of_scripts_and_emoji_stay() -> None:
    """They only join letters."""
    assert printable("\U0001f469\u200d\U0001f3a8 می\u200cخواهم") == "\U0001f469\u200d\U0001f3a8 می\u200cخواهم"


def test_a_small_image_asks_for_little_memory(tmp_path: Path) -> None:
    """An image of sixteen million pixels in some kilobytes, with margins as an embedding in pixels would have them."""
    image = Image.new("RGB", (4096, 4096), (17, 17, 17))
    image.paste((0, 0, 0), (2047, 0, 2049, 4096))
    path = tmp_path / "a.png"
    image.save(path, compress_level=9, pnginfo=PngImagePlugin.PngInfo())
    del image
    before = largest_memory()
    with pytest.raises(FormatError):
        read_embedding(path)
    assert largest_memory() - before < 2 * MEGABYTES


def test_a_header_of_evil_names_is_told_without_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a problem, too."""
    entry = {"dtype": "F32", "shape": [1, 4], "data_offsets": [0, 99]}
    (tmp_path / "a.safetensors").write_bytes(safetensors({EVIL: entry}, bytes(16)))
    assert cli.main(["inspect", str(tmp_path / "a.safetensors")]) == BAD_INPUT
    assert harmless(capsys.readouterr().err)
