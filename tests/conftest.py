"""What holds for every test: no network, no telemetry, one thread, nothing read from or left in the user's folders;
and CLIP's real tokenizer, with a table of small vectors that tell their token.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_home = tempfile.TemporaryDirectory(prefix="tinv-tests-")

# Before anything imports a library that reads them. The hub's cache is an empty folder, so that a test which needs
# a download fails here as it would on a machine that never had one.
os.environ.update(
    HF_HUB_OFFLINE="1",
    TRANSFORMERS_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    DISABLE_TELEMETRY="1",
    DO_NOT_TRACK="1",
    HF_HOME=_home.name,
    OMP_WAIT_POLICY="PASSIVE",
    OMP_NUM_THREADS="1",  # of the processes that tests start: each worker has a core
    TOKENIZERS_PARALLELISM="false",
    LC_ALL="C.UTF-8",  # the command line speaks English, wherever the tests run
)

import pytest  # noqa: E402  (the environment first)
import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from tests.paths import CLIP_TOKENIZER  # noqa: E402
from tinv_ext.core.prompts.reader import Tokenizer  # noqa: E402
from tinv_ext.hosts.prompt_vectors import ClipTokenizer  # noqa: E402

torch.set_num_threads(1)

if not os.environ.get("WEBUI"):
    collect_ignore = ["webui"]  # needs the real WebUI: `make test-webui`

# The longest first, so that no worker is left alone with one of them at the end.
LONG = (
    *("toy/test_train.py", "faults/test_killed.py", "faults/test_cgroup.py", "gpu/", "toy/", "ranks/", "faults/"),
    *("hub/", "ui/"),
)

# Marked `once` as a whole: our own code over torch, of which both environments have the same version.
ONCE = (
    "core/training/",
    *(f"run/test_{name}.py" for name in ("laws", "several_words", "memory_by_hand", "standstill", "best_result")),
    *("run/test_best_of_words.py", "server/test_job_queue.py", "faults/test_page_ended.py"),
    *("packaging/test_wheel.py", "ui/test_browser_words.py", "ui/test_hostile.py"),
    *("prepare/test_painted_masks.py", "prepare/test_findings.py", "hosts/test_cuda_graphs.py"),
    "hosts/diffusers/test_loading_memory.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files in that order, within which tests stay as they are; mark those of `ONCE`."""
    here = Path(__file__).parent

    def path_of(item: pytest.Item) -> str:
        return item.path.relative_to(here).as_posix() if item.path.is_relative_to(here) else ""

    def rank(item: pytest.Item) -> int:
        return next((index for index, start in enumerate(LONG) if path_of(item).startswith(start)), len(LONG))

    for item in items:
        if path_of(item).startswith(ONCE):
            item.add_marker(pytest.mark.once)
    items.sort(key=rank)


@dataclass(frozen=True)
class SmallTokenTable:
    """CLIP's tokens with vectors of width 4 that tell the token: (id, id+1, id+2, id+3)."""

    tokenizer: Tokenizer
    widths: Mapping[str, int]

    def token_vectors(self, ids: Sequence[int]) -> dict[str, Tensor]:
        return {
            name: torch.tensor(ids).view(-1, 1) + torch.arange(width).float() for name, width in self.widths.items()
        }


@pytest.fixture(scope="session")
def clip() -> ClipTokenizer:
    """CLIP's byte-pair encoding with its real vocabulary."""
    from transformers import CLIPTokenizer

    return ClipTokenizer(CLIPTokenizer.from_pretrained(str(CLIP_TOKENIZER), local_files_only=True))


@pytest.fixture(scope="session")
def token_table(clip: ClipTokenizer) -> SmallTokenTable:
    """A Stable Diffusion 1 of width 4."""
    return SmallTokenTable(clip, {"clip_l": 4})
