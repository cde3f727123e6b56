"""What a run has replaced is brought back by a command, and nothing is lost by that."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.core.fake import WIDTH
from tests.fake_host import FakeHost
from tests.run.test_runner import Configure, Watch, config, host  # noqa: F401  (fixtures)
from tinv_ext.cli.main import main
from tinv_ext.core.embedding import Embedding
from tinv_ext.core.formats import read_embedding, write_embedding
from tinv_ext.run import runner


@pytest.fixture
def replacing(host: FakeHost, config: Configure, tmp_path: Path) -> Path:  # noqa: F811
    """The folder of a run that has replaced an embedding of one vector, and then its own."""
    folder = tmp_path / "embeddings"
    folder.mkdir()
    write_embedding(Embedding("zworble", {"clip_l": torch.ones(1, WIDTH)}), folder / "zworble.pt")
    watch = Watch()
    runner.run(config(overwrite=True), host, watch)
    runner.resume(watch.folder.path, host, {"steps": 8})
    return watch.folder.path


def test_the_oldest_comes_back_and_the_newest_is_kept(
    replacing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Byte for byte what lay there before the run; what the run made lies among what is deleted."""
    old = (replacing / "replaced" / "zworble.pt").read_bytes()
    new = (tmp_path / "embeddings" / "zworble.pt").read_bytes()
    assert main(["restore", str(replacing)]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(tmp_path / "embeddings" / "zworble.pt")
    assert (tmp_path / "embeddings" / "zworble.pt").read_bytes() == old
    (kept,) = (tmp_path / "embeddings-deleted").glob("*/files/zworble.pt")
    assert kept.read_bytes() == new
    assert str(kept.parents[1]) in said.err


def test_another_version_can_be_chosen(replacing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Into another folder, too; one that is not there is told with those that are."""
    assert main(["restore", str(replacing), "--file", "zworble (2).pt", "--to", str(tmp_path / "else")]) == 0
    assert read_embedding(tmp_path / "else" / "zworble.pt").step == 6
    assert main(["restore", str(replacing), "--file", "x.pt"]) == 2
    assert "has not replaced x.pt. It has replaced zworble.pt, zworble (2).pt." in capsys.readouterr().err
    assert main(["restore", str(tmp_path)]) == 2
    assert "is not the folder of a run" in capsys.readouterr().err


def test_the_latest_run_need_not_be_named(
    replacing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is that of the usual log directory; where there is none, that is told."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert main(["restore", "latest"]) == 2
    assert 'There is no run in "textual_inversion".' in capsys.readouterr().err
    replacing.parents[1].rename(elsewhere / "textual_inversion")
    assert main(["restore", "latest"]) == 0
    said = capsys.readouterr()
    assert f"the latest run is {Path('textual_inversion', *replacing.parts[-2:])}" in said.err
    assert said.out.strip() == str(tmp_path / "embeddings" / "zworble.pt")
