"""Paths from page and API: what is of another machine or a device is refused unless the owner opened its folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.messages import ids, refused
from tinv_ext.core.paths import path_problems
from tinv_ext.core.settings import SETTINGS
from tinv_ext.server import allowed_paths
from tinv_ext.server.allowed_paths import PATHS, allow_only, local_only
from tinv_ext.server.job_queue import JobQueue

REMOTE = [
    "\\\\server\\share",
    "//server/share",
    "/\\server\\share",
    '"\\\\server\\share\\cats"',
    "  //server/share",
    "\\\\?\\C:\\Windows",
    "\\\\.\\C:\\",
    "\\\\.\\pipe\\x",
    "\\\\?\\UNC\\server\\share",
    "\\\\server@SSL@8443\\DavWWWRoot\\x",
]
DEVICES = [
    "/dev/zero",
    "/dev/stdin",
    "/dev/fd/0",
    "/dev",
    "/proc/self/environ",
    "/proc/1/root",
    "/sys/kernel",
    "/dev/../proc",
]


@pytest.mark.parametrize("path", REMOTE + DEVICES)
@pytest.mark.parametrize("name", PATHS)
def test_it_is_refused_in_every_setting(name: str, path: str) -> None:
    """By name, with the way out."""
    (problem,) = local_only()({name: path})
    assert ids([problem]) == ["server.path_not_local"]
    assert f"({name})" in problem


@pytest.mark.parametrize("path", REMOTE)
def test_the_file_system_is_not_asked(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To look for a share is to log on there."""
    monkeypatch.setattr(allowed_paths, "os", None)
    assert local_only()({"images": path})
    assert local_only([Path("/data")])({"images": path})
    assert allowed_paths.allow_only([])({"images": path})


def test_pipes_and_sockets_are_refused(tmp_path: Path) -> None:
    """Wherever they are: they may never end."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    for name in ("pipe", "link"):
        assert local_only()({"init_embedding": str(tmp_path / name)})


def test_device_names_of_windows_are_refused_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """In any folder, with any suffix; elsewhere they are names like others."""
    names = ["NUL", "C:\\x\\con.txt", "aux", "com1:", "lpt¹"]
    assert [name for name in names if local_only()({"images": name})] == []
    monkeypatch.setattr(allowed_paths, "WINDOWS", True)
    assert [name for name in names if not local_only()({"images": name})] == []


@pytest.mark.parametrize(
    "path", ["", ".", "~/cats", "cats", "C:\\cats", "/data/cats", "/device/x", "/dev/shm/cats", "a//b"]
)
def test_everything_else_is_open_to_the_owner(path: str) -> None:
    """Whether it exists or not."""
    assert local_only()({"images": path}) == []


def test_an_opened_share_may_be_used(tmp_path: Path) -> None:
    """That one, and what is below it."""
    check = local_only([Path("//nas/pictures")])
    assert check({"images": "//nas/pictures/cats"}) == check({"images": "//nas/pictures"}) == []
    assert check({"images": "//nas/pictures2"})
    assert check({"images": "//nas/pictures/../secret"})
    assert check({"images": "//other/pictures"})


def test_the_queue_asks_whoever_it_serves(host: object, tmp_path: Path) -> None:
    """Also where every folder is open: for runs, their list and their resuming."""
    queue = JobQueue(lambda: host, tmp_path)  # type: ignore[arg-type, return-value]
    for path in REMOTE:
        with refused("server.path_not_local", name="images"):
            queue.submit({"name": "x", "images": path})
        with refused("server.path_not_local", name="output"):
            queue.submit({"name": "x", "images": str(tmp_path), "output": path})
        with refused("server.path_not_local", name="output"):
            queue.resume(path, "x", {})
        with refused("server.path_not_local", name="output"):
            queue.check_paths({"output": queue.placed(path)})


def test_the_paths_of_several_words_are_asked_for(host: object, tmp_path: Path) -> None:
    """Their images, and the embeddings that they begin with, also of a word without images of its own."""
    queue = JobQueue(lambda: host, tmp_path)  # type: ignore[arg-type, return-value]
    for name in ("images", "init_embedding", "mask_folder"):
        words = [{"name": "x-1", "images": str(tmp_path)}, {"name": "y-2", name: REMOTE[0]}]
        with refused("server.path_not_local", name=name):
            queue.submit({"words": words, "images": str(tmp_path)})


@pytest.fixture
def host() -> object:
    """None is needed."""
    return object()


def test_every_setting_that_is_a_path_is_checked() -> None:
    """A new one would else open any folder to whoever reaches the routes."""
    assert {name for name, about in SETTINGS.items() if about.check is path_problems} == set(PATHS)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"push_to_hub": True}, ["push_to_hub"]),
        ({"push_to_hub": "yes", "log_with": "tensorboard, WandB"}, ["push_to_hub", "log_with"]),
        ({"report_to": "all"}, ["log_with"]),
        ({"huggingface_repo_id": "ann/zibbo"}, ["push_to_hub"]),
        ({"push_to_hub": "off", "log_with": "tensorboard"}, []),
        ({"hub_model_id": "ann/zibbo"}, []),
    ],
)
def test_nothing_is_sent_in_the_owners_name_by_others(
    values: dict[str, object], told: list[str], tmp_path: Path
) -> None:
    """By whatever name it is asked for; the owner may."""
    problems = allow_only([tmp_path])(values)
    assert ids(problems) == ["server.owners_account"] * len(told)
    assert [problem.values["name"] for problem in problems] == told
    assert local_only()(values) == []
