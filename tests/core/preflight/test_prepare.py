"""Everything that is found out before a run: all problems at once, in sentences with what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.conftest import SmallTokenTable
from tests.messages import ids, said
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import InputError
from tinv_ext.core.formats import write_embedding
from tinv_ext.core.messages import Message
from tinv_ext.core.preflight.initial_vectors import InitialVectors
from tinv_ext.core.preflight.prepare import PreparedRun, prepare
from tinv_ext.core.prompts.reader import Word
from tinv_ext.core.settings import TrainConfig

Prepare = Callable[..., PreparedRun]
CAPTIONS = {"a": "a cat, sitting", "b": "a cat, zworble", "第三": "a (cat:1.4) [x]"}


UNUSED_AND_PLAN = ["preflight.captions_unused", "preflight.plan"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images with captions."""
    place = tmp_path / "my images"
    place.mkdir()
    for stem, caption in CAPTIONS.items():
        Image.new("RGB", (64, 64), (ord(stem[0]) % 256, 0, 0)).save(place / f"{stem}.png")
        (place / f"{stem}.txt").write_text(caption, "utf-8")
    return place


@pytest.fixture
def ready(folder: Path, token_table: SmallTokenTable) -> Prepare:
    """`prepare` with settings that are right, but for those given."""

    def make(
        known: Sequence[Word] = (), resumed: InitialVectors | None = None, files: Any = (), **given: Any
    ) -> PreparedRun:
        values = {"name": "zworble", "images": str(folder), "width": 64, "height": 64, "steps": 100, **given}
        values.setdefault("learning_rate", "100")  # the vectors of this model are about a thousand long
        return prepare(TrainConfig(**values), token_table, known, resumed and {values["name"]: resumed}, files)

    return make


def told(ready: Prepare, **given: Any) -> tuple[str, ...]:
    """The problems with these settings."""
    with pytest.raises(InputError) as caught:
        ready(**given)
    return caught.value.problems


def word(token_table: SmallTokenTable, name: str, count: int = 1) -> Word:
    """A known embedding."""
    return Word(name, tuple(token_table.tokenizer.ids(name)), count)


def test_what_is_right_is_ready(ready: Prepare, folder: Path) -> None:
    """Images with their captions, prompts, vectors, and the plan; no caption is used, and the plan."""
    found = ready(num_vectors=3, batch_size=2, gradient_accumulation_steps=3)
    assert found.subsets[0].texts == list(CAPTIONS.values())
    assert found.words[0].initial.count == 3
    assert (found.plan.steps, found.plan.batch_size, found.plan.accumulate) == (100, 2, 3)
    assert ids(found.notices) == UNUSED_AND_PLAN
    assert said(found.notices, "preflight.plan", steps=100, batch=6, times="200")
    assert found.prompts(2) == ["a photo of zworble", "a picture of zworble"]
    assert found.reader.read("zworble").length == 3


@pytest.mark.parametrize("around", ['"{}"', "'{}'", "  {} ", '"{}" '])
def test_a_pasted_path_means_the_folder(ready: Prepare, folder: Path, around: str) -> None:
    """Quotes and blanks around it are what Explorer and terminals put there."""
    assert ready(images=around.format(folder)).subsets[0].scan.folder == folder


def test_nothing_is_written(ready: Prepare, tmp_path: Path) -> None:
    """Neither when all is right nor when it is not."""
    before = sorted(tmp_path.rglob("*"))
    ready(output=str(tmp_path / "out"))
    told(ready, output=str(tmp_path / "out"), steps=-1)
    assert sorted(tmp_path.rglob("*")) == before


def test_all_problems_are_told_at_once(ready: Prepare, folder: Path) -> None:
    """Wrong settings, folder, template, embedding and name: one sentence each, none twice, none hidden by another."""
    (folder / "a.txt").write_bytes("é".encode("cp1252"))
    problems = told(
        ready,
        name="cat",
        template="nope",
        init_embedding="gone.pt",
        steps=0,
        width=63,
        num_vectors=-1,
        caption_regex="(",
    )
    wanted: list[tuple[str, dict[str, Any]]] = [
        ("settings.too_small", {"name": "steps", "value": 0}),
        ("settings.too_small", {"name": "width", "value": 63}),
        ("settings.too_small", {"name": "num_vectors", "value": -1}),
        ("settings.invalid", {"name": "caption_regex"}),
        ("captions.no_template", {"template": "nope"}),
        ("preflight.unusable_start", {}),
        ("captions.not_utf8", {"path": folder / "a.txt"}),
        ("preflight.name_is_a_token", {"name": "cat"}),
    ]
    for id, values in wanted:  # noqa: A001
        assert [said([problem], id, **values) for problem in problems].count(True) == 1, (id, values)
    assert len(problems) == len(wanted)
    assert said(told(ready, images="/not/there", template="nope", name="")[:1], "settings.invalid", name="name")
    assert len(told(ready, images="/not/there", template="nope", name="")) == 3


def test_no_folder_is_told(ready: Prepare) -> None:
    """Empty is not the folder where the program happens to run."""
    assert ids(told(ready, images=" ")) == ["preflight.no_image_folder"]
    assert "~nobody-of-this-name" in told(ready, images="~nobody-of-this-name/x")[0]


def test_images_whose_prompts_lack_the_word_are_named(ready: Prepare) -> None:
    """After expansion, with an example; the offer mends it; a word written into the caption is enough."""
    problems = told(ready, template="none")
    missing = {"count": 2, "total": 3, "word": "zworble", "files": "a.png, 第三.png", "prompt": "a cat, sitting"}
    assert ids(problems) == ["preflight.word_missing"]
    assert said(problems, "preflight.word_missing", **missing)
    mended = ready(template="none", prepend_word=True)
    assert mended.prompts(3) == ["zworble a cat, sitting", "a cat, zworble", "zworble a (cat:1.4) [x]"]


def test_every_line_of_a_template_must_hold_the_word(ready: Prepare, tmp_path: Path) -> None:
    """One line without it is enough to refuse, as it would be drawn some day."""
    (tmp_path / "t.txt").write_text("a [name]\na photo of [filewords]\n")
    assert said(told(ready, template=str(tmp_path / "t.txt")), "preflight.word_missing", count=2, total=3)


def test_the_word_is_found_by_tokens_not_by_letters(ready: Prepare, folder: Path) -> None:
    """ "zworbles" in a caption is not the word: it is refused, and prepend_word puts it in front."""
    for stem in CAPTIONS:
        (folder / f"{stem}.txt").write_text("many zworbles")
    assert said(told(ready, template="none"), "preflight.word_missing", count=3, total=3)
    assert ready(template="none", prepend_word=True).prompts(1) == ["zworble many zworbles"]


@pytest.mark.parametrize("name", ["cat", "Cat", "a", "7"])
def test_a_word_of_the_vocabulary_is_refused(ready: Prepare, name: str) -> None:
    """With a name that would do."""
    (problem,) = told(ready, name=name)
    assert said([problem], "preflight.name_is_a_token", name=name)
    assert f'"{name}-1"' in problem


def test_a_taken_name_is_refused_unless_it_may_be_replaced(ready: Prepare, token_table: SmallTokenTable) -> None:
    """Whatever its case; with overwrite, and in a run that goes on, it may be."""
    known = [word(token_table, "ZWORBLE", 4)]
    problems = told(ready, known=known)
    assert ids(problems) == ["preflight.embedding_exists"]
    assert said(problems, "preflight.embedding_exists", name="ZWORBLE")
    assert ready(known=known, overwrite=True).reader.read("zworble").length == 1
    resumed = InitialVectors({"clip_l": torch.zeros(2, 4)}, 5)
    assert ready(known=known, resumed=resumed).words[0].initial == resumed


def test_a_file_that_the_model_cannot_use_is_not_replaced_unasked(ready: Prepare, token_table: SmallTokenTable) -> None:
    """An SDXL embedding of the name lies there, which an SD1 model does not know."""
    problems = told(ready, files=["other.pt", "Zworble.safetensors"])
    assert ids(problems) == ["preflight.file_exists"]
    assert said(problems, "preflight.file_exists", file="Zworble.safetensors")
    ready(files=["Zworble.safetensors"], overwrite=True)
    assert len(told(ready, files=["zworble.pt"], known=[word(token_table, "zworble")])) == 1


def test_a_name_with_the_tokens_of_another_is_refused(ready: Prepare, token_table: SmallTokenTable) -> None:
    """A prompt could not tell them apart."""
    assert word(token_table, "zworble 7").ids == word(token_table, "zworble7").ids
    for overwrite in (False, True):
        problems = told(ready, name="zworble7", overwrite=overwrite, known=[word(token_table, "zworble 7")])
        assert ids(problems) == ["preflight.same_tokens"]
        assert said(problems, "preflight.same_tokens", name="zworble7", other="zworble 7")


@pytest.mark.parametrize("name, other", [("zworble", "zworble-two"), ("zworble-two", "zworble")])
def test_a_name_that_begins_like_another_is_noticed(
    ready: Prepare, token_table: SmallTokenTable, name: str, other: str
) -> None:
    """Either way round; another beginning is nothing."""
    notices = ready(name=name, known=[word(token_table, other), word(token_table, "two-zworble")]).notices
    assert ids(notices) == ["preflight.shared_tokens", *UNUSED_AND_PLAN]
    assert said(notices, "preflight.shared_tokens", name=name, other=other)


def test_brackets_in_captions_are_noticed_where_they_count(ready: Prepare, folder: Path) -> None:
    """Only if the template uses captions and they are plain text; [name] is no bracket."""

    (folder / "a.txt").write_text("[name], sitting")
    assert said(ready(template="subject_filewords").notices, "preflight.brackets", files="第三.png")
    for given in ({}, {"template": "subject_filewords", "emphasis": True}):
        assert not said(ready(**given).notices, "preflight.brackets")


def test_long_lists_of_files_are_cut(ready: Prepare, folder: Path) -> None:
    """Five names, then an ellipsis."""
    for index in range(7):
        Image.new("RGB", (64, 64), (0, index, 0)).save(folder / f"p{index} plain.png")
    files = "a.png, p0 plain.png, p1 plain.png, p2 plain.png, p3 plain.png …"
    assert said(told(ready, template="none"), "preflight.word_missing", files=files)


def test_notices_on_images(ready: Prepare, folder: Path) -> None:
    """What is left out, with the reason; alpha without transparency; more kept aside than there are."""
    (folder / "bad.png").write_bytes(b"x")
    notices = ready(alpha_as_loss_weight=True, evaluation_images=3).notices
    assert said(notices, "preflight.image_skipped", file="bad.png")
    assert said(notices, "preflight.no_transparency")
    assert said(notices, "preflight.too_many_held_out", count=3, total=3)


def test_a_text_longer_than_the_vectors_is_noticed(ready: Prepare) -> None:
    """Not where every token has a vector."""
    notices = ready(init_text="a red cat", num_vectors=2).notices
    assert said(notices, "preflight.tokens_ignored", text="a red cat", tokens=3, vectors=2)
    for count in (0, 3, 5):
        assert ids(ready(init_text="a red cat", num_vectors=count).notices) == UNUSED_AND_PLAN


def test_a_schedule_that_ends_early_ends_the_run(ready: Prepare) -> None:
    """And the plan says so."""
    found = ready(learning_rate="0.1:20, 0.01:40")
    assert found.plan.steps == 40
    assert said(found.notices, "preflight.rates_end", end=40, steps=100)


def embedding(path: Path, width: int = 4, step: int = 70) -> str:
    """An embedding of two vectors; returns its path."""
    write_embedding(Embedding(path.stem, {"clip_l": torch.ones(2, width)}, step=step), path)
    return str(path)


def test_steps_count_from_the_beginning_of_the_embedding(ready: Prepare, tmp_path: Path) -> None:
    """It has 70: 100 leaves 30; 70 is nothing to do."""
    start = embedding(tmp_path / "old.pt")
    found = ready(init_embedding=f'"{start}"')
    assert (found.start, found.words[0].initial.count, found.plan.steps) == (70, 2, 100)
    assert ids(found.notices) == UNUSED_AND_PLAN
    assert said(found.notices, "preflight.plan", steps=30, batch=1, times="10")
    assert said(told(ready, init_embedding=start, steps=70), "preflight.no_steps_left", start=70, end=70)
    assert said(told(ready, init_embedding=start, learning_rate="0.1:60"), "preflight.no_steps_left", end=60)


def test_weights_of_another_width_are_refused(ready: Prepare, tmp_path: Path) -> None:
    """With both widths."""
    problems = told(ready, init_embedding=embedding(tmp_path / "old.pt", width=6))
    assert ids(problems) == ["fit.other_model"]
    assert said(problems, "fit.other_model", has=["6 (clip_l)"], takes=["4 (clip_l)"])


def test_a_run_that_only_lacks_its_file_may_go_on(ready: Prepare) -> None:
    """It stands at its last step; further back than it stands it cannot end."""
    resumed = InitialVectors({"clip_l": torch.zeros(2, 4)}, 100)
    assert ready(resumed=resumed).plan.steps == 100
    assert said(told(ready, resumed=resumed, steps=99), "preflight.no_steps_left", start=100)


def test_previews_without_a_prompt_are_told(ready: Prepare) -> None:
    """Before the run, and only if there are to be any."""
    problems = told(ready, preview_every=5, preview_prompt=" \n ")
    assert said(problems, "preflight.no_preview_prompt")
    ready(preview_every=0, preview_prompt="")


def test_captions_that_cannot_be_read_are_all_named(ready: Prepare, folder: Path) -> None:
    """Each file has its sentence."""
    for stem in ("a", "b"):
        (folder / f"{stem}.txt").write_bytes(b"\xe9 caf")
    problems = told(ready)
    assert ids(problems) == ["captions.not_utf8"] * 2
    assert all(said(problems, "captions.not_utf8", path=folder / f"{stem}.txt") for stem in "ab")


@pytest.mark.parametrize(
    ("name", "told"), [("a photo", True), ("cat-photo", True), ("zworble", False), ("cat-1", False)]
)
def test_a_name_of_known_words_is_noticed(ready: Prepare, name: str, told: bool) -> None:
    """It takes the phrase over wherever somebody writes it."""
    assert said(ready(name=name).notices, "preflight.name_is_a_phrase", name=name) is told


def test_an_embedding_that_takes_over_a_word_of_the_captions_is_noticed(
    ready: Prepare, token_table: SmallTokenTable
) -> None:
    """Where captions are used; the word that is trained itself is no surprise."""
    known = [word(token_table, "sitting"), word(token_table, "zworble"), word(token_table, "elsewhere")]
    notices = ready(known=known, template="subject_filewords", overwrite=True).notices
    assert [one.values["name"] for one in notices if one.id == "preflight.embedding_in_captions"] == ["sitting"]
    assert said(notices, "preflight.embedding_in_captions", name="sitting", files="a.png")
    assert "preflight.embedding_in_captions" not in ids(ready(known=known, overwrite=True).notices)


def test_an_embedding_that_takes_over_a_word_of_the_template_is_noticed(
    ready: Prepare, token_table: SmallTokenTable
) -> None:
    """Somebody has an embedding that is called "close-up"; the lines with it are counted, and one is shown."""
    known = [word(token_table, "close-up"), word(token_table, "zworble"), word(token_table, "elsewhere")]
    notices = ready(known=known, overwrite=True).notices
    found = [one for one in notices if one.id == "preflight.embedding_in_template"]
    assert [(one.values["name"], one.values["line"]) for one in found] == [("close-up", "a close-up photo of zworble")]
    assert "preflight.embedding_in_template" not in ids(ready(known=known[1:], overwrite=True).notices)


def test_a_token_of_diffusers_users_is_trained_under_its_bare_name() -> None:
    """What their scripts call placeholder_token is a legal name without its brackets, which are kept as a setting."""
    for given in ({}, {"angle_brackets": False}):  # as the page sends it
        config = TrainConfig.from_dict({"name": "<cat-toy>", "images": "x", **given})
        assert (config.name, config.angle_brackets, config.token) == ("cat-toy", True, "<cat-toy>")
        assert TrainConfig.from_dict(config.to_dict()) == config
    assert TrainConfig.from_dict({"name": "cat-toy"}).token == "cat-toy"


def test_a_token_in_captions_is_the_word(ready: Prepare, folder: Path) -> None:
    """Prompts are trained without the brackets, which diffusers takes for a part of the word."""
    for stem in CAPTIONS:
        (folder / f"{stem}.txt").write_text("a <zworble> sitting")
    found = ready(name="<zworble>", template="subject_filewords")
    assert set(found.subsets[0].texts) == {"a zworble sitting"}
    assert found.reader.read("a zworble sitting").holds("zworble")
    plain = ready(name="zworble", template="subject_filewords")
    assert set(plain.subsets[0].texts) == {"a <zworble> sitting"}


def test_where_captions_come_from_is_noticed(ready: Prepare, folder: Path) -> None:
    """Names of files as captions, several lines, files that disagree: one notice each, if a template uses captions."""
    stems = sorted(CAPTIONS)
    (folder / f"{stems[0]}.txt").unlink()
    (folder / f"{stems[1]}.txt").write_text("one\ntwo")
    (folder / f"{stems[2]}.caption").write_text("another")
    notices = ready(template="subject_filewords").notices
    assert said(notices, "preflight.file_names_as_captions", count=1, total=3, file=f"{stems[0]}.png")
    assert said(notices, "preflight.several_captions", count=1, files=f"{stems[1]}.png")
    assert said(notices, "preflight.captions_disagree", count=1, used=f"{stems[2]}.txt")
    notices = ready().notices
    assert said(notices, "preflight.captions_unused", count=2, template="subject")
    assert not said(notices, "preflight.file_names_as_captions")


def test_every_line_of_a_caption_must_hold_the_word(ready: Prepare, folder: Path) -> None:
    """Where the template does not."""
    for stem in CAPTIONS:
        (folder / f"{stem}.txt").write_text("a zworble\na cat")
    assert ids(told(ready, template="none")) == ["preflight.word_missing"]


def test_sub_folders_are_offered_and_taken(ready: Prepare, folder: Path) -> None:
    """Named where they hold images; with `recursive` their images and captions are used, told apart by their paths."""
    (folder / "10_zibbo cat" / "more").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / ".hidden").mkdir()
    Image.new("RGB", (64, 64), "red").save(folder / ".hidden" / "a.png")
    for place in (folder / "10_zibbo cat", folder / "10_zibbo cat" / "more"):
        Image.new("RGB", (64, 64), "blue").save(place / "a.png")
        (place / "a.txt").write_text(f"below {place.name}")
    assert said(ready().notices, "preflight.below", folders="10_zibbo cat")
    found = ready(recursive=True)
    assert not said(found.notices, "preflight.below")
    names = [image.name for image in found.images]
    assert names[:2] == ["10_zibbo cat/a.png", "10_zibbo cat/more/a.png"]
    assert len(names) == 5
    assert found.subsets[0].texts[:2] == ["below 10_zibbo cat", "below more"]
    for stem in CAPTIONS:
        (folder / f"{stem}.png").unlink()
    (folder / "10_zibbo cat").rename(folder / "zibbo cat")
    problems = told(ready)
    assert said(problems, "images.only_below", folders=("zibbo cat",))


@pytest.mark.parametrize(
    "rate, id", [("1e6", "preflight.rate_too_large"), ("1e-3", "preflight.rate_too_small"), ("100", None)]
)
def test_rates_that_cannot_work_are_noticed(ready: Prepare, rate: str, id: str | None) -> None:  # noqa: A002
    """By how far a step takes a vector beside the length of the model's own."""
    found = [one for one in ids(ready(learning_rate=rate).notices) if one.startswith("preflight.rate")]
    assert found == ([id] if id else [])


def test_an_optimizer_that_cannot_work_is_told_with_the_rest(ready: Prepare) -> None:
    """Before anything is made of it."""
    contradicting = {"lr_scheduler": "cosine", "learning_rate": "1:5, 2"}
    problems = told(ready, optimizer="adamw", optimizer_args="momentum=0.9", num_vectors=3, images="", **contradicting)
    assert said(problems, "preflight.two_schedules", scheduler="cosine")
    assert said(problems, "training.optimizer_arguments", unknown=["momentum"])
    assert said(problems, "preflight.no_image_folder")


@pytest.mark.parametrize(
    "optimizer, rate, noticed", [("prodigy", "0.005", True), ("prodigy", "1", False), ("sgd", "1e6", False)]
)
def test_rates_mean_what_the_optimizer_makes_of_them(ready: Prepare, optimizer: str, rate: str, noticed: bool) -> None:
    """One that finds its own takes a factor; of one whose step follows the gradient nothing can be said."""
    pytest.importorskip("prodigyopt")
    notices = ready(optimizer=optimizer, learning_rate=rate).notices
    assert said(notices, "preflight.rate_is_a_factor") == noticed
    assert not said(notices, "preflight.rate_too_large")


def test_our_optimizers_say_what_they_make_of_settings(ready: Prepare) -> None:
    """AdamW's rate is too small for both, and the natural gradient keeps its own bounds."""
    assert said(ready(optimizer="ong").notices, "preflight.rate_is_a_factor")
    assert said(ready(optimizer="ssm").notices, "preflight.rate_is_a_share", usual=0.2)
    assert said(ready(optimizer="ONG", learning_rate="1", clip_mode="norm").notices, "preflight.clip_unused")
    both = ready(optimizer="ong", clip_mode="value").notices
    assert said(both, "preflight.clip_unused")
    assert said(both, "preflight.rate_is_a_factor")
    for good in ({"optimizer": "ong", "learning_rate": "1"}, {"optimizer": "ssm", "learning_rate": "0.2:9, 0.02"}):
        notices = ready(**good).notices
        assert not [one for one in notices if getattr(one, "id", "").startswith(("preflight.rate_", "preflight.clip"))]
    state = ready(optimizer="ong").new_state(torch.device("cpu"))
    (length,) = state.optimizer.param_groups[0]["lengths"]
    assert length > 0


def test_a_decimal_comma_is_named(ready: Prepare) -> None:
    """Of a setting that is one number."""
    _, problems = TrainConfig.read({"preview_cfg_scale": "7,5", "steps": "1,5"})
    assert ids(problems) == ["settings.decimal_comma"] * 2


def test_a_word_inside_a_longer_one_is_told(ready: Prepare, folder: Path) -> None:
    """It is read as other tokens; not where the caption has the word itself, too."""
    (folder / "a.txt").write_text("a photo of zworbles")
    (folder / "b.txt").write_text("zworbles, zworble")
    notices = ready(template="subject_filewords").notices
    assert said(notices, "preflight.word_eaten", count=1, files="a.png", longer="zworbles")


def test_what_is_always_named_is_told(ready: Prepare, folder: Path) -> None:
    """Tags of nearly every caption, and the words that the vectors start at; not the word, and not of few captions."""
    for index in range(8):
        Image.new("RGB", (64, 64), (index, 9, 9)).save(folder / f"n{index}.png")
        (folder / f"n{index}.txt").write_text(f"zworble, red hat, a small cat, {index}")
    few = ready(template="none", prepend_word=True).notices
    assert not said(few, "preflight.always_named")  # three of the eleven have no hat
    for stem in CAPTIONS:
        (folder / f"{stem}.png").unlink()
    found = ready(template="none", init_text="cat").notices
    (notice,) = [one for one in found if isinstance(one, Message) and one.id == "preflight.always_named"]
    assert all(f'"{thing}"' in notice for thing in ("red hat", "a small cat", "cat"))
    assert '"zworble"' not in notice.values["things"]
    assert not said(ready(template="subject", init_text="cat").notices, "preflight.always_named")


def test_tags_are_counted(ready: Prepare, folder: Path) -> None:
    """By the images that have them, where a template uses captions."""
    (folder / "a.txt").write_text("a cat, red, [name]")
    (folder / "b.txt").write_text("red, zworble\nred, blue, zworble")
    (folder / "第三.txt").write_text("a photo of zworble")
    table = ready(template="none").tag_table
    assert table is not None
    tags = ["red (2)", "[name] (1)", "a cat (1)", "blue (1)", "zworble (1)"]
    assert said([table], "preflight.tags", count=5, tags=tags)
    assert ready(template="subject").tag_table is None
