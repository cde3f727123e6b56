"""Everything that is found out before a run: all problems at once, in sentences with what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.conftest import SmallTokenTable
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import InputError
from tinv_ext.core.formats import write_embedding
from tinv_ext.core.preflight.initial_vectors import InitialVectors
from tinv_ext.core.preflight.prepare import PreparedRun, prepare
from tinv_ext.core.prompts.reader import Word
from tinv_ext.core.settings import TrainConfig

Prepare = Callable[..., PreparedRun]
CAPTIONS = {"a": "a cat, sitting", "b": "a cat, zworble", "第三": "a (cat:1.4) [x]"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures with captions."""
    place = tmp_path / "my pictures"
    place.mkdir()
    for stem, caption in CAPTIONS.items():
        Image.new("RGB", (64, 64), (ord(stem[0]) % 256, 0, 0)).save(place / f"{stem}.png")
        (place / f"{stem}.txt").write_text(caption, "utf-8")
    return place


@pytest.fixture
def ready(folder: Path, token_table: SmallTokenTable) -> Prepare:
    """`prepare` with settings that are right, but for those given."""

    def make(
        known: Sequence[Word] = (), reporter: InitialVectors | None = None, files: Any = (), **given: Any
    ) -> PreparedRun:
        values = {"name": "zworble", "images": str(folder), "width": 64, "height": 64, "steps": 100, **given}
        return prepare(TrainConfig(**values), token_table, known, reporter, files)

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
    """Pictures with their captions, prompts, vectors, and the plan; the one notice is the plan."""
    found = ready(vectors=3, batch_size=2, accumulate=3)
    assert found.captions == tuple(CAPTIONS.values())
    assert found.initial.count == 3
    assert (found.plan.steps, found.plan.batch_size, found.plan.accumulate) == (100, 2, 3)
    assert found.notices == ("100 steps, each of 6 pictures: 600 pictures seen, each about 200 times.",)
    assert found.prompts(2) == ["a photo of zworble", "a picture of zworble"]
    assert found.reader.read("zworble").length == 3


@pytest.mark.parametrize("around", ['"{}"', "'{}'", "  {} ", '"{}" '])
def test_a_pasted_path_means_the_folder(ready: Prepare, folder: Path, around: str) -> None:
    """Quotes and blanks around it are what Explorer and terminals put there."""
    assert ready(images=around.format(folder)).scan.folder == folder


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
        ready, name="cat", template="nope", weights="gone.pt", steps=0, width=63, vectors=-1, caption_regex="("
    )
    said = [
        "(steps) is 0",
        "(width) is 63",
        "(vectors) is -1",
        "(caption_regex)",
        'template "nope"',
        "gone.pt",
        "a.txt",
    ]
    for part in [*said, '"cat" is a word that the model already knows']:
        assert [part in problem for problem in problems].count(True) == 1, part
    assert len(problems) == len(said) + 1
    assert told(ready, images="/not/there", template="nope", name="")[0].startswith("Name (name)")
    assert len(told(ready, images="/not/there", template="nope", name="")) == 3


def test_no_folder_is_told(ready: Prepare) -> None:
    """Empty is not the folder where the program happens to run."""
    assert told(ready, images=" ") == ("No picture folder is given. Set the dataset directory (images).",)
    assert "does not exist" in told(ready, images="~nobody-of-this-name/x")[0]


def test_pictures_whose_prompts_lack_the_word_are_named(ready: Prepare) -> None:
    """After expansion, with an example; the offer mends it; a word written into the caption is enough."""
    (said,) = told(ready, template="none")
    assert said.startswith('2 of 3 pictures would have prompts without the word "zworble" (a.png, 第三.png)')
    assert 'for instance "a cat, sitting"' in said
    assert "word_in_front" in said
    mended = ready(template="none", word_in_front=True)
    assert mended.prompts(3) == ["zworble a cat, sitting", "a cat, zworble", "zworble a (cat:1.4) [x]"]


def test_every_line_of_a_template_must_hold_the_word(ready: Prepare, tmp_path: Path) -> None:
    """One line without it is enough to refuse, as it would be drawn some day."""
    (tmp_path / "t.txt").write_text("a [name]\na photo of [filewords]\n")
    assert "2 of 3 pictures" in told(ready, template=str(tmp_path / "t.txt"))[0]


def test_the_word_is_found_by_tokens_not_by_letters(ready: Prepare, folder: Path) -> None:
    """ "zworbles" in a caption is not the word: it is refused, and word_in_front puts it in front."""
    for stem in CAPTIONS:
        (folder / f"{stem}.txt").write_text("many zworbles")
    assert "3 of 3 pictures" in told(ready, template="none")[0]
    assert ready(template="none", word_in_front=True).prompts(1) == ["zworble many zworbles"]


@pytest.mark.parametrize("name", ["cat", "Cat", "a", "7"])
def test_a_word_of_the_vocabulary_is_refused(ready: Prepare, name: str) -> None:
    """With a name that would do."""
    (said,) = told(ready, name=name)
    assert f'"{name}" is a word that the model already knows' in said
    assert f'such as "{name}-1"' in said


def test_a_taken_name_is_refused_unless_it_may_be_replaced(ready: Prepare, token_table: SmallTokenTable) -> None:
    """Whatever its case; with overwrite, and in a run that goes on, it may be."""
    known = [word(token_table, "ZWORBLE", 4)]
    (said,) = told(ready, known=known)
    assert said.startswith('There is already an embedding "ZWORBLE"')
    assert "set overwrite" in said
    assert ready(known=known, overwrite=True).reader.read("zworble").length == 1
    reporter = InitialVectors({"clip_l": torch.zeros(2, 4)}, 5)
    assert ready(known=known, reporter=reporter).initial == reporter


def test_a_file_that_the_model_cannot_use_is_not_replaced_unasked(ready: Prepare, token_table: SmallTokenTable) -> None:
    """An SDXL embedding of the name lies there, which an SD1 model does not know."""
    (said,) = told(ready, files=["other.pt", "Zworble.safetensors"])
    assert said.startswith('There is already a file "Zworble.safetensors" among the embeddings')
    ready(files=["Zworble.safetensors"], overwrite=True)
    assert len(told(ready, files=["zworble.pt"], known=[word(token_table, "zworble")])) == 1


def test_a_name_with_the_tokens_of_another_is_refused(ready: Prepare, token_table: SmallTokenTable) -> None:
    """A prompt could not tell them apart."""
    assert word(token_table, "zworble 7").ids == word(token_table, "zworble7").ids
    (said,) = told(ready, name="zworble7", known=[word(token_table, "zworble 7")])
    assert 'has the same token ids as the embedding "zworble 7"' in said
    assert (
        "has the same token ids"
        in told(ready, name="zworble7", overwrite=True, known=[word(token_table, "zworble 7")])[0]
    )


@pytest.mark.parametrize("name, other", [("zworble", "zworble-two"), ("zworble-two", "zworble")])
def test_a_name_that_begins_like_another_is_noticed(
    ready: Prepare, token_table: SmallTokenTable, name: str, other: str
) -> None:
    """Either way round; another beginning is nothing."""
    notices = ready(name=name, known=[word(token_table, other), word(token_table, "two-zworble")]).notices
    assert f'"{name}" and the embedding "{other}" begin alike' in notices[0]
    assert len(notices) == 2


def test_brackets_in_captions_are_noticed_where_they_count(ready: Prepare, folder: Path) -> None:
    """Only if the template uses captions and they are plain text; [name] is no bracket."""

    def said(**given: Any) -> list[str]:
        return [notice for notice in ready(**given).notices if "brackets" in notice]

    (folder / "a.txt").write_text("[name], sitting")
    (notice,) = said(template="subject_filewords")
    assert notice.startswith("Captions have brackets (第三.png); they are read as plain text")
    assert said() == said(template="subject_filewords", emphasis=True) == []


def test_long_lists_of_files_are_cut(ready: Prepare, folder: Path) -> None:
    """Five names, then an ellipsis."""
    for index in range(7):
        Image.new("RGB", (64, 64), (0, index, 0)).save(folder / f"p{index} plain.png")
    assert "(a.png, p0 plain.png, p1 plain.png, p2 plain.png, p3 plain.png …)" in told(ready, template="none")[0]


def test_notices_on_pictures(ready: Prepare, folder: Path) -> None:
    """What is left out, with the reason; alpha without transparency; more kept aside than there are."""
    (folder / "bad.png").write_bytes(b"x")
    notices = ready(use_alpha=True, evaluation_pictures=3).notices
    assert "bad.png is left out: it is not an image that Pillow can read." in notices
    assert "No picture has transparency, so the alpha channel changes nothing." in notices
    assert any(notice.startswith("3 pictures to be kept aside of 3") for notice in notices)


def test_a_text_longer_than_the_vectors_is_noticed(ready: Prepare) -> None:
    """Not where every token has a vector."""
    assert (
        "has 3 tokens and the word 2 vectors: the tokens that are more are left out"
        in ready(init_text="a red cat", vectors=2).notices[0]
    )
    assert all(
        "tokens" not in notice for count in (0, 3, 5) for notice in ready(init_text="a red cat", vectors=count).notices
    )


def test_a_schedule_that_ends_early_ends_the_run(ready: Prepare) -> None:
    """And the plan says so."""
    found = ready(learn_rate="0.1:20, 0.01:40")
    assert found.plan.steps == 40
    assert "The rates end at step 40, and so will the run (max steps is 100)." in found.notices


def embedding(path: Path, width: int = 4, step: int = 70) -> str:
    """An embedding of two vectors; returns its path."""
    write_embedding(Embedding(path.stem, {"clip_l": torch.ones(2, width)}, step=step), path)
    return str(path)


def test_steps_count_from_the_beginning_of_the_embedding(ready: Prepare, tmp_path: Path) -> None:
    """It has 70: 100 leaves 30; 70 is nothing to do."""
    weights = embedding(tmp_path / "old.pt")
    found = ready(weights=f'"{weights}"')
    assert (found.initial.step, found.initial.count, found.plan.steps) == (70, 2, 100)
    assert found.notices == ("30 steps, each of 1 picture: 30 pictures seen, each about 10 times.",)
    assert (
        "it has 70 steps already and the run would end at 70. Set more than 70"
        in told(ready, weights=weights, steps=70)[0]
    )
    assert "would end at 60" in told(ready, weights=weights, learn_rate="0.1:60")[0]


def test_weights_of_another_width_are_refused(ready: Prepare, tmp_path: Path) -> None:
    """With both widths."""
    (said,) = told(ready, weights=embedding(tmp_path / "old.pt", width=6))
    assert "width 6" in said
    assert "4 (clip_l)" in said


def test_a_run_that_only_lacks_its_file_may_go_on(ready: Prepare) -> None:
    """It stands at its last step; further back than it stands it cannot end."""
    reporter = InitialVectors({"clip_l": torch.zeros(2, 4)}, 100)
    assert ready(reporter=reporter).plan.steps == 100
    assert "it has 100 steps already" in told(ready, reporter=reporter, steps=99)[0]


def test_previews_without_a_prompt_are_told(ready: Prepare) -> None:
    """Before the run, and only if there are to be any."""
    assert "there is no preview prompt (preview_prompt)" in told(ready, preview_every=5, preview_prompt=" \n ")[0]
    ready(preview_every=0, preview_prompt="")


def test_captions_that_cannot_be_read_are_all_named(ready: Prepare, folder: Path) -> None:
    """Each file has its sentence."""
    for stem in ("a", "b"):
        (folder / f"{stem}.txt").write_bytes(b"\xe9 caf")
    problems = told(ready)
    assert len(problems) == 2
    assert all(f"{stem}.txt" in said for stem, said in zip("ab", problems))
