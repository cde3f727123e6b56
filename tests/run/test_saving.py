"""What a run writes at its end and on the way: under which name, in which format and precision."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
import torch

from tests.fake_host import FakeHost
from tests.messages import refused, said
from tests.run.test_runner import Configure, Watch, config, host
from tinv_ext.core.embedding import PRECISIONS, token_of
from tinv_ext.core.formats import read_embedding
from tinv_ext.core.formats.metadata import AUTHORSHIP
from tinv_ext.core.settings import SETTINGS
from tinv_ext.core.training.state import load_state
from tinv_ext.run import preflight, runner
from tinv_ext.run.chosen_step import use_step
from tinv_ext.run.events import Noticed, RunControls

__all__ = ["config", "host"]  # the fixtures of a short run


def test_a_word_in_brackets_keeps_them_in_the_file(config: Configure, host: FakeHost, tmp_path: Path) -> None:
    """Also of a run that resumes; the vectors are those of the word without them."""
    runner.run(config(), host)
    plain = read_embedding(tmp_path / "embeddings" / "zworble.pt")
    controls = RunControls()
    watch = Watch({3: controls.stop.set})
    given = {"name": "<zworble>", "overwrite": True, "preview_every": 6, "preview_prompt": "a <zworble>"}
    runner.run(config(**given), host, watch, controls)
    status = runner.resume(watch.folder.path, host)
    assert status.file == str(tmp_path / "embeddings" / "zworble.pt")
    found = read_embedding(tmp_path / "embeddings" / "zworble.pt")
    assert (found.name, token_of(found), token_of(plain)) == ("zworble", "<zworble>", "zworble")
    assert torch.equal(found.vectors["clip_l"], plain.vectors["clip_l"])
    raw = torch.load(tmp_path / "embeddings" / "zworble.pt", weights_only=True)
    assert raw["name"] == "<zworble>"  # which diffusers goes by


def names(folder: Path) -> set[str]:
    """Of the files in a folder."""
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("chosen, suffix", [("auto", ".pt"), ("pt", ".pt"), ("safetensors", ".safetensors")])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_file_is_in_the_format_and_precision_that_are_set(
    chosen: str, suffix: str, precision: str, config: Configure, host: FakeHost, tmp_path: Path
) -> None:
    """So are snapshots; the state stays as exact as ever."""
    watch = Watch()
    status = runner.run(config(save_format=chosen, save_precision=precision, save_every=3), host, watch)
    assert status.file == str(tmp_path / "embeddings" / f"zworble{suffix}")
    assert names(watch.folder.path / "embeddings") == {f"zworble-3{suffix}", f"zworble-6{suffix}"}
    state, _ = load_state(watch.folder.state, torch.device("cpu"))
    exact = state.values("zworble")["clip_l"]
    wanted = exact.to(PRECISIONS[precision]).float()
    for file in (Path(status.file), watch.folder.path / "embeddings" / f"zworble-6{suffix}"):
        assert torch.equal(read_embedding(file).vectors["clip_l"], wanted)
    assert torch.equal(exact, wanted) == (precision == "float32")
    assert read_embedding(Path(status.file)).precision == precision
    assert read_embedding(use_step(watch.folder, "zworble", 3, host)).precision == precision


@pytest.mark.parametrize("chosen, suffix", [("diffusers-folder", ".safetensors"), ("diffusers-folder-bin", ".bin")])
def test_a_folder_for_diffusers_comes_beside_the_file(
    chosen: str, suffix: str, config: Configure, host: FakeHost, tmp_path: Path
) -> None:
    """As the concept library has it, with the token; prompts here find the file as ever."""
    watch = Watch()
    runner.run(config(name="<zworble>", save_format=chosen, template="style", save_every=3), host, watch)
    folder = watch.folder.diffusers
    assert names(folder) == {f"learned_embeds{suffix}", "token_identifier.txt", "type_of_concept.txt"}
    assert (folder / "token_identifier.txt").read_text("utf-8") == "<zworble>"
    assert (folder / "type_of_concept.txt").read_text("utf-8") == "style"
    file = tmp_path / "embeddings" / "zworble.pt"
    for step in (0, 3):
        if step:
            use_step(watch.folder, "zworble", step, host)
        assert torch.equal(read_embedding(folder).vectors["clip_l"], read_embedding(file).vectors["clip_l"])
        assert token_of(read_embedding(folder)) == "<zworble>"
    told = [event.text for event in watch.events if isinstance(event, Noticed)]
    assert said(told, "run.folder_for_diffusers", folder=folder)


def test_the_format_can_change_when_a_run_resumes(config: Configure, host: FakeHost, tmp_path: Path) -> None:
    """Old snapshots count among those that are kept, whatever their format; of the final files one is left."""
    watch = Watch()
    runner.run(config(save_every=1, steps=4), host, watch)
    changes = {"save_format": "safetensors", "steps": 6, "keep_snapshots": 3}
    again = Watch()
    runner.resume(watch.folder.path, host, changes, again)
    assert names(watch.folder.path / "embeddings") == {
        "zworble-4.pt",
        "zworble-5.safetensors",
        "zworble-6.safetensors",
    }
    assert names(tmp_path / "embeddings") == {"zworble.safetensors"}
    assert not said([event.text for event in again.events if isinstance(event, Noticed)], "run.differs")


@pytest.mark.parametrize("keep, left", [(0, {1, 2, 3, 4, 5, 6}), (2, {4, 5, 6}), (5, {1, 2, 3, 4, 5, 6})])
def test_snapshots_of_the_last_steps_are_kept(keep: int, left: set[int], config: Configure, host: FakeHost) -> None:
    """As kohya counts: with 2, at step 6, those from step 4 on."""
    watch = Watch()
    runner.run(config(save_every=1, keep_snapshot_steps=keep), host, watch)
    assert names(watch.folder.path / "embeddings") == {f"zworble-{step}.pt" for step in left}


def test_no_pt_of_two_encoders(config: Configure, host: FakeHost, tmp_path: Path) -> None:
    """Nothing reads it: said before the run, and not after it."""
    host.token_table.widths = {"clip_l": 6, "clip_g": 6}
    with refused("run.no_pt_of_two_encoders"):
        preflight.prepare_run(config(save_format="pt"), host)


def test_what_people_say_of_it_is_in_the_file(config: Configure, host: FakeHost, tmp_path: Path) -> None:
    """By the names of the standard, and not among the settings."""
    given = {key: f"my {key}" for key in AUTHORSHIP}
    status = runner.run(config(save_format="safetensors", **given), host)
    found = read_embedding(Path(str(status.file))).facts
    assert {key: found[key] for key in AUTHORSHIP} == given
    assert not set(AUTHORSHIP) & found["settings"].keys()
    assert found["prediction"] == "epsilon"
    assert datetime.fromisoformat(found["date"]) <= datetime.now()


def test_the_precisions_to_choose_from_are_those_of_files() -> None:
    """The settings have their own list, as --help does not wait for torch."""
    assert SETTINGS["save_precision"].choices == tuple(PRECISIONS)


def test_a_snapshot_of_an_epoch_is_named_after_it(config: Configure, host: FakeHost) -> None:
    """Those by steps are not; both count among those that are kept, also in a run that resumes."""
    controls = RunControls()
    watch = Watch({4: controls.stop.set})
    given = {"save_every_n_epochs": 1, "save_every": 2, "steps": 9}  # an epoch of three steps
    runner.run(config(**given), host, watch, controls)
    folder = watch.folder.path / "embeddings"
    assert names(folder) == {"zworble-2.pt", "zworble-e1-3.pt", "zworble-4.pt"}
    assert read_embedding(folder / "zworble-e1-3.pt").step == 3
    runner.resume(watch.folder.path, host, {"keep_snapshots": 4})
    assert names(folder) == {"zworble-e2-6.pt", "zworble-8.pt", "zworble-e3-9.pt", "zworble-4.pt"}
