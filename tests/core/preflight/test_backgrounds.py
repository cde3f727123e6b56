"""Images that share a background are recognised before a run, and what can be done about it is told once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.fake_host import FakeHost
from tests.messages import ids, said
from tests.run.test_runner import Configure, Watch, config, host
from tinv_ext.core.data.borders import FEWEST, border_of, share_background
from tinv_ext.core.training.trainer import Step
from tinv_ext.run import runner
from tinv_ext.run.events import RunControls
from tinv_ext.run.preflight import prepare_run
from tinv_ext.run.provenance import evaluation_basis, state_facts
from tinv_ext.toy import heldout, world

__all__ = ["config", "host"]  # the fixtures of a short run

NOTICE = "preflight.same_background"
CONCEPT = heldout.read()["purple-moon"]


def drawn(backgrounds: list[str], noise: float = 0.0) -> list[Image.Image]:
    """The concept, each time in another pose, on these backgrounds."""
    rng = np.random.default_rng(1)
    images = []
    for background in backgrounds:
        scene = CONCEPT.scene(background)
        pixels = world.draw(scene, world.sample_pose(scene, rng)) + rng.normal(0, noise, (64, 64, 3))
        images.append(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)))
    return images


ALL = CONCEPT.backgrounds()


@pytest.mark.parametrize(
    ("backgrounds", "shared"),
    [
        (["green"] * 8, True),
        (["green"] * 7 + ["red"], True),
        ([*ALL, *ALL], False),
        (["green", "red"] * 4, False),
        (["green"] * (FEWEST - 1), False),
        ([], False),
    ],
)
def test_what_is_shared(backgrounds: list[str], shared: bool) -> None:
    """One background, also with an exception or a little noise; not two in turn, nor too few images to tell."""
    for noise in (0.0, 12.0):
        assert share_background([border_of(image) for image in drawn(backgrounds, noise)]) is shared


def test_transparent_is_white() -> None:
    """As it is trained on; and what is no border is left out."""
    clear, white = Image.new("RGBA", (64, 64), (9, 9, 9, 0)), Image.new("RGB", (64, 64), "white")
    assert border_of(clear) == border_of(white)
    assert not share_background(["", "zz", "00"] * 4)


@pytest.mark.parametrize(
    ("backgrounds", "given", "told"),
    [
        (["green"] * 6, {}, 1),
        (["green"] * 6, {"template": "subject_filewords"}, 1),
        (["green"] * 6, {"template": "subject_filewords", "class_tokens": "on a green background"}, 0),
        (ALL, {}, 0),
    ],
)
def test_it_is_told_before_the_run(
    host: FakeHost, config: Configure, tmp_path: Path, backgrounds: list[str], given: dict[str, Any], told: int
) -> None:
    """Also of images that are known from an earlier run and not opened again; not where the prompts say it."""
    folder = tmp_path / "alike"
    folder.mkdir()
    for number, image in enumerate(drawn(backgrounds)):
        image.save(folder / f"{number}.png")
    settings = config(images=str(folder), **given)
    prepared = prepare_run(settings, host)
    assert ids(prepared.notices).count(NOTICE) == told
    known = {image.picture.path.absolute(): image.picture for image in prepared.images}
    assert ids(prepare_run(settings, host, known).notices).count(NOTICE) == told


def test_captions_of_the_images_count(host: FakeHost, config: Configure, tmp_path: Path) -> None:
    """Where they are used, it is theirs to say what is not the word."""
    folder = tmp_path / "alike"
    folder.mkdir()
    for number, image in enumerate(drawn(["green"] * 5)):
        image.save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("on a green background")
    assert NOTICE in ids(prepare_run(config(images=str(folder)), host).notices)
    captioned = config(images=str(folder), template="subject_filewords")
    assert NOTICE not in ids(prepare_run(captioned, host).notices)


NAMED = "preflight.background_named"


def write(folder: Path, backgrounds: list[str]) -> str:
    """The images in a new folder."""
    folder.mkdir()
    for number, image in enumerate(drawn(backgrounds)):
        image.save(folder / f"{number}.png")
    return str(folder)


def test_a_plain_background_is_named(host: FakeHost, config: Configure, tmp_path: Path) -> None:
    """In the prompts of each image, those of the evaluation, too; captions without a file go before it."""
    images = write(tmp_path / "alike", ["green"] * 7 + ["red"])
    prepared = prepare_run(config(images=images, name_background=True), host)
    assert said(prepared.notices, NAMED, words=["on a green background", "on a red background"])
    assert NOTICE not in ids(prepared.notices)
    ends = [f"on a {color} background" for color in ["green"] * 7 + ["red"]]
    for image, end in zip(prepared.images, ends):
        sampled = image.subset.sampled(10)
        prompts = [sampled.sample_prompt(image.caption.text, torch.Generator().manual_seed(seed)) for seed in range(9)]
        assert all(prompt.endswith(f" {end}") and "zworble" in prompt for prompt in prompts)
        assert sampled.fixed_prompt(image.caption.text).endswith(f" {end}")
    assert all(prompt.endswith("background") for prompt in prepared.prompts(9))
    captioned = prepare_run(config(images=images, name_background=True, template="subject_filewords"), host)
    assert [image.caption.text for image in captioned.images] == ends, "the names of the files are numbers"


@pytest.mark.parametrize(
    ("backgrounds", "given"),
    [
        (["green"] * 6, {"name_background": False}),
        (["green"] * 6, {"template": "style"}),
        (["green"] * 6, {"template": "subject_filewords", "class_tokens": "a ball, green background"}),
        (["green", "red"] * 3, {}),
        (["green", "green", "red"], {}),
        (["green", "red"], {}),
        (ALL, {}),
    ],
)
def test_a_background_is_not_named_where_it_is_told_or_not_shared(
    host: FakeHost, config: Configure, tmp_path: Path, backgrounds: list[str], given: dict[str, Any]
) -> None:
    """Or where nobody wants it."""
    images = write(tmp_path / "alike", backgrounds)
    prepared = prepare_run(config(**{"images": images, "name_background": True, **given}), host)
    assert NAMED not in ids(prepared.notices)
    assert not any(prompt.endswith("background") for prompt in prepared.prompts(9) if "ball" not in prompt)


def test_a_background_is_not_named_beside_masks_captions_or_own_prompts(
    host: FakeHost, config: Configure, tmp_path: Path
) -> None:
    """Masks leave it out; captions and template lines that people have written are theirs."""
    images, lines = write(tmp_path / "alike", ["green"] * 5), tmp_path / "lines.txt"
    lines.write_text("a [name]\na [name], [filewords]")
    given = {"images": images, "name_background": True}
    assert NAMED not in ids(prepare_run(config(**given, template=str(lines)), host).notices)
    for number in range(5):
        Image.new("L", (64, 64), 255).save(tmp_path / "alike" / f"{number}-masklabel.png")
    assert NAMED not in ids(prepare_run(config(**given, masked_loss=True), host).notices)
    (tmp_path / "alike" / "0.txt").write_text("a ball")
    assert NAMED not in ids(prepare_run(config(**given, template="subject_filewords"), host).notices)
    unused = prepare_run(config(**given), host).notices
    assert {NAMED, "preflight.captions_unused"} <= {*ids(unused)}


def test_a_run_that_names_the_background_resumes_as_it_began(host: FakeHost, config: Configure, tmp_path: Path) -> None:
    """Its prompts stay, and nothing is said of other captions."""
    images = write(tmp_path / "alike", ["green"] * 5)
    settings = config(images=images, name_background=True, evaluate_every=2)
    whole = Watch()
    runner.run(settings, host, whole)
    controls, watch = RunControls(), Watch()
    watch.at[3] = controls.stop.set
    runner.run(settings.but(overwrite=True), host, watch, controls)
    assert runner.resume(watch.folder.path, host).status == "finished"
    assert watch.folder.curve.read_text() == whole.folder.curve.read_text()
    assert "on a green background" in str([step.prompts for step in whole.events if isinstance(step, Step)])


def test_what_is_evaluated_is_another_thing_only_where_a_background_is_named(
    host: FakeHost, config: Configure, tmp_path: Path
) -> None:
    """So a run from before there was the setting goes on with its best step."""
    bases = []
    for images in (write(tmp_path / "alike", ["green"] * 5), write(tmp_path / "others", ALL)):
        for named in (False, True):
            prepared = prepare_run(config(images=images, name_background=named), host)
            bases.append(evaluation_basis(prepared, state_facts(prepared, host, torch.device("cpu"))))
    assert bases[0] != bases[1]
    assert bases[2] == bases[3]


@pytest.mark.parametrize("count", [1, 5])
def test_one_picture_is_told(host: FakeHost, config: Configure, tmp_path: Path, count: int) -> None:
    """Once, also where there are copies of it, which share their background anyway; it is trained on all the same."""
    folder = tmp_path / "one"
    folder.mkdir()
    for number in range(count):
        drawn(["green"])[0].save(folder / f"{number}.png")
    prepared = prepare_run(config(images=str(folder)), host)
    assert said(prepared.notices, "preflight.one_picture", count=count)
    assert NOTICE not in ids(prepared.notices)
    assert "preflight.one_picture" not in ids(prepare_run(config(), host).notices)
    named = prepare_run(config(images=str(folder), name_background=True), host)
    assert said(named.notices, "preflight.one_pose", count=count)
    assert said(named.notices, NAMED, words=["on a green background"])
    assert runner.run(config(images=str(folder)), host).status == "finished"


def test_samples_of_the_toy_raise_no_false_alarm() -> None:
    """Of every concept kept out of the toy's training, with backgrounds in turn."""
    for concept in heldout.read().values():
        rng = np.random.default_rng(1)
        backgrounds = concept.backgrounds()
        for count in (FEWEST, 12):
            scenes = [concept.scene(backgrounds[turn % len(backgrounds)]) for turn in range(count)]
            images = [Image.fromarray(world.draw(scene, world.sample_pose(scene, rng))) for scene in scenes]
            assert not share_background([border_of(image) for image in images])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "F"])
def test_images_of_every_mode_have_a_border(mode: str) -> None:
    """The same, as far as the mode can tell."""
    assert border_of(Image.new("L", (50, 70), 255).convert(mode)) == border_of(Image.new("RGB", (50, 70), "white"))
