"""`tinv queue`: a list of settings files, checked as a whole, then trained by processes of this command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Said
from tests.paths import ROOT
from tinv_ext.cli.main import main
from tinv_ext.core.formats import read_embedding

pytestmark = pytest.mark.once
QueueOf = Callable[..., Said]


def write(file: Path, name: str, **settings: Any) -> Path:
    """A settings file for a short training on the fixture's pictures."""
    shared = {"images": "pictures", "steps": 2, "evaluate_every": 1, "preview_every": 0, "save_state_every": 1}
    lines = [f"{key} = {json.dumps(value)}" for key, value in {"name": name, **shared, **settings}.items()]
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.fixture
def queue(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> QueueOf:
    """The command in an empty folder with pictures."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Said:
        code = main(["queue", "--devices", "cpu", *map(str, arguments)])
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return call


def test_every_file_is_checked_before_anything_starts(queue: QueueOf, tmp_path: Path) -> None:
    """The problems of all of them at once, each with its file; nothing is written."""
    folder = tmp_path / "runs"
    files = [
        write(folder / "good.toml", "zibbo"),
        write(folder / "none.toml", "zabbo", images="nowhere", steps="many"),
        write(folder / "other.toml", "Zibbo", learning_rate="0.1:10,0.2:5"),
        write(folder / "else.toml", "zubbo", output="elsewhere"),
        write(folder / "slip.toml", "zebbo", step=3),
        write(folder / "model.toml", "zobbo", model="nothing"),
    ]
    (folder / "broken.toml").write_text("steps = ")
    said = queue(*files, folder / "broken.toml", folder / "missing.toml")
    assert said.code == 2
    lines = said.err.splitlines()
    for file, part in (
        ("none.toml", '"nowhere"'),
        ("none.toml", "(steps)"),
        ("other.toml", "learning_rate"),
        ("slip.toml", 'Did you mean "steps"?'),
        ("model.toml", "nothing"),
        ("broken.toml", "not valid TOML"),
        ("missing.toml", "cannot be read"),
    ):
        assert any(f"{file}: " in line and part in line for line in lines), (file, part, said.err)
    assert any("train the same name" in line and "good.toml" in line and "other.toml" in line for line in lines)
    assert any("different log directories" in line and "elsewhere" in line for line in lines)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures", "runs"]


def test_two_files_have_no_word_in_common(queue: QueueOf, tmp_path: Path) -> None:
    """Of several words none but the first names the run; each has a file of its own that another run would replace."""
    words = '[[words]]\nname = "{}"\n[[words]]\nname = "quixxly"\nuse_negative = true\n'
    files = [tmp_path / f"{name}.toml" for name in ("zibbo", "zabbo")]
    for file in files:
        file.write_text('images = "pictures"\noverwrite = true\n' + words.format(file.stem))
    files.append(write(tmp_path / "more" / "neg.toml", "Quixxly-neg"))
    said = queue(*files)
    told = [line for line in said.err.splitlines() if "train the same name" in line]
    assert (said.code, len(told)) == (2, 2)
    assert all("zibbo.toml" in line and "zabbo.toml" in line for line in told)
    assert ['"quixxly"' in told[0], '"quixxly-neg"' in told[1], "neg.toml" in told[1]] == [True] * 3


def test_a_list_is_trained_and_the_second_time_there_is_nothing_to_do(queue: QueueOf, tmp_path: Path) -> None:
    """A process of this command line; one folder of results, a table, JSON; other settings afterwards are told."""
    file = write(tmp_path / "runs" / "a.toml", "zibbo")
    said = queue(file, "--output", "log")
    assert (said.code, "finished" in said.out) == (0, True), (
        said.err + (tmp_path / "log/queue/zibbo/log.txt").read_text()
    )
    assert read_embedding(tmp_path / "log" / "embeddings" / "zibbo.pt").step > 0
    runs = sorted((tmp_path / "log").glob("20*/*"))
    again = queue(file, "--output", "log", "--json")
    (row,) = json.loads(again.out)["runs"]
    assert (row["name"], row["outcome"], row["steps"], row["total"]) == ("zibbo", "finished", 2, 2)
    assert (row["best"] < 1, Path(row["file"]).name, row["seconds"] > 0) == (True, "zibbo.pt", True)
    assert sorted((tmp_path / "log").glob("20*/*")) == runs == [Path(row["run"])]
    write(file, "zibbo", learning_rate="0.1")
    changed = queue(file, "--output", "log")
    assert (changed.code, "changed since" in changed.err) == (2, True)
    (tmp_path / "log" / "embeddings" / "zibbo.pt").rename(tmp_path / "log" / "embeddings" / "zabbo.pt")
    write(file, "zabbo")
    assert "already" in queue(file, "--output", "log").err  # somebody else's embedding of that name


@pytest.mark.full
def test_a_killed_run_and_ctrl_c(queue: QueueOf, tmp_path: Path) -> None:
    """The one is killed, Ctrl-C stops the others; the same command again finishes all of them."""
    for name, steps in (("a", 40), ("b", 4000), ("c", 4)):
        write(tmp_path / "runs" / f"{name}.toml", f"zibbo-{name}", steps=steps)
    command = [sys.executable, "-m", "tinv_ext", "queue", *map(str, sorted((tmp_path / "runs").iterdir()))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [*command, "--devices", "cpu", "--jobs", "2"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    events = {name: tmp_path / "textual_inversion" / "queue" / f"zibbo-{name}" / "events.jsonl" for name in "abc"}
    wait_for(lambda: all('"step", "step"' in read(events[name]) for name in "ab"))
    os.kill(worker_of(events["a"]), signal.SIGKILL)
    wait_for(lambda: '"ended"' in read(events["a"]))
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 4, said  # one has failed
    assert "zibbo-a: failed. Its process crashed (-9)" in said
    assert "zibbo-b: stopped" in said
    write(tmp_path / "runs" / "b.toml", "zibbo-b", steps=json.loads(last(events["b"], "status"))["step"] + 2)
    again = queue(*sorted((tmp_path / "runs").iterdir()), "--json")
    assert again.code == 0, again.err
    rows = json.loads(again.out)["runs"]
    assert [(row["outcome"], row["steps"] == row["total"]) for row in rows] == [("finished", True)] * 3
    assert len(list((tmp_path / "textual_inversion").glob("20*/*"))) == 3
    assert sorted(path.stem for path in (tmp_path / "textual_inversion" / "embeddings").glob("*.pt")) == [
        "zibbo-a",
        "zibbo-b",
        "zibbo-c",
    ]


def read(path: Path) -> str:
    """What a file holds; nothing where it is not there yet."""
    return path.read_text() if path.is_file() else ""


def last(path: Path, event: str) -> str:
    """The last line of an event."""
    return [line for line in read(path).splitlines() if f'"event": "{event}"' in line][-1]


def worker_of(events: Path) -> int:
    """The process that holds the run of these events."""
    run = json.loads(last(events, "prepared"))["run"]
    return int(json.loads(Path(run, "run.lock").read_text())["pid"])


def wait_for(condition: Callable[[], bool]) -> None:
    """Until it is so."""
    end = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)
