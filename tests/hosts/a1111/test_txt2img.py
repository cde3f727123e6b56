"""A preview is the WebUI's own txt2img with the run's vectors, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.hosts.a1111.ldm_model import needs_ldm
from tests.messages import refused
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.errors import HostError
from tinv_ext.core.formats import write_embedding
from tinv_ext.core.generation import ImageRequest

pytestmark = needs_ldm
REQUEST = ImageRequest("a photo of qzx", "blurry", 7, 3.5, 42, 64, 96)


def vectors(value: float) -> dict[str, torch.Tensor]:
    """A word of one vector."""
    return {"clip_l": torch.full((1, 64), value)}


def write(webui: Any, name: str, value: float) -> Path:
    """An embedding in the WebUI's folder."""
    path = Path(webui.shared.cmd_opts.embeddings_dir) / f"{name}.pt"
    write_embedding(Embedding(name=name, vectors=vectors(value)), path)
    return path


@pytest.mark.parametrize("inside", [False, True])
def test_an_image_leaves_nothing_behind(webui: Any, inside: bool) -> None:
    """Database, random generators, progress, settings, history and tiling are as they were."""
    write(webui, "qzx", 1.0)
    webui.host.refresh_embeddings()
    before = webui.snapshot()
    if inside:
        with webui.host.training(2):
            webui.host.generate(REQUEST, {"qzx": vectors(2.0), "new": vectors(3.0)})
    else:
        webui.host.generate(REQUEST, {"qzx": vectors(2.0), "new": vectors(3.0)})
    assert webui.difference(before, webui.snapshot()) == []


def test_the_image_is_the_one_that_was_asked_for(webui: Any, generated: list[Any]) -> None:
    """Values, the live vectors in place of the file's, a cache of its own, no file, no LoRA, the run's clip skip."""
    write(webui, "qzx", 1.0)
    webui.host.refresh_embeddings()
    with webui.host.training(2):
        image = webui.host.generate(REQUEST, {"qzx": vectors(2.0)})
    (found,) = generated
    p = found["p"]
    assert image.size == (64, 96)
    assert (p.prompt, p.negative_prompt, p.steps, p.cfg_scale, p.seed) == ("a photo of qzx", "blurry", 7, 3.5, 42)
    assert p.sampler_name == "DDIM"
    assert p.do_not_save_samples
    assert p.do_not_save_grid
    assert p.do_not_reload_embeddings
    assert p.disable_extra_networks
    assert found["no history"]
    assert torch.equal(found["words"]["qzx"], torch.full((1, 64), 2.0))
    assert p.cached_c is not type(p).cached_c
    assert found["settings"]["CLIP_stop_at_last_layers"] == 2


def test_a_checkpoint_that_waits_for_its_turn_is_not_loaded_by_a_preview(webui: Any, generated: list[Any]) -> None:
    """The user has chosen another one: the preview is of the run's, and the choice stands afterwards."""
    webui.shared.opts.data["sd_model_checkpoint"] = "another"
    with webui.host.training(1):
        webui.host.generate(REQUEST, {})
    assert generated[0]["settings"]["sd_model_checkpoint"] == "toy [0123456789]"
    assert webui.shared.opts.data["sd_model_checkpoint"] == "another"


def test_a_setting_changed_during_a_preview_stands(webui: Any) -> None:
    """Putting back must not undo what the user did meanwhile."""
    processing = webui.modules["modules.processing"]
    generate = processing.process_images

    def and_the_user_chooses(p: Any) -> Any:
        webui.shared.opts.data["sd_model_checkpoint"] = "chosen meanwhile"
        return generate(p)

    webui.patch.setattr(processing, "process_images", and_the_user_chooses)
    webui.host.generate(REQUEST, {})
    assert webui.shared.opts.data["sd_model_checkpoint"] == "chosen meanwhile"


def test_interrupt_is_neither_lost_nor_stops_the_next_image(webui: Any) -> None:
    """Pressed before: the image is made and the flag stands. Pressed in the midst: it stands."""
    webui.shared.state.interrupted = True
    assert webui.host.generate(REQUEST, {}).size == (64, 96)
    assert webui.shared.state.interrupted
    webui.shared.state.interrupted = False
    processing = webui.modules["modules.processing"]
    generate = processing.process_images

    def and_the_user_interrupts(p: Any) -> Any:
        webui.shared.state.interrupted = True
        return generate(p)

    webui.patch.setattr(processing, "process_images", and_the_user_interrupts)
    with refused("hosts.image_was_interrupted", HostError):
        webui.host.generate(REQUEST, {})
    assert webui.shared.state.interrupted


@pytest.mark.parametrize("flag", ["interrupted", "skipped"])
def test_an_image_that_was_cut_short_is_none(webui: Any, flag: str) -> None:
    """Interrupt, Skip and Reload UI end the sampling; the WebUI returns what there is by then."""
    processing = webui.modules["modules.processing"]
    generate = processing.process_images

    def cut_short(p: Any) -> Any:
        images = generate(p)
        setattr(webui.shared.state, flag, True)
        return images

    webui.patch.setattr(processing, "process_images", cut_short)
    with refused("hosts.image_was_interrupted", HostError):
        webui.host.generate(REQUEST, {})


def test_an_unknown_sampler_is_refused(webui: Any) -> None:
    """The WebUI would quietly take another."""
    with refused("hosts.no_such_sampler", HostError, sampler="Magic") as caught:
        webui.host.generate(ImageRequest("x", "", 5, 3.0, 1, 64, 64, sampler="Magic"), {})
    assert "DDIM" in caught.value.problems[0].values["samplers"]


def test_a_written_word_is_known_after_a_refresh(webui: Any) -> None:
    """Also one that replaces a file; and what was encoded with the old one is forgotten."""
    Processing = webui.modules["modules.processing"].StableDiffusionProcessing
    write(webui, "qzx", 1.0)
    webui.host.refresh_embeddings()
    (word,) = webui.host.known_words()
    assert (word.name, word.count, list(word.ids)) == ("qzx", 1, webui.host.token_table.tokenizer.ids("qzx"))
    Processing.cached_c = [("a photo of qzx",), "as the old vectors had it"]
    write(webui, "qzx", 2.0)
    webui.host.refresh_embeddings()
    database = webui.modules["modules.sd_hijack"].model_hijack.embedding_db
    assert torch.equal(database.word_embeddings["qzx"].vec, torch.full((1, 64), 2.0))
    assert Processing.cached_c == [None, None]


def test_a_file_that_the_webui_rejects_is_told(webui: Any, rejected: set[str]) -> None:
    """The run must not end with a word that no prompt knows; other files that it rejects are none of our business."""
    rejected |= {"other", "mine"}
    host = webui.new_host()
    for name in ("other", "mine", "word"):  # such as one for SDXL, which comes while a word of SD1 is trained
        write(webui, name, 1.0)
    with refused("hosts.embedding_rejected", HostError, names=["mine"]):
        host.refresh_embeddings(["mine"])
    host.refresh_embeddings(["word"])


def test_a_lent_word_is_known_without_a_file_until_it_is_taken_back(webui: Any) -> None:
    """Also after the folder was read again; then the program is as it was, and no file was written."""
    database = webui.modules["modules.sd_hijack"].model_hijack.embedding_db
    Processing = webui.modules["modules.processing"].StableDiffusionProcessing
    write(webui, "qzx", 1.0)
    webui.host.refresh_embeddings()
    folder = Path(webui.shared.cmd_opts.embeddings_dir)
    files, own = sorted(folder.iterdir()), dict(vars(database))
    before = webui.snapshot()
    webui.host.lend_words({"qzx-50": vectors(1.0)})
    webui.host.lend_words({})
    assert webui.difference(before, webui.snapshot()) == []
    Processing.cached_c = [("a photo of qzx-150",), "as it was without the word"]
    webui.host.lend_words({"qzx-150": vectors(2.0), "qzx": vectors(3.0)})
    assert Processing.cached_c == [None, None]
    database.load_textual_inversion_embeddings(force_reload=True)
    with webui.host.training(1):
        webui.host.generate(REQUEST, {"new": vectors(3.0)})
    assert webui.host.lent_words() == ["qzx-150"], "a file's name stays the file's"
    assert torch.equal(database.word_embeddings["qzx-150"].vec, torch.full((1, 64), 2.0))
    assert {word.name for word in webui.host.known_words()} == {"qzx", "qzx-150"}
    webui.host.lend_words({})
    assert webui.host.lent_words() == []
    assert [name for entries in database.ids_lookup.values() for _, one in entries for name in [one.name]] == ["qzx"]
    assert list(database.word_embeddings) == ["qzx"]
    assert sorted(folder.iterdir()) == files
    assert vars(database).keys() == own.keys()


def test_lent_words_take_the_place_of_those_before(webui: Any) -> None:
    """Also where another extension has wrapped the reading meanwhile, which stays wrapped."""
    database = webui.modules["modules.sd_hijack"].model_hijack.embedding_db
    webui.host.lend_words({"qzx-50": vectors(1.0)})
    ours = database.load_textual_inversion_embeddings
    database.load_textual_inversion_embeddings = lambda **given: print("read again") or ours(**given)
    webui.host.lend_words({"qzx-150": vectors(2.0)})
    database.load_textual_inversion_embeddings(force_reload=True)
    assert set(webui.host.lent_words()) == {"qzx-150"}
    webui.host.lend_words({})
    database.load_textual_inversion_embeddings(force_reload=True)
    assert [word.name for word in webui.host.known_words()] == []
