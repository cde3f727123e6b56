"""Uploading to the hub and taking from it, by the command line and the hub's own client, against a small server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from tests.hub.server import Hub, serving
from tests.many_commands import many
from tests.paths import ROOT
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.formats import write_embedding

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    """One for all tests of the file."""
    with serving() as started:
        yield started


@pytest.fixture
def environment(hub: Hub, tmp_path: Path) -> dict[str, str]:
    """Of a command: the hub is that server, and somebody who may write is logged in."""
    return {
        **os.environ,
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(tmp_path / "home"),
        "HF_TOKEN": "hf_write",
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "PYTHONPATH": str(ROOT),
    }


@pytest.fixture
def tinv(environment: dict[str, str], tmp_path: Path) -> Command:
    """The command line in a process of its own, in an empty folder."""

    def run(*arguments: str, address: str = "") -> subprocess.CompletedProcess[str]:
        reached = environment | ({"HF_ENDPOINT": address} if address else {})
        command = [sys.executable, "-m", "tinv_ext", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=reached, capture_output=True, text=True, timeout=600)

    return run


def png(shade: int) -> bytes:
    """An image file."""
    data = BytesIO()
    Image.new("RGB", (64, 64), (shade, 90, 30)).save(data, "png")
    return data.getvalue()


def without_wraps(text: str) -> str:
    """Said, however the lines were broken."""
    return re.sub(r"\s+", " ", text)


SHORT = ("--steps=2", "--init-text=thing", "--preview-every=2", "--preview-steps=1", "--evaluate-every=0")


def test_from_images_at_the_hub_to_a_word_at_the_hub(hub: Hub, tinv: Command, tmp_path: Path) -> None:
    """A run takes a dataset from there and uploads its embedding, which the next command takes from there again."""
    pictures = {name: png(shade) for name, shade in (("0.png", 0), ("80.PNG", 80), ("160.Png", 160))}
    hub.files["datasets/ann/things"] = {**pictures, "0.TXT": b"a dark one", "model.safetensors": b"not wanted"}
    chosen = ("--push-to-hub", "--hub-private", "--license=CC BY 4.0")
    ended = tinv("train", "--name=zworble", "--images=hub:ann/things", *chosen, *SHORT)
    assert ended.returncode == 0, ended.stderr
    assert "hf_write" not in ended.stdout + ended.stderr
    assert f"{hub.address}/ann/zworble" in without_wraps(ended.stderr + ended.stdout)
    assert all(any(name in asked for asked in hub.asked) for name in (*pictures, "0.TXT")), "in letters of any case"
    assert not any("model.safetensors" in asked for asked in hub.asked)

    files = hub.files["models/ann/zworble"]
    assert {"README.md", "zworble.pt", "learned_embeds.safetensors", "token_identifier.txt"} <= set(files)
    assert {"images/before.png", "images/after.png"} <= set(files)
    assert hub.private == {"ann/zworble"}
    card = files["README.md"].decode()
    front = card.split("---")[1]
    about = yaml.safe_load(front)
    assert (about["tags"][0], about["license"], "base_model" in about) == ("textual_inversion", "cc-by-4.0", False)
    assert 'pipe.load_textual_inversion("ann/zworble")' in card
    assert str(tmp_path) not in card
    assert all(b"hf_write" not in data for data in files.values())
    assert all(b"hf_write" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())

    shown = tinv("inspect", "ann/zworble", "--json")
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["embeddings"][0]["vectors"] == 1

    refused = tinv("check", "--name=zworble2", "--hub-model-id=zworble", "--images=hub:ann/things", "--push-to-hub")
    assert refused.returncode == 2
    assert "hub_model_id" in without_wraps(refused.stderr)


@pytest.mark.once
def test_all_words_of_a_run_are_uploaded(hub: Hub, tinv: Command, tmp_path: Path) -> None:
    """To one repository: as files of the WebUI, as folders of diffusers, with images; alone, the first is meant."""
    for name, shade in (("one", 20), ("other", 200)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(png(shade))
    (tmp_path / "mine.txt").write_text("an etching of [name]\n", "utf-8")
    tables = [
        '[[words]]\nname = "zworble"\nimages = "one"\n',
        f'[[words]]\nname = "quixxly"\nimages = "other"\nnum_vectors = 2\ntemplate = {str(tmp_path / "mine.txt")!r}\n',
    ]
    (tmp_path / "words.toml").write_text("".join(tables), "utf-8")
    ended = tinv("train", "--config=words.toml", "--push-to-hub", "--hub-model-id=both", *SHORT)
    assert ended.returncode == 0, ended.stderr
    files = hub.files["models/ann/both"]
    assert {"zworble.pt", "learned_embeds.safetensors", "quixxly.pt", "quixxly/learned_embeds.safetensors"} <= set(
        files
    )
    assert {"images/after.png", "images/quixxly-before.png", "images/quixxly-after.png"} <= set(files)
    text = files["README.md"].decode()
    assert 'pipe.load_textual_inversion("ann/both", subfolder="quixxly")' in text
    assert all(f"images/{name}.png" in text for name in ("after", "quixxly-after"))
    assert str(tmp_path) not in text
    assert "mine.txt" in text
    for name, vectors in (("ann/both", 1), ("ann/both:quixxly.pt", 2)):
        shown = tinv("inspect", name, "--json")
        assert json.loads(shown.stdout)["embeddings"][0]["vectors"] == vectors, shown.stderr


@pytest.mark.parametrize("file", ["", ":learned_embeds_2.bin", ":sub/learned_embeds-steps-5.safetensors"])
def test_a_word_of_sdxl_comes_from_the_hub_with_both_halves(file: str, hub: Hub, tinv: Command, tmp_path: Path) -> None:
    """As diffusers' script and `tinv push` leave it there: a file for each text encoder."""
    word = Embedding("zibbo", {"clip_l": torch.ones(1, 768), "clip_g": torch.ones(1, 1280)})
    write_embedding(word, tmp_path / "made", format=f"diffusers-folder{'-bin' if file.endswith('bin') else ''}")
    files = {path.name: path.read_bytes() for path in (tmp_path / "made").glob("*.*")}
    if "/" in file:
        files = {f"sub/{name.replace('.', '-steps-5.')}": content for name, content in files.items()}
    hub.files["models/ann/halves"] = files
    shown = tinv("inspect", f"hub:ann/halves{file}", "--json")
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["embeddings"][0]["widths"] == {"clip_l": 768, "clip_g": 1280}


@pytest.mark.slow
def test_an_embedding_at_the_hub_is_a_file_like_any(
    hub: Hub, tinv: Command, environment: dict[str, str], tmp_path: Path
) -> None:
    """By owner/name, with or without "hub:", in each command; without network a sentence says what was looked for."""
    assert tinv("create", "zibbo", "--model=toy", "--embeddings=made").returncode == 0
    hub.files["models/ann/zibbo"] = {"zibbo.pt": (tmp_path / "made" / "zibbo.pt").read_bytes()}
    hub.files["models/ann/two"] = {"a.pt": b"", "b.pt": (tmp_path / "made" / "zibbo.pt").read_bytes()}
    right = (
        ("inspect", "hub:ann/zibbo"),
        ("convert", "ann/zibbo", "copy.safetensors"),
        ("extend", "ann/two:b.pt", "longer.pt", "--vectors=2"),
        ("average", "ann/zibbo", "copy.safetensors", "--output=mean.pt"),
        ("generate", "a photo of zibbo", "--embedding=ann/zibbo", "--steps=1"),
    )
    wrong = {"ann/two": "Name one", "ann/none": "There is no", "made/none": "does not exist"}
    commands = [*right, *(("inspect", name) for name in wrong)]
    all_ended = many([(arguments, {}) for arguments in commands], tmp_path, environment)
    for ended in all_ended[: len(right)]:
        assert ended.returncode == 0, (ended.args, ended.stderr)
    assert {"copy.safetensors", "longer.pt", "mean.pt", "picture.png"} <= {path.name for path in tmp_path.iterdir()}
    for ended, words in zip(all_ended[len(right) :], wrong.values(), strict=True):
        assert (ended.returncode, words in without_wraps(ended.stderr)) == (2, True), ended.stderr
    asked = len(hub.asked)
    ended = tinv("inspect", "ann/zibbo", address="http://127.0.0.1:9")
    assert (ended.returncode, "Traceback" in ended.stderr, len(hub.asked)) == (4, False, asked)
    assert 'There is no file "ann/zibbo" here' in without_wraps(ended.stderr)
    assert "cannot be reached" in without_wraps(ended.stderr)


@pytest.mark.once
def test_what_cannot_be_done_is_said_before_anything_starts(
    hub: Hub, environment: dict[str, str], tmp_path: Path
) -> None:
    """A token that may only read, a name that is none, a dataset that is not there or has no images."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.png").write_bytes(png(1))
    hub.files["datasets/ann/table"] = {"data.parquet": b"PAR1"}
    given = ("check", "--name=wibble", "--push-to-hub")
    tried = (
        ((*given, "--images=images"), "hf_read", "may only read"),
        ((*given, "--images=images", "--hub-model-id=a/b/c"), "hf_write", "owner/name"),
        (("check", "--name=wibble", "--images=hub:ann/nothing"), "hf_write", "There is no"),
        (("check", "--name=wibble", "--images=hub:ann/table"), "hf_write", "parquet"),
    )
    all_ended = many([(arguments, {"HF_TOKEN": token}) for arguments, token, _ in tried], tmp_path, environment)
    for (arguments, _, words), ended in zip(tried, all_ended, strict=True):
        assert ended.returncode == 2, (arguments, ended.stdout, ended.stderr)
        assert words in without_wraps(ended.stderr), arguments
    assert not (tmp_path / "textual_inversion").exists()


@pytest.mark.once
def test_a_run_without_network_keeps_its_embedding(hub: Hub, tinv: Command, tmp_path: Path) -> None:
    """That it cannot be uploaded is said before and after; later it can be."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.png").write_bytes(png(1))
    given = ("train", "--name=qlater", "--images=images", "--push-to-hub", *SHORT)
    ended = tinv(*given, address="http://127.0.0.1:9")
    assert ended.returncode == 0, ended.stderr
    assert without_wraps(ended.stderr).count("cannot be reached") == 2
    (run,) = (tmp_path / "textual_inversion").glob("20*/*")
    pushed = tinv("push", str(run))
    assert pushed.returncode == 0, pushed.stderr
    assert pushed.stdout.strip() == f"{hub.address}/ann/qlater"
    assert "qlater.pt" in hub.files["models/ann/qlater"]
