"""What a run writes at its end and on the way: under which name, in which format and precision."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.fake_host import FakeHost
from tests.run.test_runner import Configure, Watch, config, host
from tinv_ext.core.embedding import token_of
from tinv_ext.core.formats import read_embedding
from tinv_ext.run import runner
from tinv_ext.run.events import RunControls

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
