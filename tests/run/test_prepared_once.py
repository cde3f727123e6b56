"""How often each image is opened, read and decoded before the first step; and what a run does if it changes first."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageFile

from tests.fake_host import FakeHost
from tests.messages import refused, said
from tests.run.test_runner import Configure, Watch, config, host, learnt  # noqa: F401  (fixtures)
from tinv_ext.core.data import image_index, images
from tinv_ext.core.data.image_fit import FitRules
from tinv_ext.core.data.image_index import known_images, read_index, write_index
from tinv_ext.core.data.images import FITTED_BYTES, scan_images
from tinv_ext.hosts.base import Host
from tinv_ext.run import preflight, runner
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.server.queued_run import Job

OLD = 10**18  # nanoseconds: a file's time, long past


@pytest.fixture
def folder(config: Configure, tmp_path: Path) -> Path:  # noqa: F811
    """Three images that have lain there for a while."""
    place = tmp_path / "images"
    for path in place.iterdir():
        image = Image.frombytes("RGB", (64, 64), os.urandom(64 * 64 * 3))
        image.save(path)
        os.utime(path, ns=(OLD, OLD))
    return place


class Counted:
    """Opens and decodes by file name, and bytes asked for at once, while `counting`."""

    def __init__(self) -> None:
        self.opens, self.decodes = Counter[str](), Counter[str]()
        self.largest = 0

    @contextmanager
    def counting(self) -> Iterator[Counted]:
        self.__init__()  # type: ignore[misc]
        with pytest.MonkeyPatch.context() as patch:
            opened, load, digest = Path.open, ImageFile.ImageFile.load, images._digest

            def open_(path: Path, *how: Any, **more: Any) -> Any:
                self.opens.update([path.name] if path.suffix == ".png" else [])
                return opened(path, *how, **more)

            def decode(image: Any) -> Any:
                self.decodes.update([Path(image.fp.name).name] if image.tile else [])
                return load(image)

            def hashed(file: Any) -> str:
                class Watched:
                    def read(_, size: int = -1) -> bytes:  # noqa: N805
                        self.largest = max(self.largest, size if size >= 0 else 2**62)
                        return bytes(file.read(size))

                return digest(Watched())  # type: ignore[arg-type]

            patch.setattr(Path, "open", open_)
            patch.setattr(ImageFile.ImageFile, "load", decode)
            patch.setattr(images, "_digest", hashed)
            yield self

    @property
    def each(self) -> tuple[set[int], set[int]]:
        """How often files were opened, and decoded: of those that were at all."""
        return set(self.opens.values()), set(self.decodes.values())


def finished(jobs: JobQueue, job: Job) -> Job:
    """The job, once it is finished."""
    assert jobs.wait(job, 60)
    assert job.status == "finished", job.reason
    return job


def test_a_first_run_opens_and_decodes_each_image_once(host: FakeHost, config: Configure, folder: Path) -> None:  # noqa: F811
    """Hashed in blocks, and never read whole."""
    with Counted().counting() as counted:
        runner.run(config(), host)
    assert counted.each == ({1}, {1})
    assert len(counted.opens) == 3
    assert 0 < counted.largest <= 1 << 20


def test_a_second_run_opens_none(host: FakeHost, config: Configure, folder: Path, tmp_path: Path) -> None:  # noqa: F811
    """Of those that have not changed; one that has is opened, hashed and encoded again."""
    runner.run(config(overwrite=True), host)
    first = learnt(tmp_path / "embeddings")
    with Counted().counting() as counted:
        runner.run(config(overwrite=True), host)
    assert counted.each == (set(), set())
    assert torch.equal(learnt(tmp_path / "embeddings"), first)
    data = (folder / "1 a thing.png").read_bytes()
    Image.new("RGB", (64, 64), "white").save(folder / "1 a thing.png")
    with Counted().counting() as counted:
        runner.run(config(overwrite=True), host)
    assert (dict(counted.opens), dict(counted.decodes)) == ({"1 a thing.png": 1},) * 2
    assert not torch.equal(learnt(tmp_path / "embeddings"), first)
    (folder / "1 a thing.png").write_bytes(data)
    runner.run(config(overwrite=True), host)
    assert torch.equal(learnt(tmp_path / "embeddings"), first)


def test_another_size_decodes_again_what_is_known(host: FakeHost, config: Configure, folder: Path) -> None:  # noqa: F811
    """Its latents are others: decoded once, for the encoding."""
    runner.run(config(), host)
    with Counted().counting() as counted:
        runner.run(config(width=128, height=128, overwrite=True), host)
    assert counted.each == ({1}, {1})


def test_the_queue_opens_each_image_once(host: FakeHost, config: Configure, folder: Path) -> None:  # noqa: F811
    """What `submit` prepares is what runs; after Check, which decodes by itself, nothing is decoded a third time."""
    jobs = JobQueue(lambda: host)
    with Counted().counting() as counted:
        finished(jobs, jobs.submit(config().to_dict()))
    assert counted.each == ({1}, {1})
    with Counted().counting() as counted:
        finished(jobs, jobs.submit(config(overwrite=True).to_dict()))
    assert counted.each == (set(), set())
    jobs = JobQueue(lambda: host)
    given = config(overwrite=True, cache_latents=False).to_dict()
    with Counted().counting() as counted:
        jobs.check(given)
    assert counted.each == ({1}, {1})
    with Counted().counting() as counted:
        finished(jobs, jobs.submit(given))
    assert counted.each == ({1}, {1})


def test_only_so_much_waits_in_memory(config: Configure, folder: Path) -> None:  # noqa: F811
    """The scan keeps pixels as long as there is room; none for a check, nor for a job that has to wait."""
    sizes = [(64, 64)]
    one = 64 * 64 * 3
    counts = [
        len(scan_images(folder, FitRules(sizes), room=room).fitted) for room in (0, 1, one, one + 1, FITTED_BYTES)
    ]
    assert counts == [0, 1, 1, 2, 3]


def test_a_file_of_a_moment_ago_is_not_trusted(config: Configure, folder: Path) -> None:  # noqa: F811
    """It may change again within the grain of the file system's clock."""
    now = time.time_ns()
    os.utime(folder / "0 a thing.png", ns=(now, now))
    scan = scan_images(folder, FitRules([(64, 64)]))
    assert [image.settled for image in scan.pictures] == [False, True, True]
    with Counted().counting() as counted:
        scan_images(folder, FitRules([(64, 64)]), known_images(scan.pictures))
    assert dict(counted.opens) == {"0 a thing.png": 1}


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"\xff", b'{"format": 2, "images": {}}', b'{"format": 1, "images": {"/a": {}}}', None]
)
def test_an_index_that_is_damaged_knows_nothing(
    host: FakeHost,  # noqa: F811
    config: Configure,  # noqa: F811
    folder: Path,
    tmp_path: Path,
    data: bytes | None,
) -> None:
    """Nobody has to know; afterwards it is whole."""
    runner.run(config(overwrite=True), host)
    path = tmp_path / "runs" / "latents" / image_index.NAME
    whole = path.read_bytes()
    if data is None:
        entries = json.loads(whole)
        for entry in entries["images"].values():
            entry["width"] = "64"
        data = json.dumps(entries).encode()
    path.write_bytes(data)
    assert read_index(path.parent) == {}
    runner.run(config(overwrite=True), host)
    assert path.read_bytes() == whole


def test_the_index_forgets_files_that_are_gone_and_keeps_other_folders(folder: Path, tmp_path: Path) -> None:
    """It grows with the folders that are trained on, not with what once lay in them."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.png").write_bytes((folder / "0 a thing.png").read_bytes())
    os.utime(other / "b.png", ns=(OLD, OLD))
    for place in (folder, other):
        write_index(tmp_path, scan_images(place, FitRules([(64, 64)])).pictures)
    assert len(read_index(tmp_path)) == 4
    (folder / "1 a thing.png").unlink()
    write_index(tmp_path, scan_images(folder, FitRules([(64, 64)])).pictures)
    assert {path.name for path in read_index(tmp_path)} == {"0 a thing.png", "2 a thing.png", "b.png"}


def test_an_image_that_changes_before_its_turn_is_refused(host: FakeHost, config: Configure, folder: Path) -> None:  # noqa: F811
    """Every file is named, and nothing is written."""
    prepared = preflight.prepare_run(config(), host, room=FITTED_BYTES)
    (folder / "0 a thing.png").unlink()
    Image.new("RGB", (64, 64), "white").save(folder / "1 a thing.png")
    before = sorted(folder.parent.rglob("*"))
    with refused("images.gone", path=folder / "0 a thing.png") as error:
        runner.start(prepared, host)
    assert said(error.value.problems, "images.changed", path=folder / "1 a thing.png")
    assert len(error.value.problems) == 2
    assert sorted(folder.parent.rglob("*")) == before


def test_a_name_that_is_taken_before_its_turn_is_refused(host: FakeHost, config: Configure, folder: Path) -> None:  # noqa: F811
    """Unless it may be replaced, as was said when it was checked."""
    prepared = preflight.prepare_run(config(), host)
    runner.run(config(), host)
    with refused("run.name_taken_meanwhile", name="zworble"):
        runner.start(prepared, host)
    may = replace(prepared, config=prepared.config.but(overwrite=True))
    assert runner.start(may, host).status == "finished"


def test_what_was_checked_is_what_is_trained(config: Configure, folder: Path, tmp_path: Path) -> None:  # noqa: F811
    """A caption that changes while the job waits counts for the next one; a model that does is waited for."""
    checked, other = FakeHost(tmp_path / "embeddings"), FakeHost(tmp_path / "embeddings")
    other.facts = {**other.facts, "model_name": "other"}
    loaded: list[Host] = [checked]
    jobs = JobQueue(lambda: loaded[0])
    first = jobs.submit(config(name="zworble-a", steps=100_000).to_dict())
    second = jobs.submit(config(name="zworble-b").to_dict())
    (folder / "0 a thing.txt").write_text("nothing of the word")
    loaded[0] = other
    jobs.command(first.id, "stop")
    finished(jobs, second)
    facts = json.loads((Path(str(second.folder)) / "config.json").read_text())["facts"]
    assert facts["model"]["model_name"] == "fake"
    assert second.request is None


def test_a_run_that_resumes_is_prepared_once(host: FakeHost, config: Configure, folder: Path) -> None:  # noqa: F811
    """By the queue as by the command line."""
    jobs = JobQueue(lambda: host)
    watch = Watch()
    given = config(cache_latents=False, overwrite=True)
    runner.run(given, host, watch)
    with Counted().counting() as counted:
        runner.resume(watch.folder.path, host, {"steps": 8})
    assert counted.each == ({1}, {1})
    with Counted().counting() as counted:
        job = finished(jobs, jobs.resume(given.output, watch.folder.id, {"steps": 9}))
    assert counted.each == ({1}, {1})
    assert job.steps == 9
