"""Several words in one run: each learns from its own images as it would alone, stops, is saved and resumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from torch import Tensor

from tests.hosts.diffusers.small_pipelines import sd1
from tests.messages import ids, refused, said
from tinv_ext.core.errors import InputError
from tinv_ext.core.formats import read_embedding
from tinv_ext.core.preflight.prepare import PreparedRun
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.training import trainer
from tinv_ext.core.training.draws import Draw, sample_batch
from tinv_ext.core.training.forward import assemble, compute, denoising_losses, encode_prompts
from tinv_ext.core.training.gradients import add_gradients
from tinv_ext.core.training.ranks import ALONE, taker_of
from tinv_ext.core.training.state import State
from tinv_ext.core.training.trainer import Step
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.run import preflight, runner
from tinv_ext.run.chosen_step import use_step
from tinv_ext.run.curve import read_curve
from tinv_ext.run.events import Event, Prepared, RunControls, Wrote
from tinv_ext.run.run_folder import RunFolder
from tinv_ext.run.setup import dataset_of, encoded_examples
from tinv_ext.run.status import Status

ONE, OTHER = "zworble", "quixxly"
Vectors = dict[str, Tensor]


@pytest.fixture(scope="module")
def pipeline() -> StableDiffusionPipeline:
    """One pipeline for all runs."""
    return sd1()


class Runs:
    """Runs on two folders of images, with all that is random in a run switched on."""

    def __init__(self, pipeline: StableDiffusionPipeline, place: Path) -> None:
        self.pipeline, self.place = pipeline, place
        self.folder: RunFolder | None = None
        self.wrote: list[Path] = []
        self.status: Status | None = None
        for folder, shades in (("one", (10, 60, 110)), ("other", (150, 200, 250))):
            (place / folder).mkdir()
            for shade in shades:
                Image.new("RGB", (64, 64), (shade, 200 - shade // 2, 30)).save(place / folder / f"{shade} a, b.png")

    @property
    def host(self) -> DiffusersHost:
        """A fresh one."""
        return DiffusersHost(self.pipeline, self.place / "embeddings", {"model_name": "tiny"})

    def tables(self, **of_other: Any) -> list[dict[str, Any]]:
        """Both words with a folder each."""
        one = {"name": ONE, "images": str(self.place / "one"), "init_text": "cat"}
        return [
            one,
            {"name": OTHER, "images": str(self.place / "other"), "init_text": "dog", "num_vectors": 2, **of_other},
        ]

    def config(self, **given: Any) -> TrainConfig:
        """A short run."""
        values: dict[str, Any] = {"output": str(self.place / "runs"), "overwrite": True, "steps": 6, "seed": 3}
        values |= {
            "width": 64,
            "height": 64,
            "template": "subject_filewords",
            "shuffle_tags": True,
            "preset": "classic",
        }
        values |= {"preview_every": 0, "evaluate_every": 0, "save_state_every": 2, "preview_steps": 1}
        return TrainConfig.from_dict({**values, **given})

    def train(self, stops: tuple[int, ...] = (), **given: Any) -> dict[str, Vectors]:
        """The vectors of a run in its files, by word; it is stopped after the steps `stops`, and resumed."""
        controls = RunControls()

        def report(event: Event) -> None:
            if isinstance(event, Prepared):
                self.folder = event.folder
            if isinstance(event, Wrote):
                self.wrote.append(event.path)
            if isinstance(event, Step) and event.number in stops:
                controls.stop.set()

        config = self.config(**given)
        self.status = runner.run(config, self.host, report, controls)
        for _ in stops:
            controls.stop.clear()
            assert self.folder
            self.status = runner.resume(self.folder.path, self.host, report=report, controls=controls)
        names = [word.name for word in config.word_settings]
        return {name: read_embedding(self.place / "embeddings" / f"{name}.pt").vectors for name in names}


@pytest.fixture
def runs(pipeline: StableDiffusionPipeline, tmp_path: Path) -> Runs:
    """In a folder of their own."""
    return Runs(pipeline, tmp_path)


def same(one: dict[str, Vectors], other: dict[str, Vectors]) -> bool:
    """Whether all vectors of all words are equal, bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name]["clip_l"], other[name]["clip_l"]) for name in one)


ALIKE: dict[str, dict[str, Any]] = {
    "adamw": {},
    "ssm": {"optimizer": "ssm", "learning_rate": "0.2"},
    "ong": {"optimizer": "ong", "learning_rate": 1, "ema_decay": 0.9, "batch_size": 2, "timestep_balance": 1},
}


@pytest.mark.parametrize("given", ALIKE.values(), ids=list(ALIKE))
def test_a_run_that_was_stopped_equals_one_that_was_not(runs: Runs, given: dict[str, Any]) -> None:
    """Twice interrupted, with the state from disk: the same vectors of both words, bit for bit, and both have moved."""
    whole = runs.train(words=runs.tables(lr_factor=0.5, stop_training_after=4), **given)
    assert same(runs.train(stops=(1, 3), words=runs.tables(lr_factor=0.5, stop_training_after=4), **given), whole)
    state = runs.train(words=runs.tables(train=False), **given)
    assert not torch.equal(state[OTHER]["clip_l"], whole[OTHER]["clip_l"])
    assert {name: tuple(one["clip_l"].shape) for name, one in whole.items()} == {ONE: (1, 32), OTHER: (2, 32)}


@pytest.mark.parametrize("given", ALIKE.values(), ids=list(ALIKE))
def test_a_frozen_word_stays_bit_for_bit(runs: Runs, given: dict[str, Any]) -> None:
    """The file has the vectors of its initialization text; the other word moves."""
    found = runs.train(words=runs.tables(train=False), **given)
    ids = runs.host.token_table.tokenizer.ids("dog")
    start = runs.host.token_table.token_vectors([ids[0]] * 2)["clip_l"]
    assert torch.equal(found[OTHER]["clip_l"], start)
    moved = runs.host.token_table.token_vectors(runs.host.token_table.tokenizer.ids("cat"))["clip_l"]
    assert not torch.equal(found[ONE]["clip_l"], moved)


@pytest.mark.parametrize("given", ALIKE.values(), ids=list(ALIKE))
def test_a_word_that_stops_stays_as_it_was_then(runs: Runs, given: dict[str, Any]) -> None:
    """From its last step on it is as its snapshot of that step, also where an optimizer has momentum."""
    found = runs.train(words=runs.tables(stop_training_after=3), save_every=3, result="last", **given)
    assert runs.folder
    (at_3,) = runs.folder.snapshots(OTHER)[3]
    (one_at_3,) = runs.folder.snapshots(ONE)[3]
    assert torch.equal(read_embedding(at_3).vectors["clip_l"], found[OTHER]["clip_l"])
    assert not torch.equal(read_embedding(one_at_3).vectors["clip_l"], found[ONE]["clip_l"])


@pytest.mark.parametrize(
    "given", [{}, ALIKE["ssm"], {"optimizer": "ong", "learning_rate": 1}], ids=["adamw", "ssm", "ong"]
)
def test_words_in_other_prompts_learn_as_alone(
    runs: Runs, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A word whose batches are seen by a run of its own comes out the same: its gradients, and what is remembered."""
    draws: list[Draw] = []

    def recorded(*args: Any) -> Draw:
        draws.append(sample_batch(*args))
        return draws[-1]

    def begun(**given: Any) -> tuple[PreparedRun, State]:
        prepared = preflight.prepare_run(runs.config(steps=12, **given), runs.host)
        return prepared, prepared.new_state(torch.device("cpu"))

    prepared, both = begun(words=runs.tables(), **given)
    with runs.host.training(0) as model:
        examples, _ = encoded_examples(prepared, model)
        data = dataset_of(prepared, examples)
        monkeypatch.setattr(trainer, "sample_batch", recorded)
        for _ in trainer.train(both, prepared.plan, model, data):
            pass
        for table in runs.tables():
            name = table["name"]
            own = iter([draw for draw in draws if draw.batch.prompts[0].holds(name)])
            alone_prepared, alone = begun(**table, **given)
            monkeypatch.setattr(trainer, "sample_batch", lambda *args, own=own: next(own))
            count = sum(draw.batch.prompts[0].holds(name) for draw in draws)
            assert 0 < count < 12
            for _ in trainer.train(alone, replace(alone_prepared.plan, steps=count), model, data):
                pass
            vectors, wanted = alone.values(name)["clip_l"], both.values(name)["clip_l"]
            assert (vectors - wanted).norm() <= 1e-6 * wanted.norm()


def test_each_word_has_its_files(runs: Runs) -> None:
    """Embeddings, snapshots, previews, images that carry it and its curve, each under its own name."""
    given = {"preview_every": 3, "save_every": 3, "evaluate_every": 3, "preview_at_first": False}
    found = runs.train(words=runs.tables(), **given)
    assert runs.folder
    names = {path.relative_to(runs.folder.path).as_posix() for path in runs.folder.path.rglob("*.*") if path.is_file()}
    for word in (ONE, OTHER):
        expected = {f"embeddings/{word}-{step}.pt" for step in (3, 6)} | {f"words/{word}.csv"}
        expected |= {f"{kind}/{word}-{step}.png" for kind in ("images", "image_embeddings") for step in (3, 6)}
        assert expected <= names
        carried = read_embedding(runs.folder.path / f"image_embeddings/{word}-6.png")
        assert torch.allclose(carried.vectors["clip_l"], found[word]["clip_l"], atol=1e-3)
        rows = read_curve(runs.folder.word_curve(word))
        assert [int(row["step"]) for row in rows] == list(range(7))
        assert all(rows[step]["evaluation"] for step in (3, 6))
    losses = [[row["loss"] for row in read_curve(runs.folder.word_curve(word))[1:]] for word in (ONE, OTHER)]
    whole = [row["loss"] for row in read_curve(runs.folder.curve)[1:]]
    assert [a or b for a, b in zip(*losses)] == whole  # a batch of one has one word
    facts = read_embedding(runs.place / "embeddings" / f"{OTHER}.pt").facts
    assert (facts["settings"]["name"], facts["settings"]["init_text"]) == (OTHER, "dog")
    assert str(runs.place) not in str(facts)


def test_another_step_is_used_for_all_words(runs: Runs) -> None:
    """`use_step` puts the snapshots of one step where prompts find them, and into the folder for diffusers."""
    runs.train(words=runs.tables(), save_every=3, save_format="diffusers-folder")
    assert runs.folder
    use_step(runs.folder, ONE, 3, runs.host)
    for word in (ONE, OTHER):
        (snapshot,) = runs.folder.snapshots(word)[3]
        used = read_embedding(runs.place / "embeddings" / f"{word}.pt").vectors["clip_l"]
        assert torch.equal(used, read_embedding(snapshot).vectors["clip_l"])
        assert torch.equal(used, read_embedding(runs.folder.diffusers / word).vectors["clip_l"])


def test_captions_may_hold_both(runs: Runs) -> None:
    """One folder, whose captions name the words: both learn; one that none names is told."""
    for path in (runs.place / "one").glob("*.png"):
        path.with_suffix(".txt").write_text(f"{ONE} beside {OTHER}", "utf-8")
    words = [{"name": ONE}, {"name": OTHER}]
    given = {"images": str(runs.place / "one"), "template": "none"}
    starts = runs.host.token_table.token_vectors(runs.host.token_table.tokenizer.ids("*"))["clip_l"]
    assert all(not torch.equal(one["clip_l"], starts) for one in runs.train(words=words, **given).values())
    with refused("preflight.word_never_taught", word="blorfin"):
        preflight.prepare_run(runs.config(words=[*words, {"name": "blorfin"}], **given), runs.host)


def test_a_dataset_config_says_which_word_a_subset_teaches(runs: Runs) -> None:
    """[name] is the word of the subset; a word that the run does not have is refused."""
    file = runs.place / "words.toml"

    def write(word: str) -> TrainConfig:
        folders = [("one", ONE), ("other", word)]
        subsets = [f'[[datasets.subsets]]\nimage_dir = "{name}"\nwords = ["{word}"]\n' for name, word in folders]
        file.write_text("[[datasets]]\n" + "".join(subsets), "utf-8")
        return runs.config(words=[{"name": ONE}, {"name": OTHER}], dataset_config=str(file), template="subject")

    prepared = preflight.prepare_run(write(OTHER), runs.host)
    assert [one.source.words for one in prepared.subsets] == [(ONE,), (OTHER,)]
    assert [name in prompt for name, prompt in zip((ONE, OTHER), prepared.prompts(2))] == [True, True]
    with refused("preflight.subset_of_unknown_word", word="blorfin"):
        preflight.prepare_run(write("blorfin"), runs.host)


BAD: dict[str, tuple[list[dict[str, Any]], str]] = {
    "words that contain each other": ([{"name": ONE}, {"name": f"{ONE}-b"}], "preflight.word_in_word"),
    "nothing to train": (
        [{"name": ONE, "train": False}, {"name": OTHER, "lr_factor": 0}],
        "preflight.nothing_to_train",
    ),
    "a known word": ([{"name": ONE}, {"name": "cat"}], "preflight.name_is_a_token"),
    "an own rate beside a schedule": (
        [{"name": ONE}, {"name": OTHER, "learning_rate": 0.1}],
        "preflight.rate_beside_schedule",
    ),
}


@pytest.mark.parametrize(("words", "id"), BAD.values(), ids=list(BAD))
def test_what_cannot_be_is_told_before_anything_starts(runs: Runs, words: list[dict[str, Any]], id: str) -> None:  # noqa: A002
    """A sentence each, and nothing is written."""
    folders = [{**word, "images": str(runs.place / folder)} for word, folder in zip(words, ("one", "other"))]
    with refused(id):
        runner.run(runs.config(words=folders, learning_rate="0.1:3, 0.01"), runs.host)
    assert not (runs.place / "runs").exists()


@pytest.mark.parametrize("name", [ONE, ONE.upper()])
def test_a_word_that_comes_twice_is_all_that_is_told(runs: Runs, name: str) -> None:
    """Nothing that only follows from it: no names that clash, no word without images, no images that come twice."""
    values = {**runs.config().to_dict(), "images": str(runs.place / "one"), "overwrite": False}
    del values["name"]
    other = {"name": OTHER, "images": str(runs.place / "other")}
    twin = {"name": name, "images": str(runs.place / "one")}
    for words in ([{"name": ONE}, other, twin], [twin, other, {"name": ONE}], [other, twin, twin]):
        with pytest.raises(InputError) as caught:
            preflight.parse_settings({**values, "words": words}, runs.host)
        spelled = {str(word["name"]) for word in words} - {OTHER}
        expected = "same_word_twice" if len(spelled) == 1 else "words_differ_in_case"
        assert ids(caught.value.problems) == [f"settings.{expected}"]
    if name != ONE:
        with pytest.raises(InputError) as caught:
            preflight.parse_settings({**values, "name": ONE, "words": [other, twin]}, runs.host)
        assert ids(caught.value.problems) == ["settings.words_differ_in_case"]


def test_the_words_of_a_run_cannot_change_on_the_way(runs: Runs) -> None:
    """Their names and beginnings; rates and stops can."""
    controls = RunControls()
    controls.stop.set()
    runs.train(stops=(2,), words=runs.tables(), steps=4)
    assert runs.folder
    with refused("run.words_cannot_change"):
        runner.resume(runs.folder.path, runs.host, {"words": runs.tables(num_vectors=3), "steps": 8})
    status = runner.resume(runs.folder.path, runs.host, {"words": runs.tables(lr_factor=0.1), "steps": 8})
    assert (status.status, status.steps) == ("finished", 8)


def test_a_run_ends_when_all_words_have_stopped(runs: Runs) -> None:
    """It is said beforehand."""
    words = [{**table, "stop_training_after": stop} for table, stop in zip(runs.tables(), (2, 4))]
    prepared = preflight.prepare_run(runs.config(words=words), runs.host)
    assert prepared.plan.steps == 4
    assert said(prepared.notices, "preflight.words_end", end=4, steps=6)


# --- negative words --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ALIKE.values(), ids=list(ALIKE))
def test_a_negative_word_is_trained_beside_its_word(runs: Runs, given: dict[str, Any]) -> None:
    """DreamArtist's pair: both move and have files, it resumes as it was, and the rate of the negative word counts."""
    pair = {"name": ONE, "images": str(runs.place / "one"), "use_negative": True, "nvpt_neg": 3, **given}
    whole = runs.train(**pair)
    assert {name: len(one["clip_l"]) for name, one in whole.items()} == {ONE: 1, f"{ONE}-neg": 3}
    assert same(runs.train(stops=(1, 3), **pair), whole)
    start = runs.host.token_table.token_vectors(runs.host.token_table.tokenizer.ids("*") * 3)["clip_l"]
    assert not torch.equal(whole[f"{ONE}-neg"]["clip_l"], start)
    frozen = runs.train(**pair, neg_lr_w=0)
    assert torch.equal(frozen[f"{ONE}-neg"]["clip_l"], start)
    assert not same(runs.train(**pair, cfg_scale=3), whole)


def test_guidance_is_in_the_loss(runs: Runs) -> None:
    """By hand: the answer is negative + scale × (positive - negative), and both vectors have its gradient."""
    given = {"name": ONE, "images": str(runs.place / "one"), "use_negative": True, "cfg_scale": 4, "batch_size": 2}
    prepared = preflight.prepare_run(runs.config(**given), runs.host)
    with runs.host.training(0) as model:
        examples, _ = encoded_examples(prepared, model)
        data, state = dataset_of(prepared, examples), prepared.new_state(torch.device("cpu"))
        with torch.no_grad():  # apart from each other, or the negative prompt has the same answer
            state.vectors[f"{ONE}-neg"]["clip_l"] += 0.5
        batch = data.batch(2, state.order, state.rng)
        assert [prompt.holds(f"{ONE}-neg") for prompt in batch.negatives] == [True, True]
        assert not any(prompt.holds(ONE) for prompt in batch.negatives)
        noise, timesteps = torch.randn(batch.latents.shape), torch.tensor([100, 700])
        noisy = model.noise.add(batch.latents, noise, timesteps)
        answers = [
            model.denoise(noisy, timesteps, encode_prompts(model, prompts, state.vectors, batch.size_conds))
            for prompts in (batch.prompts, batch.negatives)
        ]
        guided = answers[1] + 4 * (answers[0] - answers[1])
        expected = (guided - noise).square().mean((1, 2, 3))
        losses = denoising_losses(model, batch, state.vectors, noise, timesteps)
        assert torch.allclose(losses, expected, rtol=1e-4)
        leaves = state.leaves()
        for mine, its in zip(torch.autograd.grad(losses.sum(), leaves), torch.autograd.grad(expected.sum(), leaves)):
            assert float(mine.abs().max()) > 0
            assert torch.allclose(mine, its, rtol=1e-3, atol=1e-6)


def test_the_gradient_of_each_example_is_that_of_both_prompts(runs: Runs) -> None:
    """What the natural gradient is given of a pair adds up to what others are given."""
    given = {
        "name": ONE,
        "images": str(runs.place / "one"),
        "use_negative": True,
        "batch_size": 2,
        **ALIKE["ong"],
    }
    prepared = preflight.prepare_run(runs.config(**given), runs.host)
    with runs.host.training(0) as model:
        examples, _ = encoded_examples(prepared, model)
        state = prepared.new_state(torch.device("cpu"))
        batch = dataset_of(prepared, examples).batch(2, state.order, state.rng)
        inputs = assemble(model, batch, state.vectors, torch.randn(batch.latents.shape), torch.tensor([100, 700]))
        losses = compute(model, inputs, state.vectors, prepared.plan.objective)
        expected = torch.autograd.grad(losses.sum() / 2, state.leaves())
        add_gradients(model, inputs, state, prepared.plan.objective, 2, taker_of(state, ALONE))
        for leaf, gradient in zip(state.leaves(), expected):
            assert leaf.grad is not None
            assert torch.allclose(leaf.grad / model.loss_scale, gradient, rtol=1e-3, atol=1e-6)


def test_previews_use_both_words_of_a_pair(runs: Runs) -> None:
    """The negative one in the negative prompt, and each image carries either in a file."""
    given = {"name": ONE, "images": str(runs.place / "one"), "use_negative": True, "preview_every": 6}
    runs.train(**given, preview_at_first=False)
    assert runs.folder
    prepared = preflight.prepare_run(runs.config(**given), runs.host)
    (request,) = prepared.shown[0].requests
    assert (request.prompt, request.negative_prompt) == (f"a photo of {ONE}", f"{ONE}-neg")
    carriers = {path.name for path in (runs.folder.path / "image_embeddings").iterdir()}
    assert carriers == {f"{ONE}-6.png", f"{ONE}-neg-6.png"}
