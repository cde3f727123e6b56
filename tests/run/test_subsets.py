"""Several folders in one run: their repeats, captions and names; what is the same stays the same bit for bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.fake_host import FakeHost
from tests.messages import refused, said
from tinv_ext.core.formats import read_embedding
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.training.trainer import Step
from tinv_ext.run import preflight, runner
from tinv_ext.run.curve import read_curve
from tinv_ext.run.events import Event, Noticed, Prepared, RunControls
from tinv_ext.run.provenance import evaluation_basis, run_facts, state_facts
from tinv_ext.run.resume import differences, order_facts
from tinv_ext.run.run_folder import RunFolder

Write = Callable[..., Path]


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """A host with an empty folder of embeddings."""
    return FakeHost(tmp_path / "embeddings")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Images of one colour each, with captions if there are any; the folder they are in."""

    def images(folder: str, *colours: int, caption: str = "") -> Path:
        place = tmp_path / folder
        place.mkdir(parents=True)
        for colour in colours:
            Image.new("RGB", (64, 64), (colour, 255 - colour, 40)).save(place / f"{colour}.png")
            if caption:
                (place / f"{colour}.txt").write_text(caption.replace("#", str(colour)), "utf-8")
        return place

    return images


def settings(tmp_path: Path, images: Path, **given: Any) -> TrainConfig:
    """A short run with all that is random switched on."""
    values = {"name": "zworble", "images": str(images), "output": str(tmp_path / "runs"), "overwrite": True}
    values |= {"steps": 6, "template": "subject_filewords", "shuffle_tags": True, "tag_dropout": 0.3, "batch_size": 2}
    values |= {"preview_every": 0, "save_state_every": 2, "evaluation_images": 1, "evaluate_every": 2, "seed": 3}
    return TrainConfig.from_dict({**values, **given})


def trained(config: TrainConfig, host: FakeHost, stop: int = 0, notices: list[str] | None = None) -> Tensor:
    """The vectors of a run, stopped after step `stop` and resumed if that is not 0."""
    folders: list[RunFolder] = []
    controls = RunControls()

    def report(event: Event) -> None:
        if isinstance(event, Prepared):
            folders.append(event.folder)
        if isinstance(event, Noticed) and notices is not None:
            notices.append(event.text)
        if isinstance(event, Step) and event.number == stop:
            controls.stop.set()

    runner.run(config, host, report, controls)
    if stop:
        controls.stop.clear()
        runner.resume(folders[0].path, host, report=report, controls=controls)
    return read_embedding(host.embeddings_folder / "zworble.pt").vectors["clip_l"]


def test_folders_called_n_name_are_subsets(host: FakeHost, write: Write, tmp_path: Path) -> None:
    """As kohya has them: N repeats, the rest of the name for images without a caption; other folders are told."""
    write("set/10_zworble cat", 10, 20)
    write("set/2_zworble dog", 30, caption="a dog, zworble")
    write("set/more", 40)
    write("set/0_none", 50)
    prepared = preflight.prepare_run(settings(tmp_path, tmp_path / "set", template="none"), host)
    assert [(one.name, one.config.repeats) for one in prepared.subsets] == [
        ("10_zworble cat", 10),
        ("2_zworble dog", 2),
    ]
    assert [(image.name, image.caption.text) for image in prepared.images] == [
        ("10_zworble cat/10.png", "zworble cat"),
        ("10_zworble cat/20.png", "zworble cat"),
        ("2_zworble dog/30.png", "a dog, zworble"),
    ]
    assert said(prepared.notices, "preflight.folder_not_repeated", name="more")
    assert said(prepared.notices, "preflight.folder_not_repeated", name="0_none")
    assert prepared.prompts(3) == ["zworble cat", "a dog, zworble", "zworble cat"]


def test_a_folder_with_images_of_its_own_is_not_divided(host: FakeHost, write: Write, tmp_path: Path) -> None:
    """Its sub-folders are told, as ever; with `recursive` they are used as they are, whatever they are called."""
    folder = write("set", 1, 2)
    write("set/10_zworble cat", 10)
    plain = preflight.prepare_run(settings(tmp_path, folder), host)
    assert [image.name for image in plain.images] == ["1.png", "2.png"]
    assert said(plain.notices, "preflight.below")
    recursive = preflight.prepare_run(settings(tmp_path, folder, recursive=True), host)
    assert [len(one.images) for one in recursive.subsets] == [3]


def test_problems_say_which_subset(host: FakeHost, write: Write, tmp_path: Path) -> None:
    """All of them at once, and nothing is written."""
    write("set/10_cat", 10, caption="a cat")
    write("set/5_dog", 20)
    (tmp_path / "set" / "10_cat" / "10.txt").write_bytes(b"\xff\xff\xff")
    (tmp_path / "set" / "5_dog" / "20.txt").write_bytes(b"\xff\xff\xff")
    with refused("preflight.of_subset", subset="10_cat") as caught:
        preflight.prepare_run(settings(tmp_path, tmp_path / "set"), host)
    assert said(caught.value.problems, "preflight.of_subset", subset="5_dog")
    assert not (tmp_path / "runs").exists()


def test_one_subset_is_the_run_of_its_folder(host: FakeHost, write: Write, tmp_path: Path) -> None:
    """Bit for bit, whatever its repeats: what all repeats have in common only makes an epoch longer."""
    write("set/1_zworble", 10, 20, 30, 40, caption="a #, b, c, d")
    inside = tmp_path / "set" / "1_zworble"
    for sampling in ("random", "once"):
        plain = trained(settings(tmp_path, inside, latent_sampling=sampling), host)
        for images, repeats in ((inside, 7), (tmp_path / "set", 1)):
            again = settings(tmp_path, images, latent_sampling=sampling, repeats=repeats)
            assert torch.equal(trained(again, host), plain)


def test_equal_repeats_change_nothing_but_the_epoch(host: FakeHost, write: Write, tmp_path: Path) -> None:
    """Two folders at 3 and 3 train as at 1 and 1, at 3 and 1 they do not; the curve's epochs count all repeats."""
    found, epochs = {}, {}
    for first, second in ((1, 1), (3, 3), (3, 1)):
        for folder, repeats, colours in (("a", first, (10, 20)), ("b", second, (30, 40))):
            write(f"set {first} {second}/{repeats}_{folder}", *colours, caption="a #, b, c")
        config = settings(tmp_path, tmp_path / f"set {first} {second}", evaluation_images=0)
        found[first, second] = trained(config, host)
        newest = max((tmp_path / "runs").rglob("loss.csv"), key=lambda path: path.stat().st_mtime_ns)
        epochs[first, second] = [int(row["epoch"]) for row in read_curve(newest)][-1]
    assert torch.equal(found[3, 3], found[1, 1])
    assert not torch.equal(found[3, 1], found[1, 1])
    assert epochs == {(1, 1): 2, (3, 3): 0, (3, 1): 1}


def test_a_run_of_subsets_resumes_bit_for_bit(host: FakeHost, write: Write, tmp_path: Path) -> None:
    """Stopped and resumed it is the run that was not; what a subset has otherwise since is told by its name."""
    write("set/3_a", 10, 20, caption="a #, b, c")
    write("set/1_b", 30, 40, caption="a #, b, c")
    plain = settings(tmp_path, tmp_path / "set")
    for given in (
        {},
        {"enable_wildcard": True, "caption_suffix": "{big|small}"},
        {"keep_tokens": 1, "caption_dropout_rate": 0.4},
        {"caption_dropout_every_n_epochs": 2},
        {"token_warmup_step": 0.7},
    ):
        config = plain.but(**given)
        whole = trained(config, host)
        assert torch.equal(trained(config, host, stop=3), whole)
        assert torch.equal(whole, trained(plain, host)) is (given == {})


def test_facts_say_what_subsets_have_of_their_own(host: FakeHost, write: Write, tmp_path: Path) -> None:
    """By name, without paths; a run of one folder has none."""
    write("set/3_a", 10, 20)
    write("set/1_b", 30, 40)
    prepared = preflight.prepare_run(settings(tmp_path, tmp_path / "set"), host)
    facts = run_facts(prepared, host)
    assert facts["subsets"] == {"1_b": {"class_tokens": "b"}, "3_a": {"repeats": 3, "class_tokens": "a"}}
    assert str(tmp_path) not in str(facts)
    assert "subsets" not in run_facts(preflight.prepare_run(settings(tmp_path, tmp_path / "set" / "3_a"), host), host)


def test_subsets_in_another_order_are_other_numbers(host: FakeHost, write: Write, tmp_path: Path) -> None:
    """Numbers of the data order, and images held out, would be others: it is told, and evaluations start over."""
    places = [write("cats", 10, 20), write("dogs", 30, 40)]
    facts, bases = [], []
    for order in (places, places[::-1]):
        subsets = [{"image_dir": str(place)} for place in order]
        (tmp_path / "set.json").write_text(json.dumps({"datasets": [{"subsets": subsets}]}), "utf-8")
        config = settings(tmp_path, Path(), dataset_config=str(tmp_path / "set.json")).but(images="")
        prepared = preflight.prepare_run(config, host)
        facts.append(state_facts(prepared, host, torch.device("cpu")))
        bases.append(evaluation_basis(prepared, facts[-1]))
    assert order_facts(facts[0]) != order_facts(facts[1])
    assert order_facts(json.loads(json.dumps(facts[0]))) == order_facts(facts[0])
    assert said(differences(facts[0], facts[1]), "run.images_reordered")
    assert differences(facts[0], facts[0]) == []
    assert bases[0] != bases[1]


def test_other_repeats_are_told_when_a_run_resumes(host: FakeHost, write: Write, tmp_path: Path) -> None:
    """As a difference of that subset."""
    write("set/3_a", 10, 20)
    write("set/1_b", 30, 40)
    config, notices, folders = settings(tmp_path, tmp_path / "set"), [], []
    controls = RunControls()

    def report(event: Event) -> None:
        if isinstance(event, Prepared):
            folders.append(event.folder)
        if isinstance(event, Noticed):
            notices.append(event.text)
        if isinstance(event, Step) and event.number == 3:
            controls.stop.set()

    runner.run(config, host, report, controls)
    controls.stop.clear()
    (tmp_path / "set" / "3_a").rename(tmp_path / "set" / "4_a")
    runner.resume(folders[0].path, host, report=report, controls=controls)
    assert said(notices, "run.images_added", files="4_a/10.png, 4_a/20.png")
