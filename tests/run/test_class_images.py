"""Images of the class that a run generates by its own model before its first step: which, when, and only once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.fake_host import FakeHost
from tests.messages import refused, said
from tests.run.test_runner import Configure, Watch, config, learnt  # noqa: F401  (fixtures)
from tinv_ext.core.errors import HostError
from tinv_ext.core.generation import ImageRequest
from tinv_ext.core.model import Words
from tinv_ext.core.preflight.class_images import class_images
from tinv_ext.core.settings import TrainConfig
from tinv_ext.run import dry_run, runner
from tinv_ext.run.events import Event, Generated, RunControls
from tinv_ext.run.preflight import prepare_run


class Painter(FakeHost):
    """Generates an image of its own colour for each seed, and remembers what for; `at` is done after so many."""

    def __init__(self, folder: Path, at: dict[int, Callable[[], None]] | None = None) -> None:
        super().__init__(folder)
        self.asked: list[ImageRequest] = []
        self.at = at or {}

    def generate(self, request: ImageRequest, words: Words, clip_skip: int = 0) -> Image.Image:
        assert not words
        self.asked.append(request)
        self.at.get(len(self.asked), lambda: None)()
        return Image.new("RGB", (request.width, request.height), (20 * request.seed % 256, 90, 200))

    @property
    def seeds(self) -> list[int]:
        """Of the images that were asked for."""
        return [request.seed for request in self.asked]


@pytest.fixture
def host(tmp_path: Path) -> Painter:
    """A host with an empty folder of embeddings."""
    return Painter(tmp_path / "embeddings")


WANTED = {"num_class_images": 5, "init_text": "cat", "class_prompt": "a photo of [name]", "overwrite": True}


def files(tmp_path: Path) -> list[str]:
    """Names of the images of the class in the log directory."""
    return sorted(path.name for path in (tmp_path / "runs" / "class_images").glob("*/*"))


def test_they_are_generated_once_and_seen(host: Painter, config: Configure, tmp_path: Path) -> None:  # noqa: F811
    """As many as are asked for, of the class instead of the word; the next run finds them, and learns the same."""
    prepared = prepare_run(config(**WANTED), host)
    assert said(prepared.notices, "preflight.class_images", count=5, prompt="a photo of cat")
    assert (host.asked, files(tmp_path)) == ([], [])
    watch = Watch()
    runner.run(config(**WANTED), host, watch)
    assert [event.done for event in watch.events if isinstance(event, Generated)] == [1, 2, 3, 4, 5]
    assert {(request.prompt, request.width) for request in host.asked} == {("a photo of cat", 64)}
    assert (host.seeds, len(files(tmp_path))) == ([1, 2, 3, 4, 5], 5)
    assert watch.folder.facts()["pictures"] == 3 + 5
    first = learnt(tmp_path / "embeddings")
    runner.run(config(**WANTED), host)
    assert len(host.asked) == 5
    assert torch.equal(learnt(tmp_path / "embeddings"), first)
    runner.run(config(overwrite=True, init_text="cat"), host)
    assert not torch.equal(learnt(tmp_path / "embeddings"), first)


def test_those_of_another_clip_skip_are_others(host: Painter, config: Configure, tmp_path: Path) -> None:  # noqa: F811
    """They look otherwise, so that a run at another clip skip generates its own."""
    for skipped in (1, 2):
        runner.run(config(**WANTED, clip_skip=skipped), host)
    assert len(list((tmp_path / "runs" / "class_images").iterdir())) == 2
    assert len(host.asked) == 10


@pytest.mark.parametrize("command", ["stop", "pause"])
def test_what_was_generated_before_a_stop_is_kept(
    host: Painter,
    config: Configure,  # noqa: F811
    tmp_path: Path,
    command: str,
) -> None:
    """Stopped or paused in the midst of it, the run goes on with those that are lacking, and learns the same."""
    runner.run(config(**WANTED, output=str(tmp_path / "whole")), host)
    whole = learnt(tmp_path / "embeddings")
    controls, watch = RunControls(), Watch()

    def report(event: Event) -> None:
        watch(event)
        if isinstance(event, Generated) and event.done == 2:
            getattr(controls, command).set()
        elif getattr(event, "status", "") == "paused":
            controls.pause.clear()

    host.asked.clear()
    status = runner.run(config(**WANTED), host, report, controls)
    if command == "stop":
        assert (status.status, status.steps, len(files(tmp_path))) == ("stopped", 0, 2)
        runner.resume(watch.folder.path, host)
    assert host.seeds == [1, 2, 3, 4, 5]
    assert torch.equal(learnt(tmp_path / "embeddings"), whole)


def test_an_interrupt_stops_the_run(config: Configure, tmp_path: Path) -> None:  # noqa: F811
    """The image in work is thrown away; what the program refuses otherwise ends the run with its reason."""

    def refuse() -> None:
        raise HostError("interrupted")

    host = Painter(tmp_path / "embeddings", {3: refuse})
    with pytest.raises(HostError):
        runner.run(config(**WANTED), host)
    assert len(files(tmp_path)) == 2
    host.asked.clear()
    host.interrupted = lambda: len(host.asked) >= 3  # type: ignore[method-assign]
    assert runner.run(config(**WANTED), host).status == "stopped"
    assert len(files(tmp_path)) == 4


def test_a_folder_is_filled_up(host: Painter, config: Configure, tmp_path: Path) -> None:  # noqa: F811
    """One's own images count, and what is one too many of them is not used."""
    folder = tmp_path / "class"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (64, 64), (9, 50 * number, 9)).save(folder / f"own {number}.png")
    runner.run(config(**WANTED, reg_images=str(folder)), host)
    assert host.seeds == [1, 2]
    few = prepare_run(config(**{**WANTED, "num_class_images": 4}, reg_images=str(folder)), host)
    assert (len(few.images), few.to_generate) == (3 + 4, [])
    assert said(few.notices, "preflight.of_subset", subset="regularization")


@pytest.mark.parametrize(
    ("prompt", "initial", "wanted"),
    [
        ("a photo of [name]", "cat", "a photo of cat"),
        ("a photo of a [name] cat", "cat", "a photo of a cat"),
        ("a photo of zworble cat, [filewords]", "*", "a photo of cat"),
        ("[name] the cat", "*", "the cat"),
    ],
)
def test_prompts_name_the_class_once(prompt: str, initial: str, wanted: str) -> None:
    """In the place of the word, or where it is named already."""
    settings = TrainConfig(name="zworble", num_class_images=1, images="nowhere", init_text=initial)
    assert [image.request.prompt for image in class_images(settings, (prompt,))] == [wanted]


def test_the_word_is_not_its_own_class(host: Painter, config: Configure) -> None:  # noqa: F811
    """As kohya's --token_string makes it the caption of images that have none, and folders are called after it."""
    for class_tokens, wanted in (("zworble", "a photo of cat"), ("Zworble dog", "a photo of dog")):
        run = prepare_run(config(**WANTED, class_tokens=class_tokens), host)
        assert {image.request.prompt for image in run.to_generate} == {wanted}


def test_without_a_class_nothing_starts(host: Painter, config: Configure) -> None:  # noqa: F811
    """Said with all other problems; a class prompt that lacks the word is left out before anything is generated."""
    with refused("preflight.no_class") as caught:
        prepare_run(config(num_class_images=2, preview_every=5, preview_prompt=" "), host)
    assert said(caught.value.problems, "preflight.no_preview_prompt")
    idle = prepare_run(config(num_class_images=2, init_text="cat", class_prompt="a photo of a cat"), host)
    assert idle.to_generate == []
    assert prepare_run(config(num_class_images=2, prior_loss_weight=0.0), host).to_generate == []


def test_check_says_how_long_it_takes(host: Painter, config: Configure, tmp_path: Path) -> None:  # noqa: F811
    """By a few steps of one of them; nothing is written."""
    checked = dry_run.examine(prepare_run(config(**WANTED, preview_steps=40), host), host)
    assert said(checked.notices, "run.class_images_take", count=5)
    assert {request.steps for request in host.asked} == {4}
    assert files(tmp_path) == []
    assert checked.prompts(2)


def test_subsets_of_a_dataset_config_have_a_number_each(
    host: Painter,
    config: Configure,  # noqa: F811
    tmp_path: Path,
) -> None:
    """With their own class."""
    text = f"""
    [[datasets]]
    [[datasets.subsets]]
    image_dir = {str(tmp_path / "images")!r}
    [[datasets.subsets]]
    is_reg = true
    image_dir = {str(tmp_path / "dogs")!r}
    class_tokens = "dog"
    num_class_images = 2
    """
    (tmp_path / "data.toml").write_text(text)
    values: dict[str, Any] = {"dataset_config": str(tmp_path / "data.toml"), "template": "subject", "images": ""}
    runner.run(config(**values), host)
    assert [request.prompt for request in host.asked] == ["a photo of dog", "a picture of dog"]
    assert len(list((tmp_path / "dogs").glob("*.png"))) == 2
