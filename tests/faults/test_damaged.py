"""What lies in a run's folder and in the cache is believed only while it is what was written."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.fake_host import FakeHost
from tests.faults.test_sites import GIVEN, Listening
from tests.messages import refused, said
from tests.run.test_runner import Configure, Watch, fail, learnt
from tinv_ext.core.data.image_index import read_index
from tinv_ext.core.training.state import State, load_state
from tinv_ext.core.training.state_contents import previous_of
from tinv_ext.run import runner
from tinv_ext.run.events import Prepared, RunControls
from tinv_ext.run.run_folder import RunFolder
from tinv_ext.server.queued_run import Job

pytestmark = pytest.mark.once
Damage = Callable[[Path], None]


def flip(place: float, bit: int = 3) -> Damage:
    """One bit at that part of the file."""

    def damage(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[int(place * (len(data) - 1))] ^= 1 << bit
        path.write_bytes(bytes(data))

    return damage


def cut(part: float) -> Damage:
    """Only the first part of the file is left."""
    return lambda path: path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)]) and None


def rewritten(change: Callable[[torch.Tensor], torch.Tensor]) -> Damage:
    """Other tensors in the same file, under the texts that it had."""

    def damage(path: Path) -> None:
        data = path.read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        texts = json.loads(data[8 : 8 + length])["__metadata__"]
        save_file({key: change(value) for key, value in load_file(str(path)).items()}, str(path), texts)

    return damage


BITS = {f"a bit at {place}": flip(place) for place in (0.0, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0)}
CUTS = {f"cut at {part}": cut(part) for part in (0.0, 0.003, 0.3, 0.99)}
OTHERS = {
    "another shape": rewritten(lambda value: value[..., :1].contiguous()),
    "another type": rewritten(lambda value: value.half()),
    "not finite": rewritten(lambda value: value * torch.nan),
    "noise": rewritten(lambda value: torch.rand_like(value.float())),
    "nothing of that name": lambda path: save_file({"other": torch.ones(4, 8, 8)}, str(path)),
}


def stopped(host: FakeHost, settings: Any, step: int = 5) -> RunFolder:
    """The folder of a run that was stopped after a step."""
    controls = RunControls()
    watch = Watch({step: controls.stop.set})
    runner.run(settings, host, watch, controls)
    return watch.folder


@pytest.fixture
def right(config: Configure, tmp_path: Path) -> torch.Tensor:
    """The vectors of a run without trouble."""
    runner.run(config(**GIVEN), FakeHost(tmp_path / "elsewhere"))
    shutil.rmtree(tmp_path / "runs")
    return learnt(tmp_path / "elsewhere")


@pytest.mark.parametrize("kind", [*BITS, *CUTS, *OTHERS])
def test_a_damaged_latent_is_encoded_again(
    host: FakeHost, config: Configure, right: torch.Tensor, tmp_path: Path, kind: str
) -> None:
    """Told once, whatever the damage; the run comes out as if nothing had been, and the next one finds all whole."""
    runner.run(config(**GIVEN), host)
    entries = sorted((tmp_path / "runs" / "latents").rglob("*.safetensors"))
    before = {path: path.read_bytes() for path in entries}
    for path in entries:
        {**BITS, **CUTS, **OTHERS}[kind](path)
    heard = Listening()
    runner.run(config(**GIVEN), host, heard)
    assert torch.equal(learnt(tmp_path / "embeddings"), right)
    assert {path: path.read_bytes() for path in entries} == before
    told = [text for text in heard.notices if said([text], "latents.damaged", count=len(entries))]
    assert len(told) == (0 if kind == "nothing of that name" else 1)  # without a checksum it is as of version 0.2
    again = Listening()
    runner.run(config(**GIVEN), host, again)
    assert not said(again.notices, "latents.damaged")


def test_latents_of_another_image_are_not_taken(
    host: FakeHost, config: Configure, right: torch.Tensor, tmp_path: Path
) -> None:
    """A whole file under the name of another: its checksum says what it is of."""
    runner.run(config(**GIVEN), host)
    first, second, *_ = sorted((tmp_path / "runs" / "latents").rglob("*.safetensors"))
    shutil.copy(first, second)
    heard = Listening()
    runner.run(config(**GIVEN), host, heard)
    assert said(heard.notices, "latents.damaged", count=1)
    assert torch.equal(learnt(tmp_path / "embeddings"), right)


def test_latents_of_version_0_2_are_encoded_again(
    host: FakeHost, config: Configure, right: torch.Tensor, tmp_path: Path
) -> None:
    """They have no checksum, so nothing tells whether they are whole; nothing is said, as nothing is wrong."""
    runner.run(config(**GIVEN), host)
    for path in (tmp_path / "runs" / "latents").rglob("*.safetensors"):
        save_file({key: value + 1 for key, value in load_file(str(path)).items()}, str(path))
    heard = Listening()
    runner.run(config(**GIVEN), host, heard)
    assert not said(heard.notices, "latents.damaged")
    assert torch.equal(learnt(tmp_path / "embeddings"), right)


def test_a_changed_index_of_images_knows_nothing(host: FakeHost, config: Configure, tmp_path: Path) -> None:
    """Another width in it would be another latent."""
    for path in (tmp_path / "images").iterdir():
        os.utime(path, (0, 0))  # long ago, so that it is remembered
    runner.run(config(**GIVEN), host)
    index = tmp_path / "runs" / "latents" / "images.json"
    assert len(read_index(index.parent)) == 3
    index.write_text(index.read_text("utf-8").replace('"width": ', '"width": 1'), "utf-8")
    assert read_index(index.parent) == {}


@pytest.mark.parametrize("kind", [*BITS, *CUTS, "gone"])
def test_a_damaged_state_falls_back_to_the_one_before(
    host: FakeHost, config: Configure, right: torch.Tensor, tmp_path: Path, kind: str
) -> None:
    """Told with its step; the run ends bit for bit as it would have."""
    folder = stopped(host, config(**GIVEN, name="zworble"))
    assert load_state(folder.state, torch.device("cpu"))[0].step == 5
    before = load_state(previous_of(folder.state), torch.device("cpu"))[0].step
    assert before == 4
    {**BITS, **CUTS, "gone": Path.unlink}[kind](folder.state)
    heard = Watch()
    assert runner.resume(folder.path, host, report=heard).status == "finished"
    prepared = next(event for event in heard.events if isinstance(event, Prepared))
    assert said(prepared.prepared.notices, "state.previous", step=before)
    assert heard.steps == [5, 6]
    assert torch.equal(learnt(tmp_path / "embeddings"), right)


def test_with_the_last_state_lost_the_one_before_counts_everywhere(
    host: FakeHost, config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page goes on with the curve up to it, and a failure in the first step saves it and says nothing else."""
    folder = stopped(host, config(**GIVEN))
    folder.state.unlink()
    job = Job("1", config(**GIVEN))
    monkeypatch.setattr(State, "update", lambda *given: fail())
    with pytest.raises(ZeroDivisionError):
        runner.resume(folder.path, host, report=job.on_event)
    assert [row["step"] for row in job.view()["curve"]] == [1, 2, 3, 4]
    assert "from the beginning" not in folder.log.read_text("utf-8")
    assert load_state(folder.state, torch.device("cpu"))[0].step == 4


def test_a_damaged_state_is_not_kept_as_the_one_before(host: FakeHost, config: Configure) -> None:
    """A good one to fall back to stays until there is a better one."""
    folder = stopped(host, config(**GIVEN))
    flip(0.5)(folder.state)
    runner.resume(folder.path, host)
    assert load_state(folder.state, torch.device("cpu"))[0].step == 6
    assert load_state(previous_of(folder.state), torch.device("cpu"))[0].step in (4, 5)


def test_two_damaged_states_are_a_sentence(host: FakeHost, config: Configure) -> None:
    """With the way out."""
    folder = stopped(host, config(**GIVEN))
    flip(0.5)(folder.state)
    cut(0.5)(previous_of(folder.state))
    with refused("run.state_unreadable"):
        runner.resume(folder.path, host)


CURVES = {
    "one endless line": b"9" * 3_000_000,
    "a stray quote": b'step,epoch,loss\n"1,2,3\n4,5,6\n',
    "a number of 5000 digits": b"step,loss\n" + b"1" * 5000 + b",2\n",
    "another alphabet": "step,loss\n٣,1\n".encode(),
    "words": b"step,epoch,loss,learn_rate,gradient_norm,vector_norm,distance,evaluation\n1,a,b,c,d,e,f,g\n",
    "UTF-16": "step,loss\n1,2\n".encode("utf-16"),
    "noise": np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8).tobytes(),
    "zeros": bytes(4000),
    "a header twice": b"step,step\n1,2\n",
}


@pytest.mark.parametrize("kind", [*CURVES, "a folder"])
def test_no_curve_hinders_a_resume(
    host: FakeHost, config: Configure, right: torch.Tensor, tmp_path: Path, kind: str
) -> None:
    """The state is what counts."""
    folder = stopped(host, config(**GIVEN))
    if kind == "a folder":
        folder.curve.unlink()
        folder.curve.mkdir()
    else:
        folder.curve.write_bytes(CURVES[kind])
    assert runner.resume(folder.path, host).status == "finished"
    assert torch.equal(learnt(tmp_path / "embeddings"), right)


STATUSES: dict[str, dict[str, Any]] = {
    "finished long ago": {"status": "finished", "steps": 6, "total": 6},
    "finished before its state": {"status": "finished", "steps": 2, "total": 6},
    "at its beginning": {"status": "training", "steps": 0, "total": 6},
    "no status of ours": {"status": "sleeping", "steps": 5},
    "steps in words": {"status": "finished", "steps": "six"},
    "below zero": {"status": "finished", "steps": -1},
    "half a character": {"status": "stopped", "steps": 5, "reason": "\ud800"},
    "a list as the reason": {"status": "finished", "steps": 6, "reason": []},
}


@pytest.mark.parametrize("kind", STATUSES)
def test_a_status_that_lies_against_the_state_loses(
    host: FakeHost, config: Configure, right: torch.Tensor, tmp_path: Path, kind: str
) -> None:
    """The run is shown at its state's step, can be resumed, and comes out the same."""
    folder = stopped(host, config(**GIVEN))
    (folder.path / "status.json").write_text(json.dumps(STATUSES[kind]))
    assert folder.last_status().status != "finished"
    assert folder.last_status().steps == 5
    assert folder.can_resume
    assert runner.resume(folder.path, host).status == "finished"
    assert torch.equal(learnt(tmp_path / "embeddings"), right)


CONFIGS = [
    b"",
    b"{",
    b"{}",
    b"[]",
    b"null",
    b"\xff\xfe",
    bytes(200),
    b"[" * 100_000,
    b'{"settings": {}}',
    b'{"version": []}',
]


@pytest.mark.parametrize("data", CONFIGS, ids=range(len(CONFIGS)))
def test_a_damaged_config_is_recovered_from_the_state(
    host: FakeHost, config: Configure, right: torch.Tensor, tmp_path: Path, data: bytes
) -> None:
    """Settings and facts, as they were; told, and written again."""
    folder = stopped(host, config(**GIVEN))
    before, facts = folder.config(), folder.facts()
    (folder.path / "config.json").write_bytes(data)
    assert folder.config() == before
    assert folder.facts() == facts
    heard = Watch()
    assert runner.resume(folder.path, host, report=heard).status == "finished"
    prepared = next(event for event in heard.events if isinstance(event, Prepared))
    assert said(prepared.prepared.notices, "run.config_replaced")
    assert (folder.path / "config-damaged.json").read_bytes() == data, "somebody may have edited it"
    assert json.loads((folder.path / "config.json").read_text("utf-8"))["settings"] == before.to_dict()
    assert torch.equal(learnt(tmp_path / "embeddings"), right)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_config_that_an_editor_of_windows_has_saved_counts(host: FakeHost, config: Configure, encoding: str) -> None:
    """What was changed in it by hand is not thrown away for its encoding."""
    folder = stopped(host, config(**GIVEN))
    file = folder.path / "config.json"
    content = json.loads(file.read_text("utf-8"))
    content["settings"]["seed"] = 7
    file.write_text(json.dumps(content), encoding)
    assert folder.recover_config() is None
    assert folder.config().seed == 7
