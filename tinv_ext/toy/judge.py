"""The judge: a small classifier of every attribute of a toy image, trained on drawings, never on generated images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message
from tinv_ext.toy import heldout, world

FILE = Path(__file__).with_name("weights") / "judge.safetensors"
FILES = {world.FIRST: FILE, world.WIDE: FILE.with_name("judge-wide.safetensors")}


def nameless(of: world.World = world.FIRST) -> list[str]:
    """The held-out concepts that have no words: shapes of their own for the judge."""
    return [concept.name for concept in heldout.read(heldout.FILES[of]).values() if concept.words is None]


def classes(of: world.World = world.FIRST) -> dict[str, list[str]]:
    """What the judge of a world can say of each attribute."""
    return {
        "shape": [*world.SHAPES, *nameless(of)],
        "fill": list(world.COLOURS),
        "pattern": list(of.patterns),
        "mark": list(of.judged_marks),
        "background": list(world.COLOURS),
        **({"ball": ["none", *world.COLOURS]} if of.balls else {}),
    }


@dataclass(frozen=True)
class Seen:
    """What the judge sees in one image."""

    shape: str
    fill: str
    pattern: str
    mark: str
    background: str
    ball: str = "none"


def layer(narrow: int, wide: int) -> nn.Sequential:
    """Half the size, `wide` channels."""
    return nn.Sequential(nn.Conv2d(narrow, wide, 3, stride=2, padding=1), nn.GroupNorm(8, wide), nn.SiLU())


class Judge(nn.Module):
    """Images (n, 3, 64, 64) in -1…1 → logits by attribute. The first layers see plain colours, not normalised."""

    def __init__(self, of: world.World = world.FIRST) -> None:
        super().__init__()
        self.classes = classes(of)
        self.first = nn.Sequential(nn.Conv2d(3, 32, 3, stride=2, padding=1), nn.SiLU())
        self.body = nn.Sequential(layer(32, 48), layer(48, 96), layer(96, 128))
        self.colours = nn.Sequential(nn.Conv2d(3, 16, 8, stride=8), nn.SiLU())  # 8×8 plain colours beside the body
        self.join = nn.Sequential(nn.Linear(128 * 16 + 16 * 64, 160), nn.SiLU())
        self.heads = nn.ModuleDict({name: nn.Linear(160, len(options)) for name, options in self.classes.items()})

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Logits (n, classes) by attribute."""
        deep = self.body(self.first(pixels)).flatten(1)
        joined = self.join(torch.cat([deep, self.colours(pixels).flatten(1)], 1))
        return {name: head(joined) for name, head in self.heads.items()}


def load(path: Path | None = None, of: world.World = world.FIRST) -> Judge:
    """A world's shipped judge. Raises InputError where its file is missing."""
    path = path or FILES[of]
    if not path.is_file():
        raise InputError(
            message(
                "toy.judge_missing",
                'The judge\'s weights "{path}" are missing. Train them: tools/toy/train.py --stage judge.',
                path=path,
            )
        )
    judge = Judge(of)
    judge.load_state_dict({name: value.float() for name, value in load_file(str(path)).items()})
    return judge.eval().requires_grad_(False)


@torch.no_grad()
def look(judge: Judge, images: Tensor) -> list[Seen]:
    """What the judge sees in images (n, 3, 64, 64) in 0…1."""
    logits = judge(images.clamp(0, 1) * 2 - 1)
    labels = {name: [judge.classes[name][i] for i in logits[name].argmax(1).tolist()] for name in logits}
    return [Seen(**{name: labels[name][row] for name in labels}) for row in range(len(images))]


def expected(scene: world.Scene, concept: heldout.Concept | None = None) -> Seen:
    """What the judge should see in a scene; a nameless concept has a shape class of its own."""
    shape = concept.name if concept is not None and concept.words is None else scene.shape
    return Seen(shape, scene.fill, scene.pattern, scene.mark, scene.background, scene.ball)


def shows(seen: Seen, concept: heldout.Concept) -> bool:
    """Whether shape, paint, mark and ball are the concept's, on any background; of a style, pattern and mark."""
    if concept.style:
        return (seen.pattern, seen.mark) == (concept.pattern, concept.mark)
    shape = concept.name if concept.words is None else concept.shape
    wanted = (shape, concept.fill, concept.pattern, concept.mark, concept.ball)
    return (seen.shape, seen.fill, seen.pattern, seen.mark, seen.ball) == wanted


def right(seen: Sequence[Seen], wanted: Sequence[Seen]) -> dict[str, float]:
    """The share of images right in each attribute, and in all at once ("all")."""
    names = [field.name for field in fields(Seen)]
    shares = {
        n: sum(getattr(s, n) == getattr(w, n) for s, w in zip(seen, wanted, strict=True)) / len(seen) for n in names
    }
    return {**shares, "all": sum(s == w for s, w in zip(seen, wanted, strict=True)) / len(seen)}
