"""Previews of a run: which images, when, and where they are kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.fake_host import FakeHost, FakeModel
from tests.messages import refused, said
from tests.run.test_runner import Configure, Watch, config, host
from tinv_ext.core.errors import HostError, InputError
from tinv_ext.core.formats import read_embedding
from tinv_ext.core.generation import ImageRequest
from tinv_ext.core.model import Words
from tinv_ext.run import preflight, previews, runner
from tinv_ext.run.events import Noticed, RunControls, Wrote
from tinv_ext.server.allowed_paths import allow_only

__all__ = ["config", "host"]  # the fixtures of a short run
LINES = "a [name] --d 7 --w 128 --s 2\n# none\nanother --n bad --l 3\n"


class Painter(FakeHost):
    """Keeps what it was asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked: list[ImageRequest] = []
        self.layers: list[int] = []

    def generate(self, request: ImageRequest, words: Words, clip_skip: int = 0) -> Image.Image:
        self.asked.append(request)
        self.layers.append(clip_skip)
        return super().generate(request, words)


def test_a_preview_has_every_image_of_every_prompt(config: Configure, tmp_path: Path) -> None:
    """In the order of the prompts and seeds; each file says how it was made and carries the embedding."""
    painter, watch = Painter(tmp_path / "embeddings"), Watch()
    runner.run(config(preview_every=6, preview_prompt=LINES, preview_images=2, preview_seed=90), painter, watch)
    one = [(request.prompt, request.negative_prompt, request.seed, request.width) for request in painter.asked]
    assert one == 2 * [
        ("a zworble", "", 7, 128),
        ("a zworble", "", 8, 128),
        ("another", "bad", 90, 64),
        ("another", "bad", 91, 64),
    ]
    made = watch.folder.previews("zworble")
    names = [f"zworble-{step}{number}.png" for step in (0, 6) for number in ("", "-2", "-3", "-4")]
    assert [(step, path.name) for step, path in made] == list(zip([0] * 4 + [6] * 4, names))
    for (_, path), request in zip(made, painter.asked):
        with Image.open(path) as image:
            assert image.size == (request.width, request.height)
            text = image.text["parameters"]
        assert text.startswith(request.prompt)
        assert f"Seed: {request.seed}, Size: {request.width}x{request.height}" in text
        assert f"Steps: {request.steps}" in text
        assert read_embedding(watch.folder.path / "image_embeddings" / path.name).name == path.stem
    assert watch.folder.last_preview("zworble") == made[4][1]


@pytest.mark.parametrize("counts", [True, False])
def test_previews_have_the_clip_skip_of_the_run_and_say_it(config: Configure, tmp_path: Path, counts: bool) -> None:
    """As the WebUI writes it, where it counts: an image without it is made there at 1. So has a thumbnail, which is
    drawn when training is over."""
    for given in ({"preview_every": 3}, {"preview_every": 0, "thumbnail": "new"}):
        painter, watch = Painter(tmp_path / "embeddings"), Watch()
        painter.clip_skip_counts = counts
        runner.run(config(clip_skip=2, overwrite=True, **given), painter, watch)
        assert set(painter.layers) == {2}
        for _, path in watch.folder.previews("zworble"):
            with Image.open(path) as image:
                assert ("Clip skip: 2" in image.text["parameters"]) == counts
    assert watch.folder.previews("zworble")


@pytest.mark.parametrize("place", ["image", "carrier"])
def test_an_image_that_ran_out_of_memory_is_the_only_one_made_again(
    place: str, config: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each image is reported once, whether the sampler or the image with the embedding found no memory."""
    painter, watch = Painter(tmp_path / "embeddings"), Watch()
    owner, name = {"image": (painter, "generate"), "carrier": (previews, "save_png_with_embedding")}[place]
    calls, real = [], getattr(owner, name)

    def scarce(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("CUDA out of memory")
        return real(*given)

    monkeypatch.setattr(owner, name, scarce)
    given = {"preview_images": 4, "preview_at_first": False, "preview_every": 6}
    assert runner.run(config(**given, save_image_embedding=True), painter, watch).status == "finished"
    made = [event.path.name for event in watch.events if isinstance(event, Wrote) and event.kind == "preview"]
    assert made == ["zworble-6.png", "zworble-6-2.png", "zworble-6-3.png", "zworble-6-4.png"]
    assert len(painter.asked) == 4
    assert len(calls) == 5
    assert len(list((watch.folder.path / "image_embeddings").iterdir())) == 4
    assert not [event for event in watch.events if isinstance(event, Noticed)]


def test_prompts_can_come_from_a_file(config: Configure, tmp_path: Path) -> None:
    """Which may change until the run resumes: the images are the new ones, and the run is the same."""
    file = tmp_path / "prompts.txt"
    file.write_text("from the file", "utf-8")
    painter, controls = Painter(tmp_path / "embeddings"), RunControls()
    watch, again = Watch({3: controls.stop.set}), Watch()
    runner.run(config(preview_every=2, preview_file=str(file), preview_prompt="x"), painter, watch, controls)
    assert [request.prompt for request in painter.asked] == ["from the file"] * 2
    file.write_text("edited", "utf-8")
    runner.resume(watch.folder.path, painter, report=again)
    assert [request.prompt for request in painter.asked[2:]] == ["edited"] * 2
    assert not said([event.text for event in again.events if isinstance(event, Noticed)], "run.differs")
    final = read_embedding(tmp_path / "embeddings" / "zworble.pt")
    assert str(tmp_path) not in json.dumps(final.facts)
    file.unlink()
    with refused("captions.unreadable", path=file):
        runner.resume(watch.folder.path, painter, {"steps": 8})


@pytest.mark.parametrize("at_first, steps", [(True, [0, 4, 6]), (False, [4, 6])])
def test_the_first_preview_can_be_left_out(at_first: bool, steps: list[int], config: Configure, host: FakeHost) -> None:
    """The one after the last step never is."""
    watch = Watch()
    runner.run(config(preview_every=4, preview_at_first=at_first), host, watch)
    assert [step for step, _ in watch.folder.previews("zworble")] == steps


def test_what_is_wrong_is_told_with_everything_else(config: Configure, host: FakeHost, tmp_path: Path) -> None:
    """Lines, sampling methods that do not exist here, empty files; options of other models are a notice."""
    file = tmp_path / "prompts.txt"
    file.write_text("a cat --ss Heun\na dog --ss euler\na cow --g 3\n", "utf-8")
    given = {"preview_every": 5, "preview_file": str(file)}
    with refused("run.no_such_sampler", value="Heun") as error:
        preflight.prepare_run(config(**given), host)
    assert "line 1" in str(error.value)
    file.write_text("a cow --g 3\n", "utf-8")
    prepared = preflight.prepare_run(config(**given), host)
    assert said(prepared.notices, "preflight.preview_options_unused", options=("--g",))
    file.write_text("a cat --w x\n", "utf-8")
    with pytest.raises(InputError) as caught:
        preflight.prepare_run(config(**given, images=str(tmp_path / "none")), host)
    assert said(caught.value.problems, "settings.wrong_type", name="--w")
    assert len(caught.value.problems) == 2
    file.write_text("# nothing\n", "utf-8")
    with refused("preflight.no_preview_prompt", setting="preview_file"):
        preflight.prepare_run(config(**given), host)


def test_a_client_from_outside_names_no_file_of_others(tmp_path: Path) -> None:
    """The file is a path like the other ones."""
    (told,) = allow_only([tmp_path / "open"])({"sample_prompts": str(tmp_path / "secret.txt")})
    assert said([told], "server.path_not_allowed", name="preview_file")


def test_a_preview_that_fails_frees_memory_only_where_that_ran_out(
    host: FakeHost, config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model gives up more than its cache, and is slower from then on: an Interrupt is no reason."""
    given_up: list[str] = []
    monkeypatch.setattr(FakeModel, "release_memory", lambda model: given_up.append("all"))

    def failing(error: Exception) -> Callable[..., Any]:
        def generate(*asked: Any) -> Any:
            raise error

        return generate

    for error, least in ((HostError("interrupted"), 0), (RuntimeError("CUDA out of memory."), 1)):
        monkeypatch.setattr(host, "generate", failing(error))
        runner.run(config(steps=1, preview_every=1, overwrite=True), host)
        assert min(len(given_up), 1) == least
