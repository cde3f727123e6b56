"""Several words in one run, and which of its prompts and images each of them learns from."""

from __future__ import annotations

from typing import Any

import pytest

from tests.messages import ids, refused
from tests.run.test_several_words import ONE, OTHER, Runs, pipeline, runs
from tinv_ext.core.data.split import split_examples
from tinv_ext.core.settings import TrainConfig
from tinv_ext.run import preflight

__all__ = ["pipeline", "runs"]  # the fixtures


def test_a_prompt_that_holds_one_of_several_words_lacks_none(runs: Runs) -> None:
    """prepend_word leaves it alone: the first word would learn what another one names. A subset needs its own word."""
    for folder, caption in (("one", "a house"), ("other", f"{OTHER} house")):
        for path in (runs.place / folder).glob("*.png"):
            path.with_suffix(".txt").write_text(caption, "utf-8")
    words = [{"name": ONE}, {"name": OTHER}]
    given = {"words": words, "template": "none", "prepend_word": True}

    def prompts(config: TrainConfig) -> list[str]:
        return preflight.prepare_run(config, runs.host).prompts(1)

    with refused("preflight.word_never_taught", word=ONE):
        prompts(runs.config(images=str(runs.place / "other"), **given))
    assert prompts(runs.config(images=str(runs.place / "one"), **{**given, "words": words[:1]})) == [f"{ONE} a house"]
    file = runs.place / "words.toml"
    subsets = [f'[[datasets.subsets]]\nimage_dir = "{name}"\n' for name in ("other", "one")]
    file.write_text("[[datasets]]\n" + "".join(subsets), "utf-8")
    prepared = preflight.prepare_run(runs.config(dataset_config=str(file), **given), runs.host)
    assert prepared.prompts(2) == [f"{OTHER} house", f"{ONE} a house"]
    file.write_text(f'[[datasets]]\n{subsets[0]}words = ["{ONE}"]\n{subsets[1]}words = ["{OTHER}"]\n', "utf-8")
    prepared = preflight.prepare_run(runs.config(dataset_config=str(file), **given), runs.host)
    assert prepared.prompts(2) == [f"{ONE} {OTHER} house", f"{OTHER} a house"]


def test_a_word_keeps_an_image_to_learn_from(runs: Runs) -> None:
    """Where the seed holds out the only one that it has, the run is refused; by another seed it trains."""
    for path in sorted((runs.place / "other").glob("*.png"))[1:]:
        path.unlink()
    found = set()
    for seed in range(8):
        config = runs.config(words=runs.tables(), evaluation_images=1, evaluate_every=2, seed=seed)
        measured = split_examples(4, 1, 1, seed)[1]
        if measured == [3]:
            with refused("preflight.word_held_out", word=OTHER):
                preflight.prepare_run(config, runs.host)
        else:
            preflight.prepare_run(config, runs.host)
        found.add(measured == [3])
    assert found == {True, False}
    table = runs.tables(train=False)  # which is to learn nothing
    seed = next(seed for seed in range(8) if split_examples(4, 1, 1, seed)[1] == [3])
    preflight.prepare_run(runs.config(words=table, evaluation_images=1, seed=seed), runs.host)


def test_each_word_has_images_of_its_own_class(runs: Runs) -> None:
    """Generated into a folder for each; one that is named for all would have those of the last."""
    one, other = runs.tables()
    given: dict[str, Any] = {"num_class_images": 2, "class_prompt": "a photo of [name]"}

    def prompts(**more: Any) -> dict[str, set[str]]:
        images = preflight.prepare_run(runs.config(**more), runs.host).to_generate
        assert len({image.path for image in images}) == len(images)
        by_folder: dict[str, set[str]] = {}
        for image in images:
            by_folder.setdefault(image.path.parent.name, set()).add(image.request.prompt)
        return by_folder

    assert [*prompts(words=[one, other], **given).values()] == [{"a photo of cat"}, {"a photo of dog"}]
    assert [*prompts(words=[one, {**other, **given}]).values()] == [{"a photo of dog"}]
    own = {**other, "reg_images": str(runs.place / "dogs")}
    assert prompts(words=[one, own], **given)["dogs"] == {"a photo of dog"}
    assert prompts(words=[one, other], **{**given, "prior_loss_weight": 0}) == {}
    with refused("preflight.class_images_clash", one="a photo of cat", other="a photo of dog"):
        prompts(words=[one, other], reg_images=str(runs.place / "classes"), **given)


def test_a_word_may_have_a_dataset_config_of_its_own(runs: Runs) -> None:
    """Whose subsets are its images, and no other word's; that of the run is no word's own."""
    file = runs.place / "one.toml"
    file.write_text('[[datasets]]\n[[datasets.subsets]]\nimage_dir = "one"\nnum_repeats = 3\n', "utf-8")
    one, other = runs.tables()
    del one["images"]
    prepared = preflight.prepare_run(runs.config(words=[{**one, "dataset_config": str(file)}, other]), runs.host)
    found = [(subset.name, subset.source.words, subset.config.repeats) for subset in prepared.subsets]
    assert found == [(ONE, (ONE,), 3), (OTHER, (OTHER,), 1)]
    with refused("captions.unreadable"):
        preflight.prepare_run(runs.config(words=[{**one, "dataset_config": "nowhere.toml"}, other]), runs.host)


def test_a_size_of_0_is_that_of_the_run(runs: Runs) -> None:
    """Of a word's own images as of a subset's: no image can be brought to it."""
    one, other = runs.tables(width=0, height=0)
    file = runs.place / "sizes.toml"
    file.write_text('[[datasets]]\nwidth = 0\nheight = 128\n[[datasets.subsets]]\nimage_dir = "one"\n', "utf-8")
    for given in ({"words": [one, other]}, {"name": ONE, "dataset_config": str(file), "prepend_word": True}):
        prepared = preflight.prepare_run(runs.config(**given), runs.host)
        assert {subset.config.width for subset in prepared.subsets} == {64}
    assert prepared.subsets[0].config.height == 128


def test_images_of_a_word_may_be_at_the_hub(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of a run may."""
    monkeypatch.setattr(preflight, "fetch_images", lambda text: runs.place / text.removeprefix("hub:ann/"))
    one, other = runs.tables()
    prepared = preflight.prepare_run(runs.config(words=[{**one, "images": "hub:ann/other"}, other]), runs.host)
    assert [subset.scan.folder for subset in prepared.subsets] == [runs.place / "other"] * 2
    prepared = preflight.prepare_run(runs.config(name=ONE, images="hub:ann/one"), runs.host)
    assert prepared.subsets[0].scan.folder == runs.place / "one"


def test_a_word_without_a_prompt_is_told_whatever_else_there_is(runs: Runs) -> None:
    """Also beside regularization images that are not used; not where it is unknown which images there are."""
    for path in (runs.place / "one").glob("*.png"):
        path.with_suffix(".txt").write_text(f"{ONE} house", "utf-8")
    given: dict[str, Any] = {"words": [{"name": ONE}, {"name": OTHER}], "template": "none"}
    with refused("preflight.word_never_taught", word=OTHER) as caught:
        config = runs.config(images=str(runs.place / "one"), reg_images=str(runs.place / "other"), **given)
        preflight.prepare_run(config, runs.host)
    assert ids(caught.value.problems) == ["preflight.word_never_taught"]
    with refused("captions.unreadable") as caught:
        preflight.prepare_run(runs.config(dataset_config="nowhere.toml", **given), runs.host)
    assert ids(caught.value.problems) == ["captions.unreadable"]
