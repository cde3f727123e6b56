"""The judge: a small classifier of every attribute of a toy image, trained on drawings, never on generated images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message
from tinv_ext.toy import heldout, world

FILE = Path(__file__).with_name("weights") / "judge.safetensors"


def nameless() -> list[str]:
    """The held-out concepts that have no words: shapes of their own for the judge."""
    return [concept.name for concept in heldout.read().values() if concept.words is None]


def classes() -> dict[str, list[str]]:
    """What the judge can say of each attribute."""
    return {
        "shape": [*world.SHAPES, *nameless()],
        "fill": list(world.COLOURS),
        "pattern": list(world.PATTERNS),
        "mark": list(world.EVERY_MARK),
        "background": list(world.COLOURS),
    }


@dataclass(frozen=True)
class Seen:
    """What the judge sees in one image."""

    shape: str
    fill: str
    pattern: str
    mark: str
    background: str


def layer(narrow: int, wide: int) -> nn.Sequential:
    """Half the size, `wide` channels."""
    return nn.Sequential(nn.Conv2d(narrow, wide, 3, stride=2, padding=1), nn.GroupNorm(8, wide), nn.SiLU())


class Judge(nn.Module):
    """Images (n, 3, 64, 64) in -1…1 → logits by attribute. The first layers see plain colours, not normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 32, 3, stride=2, padding=1), nn.SiLU())
        self.body = nn.Sequential(layer(32, 48), layer(48, 96), layer(96, 128))
        self.colours = nn.Sequential(nn.Conv2d(3, 16, 8, stride=8), nn.SiLU())  # 8×8 plain colours beside the body
        self.join = nn.Sequential(nn.Linear(128 * 16 + 16 * 64, 160), nn.SiLU())
        self.heads = nn.ModuleDict({name: nn.Linear(160, len(options)) for name, options in classes().items()})

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Logits (n, classes) by attribute."""
        deep = self.body(self.first(pixels)).flatten(1)
        joined = self.join(torch.cat([deep, self.colours(pixels).flatten(1)], 1))
        return {name: head(joined) for name, head in self.heads.items()}


def load(path: Path = FILE) -> Judge:
    """The shipped judge. Raises InputError where its file is missing."""
    if not path.is_file():
        raise InputError(
            message(
                "toy.judge_missing",
                'The judge\'s weights "{path}" are missing. Train them: tools/toy/train.py --stage judge.',
                path=path,
            )
        )
    judge = Judge()
    judge.load_state_dict({name: value.float() for name, value in load_file(str(path)).items()})
    return judge.eval().requires_grad_(False)


@torch.no_grad()
def look(judge: Judge, images: Tensor) -> list[Seen]:
    """What the judge sees in images (n, 3, 64, 64) in 0…1."""
    logits = judge(images.clamp(0, 1) * 2 - 1)
    labels = {name: [classes()[name][i] for i in logits[name].argmax(1).tolist()] for name in logits}
    return [Seen(**{name: labels[name][row] for name in labels}) for row in range(len(images))]


def expected(scene: world.Scene, concept: heldout.Concept | None = None) -> Seen:
    """What the judge should see in a scene; a nameless concept has a shape class of its own."""
    shape = concept.name if concept is not None and concept.words is None else scene.shape
    return Seen(shape, scene.fill, scene.pattern, scene.mark, scene.background)


def shows(seen: Seen, concept: heldout.Concept) -> bool:
    """Whether shape, fill, pattern and mark are the concept's, on any background."""
    shape = concept.name if concept.words is None else concept.shape
    return (seen.shape, seen.fill, seen.pattern, seen.mark) == (shape, concept.fill, concept.pattern, concept.mark)


def right(seen: Sequence[Seen], wanted: Sequence[Seen]) -> dict[str, float]:
    """The share of images right in each attribute, and in all at once ("all")."""
    names = list(classes())
    shares = {
        n: sum(getattr(s, n) == getattr(w, n) for s, w in zip(seen, wanted, strict=True)) / len(seen) for n in names
    }
    return {**shares, "all": sum(s == w for s, w in zip(seen, wanted, strict=True)) / len(seen)}
