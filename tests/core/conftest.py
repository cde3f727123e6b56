"""CLIP's real tokenizer, and a lexicon of it with small random vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

import tinv_ext.hosts
from tinv_ext.core.prompts import Tokenizer
from tinv_ext.hosts.text import ClipTokenizer

TOKENIZER = Path(tinv_ext.hosts.__file__).parent / "sd1" / "tokenizer"


@dataclass(frozen=True)
class SmallLexicon:
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

    return ClipTokenizer(CLIPTokenizer.from_pretrained(str(TOKENIZER), local_files_only=True))


@pytest.fixture(scope="session")
def lexicon(clip: ClipTokenizer) -> SmallLexicon:
    """A Stable Diffusion 1 of width 4."""
    return SmallLexicon(clip, {"clip_l": 4})
