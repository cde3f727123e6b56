"""Real processes that are told to end by real signals, whenever it comes: a sentence, an exit code, a saved state."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.faults.outside import _environment
from tests.paths import ROOT
from tinv_ext.cli.main import main
from tinv_ext.core.formats import read_embedding
from tinv_ext.core.training.state import load_state
from tinv_ext.run.curve import read_curve
from tinv_ext.run.run_folder import RunFolder, find_runs

pytestmark = [pytest.mark.once, pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals")]
IMAGES = ROOT / "tinv_ext" / "toy" / "samples" / "clover"
PLAIN = ("--preview-every", "0", "--evaluate-every", "0")
SIGNALS = [signal.SIGINT, signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.full)]  # as a terminal's end


SAVES_SLOWLY = """
import sys, time
from tinv_ext.cli.main import main
from tinv_ext.run import state_saver

save = state_saver.save_state

def save_slowly(*given):
    print("saving", flush=True)
    time.sleep(1)
    save(*given)

state_saver.save_state = save_slowly
sys.exit(main())
"""
"""The command line on a disk that takes its time."""


@contextmanager
def begun(
    folder: Path, *arguments: object, program: Sequence[str] = ("-m", "tinv_ext"), **streams: Any
) -> Iterator[subprocess.Popen[str]]:
    """The command line at work in a folder."""
    process = subprocess.Popen(
        [sys.executable, *program, *map(str, arguments)],
        cwd=folder,
        env={**_environment(), "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"},
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **streams},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def training_of(folder: Path, steps: int) -> list[str]:
    """The command line of a training of the toy model."""
    given = ("--name", "zibbo", "--images", IMAGES, "--steps", steps, "--output", folder / "runs", *PLAIN)
    return ["train", *map(str, given)]


def training(folder: Path, steps: int, **streams: Any) -> Any:
    """It at work."""
    return begun(folder, *training_of(folder, steps), **streams)


def wait_for(what: Callable[[], Any], process: subprocess.Popen[str], seconds: float = 120) -> Any:
    """What `what` returns as soon as it is something."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = what()
        if found:
            return found
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError("it does not come")


def at_work(folder: Path, steps: int = 3) -> RunFolder | None:
    """The run there, once it has taken some steps."""
    runs = find_runs(folder / "runs")
    return runs[0] if runs and len(read_curve(runs[0].curve)) > steps else None


@pytest.mark.parametrize("number", SIGNALS, ids=["SIGINT", "SIGTERM", "SIGHUP"])
def test_each_way_to_end_a_training_saves_it(number: signal.Signals, tmp_path: Path) -> None:
    """The step is finished and saved, it says so and how to go on, exit code 3."""
    with training(tmp_path, 100000) as process:
        run = wait_for(lambda: at_work(tmp_path), process)
        process.send_signal(number)
        if number != signal.SIGINT:
            time.sleep(0.05)
            process.send_signal(signal.SIGHUP)  # as a logout sends both
        out, err = process.communicate(timeout=120)
    assert process.returncode == 3, err
    assert "Stopped at step" in out
    assert f'--resume "{run.path}"' in out
    assert "Traceback" not in err
    status = run.status()
    rows = read_curve(run.curve)
    assert (status.status, str(status.steps)) == ("stopped", rows[-1]["step"])
    assert read_embedding(tmp_path / "runs" / "embeddings" / "zibbo.pt").step == status.steps


def test_a_signal_while_the_outcome_is_told_cuts_no_line_off(tmp_path: Path) -> None:
    """The run is over and saved; how to go on is said all the same."""
    with training(
        tmp_path,
        100000,
    ) as process:
        run = wait_for(lambda: at_work(tmp_path), process)
        process.send_signal(signal.SIGTERM)
        lines = [process.stdout.readline()]
        while lines[-1] and "Stopped at step" not in lines[-1]:
            lines.append(process.stdout.readline())
        process.send_signal(signal.SIGHUP)
        rest = process.stdout.read()
        assert process.wait(120) in (3, -signal.SIGHUP)  # the latter where it had nothing left to say
    assert f'--resume "{run.path}"' in rest


def test_a_second_ctrl_c_aborts_and_costs_nothing(tmp_path: Path) -> None:
    """Exit code 3, no traceback; resumed, the run is the one that nobody interrupted."""
    for name in "xy":
        (tmp_path / name).mkdir()
    with training(tmp_path / "x", 100000) as process:
        run = wait_for(lambda: at_work(tmp_path / "x", 7), process)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 3, err
    assert "Traceback" not in err
    steps = run.last_status().steps + 5
    assert main(["train", "--resume", str(run.path), "--steps", str(steps)]) == 0
    assert main(training_of(tmp_path / "y", steps)) == 0
    (whole,) = find_runs(tmp_path / "y" / "runs")
    assert read_curve(run.curve) == read_curve(whole.curve)
    resumed, right = (read_embedding(tmp_path / name / "runs" / "embeddings" / "zibbo.pt") for name in "xy")
    assert all(torch.equal(resumed.vectors[key], right.vectors[key]) for key in right.vectors)


def test_more_of_ctrl_c_does_not_spoil_the_saving(tmp_path: Path) -> None:
    """An impatient finger, while the disk takes its time."""
    with training(tmp_path, 100000, program=("-c", SAVES_SLOWLY)) as process:
        run = wait_for(lambda: at_work(tmp_path), process)
        process.send_signal(signal.SIGINT)
        time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        while process.stdout.readline().strip() != "saving":
            pass
        for _ in range(3):
            time.sleep(0.1)
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    assert process.returncode == 3
    assert str(load_state(run.state, torch.device("cpu"), optimizer="ong")[0].step) == read_curve(run.curve)[-1]["step"]


def test_a_closed_terminal_ends_a_training_well(tmp_path: Path) -> None:
    """A real terminal whose other end goes away: SIGHUP, and nothing can be written any more."""
    ours, its = os.openpty()
    with training(tmp_path, 100000, stdout=its, stderr=its, stdin=its, start_new_session=True) as process:
        os.close(its)
        drained = threading.Thread(target=_drain, args=(ours,), daemon=True)
        drained.start()
        run = wait_for(lambda: at_work(tmp_path), process)
        os.close(ours)
        process.send_signal(signal.SIGHUP)
        assert process.wait(120) == 3
    assert run.status().status == "stopped"
    assert run.state.is_file()


def _drain(terminal: int) -> None:
    try:
        while os.read(terminal, 4096):
            pass
    except OSError:
        return


def test_nohup_is_respected(tmp_path: Path) -> None:
    """A program that was told to outlive its terminal does."""

    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with training(tmp_path, 100000, preexec_fn=ignore) as process:
        run = wait_for(lambda: at_work(tmp_path), process)
        process.send_signal(signal.SIGHUP)
        step = len(read_curve(run.curve))
        wait_for(lambda: len(read_curve(run.curve)) > step + 3, process)


LIVES = {
    "train": ("train", "--name", "zibbo", "--images", IMAGES, "--steps", 100000, *PLAIN),
    "check": ("check", "--name", "zibbo", "--images", IMAGES),
    "generate": ("generate", "a photo", "--steps", 150, "--width", 512, "--height", 512),
}


@pytest.mark.parametrize("seconds", [0.3, 2.0, *(pytest.param(other, marks=pytest.mark.full) for other in (1.0, 4.0))])
@pytest.mark.parametrize("name", LIVES)
def test_ctrl_c_while_it_loads_or_works_is_a_sentence(name: str, seconds: float, tmp_path: Path) -> None:
    """At any time: exit code 3 and a sentence, no traceback; or it was done already."""
    with begun(tmp_path, *LIVES[name]) as process:
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert "Traceback" not in err, err
    if process.returncode != 0 or name != "check":
        assert process.returncode == 3, err
        assert "stopped before it was done" in err or "Stopped at step" in out
    assert not list(tmp_path.glob("*.png"))
