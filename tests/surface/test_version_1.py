"""Files that version 1 wrote are read, and a run of it goes on as the old code would have gone on with it.

The samples are in tests/data/v1; make.py there says how they were made.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import diffusers
import pytest
import torch
import transformers
from safetensors import safe_open

from tests.data.v1.processor import processor
from tests.messages import refused
from tests.paths import ROOT
from tests.run.test_runner import Watch, rows
from tinv_ext.cli import main as cli
from tinv_ext.core.formats import read_embedding
from tinv_ext.core.settings import ALIASES, SETTINGS, TrainConfig
from tinv_ext.core.settings.config_file import VERSION, from_file, to_file
from tinv_ext.core.training.state import load_state
from tinv_ext.hosts.diffusers.host import DiffusersHost
from tinv_ext.library import inspect
from tinv_ext.run import provenance, resume, runner
from tinv_ext.run.run_folder import RunFolder
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.toy import pipeline

pytestmark = pytest.mark.once

SAMPLES = ROOT / "tests" / "data" / "v1"
FACTS = {"model_name": "toy", "model_hash": None, "source": "toy"}
EMBEDDINGS = ("embeddings/zworble-v1.pt", "zworble-v1.safetensors", "run/image_embeddings/zworble-v1-4.png")
CLOSE = 1e-4  # what another processor or library may make of four steps


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The samples with their places filled in: the run lies in log/2026-01-01/run."""
    shutil.copytree(SAMPLES, tmp_path / "v1")
    here = tmp_path / "v1"
    for name in ("config.json", "status.json"):
        file = here / "run" / name
        file.write_text(file.read_text("utf-8").replace("{here}", json.dumps(str(here))[1:-1]), "utf-8")
    (here / "log" / "2026-01-01").mkdir(parents=True)
    (here / "run").rename(here / "log" / "2026-01-01" / "run")
    return here


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As the samples were made: the number of threads decides the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run_of(old: Path) -> RunFolder:
    """The old run."""
    return RunFolder(old / "log" / "2026-01-01" / "run")


def host(old: Path) -> DiffusersHost:
    """The toy with the old run's embeddings."""
    return DiffusersHost.placed(pipeline(""), old / "embeddings", FACTS, "cpu", "fp32")


@pytest.mark.usefixtures("one_thread")
def test_a_run_goes_on_as_the_old_code_goes_on(old: Path) -> None:
    """Bit for bit with the processor and libraries of the samples, closely with others; the curve is continued."""
    folder, watch = run_of(old), Watch()
    head = folder.curve.read_text().splitlines()
    status = runner.resume(folder.path, host(old), {"result": "last"}, watch)  # the old code knew no other
    assert (status.status, status.steps, watch.steps) == ("finished", 8, [5, 6, 7, 8])
    with safe_open(old / "resumed.safetensors", framework="pt") as file:
        made_with, wanted = file.metadata(), file.get_tensor("clip_l")
    vectors = read_embedding(old / "embeddings" / "zworble-v1.pt").vectors["clip_l"]
    here = {library.__name__: library.__version__ for library in (torch, diffusers, transformers)}
    if made_with == {**here, "cpu": processor()}:
        assert torch.equal(vectors, wanted)
    assert torch.allclose(vectors, wanted, rtol=0, atol=CLOSE)
    lines = folder.curve.read_text().splitlines()[: len(head)]
    assert [line.rpartition(",")[0] for line in lines] == head, (
        "with the column of the best step, which it did not have"
    )
    assert [row["step"] for row in rows(folder)] == [str(step) for step in range(9)]


def test_a_new_name_is_no_change(old: Path) -> None:
    """Resuming does not tell that a setting differs, and the order of the images is kept."""
    folder, ours = run_of(old), host(old)
    prepared = resume.prepare_resume(folder.path, ours)
    now = provenance.state_facts(prepared, ours, torch.device("cpu"))
    state, before = load_state(folder.state, torch.device("cpu"))
    assert set(before["settings"]) & set(ALIASES)
    here = {key: now[key] for key in ("torch", "threads", "device")}
    assert not resume.differences({**before, **here}, now)
    assert resume.differences({**before, **here, "settings": {**before["settings"], "learn_rate": "9"}}, now)
    assert resume.order_facts(before) == resume.order_facts(now)
    assert state.order


def test_the_settings_of_an_old_run_are_read(old: Path) -> None:
    """Every setting keeps its value under its current name, among the facts, too."""
    folder = run_of(old)
    written = json.loads((folder.path / "config.json").read_text("utf-8"))
    assert "version" not in written
    config = folder.config().to_dict()
    assert config == TrainConfig().to_dict() | {
        ALIASES.get(name, name): value for name, value in written["settings"].items()
    }
    assert folder.facts()["settings"].keys() < SETTINGS.keys()
    queue = JobQueue(lambda: host(old), old)
    assert [(run["name"], run["steps"], run["can_resume"]) for run in queue.runs("log")] == [("zworble-v1", 4, True)]


def test_an_old_config_trains_again(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--config` with the run's config.json; a flag by its new name wins over the file's old one."""
    file = run_of(old).path / "config.json"
    arguments = ["--output", str(old / "again"), "--steps", "1", "--learning-rate", "0.5", "--preview-every", "0"]
    assert cli.main(["train", "--config", str(file), *arguments]) == cli.DONE, capsys.readouterr().err
    (run,) = (old / "again").glob("20*/*")
    written = json.loads((run / "config.json").read_text("utf-8"))
    assert written["version"] == VERSION
    wanted = {**json.loads(file.read_text("utf-8"))["settings"], "steps": 1, "learn_rate": "0.5", "preview_every": 0}
    wanted["output"] = str(old / "again")
    assert written["settings"] == TrainConfig().to_dict() | {
        ALIASES.get(name, name): value for name, value in wanted.items()
    }


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_old_embeddings_are_inspected(name: str) -> None:
    """With all their facts, the settings among them by their current names; nothing is lost."""
    file = SAMPLES / name
    embedding = read_embedding(file)
    (shown,) = inspect.inspect(file)["embeddings"]
    assert (shown["name"].removesuffix("-4"), shown["vectors"], shown["step"]) == ("zworble-v1", 2, 4)
    old, new = embedding.facts["settings"], shown["facts"]["settings"]
    assert new == {ALIASES.get(key, key): value for key, value in old.items()}
    assert {**shown["facts"], "settings": 0} == {**embedding.facts, "settings": 0}
    assert any("settings.learning_rate" in line for line in inspect.lines(inspect.inspect(file)))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """And reading twice changes nothing; a version that nobody knows yet is refused."""
    config = TrainConfig(name="zworble", learning_rate="0.1")
    content = to_file(config, {"settings": {"seed": 3}})
    assert from_file(json.loads(json.dumps(content))) == content
    folder = RunFolder(tmp_path)
    folder.write_config(config, {"settings": {"seed": 3}})
    assert (folder.config(), folder.facts()) == (config, {"settings": {"seed": 3}})
    (tmp_path / "config.json").write_text(json.dumps({**content, "version": VERSION + 1}))
    with refused("settings.config_too_new", version=VERSION + 1):
        folder.config()


@pytest.mark.parametrize("content", [[], {}, {"settings": 3}, {"version": "x", "settings": {}}, 7])
def test_what_is_no_config_is_told(tmp_path: Path, content: object) -> None:
    """In a sentence."""
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(cli.InputError):
        RunFolder(tmp_path).config()
