"""The command line as a person uses it: codes, sentences, files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.cli.conftest import Said
from tinv_ext.cli.main import main
from tinv_ext.core.formats import read_embedding
from tinv_ext.hosts.diffusers.pipelines import SAMPLERS
from tinv_ext.hosts.offline_samplers import OFFLINE_SAMPLERS
from tinv_ext.run.image_file import write_image_file

Tinv = Callable[..., Said]
SHORT = ("--steps", 6, "--batch-size", 2, "--evaluate-every", 3, "--save-state-every", 3, "--save-every", 3)


def files_below(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def the_run(folder: Path) -> Path:
    """The one run in a log directory."""
    (run,) = (folder / "textual_inversion").glob("20*/*")
    return run


def test_a_training_leaves_a_word_and_says_how_to_use_it(tinv: Tinv, pictures: Path, tmp_path: Path) -> None:
    """The main job by the command line: exit code 0, the embedding where it says, the curve complete."""
    said = tinv("train", "--name", "zibbo", "--images", pictures, "--vectors", 2, *SHORT)
    assert (said.code, "zibbo.pt" in said.out, "generate" in said.out) == (0, True, True), said.err
    embedding = read_embedding(tmp_path / "textual_inversion" / "embeddings" / "zibbo.pt")
    assert (embedding.name, embedding.count, embedding.step) == ("zibbo", 2, 6)
    rows = (the_run(tmp_path) / "loss.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "0", "1", "2", "3", "4", "5", "6"]


def test_several_words_are_trained_by_one_file(tinv: Tinv, pictures: Path, tmp_path: Path) -> None:
    """`--config words.toml`: a file of each, all told at the end; stopped words are not what the run goes by."""
    words = [f'[[words]]\nname = "{name}"\nnum_vectors = {count}\n' for count, name in ((1, "zibbo"), (2, "quixxly"))]
    file = tmp_path / "words.toml"
    file.write_text(f"template = 'none'\nimages = '{pictures}'\n" + "".join(words), "utf-8")
    for path in pictures.glob("*.png"):
        path.with_suffix(".txt").write_text("a zibbo, a quixxly", "utf-8")
    said = tinv("train", "--config", file, *SHORT)
    assert said.code == 0, said.err
    for count, name in ((1, "zibbo"), (2, "quixxly")):
        assert f"{name}.pt" in said.out
        embedding = read_embedding(tmp_path / "textual_inversion" / "embeddings" / f"{name}.pt")
        assert (embedding.name, embedding.count, embedding.step) == (name, count, 6)
    assert tinv("train", "--resume", the_run(tmp_path), "--steps", 8).code == 0
    assert read_embedding(tmp_path / "textual_inversion" / "embeddings" / "quixxly.pt").step == 8


def test_a_size_that_is_not_given_is_the_models_own(tinv: Tinv, pictures: Path, tmp_path: Path) -> None:
    """The tiny model was made for 64 pixels, whatever the setting's default for the WebUI is."""
    assert tinv("train", "--name", "zibbo", "--images", pictures, *SHORT, "--height", 72).code == 0
    settings = json.loads((the_run(tmp_path) / "config.json").read_text())["settings"]
    assert (settings["width"], settings["height"]) == (64, 72)


def test_every_problem_is_told_at_once_and_nothing_is_written(tinv: Tinv, tmp_path: Path) -> None:
    """Bad values, a missing folder, a missing template and a bad name in one answer, exit code 2."""
    said = tinv(
        *("train", "--name", "cat", "--images", "nowhere", "--steps", "many", "--width", 65, "--template", "none-such"),
        *("--learning-rate", "0.1:10, 0.2:5", "--tag-dropout", 3),
    )
    assert said.code == 2
    for part in ("steps", "width", "learning_rate", "tag_dropout", '"nowhere"', '"none-such"', '"cat" is a word'):
        assert part in said.err, part
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_none_is_told_in_a_sentence(tinv: Tinv, pictures: Path, tmp_path: Path) -> None:
    """A path that is no model: exit code 2."""
    (tmp_path / "notes.txt").write_text("x")
    for model in ("nowhere", "notes.txt", str(pictures)):
        said = tinv("train", "--name", "zibbo", "--images", pictures, "--model", model)
        assert (said.code, model in said.err) == (2, True)


def test_a_taken_name_is_refused_and_with_overwrite_the_old_file_is_kept(
    tinv: Tinv, pictures: Path, tmp_path: Path
) -> None:
    """Nothing is lost when a word is taught again."""
    file = tmp_path / "textual_inversion" / "embeddings" / "zibbo.pt"
    assert tinv("train", "--name", "zibbo", "--images", pictures, *SHORT).code == 0
    first = file.read_bytes()
    assert tinv("train", "--name", "zibbo", "--images", pictures, *SHORT, "--seed", 7).code == 2
    assert file.read_bytes() == first
    assert tinv("train", "--name", "zibbo", "--images", pictures, *SHORT, "--seed", 7, "--overwrite").code == 0
    assert file.read_bytes() != first
    (kept,) = (tmp_path / "textual_inversion").glob("20*/*/replaced/zibbo.pt")
    assert kept.read_bytes() == first


def test_resuming_a_finished_run_changes_nothing(tinv: Tinv, pictures: Path, tmp_path: Path) -> None:
    """Exit code 0, every byte as it was, and a sentence that nothing was done, also where other settings were given."""
    assert "had finished before" not in tinv("train", "--name", "zibbo", "--images", pictures, *SHORT).out
    before = files_below(tmp_path / "textual_inversion")
    for changes in ((), ("--clip-skip", 2)):
        again = tinv("train", "--resume", the_run(tmp_path), *changes)
        assert (again.code, "had finished before" in again.out, "zibbo.pt" in again.out) == (0, True, True)
    assert files_below(tmp_path / "textual_inversion") == before


def test_a_finished_run_stays_one_where_its_embedding_is_gone(tinv: Tinv, pictures: Path, tmp_path: Path) -> None:
    """Moved to a WebUI's folder, or spoiled: that is told, and is no failure of the command."""
    assert tinv("train", "--name", "zibbo", "--images", pictures, *SHORT).code == 0
    file = tmp_path / "textual_inversion" / "embeddings" / "zibbo.pt"
    file.rename(tmp_path / "zibbo.pt")
    again = tinv("train", "--resume", the_run(tmp_path))
    assert (again.code, "was moved, renamed or deleted since" in again.out) == (0, True), again.err
    assert "tinv_ext generate" not in again.out
    file.write_bytes(b"")
    again = tinv("train", "--resume", the_run(tmp_path))
    assert (again.code, "The file is empty" in again.out) == (0, True), again.err


def test_a_run_that_goes_on_ends_where_a_longer_one_does(tinv: Tinv, pictures: Path, tmp_path: Path) -> None:
    """Six steps and three more by --resume give, bit for bit, the vectors of nine."""
    assert tinv("train", "--name", "zibbo", "--images", pictures, *SHORT).code == 0
    assert tinv("train", "--resume", the_run(tmp_path), "--steps", 9).code == 0
    arguments = ("--name", "zibbo", "--images", pictures, *SHORT, "--output", "straight")
    assert tinv("train", *arguments, "--steps", 9).code == 0
    resumed = read_embedding(tmp_path / "textual_inversion" / "embeddings" / "zibbo.pt")
    straight = read_embedding(tmp_path / "straight" / "embeddings" / "zibbo.pt")
    assert resumed.step == straight.step == 9
    for encoder, vector in straight.vectors.items():
        assert torch.equal(vector, resumed.vectors[encoder])


def test_a_run_that_goes_on_writes_where_it_began(tinv: Tinv, pictures: Path, tmp_path: Path) -> None:
    """Into the folder of --embeddings, which need not be said again; where that is gone, into the log directory."""
    mine = tmp_path / "my embeddings"
    assert tinv("train", "--name", "zibbo", "--images", pictures, *SHORT, "--embeddings", mine).code == 0
    assert tinv("train", "--resume", the_run(tmp_path), "--steps", 8).code == 0
    assert read_embedding(mine / "zibbo.pt").step == 8
    usual = tmp_path / "textual_inversion" / "embeddings"
    assert not usual.exists()
    shutil.rmtree(mine)
    assert tinv("train", "--resume", the_run(tmp_path), "--steps", 9).code == 0
    assert read_embedding(usual / "zibbo.pt").step == 9
    config = the_run(tmp_path) / "config.json"
    elsewhere = json.loads(config.read_text("utf-8"))
    elsewhere["facts"]["embeddings"] = "long" * 2000  # which no system here has a folder for
    config.write_text(json.dumps(elsewhere), "utf-8")
    assert tinv("train", "--resume", the_run(tmp_path), "--steps", 10).code == 0
    assert read_embedding(usual / "zibbo.pt").step == 10


def test_settings_come_from_a_file_and_flags_win(tinv: Tinv, pictures: Path, tmp_path: Path) -> None:
    """TOML, JSON, and the config.json of a run, which makes the same vectors again."""
    (tmp_path / "a.toml").write_text(
        f'name = "zibbo"\nimages = {json.dumps(str(pictures))}\nsteps = 4\nbatch_size = 2\n'
    )
    assert tinv("train", "--config", "a.toml", "--steps", 3, "--output", "one").code == 0
    (run,) = (tmp_path / "one").glob("20*/*")
    assert json.loads((run / "config.json").read_text())["settings"]["steps"] == 3
    assert tinv("train", "--config", run / "config.json", "--output", "two").code == 0
    one, two = (read_embedding(tmp_path / name / "embeddings" / "zibbo.pt") for name in ("one", "two"))
    assert all(torch.equal(one.vectors[key], two.vectors[key]) for key in one.vectors)


@pytest.mark.parametrize("text", ["steps = ", "[1", '{"steps": }', "7", '{"settings": {}, "version": "new"}'])
def test_a_settings_file_that_is_broken_is_named(tinv: Tinv, tmp_path: Path, text: str) -> None:
    """Exit code 2 and the file in the sentence; a misspelt setting gets a suggestion."""
    (tmp_path / "a.json").write_text(text)
    (tmp_path / "b.toml").write_text("step = 3")
    assert "a.json" in tinv("train", "--config", "a.json").err
    assert 'Did you mean "steps"?' in tinv("check", "--config", "b.toml").err


def test_check_shows_the_plan_the_pictures_and_the_prompts(tinv: Tinv, pictures: Path, tmp_path: Path) -> None:
    """What kohya's --debug_dataset shows: each prompt with its token ids, the word's places marked; nothing written."""
    (pictures / "broken.png").write_bytes(b"no picture")
    said = tinv("check", "--name", "zibbo", "--images", pictures, "--vectors", 2, "--template", "subject_filewords")
    assert said.code == 0
    assert "zibbo#1 zibbo#2" in said.out
    assert "broken.png  skipped" in said.out
    assert "red, round" in said.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures"]


def test_generate_draws_with_the_word_and_without_it(tinv: Tinv, pictures: Path, tmp_path: Path) -> None:
    """Same seed, same picture; the embedding changes it; its parameters stand in the PNG."""
    assert tinv("train", "--name", "zibbo", "--images", pictures, *SHORT, "--learning-rate", "0.5").code == 0
    file = tmp_path / "textual_inversion" / "embeddings" / "zibbo.pt"
    shared = ("generate", "a photo of zibbo", "--steps", 2, "--embeddings", "empty", "--seed", 3)
    for name in ("a.png", "b.png"):
        assert tinv(*shared, "--embedding", file, "--output", name).code == 0
    assert tinv(*shared, "--output", "without.png").code == 0
    a, b, without = (Image.open(tmp_path / name) for name in ("a.png", "b.png", "without.png"))
    assert a.tobytes() == b.tobytes() != without.tobytes()
    assert a.info["parameters"].startswith("a photo of zibbo\nSteps: 2, Sampler: DDIM")


def test_generate_draws_at_the_layer_at_which_the_word_was_trained(tinv: Tinv, pictures: Path, tmp_path: Path) -> None:
    """Unless another is asked for; the WebUI's name for it stands in the PNG."""
    assert tinv("train", "--name", "zibbo", "--images", pictures, *SHORT, "--clip-skip", 2).code == 0
    file = tmp_path / "textual_inversion" / "embeddings" / "zibbo.pt"
    shared = ("generate", "a photo of zibbo", "--steps", 2, "--embeddings", "empty", "--embedding", file)
    images = {}
    for given in ((), ("--clip-skip", 2), ("--clip-skip", 1)):
        assert tinv(*shared, *given, "--output", "a.png").code == 0
        with Image.open(tmp_path / "a.png") as image:
            images[given[1:]] = image.tobytes(), "Clip skip: 2" in image.info["parameters"]
    assert images[()] == images[2,] != images[1,]
    assert [images[key][1] for key in ((), (2,), (1,))] == [True, True, False]
    said = tinv(*shared, "--clip-skip", 13, "--output", "b.png")
    assert (said.code, "clip_skip" in said.err) == (2, True)


def test_generate_refuses_what_cannot_be_drawn(tinv: Tinv, tmp_path: Path) -> None:
    """A missing embedding, a crooked size: exit code 2, no picture."""
    said = tinv("generate", "x", "--embedding", "none.pt", "--width", 65, "--output", "x.png")
    assert (said.code, "none.pt" in said.err, "65" in said.err) == (2, True, True)
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(("name", "kind"), [("a.JPG", "JPEG"), ("a.webp", "WEBP"), ("a", "PNG")])
def test_an_image_is_written_as_its_suffix_says(name: str, kind: str, tmp_path: Path) -> None:
    """With its parameters; without a suffix as PNG."""
    text = "a 猫\nSteps: 2"
    write_image_file(Image.new("RGB", (64, 64), "red"), tmp_path / name, text)
    with Image.open(tmp_path / name) as image:
        assert image.format == kind
        comment = image.getexif().get_ifd(0x8769).get(0x9286)
        assert (image.info.get("parameters") if kind == "PNG" else comment[8:].decode("utf-16-be")) == text


def test_a_suffix_that_is_no_images_is_refused_before_anything_is_generated(tinv: Tinv, tmp_path: Path) -> None:
    """In a sentence with those that are."""
    said = tinv("generate", "x", "--steps", 1, "--output", "x.bmpp")
    assert (said.code, "x.bmpp" in said.err, ".webp" in said.err) == (2, True, True)
    assert not (tmp_path / "x.bmpp").exists()


def test_another_vae_is_used_and_remembered(tinv: Tinv, model_folder: Path, pictures: Path, tmp_path: Path) -> None:
    """It encodes the pictures of a run, goes on with the run when that is resumed, and draws; the toy keeps its own."""
    vae = load_file(str(next((model_folder / "vae").glob("*.safetensors"))))
    save_file({name: value * 0.9 for name, value in vae.items()}, str(tmp_path / "other.safetensors"))
    train = ("train", "--name", "zibbo", "--images", pictures, "--steps", 2, "--evaluate-every", 0)
    assert tinv(*train, "--vae", "other.safetensors").code == 0
    kept = sorted((tmp_path / "textual_inversion" / "latents").rglob("*.safetensors"))
    (run,) = (tmp_path / "textual_inversion").glob("*/zibbo-*")
    assert main(["train", "--resume", str(run), "--steps", "3"]) == 0
    assert sorted((tmp_path / "textual_inversion" / "latents").rglob("*.safetensors")) == kept
    facts = json.loads((run / "config.json").read_text())["facts"]["model"]
    assert facts["vae"] == "other"
    (file,) = (tmp_path / "textual_inversion" / "embeddings").glob("*.pt")
    assert b"other.safetensors" not in file.read_bytes()
    draw = ("generate", "x", "--steps", 2, "--width", 64, "--height", 64, "--output")
    assert tinv(*draw, "a.png").code == tinv(*draw, "b.png", "--vae", "other.safetensors").code == 0
    assert Image.open(tmp_path / "a.png").tobytes() != Image.open(tmp_path / "b.png").tobytes()
    said = tinv("generate", "x", "--model", "toy", "--vae", "other.safetensors")
    assert (said.code, "keeps its own VAE" in said.err) == (2, True)


@pytest.mark.once
def test_help_does_not_wait_for_torch() -> None:
    """Nothing that it needs imports torch, in any command."""
    code = (
        "import atexit, os, sys; from tinv_ext.cli.main import main; "
        "atexit.register(lambda: os._exit('torch' in sys.modules)); main(sys.argv[1:])"
    )
    for command in ([], ["train"], ["generate"], ["convert"], ["toy", "demo"]):
        said = subprocess.run([sys.executable, "-c", code, *command, "--help"], capture_output=True, check=False)
        assert (said.returncode, b"usage:" in said.stdout) == (0, True)


def test_the_samplers_of_the_help_are_those_that_there_are() -> None:
    """They are written down twice so that `--help` does not wait for torch."""
    assert tuple(SAMPLERS) == OFFLINE_SAMPLERS


@pytest.mark.once
def test_ctrl_c_stops_and_saves(model_folder: Path, pictures: Path, tmp_path: Path) -> None:
    """A real process, interrupted in the middle of its steps: exit code 3, and the vectors of a whole step."""
    arguments = ["--name", "zibbo", "--images", str(pictures), "--model", str(model_folder), "--steps", "100000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tinv_ext", "train", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    curve = []
    try:
        while process.poll() is None and len(curve) < 4:
            time.sleep(0.2)
            curve = [line for file in tmp_path.glob("textual_inversion/20*/*/loss.csv") for line in file.open()]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, "Stopped at step" in out) == (3, True), err
    step = read_embedding(tmp_path / "textual_inversion" / "embeddings" / "zibbo.pt").step
    assert step is not None
    assert step >= 2


def test_generate_finds_a_word_by_token_and_file_and_says_when_the_prompt_has_none(tinv: Tinv, tmp_path: Path) -> None:
    """What diffusers' script left: its token with and without brackets and the file's name give one image."""
    vectors = torch.randn(2, 32, generator=torch.Generator().manual_seed(3))
    save_file({"<cat-toy>": vectors}, str(tmp_path / "learned_embeds.safetensors"))
    images = []
    for index, word in enumerate(("<cat-toy>", "learned_embeds", "dog")):
        prompt = ("generate", f"a photo of {word}", "--embedding", "learned_embeds.safetensors", "--steps", 2)
        said = tinv(*prompt, "--width", 64, "--height", 64, "--output", f"{index}.png")
        assert (said.code, "makes no difference" in said.err) == (0, word == "dog"), said.err
        images.append(Image.open(tmp_path / f"{index}.png").tobytes())
    assert images[0] == images[1] != images[2]
    said = tinv("generate", "[cat:dog:0.5] AND x", "--output", "x.png")
    assert (said.code, "[cat:dog:0.5]" in said.err, "AND" in said.err, Path("x.png").exists()) == (2, True, True, False)
