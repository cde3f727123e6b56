"""Sources of examples: a dataset is a list of subsets, and one folder is the case of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .captions import CaptionRules, draw_caption, draw_line, expand
from .variation import FIRST, Visit, fixed, vary


@dataclass(frozen=True)
class Subset:
    """What images of one source have in common: template lines, caption rules, how they count.

    Each image comes `repeats` times in a pass through the dataset; its loss is multiplied by `weight`. A visit takes no
    heed of its mask with `unmasked_probability`. Those of regularization images (`is_reg`) are seen as often as all
    others together. `batch_size` of them make a batch, where that is not 0, which leaves it to the run.
    """

    lines: Sequence[str]
    captions: CaptionRules
    repeats: int = 1
    weight: float = 1.0
    unmasked_probability: float = 0.0
    is_reg: bool = False
    batch_size: int = 0

    def sample_prompt(self, caption: str, rng: torch.Generator, visit: Visit = FIRST) -> str:
        """A training prompt: a template line and a variation of one of the captions, drawn again at each visit."""
        line = draw_line(self.lines, rng)
        return expand(line, vary(draw_caption(caption, rng), self.captions, rng, visit), self.captions)

    def fixed_prompt(self, caption: str) -> str:
        """The prompt of the evaluation: the first template line with the whole first caption."""
        return expand(self.lines[0], fixed(caption.split("\n", 1)[0], self.captions), self.captions)
