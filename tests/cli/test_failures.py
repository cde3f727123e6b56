"""What nobody wants, as the command line tells it: a sentence and the same exit codes for every command."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.cli.conftest import Said
from tests.paths import ROOT
from tinv_ext.cli import main as cli
from tinv_ext.cli import signals
from tinv_ext.cli.failures import BAD_INPUT, BUG, FAILED, STOPPED, explain
from tinv_ext.cli.signals import Ending, _watch_console
from tinv_ext.core.errors import FormatError, HostError, InputError

Tinv = Callable[..., Said]
IMAGES = ROOT / "tinv_ext" / "toy" / "samples" / "clover"
LONG = "y" * 300


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps a folder that a program is in")
def test_a_current_folder_that_was_deleted_is_told(tmp_path: Path) -> None:
    """PyTorch's libraries end the program without a word of ours where there is none."""
    (tmp_path / "gone").mkdir()
    code = "import os, sys; os.rmdir(os.getcwd()); from tinv_ext.cli.main import main; sys.exit(main())"
    run = [sys.executable, "-c", code, "check", "--name", "zibbo", "--images", str(IMAGES)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    said = subprocess.run(run, cwd=tmp_path / "gone", env=environment, capture_output=True, text=True, check=False)
    assert said.returncode == BAD_INPUT
    assert "The current folder no longer exists" in said.stderr
    assert said.stderr.startswith("tinv: 1 problem")


@pytest.fixture
def embedding(tmp_path: Path) -> Path:
    """An embedding for SD1, and beside it a file where somebody wants a folder."""
    (tmp_path / "file").write_text("x")
    torch.save({"<a>": torch.zeros(2, 768)}, tmp_path / "a.bin")
    return tmp_path / "a.bin"


@pytest.mark.parametrize(
    "arguments",
    [
        ("convert", "a.bin", "file/x.pt"),
        ("convert", "a.bin", "file/x", "--to", "diffusers-folder"),
        ("convert", "a.bin", f"{LONG}/x.pt"),
        ("convert", "a.bin", f"{LONG}.pt"),
        ("convert", f"{LONG * 20}.pt", "x.pt"),
        ("extend", "a.bin", "file/e.pt", "--vectors", 4),
        ("average", "a.bin", "a.bin", "--output", "file/m.pt"),
        ("generate", "x", "--steps", 1, "--output", "file/x.png"),
        ("generate", "x", "--steps", 1, "--embedding", LONG * 20),
        ("toy", "export", "file"),
        ("toy", "demo", "--output", "file/d"),
        ("inspect", "nowhere.pt"),
        ("restore", "file"),
    ],
    ids=lambda arguments: " ".join(map(str, arguments))[:40],
)
def test_places_that_cannot_be_are_a_sentence(
    arguments: tuple[Any, ...], embedding: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 or 4, no traceback."""
    monkeypatch.chdir(embedding.parent)
    code = cli.main([str(argument) for argument in arguments])
    err = capsys.readouterr().err
    assert code in (BAD_INPUT, FAILED)
    assert "Traceback" not in err
    assert err.startswith("tinv: ")


def test_a_file_in_the_place_of_the_embeddings_is_told_before_the_training(tinv: Tinv, tmp_path: Path) -> None:
    """Not after it."""
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "embeddings").write_text("x")
    for command in ("train", "check"):
        said = tinv(command, "--name", "zibbo", "--images", IMAGES, "--steps", 3, "--output", "o")
        assert (said.code, str(Path("o", "embeddings")) in said.err) == (BAD_INPUT, True)
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["embeddings"]


def test_embeddings_and_runs_go_to_one_log_directory(tinv: Tinv, tmp_path: Path) -> None:
    """Whatever stands around its path, and where "~name" is no user."""
    for output, folder in (("o ", "o"), ('"q"', "q"), ("~nobody-at-all", "~nobody-at-all")):
        options = ("--preview-every", 0, "--evaluate-every", 0, "--output", output)
        said = tinv("train", "--name", "zibbo", "--images", IMAGES, "--steps", 1, *options)
        assert said.code == 0
        assert (tmp_path / folder / "embeddings" / "zibbo.pt").is_file()
        assert [path.name for path in (tmp_path / folder).glob("20*/zibbo-*")]


@pytest.mark.once
@pytest.mark.parametrize("encoding", ["cp1252", "cp932", "ascii"])
def test_output_in_a_code_page_writes_escapes(encoding: str, tmp_path: Path) -> None:
    """A word in Chinese, piped on Windows: exit code 0, as without."""
    run = [sys.executable, "-m", "tinv_ext", "check", "--name", "猫猫", "--images", str(IMAGES)]

    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}
    said = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert said.returncode == 0, said.stderr
    assert "猫".encode("cp932") in said.stdout or b"\\u732b" in said.stdout


@pytest.mark.once
def test_output_that_nobody_reads_stops_nothing(tmp_path: Path) -> None:
    """`check | head -1`. A full disk behind the output is a failure: nobody gets what was asked for."""
    command = f"'{sys.executable}' -m tinv_ext check --name zibbo --images '{IMAGES}'"
    for output, code in (("| head -c 1; exit ${PIPESTATUS[0]}", 0), ("> /dev/full", FAILED)):
        said = subprocess.run(
            ["bash", "-c", f"{command} {output}"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert (said.returncode, "Traceback" in said.stderr) == (code, False), said.stderr


@pytest.mark.parametrize(("error", "lost"), [(28, True), (5, True), (32, False)])
def test_output_that_the_disk_refuses_is_a_failure(
    error: int, lost: bool, embedding: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Once: the next command in this process knows nothing of it. A reader who has left is none."""

    class Full:
        """A stream that takes nothing."""

        def write(self, text: str) -> None:
            raise OSError(error, "refused")

        def fileno(self) -> int:
            return spare.fileno()

    with (tmp_path / "spare").open("w") as spare, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", Full())
        assert cli.main(["inspect", str(embedding)]) == (FAILED if lost else 0)
    assert cli.main(["inspect", str(embedding)]) == 0


class Bug(Exception):
    """Something that nobody expected."""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("a"), BAD_INPUT),
        (FormatError("a damaged file"), BAD_INPUT),
        (HostError("it cannot"), FAILED),
        (MemoryError(), FAILED),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."), FAILED),
        (OSError(28, "No space left on device", "x"), FAILED),
        (PermissionError(13, "Permission denied"), FAILED),
        (Bug("the sky fell"), BUG),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_each_kind_of_trouble_has_its_code(
    error: Exception, code: int, tinv: Tinv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever command it is; only a bug has a traceback, and says where to report it and with which versions."""

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(cli, "host_of", fail)
    for command in (("check", "--name", "a"), ("generate", "x"), ("train", "--name", "a")):
        said = tinv(*command)
        assert said.code == code
        assert ("Traceback" in said.err, "Please report it" in said.err) == (code == BUG, code == BUG)
        assert code != BUG or f"torch {torch.__version__}" in said.err
    assert explain(error) == code


def test_ctrl_c_while_it_loads_is_told(tinv: Tinv, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a library has made an error of its own of it."""

    def interrupt(options: dict[str, Any], *_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "host_of", interrupt)
    for command in (("check", "--name", "a"), ("generate", "x"), ("train", "--name", "a")):
        said = tinv(*command)
        assert (said.code, "Traceback" in said.err, said.err != "") == (STOPPED, False, True)


@pytest.mark.skipif(find_spec("uvicorn") is None, reason="the page needs gradio")
def test_a_port_that_cannot_be_is_told(tinv: Tinv) -> None:
    """Taken, or no port at all: exit code 2, before the model is loaded."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for port in (taken.getsockname()[1], 0, -1, 65536, 99999999):
            said = tinv("ui", "--port", port)
            assert (said.code, str(port) in said.err) == (BAD_INPUT, True)


@pytest.mark.skipif(find_spec("uvicorn") is not None, reason="gradio is there")
def test_the_page_without_gradio_says_what_to_install(tinv: Tinv) -> None:
    """Exit code 2."""
    said = tinv("ui")
    assert (said.code, "pip install" in said.err) == (BAD_INPUT, True)


def test_ctrl_c_aborts_a_second_time_only_where_the_saving_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is a wish, the second aborts, and for some seconds more of them are not heard."""
    now, stops = [0.0], list[int]()
    monkeypatch.setattr(signals, "time", SimpleNamespace(monotonic=lambda: now[0]))
    ending = Ending(lambda: None)
    with ending.stopping(lambda: stops.append(1)):
        ending.on_signal(signal.SIGINT, None)
        for seconds, aborts in ((0.0, True), (0.1, False), (4.0, False), (6.0, True), (7.0, False)):
            now[0] = seconds
            with pytest.raises(KeyboardInterrupt) if aborts else nullcontext():
                ending.on_signal(signal.SIGINT, None)
    assert stops == [1]


def test_windows_console_waits_until_the_run_is_saved() -> None:
    """Closed, logged off or shut down: as one Ctrl-C, and Windows goes on when it is done. By fault injection."""

    handlers: list[tuple[Any, bool]] = []
    kernel32 = SimpleNamespace(SetConsoleCtrlHandler=lambda handler, add: handlers.append((handler, add)))
    library = SimpleNamespace(
        windll=SimpleNamespace(kernel32=kernel32), WINFUNCTYPE=lambda *_: lambda act: act, c_int=0, c_uint=0
    )
    for event in (2, 5, 6):
        ending, stopped, returned = Ending(lambda: None), threading.Event(), list[bool]()
        forget = _watch_console(ending.on_console, library)
        handler, added = handlers[-1]
        assert added
        with ending.stopping(stopped.set):
            thread = threading.Thread(target=lambda: returned.append(handler(event)))  # noqa: B023 (joined below)
            thread.start()
            assert stopped.wait(30)
            assert returned == []  # Windows would end the process now
            ending.over.set()
            thread.join(30)
        assert returned == [True]
        forget()
        assert handlers[-1] == (handler, False)
    assert not Ending(lambda: None).on_console(0)  # Ctrl-C and Ctrl-Break are signals
    assert not Ending(lambda: None).on_console(1)


def test_windows_console_calls_a_handler_of_c() -> None:
    """What is registered is a C function, BOOL (DWORD), that lives until it is taken away and can be called by address.

    As kernel32 would call it, from a thread of its own; the calling convention is the one of C here. That Windows does
    call it is not tried: there is no Windows.
    """
    registered: list[tuple[Any, bool]] = []
    kernel32 = SimpleNamespace(SetConsoleCtrlHandler=lambda handler, add: registered.append((handler, add)))
    library = SimpleNamespace(
        windll=SimpleNamespace(kernel32=kernel32),
        WINFUNCTYPE=ctypes.CFUNCTYPE,
        c_int=ctypes.c_int,
        c_uint=ctypes.c_uint,
    )
    ending, stopped, returned = Ending(lambda: None), threading.Event(), list[int]()
    forget = _watch_console(ending.on_console, library)
    ((handler, added),) = registered
    assert (added, handler.restype, handler.argtypes) == (True, ctypes.c_int, (ctypes.c_uint,))
    address = ctypes.cast(handler, ctypes.c_void_p).value
    del handler
    registered.clear()
    gc.collect()
    called = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint)(address)
    assert called(0) == 0  # Ctrl-C: for the next handler
    with ending.stopping(stopped.set):
        thread = threading.Thread(target=lambda: returned.append(called(2)))
        thread.start()
        assert stopped.wait(30)
        ending.over.set()
        thread.join(30)
    assert returned == [1]
    forget()
    assert [added for _, added in registered] == [False]
