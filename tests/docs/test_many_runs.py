"""The job files beside docs/many-runs.md: their commands run with the variables that the schedulers set."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.paths import DOCS, ROOT
from tinv_ext.core.formats import read_embedding

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(sys.platform == "win32" or not shutil.which("bash"), reason="clusters have a bash"),
]
ARRAY = DOCS / "many-runs" / "slurm-array.sh"
JOB = DOCS / "many-runs" / "skypilot.yaml"


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Three settings files, one with a space in its name."""
    (tmp_path / "sweep").mkdir()
    names = ["sweep/a.toml", "sweep/b 2.toml", "sweep/c.toml"]
    for name in names:
        (tmp_path / name).write_text('name = "zibbo"\n')
    return names


def bash(folder: Path, *arguments: str, tinv: str = 'printf "<%s>" "$@"', **variables: str) -> tuple[int, str, str]:
    """What bash with these arguments says, where `tinv` is a command of its own."""
    program = folder / "bin" / "tinv"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/bash\n{tinv}\n")
    program.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SKYPILOT_"))}
    environment = {**kept, "PATH": f"{program.parent}:{os.environ['PATH']}", **variables}
    done = subprocess.run(["bash", *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_the_array_maps_each_task_to_its_file(files: list[str], tmp_path: Path) -> None:
    """Every index has one, the next none; without an index it says how it is submitted."""
    assert bash(tmp_path, "-n", str(ARRAY)) == (0, "", "")
    for index, file in enumerate(files):
        code, out, _ = bash(tmp_path, str(ARRAY), *files, SLURM_ARRAY_TASK_ID=str(index))
        assert (code, out.splitlines()[-1]) == (0, f"<queue><{file}>")
    code, out, err = bash(tmp_path, str(ARRAY), *files, SLURM_ARRAY_TASK_ID="3")
    assert (code, out, "--array=0-2" in err) == (2, "", True)
    code, _, err = bash(tmp_path, str(ARRAY), *files)
    assert (code != 0, "sbatch --array" in err) == (True, True)
    assert bash(tmp_path, str(ARRAY), "a", tinv="exit 3", SLURM_ARRAY_TASK_ID="0")[0] == 3


def test_the_array_asks_for_what_sbatch_knows() -> None:
    """Its options stand where sbatch reads them: before the first command, by names of `man sbatch`."""
    lines = ARRAY.read_text().splitlines()
    first = next(index for index, line in enumerate(lines) if line and not line.startswith("#"))
    asked = [line.split()[1].partition("=")[0] for line in lines if line.startswith("#SBATCH")]
    assert all(index < first for index, line in enumerate(lines) if line.startswith("#SBATCH"))
    assert asked == ["--job-name", "--gpus", "--cpus-per-task", "--mem", "--time", "--output", "--signal"]


def test_the_nodes_of_a_cloud_share_the_list(files: list[str], tmp_path: Path) -> None:
    """Each file goes to one node, and a node that has none says so."""
    (tmp_path / files[1]).rename(tmp_path / "sweep" / "b.toml")
    job = yaml.safe_load(JOB.read_text())
    assert set(job) <= {"name", "workdir", "num_nodes", "resources", "envs", "setup", "run"}
    shown = []
    for rank in range(4):
        variables = {"SKYPILOT_NUM_NODES": "4", "SKYPILOT_NODE_RANK": str(rank), "FILES": job["envs"]["FILES"]}
        code, out, err = bash(tmp_path, "-c", job["run"], **variables)
        assert (code, err) == (0, "")
        shown.append(out)
    assert shown[:3] == ["<queue><sweep/a.toml>", "<queue><sweep/b.toml>", "<queue><sweep/c.toml>"]
    assert "Nothing to do" in shown[3]
    alone = bash(tmp_path, "-c", job["run"], SKYPILOT_NUM_NODES="1", SKYPILOT_NODE_RANK="0", FILES="sweep/*.toml")
    assert alone[1] == "<queue><sweep/a.toml><sweep/b.toml><sweep/c.toml>"


@pytest.mark.slow
def test_a_task_of_the_array_trains_its_file(tmp_path: Path) -> None:
    """With the real command on the toy: the embedding of that file, and of no other; again, there is nothing to do."""
    (tmp_path / "images").mkdir()
    Image.new("RGB", (64, 64), "purple").save(tmp_path / "images" / "1.png")
    files = [tmp_path / "a.toml", tmp_path / "b.toml"]
    for file in files:
        file.write_text(f'name = "zibbo-{file.stem}"\nimages = "images"\nsteps = 2\npreview_every = 0\n')
    tinv = f'PYTHONPATH="{ROOT}" exec "{sys.executable}" -m tinv_ext "$@" --devices cpu'
    arguments = [str(ARRAY), *map(str, files)]
    for _ in range(2):
        code, out, err = bash(tmp_path, *arguments, tinv=tinv, SLURM_ARRAY_TASK_ID="1")
        assert (code, "finished" in out) == (0, True), out + err
    (made,) = (tmp_path / "textual_inversion" / "embeddings").glob("*.pt")
    assert read_embedding(made).name == "zibbo-b"
    assert len(list((tmp_path / "textual_inversion").glob("20*/*"))) == 1
