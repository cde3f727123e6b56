"""The held-out concepts: things that the toy's training never sees, so that inversion has something to learn."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message
from tinv_ext.toy import outlines, world

FILE = Path(__file__).with_name("concepts") / "concepts.json"
WIDE_FILE = FILE.with_name("wide.json")
FILES = {world.FIRST: FILE, world.WIDE: WIDE_FILE}
NEAR = 0.15  # an odd outline this close to a held-out one (in its weights) is held out too


@dataclass(frozen=True)
class Concept:
    """One thing to be learned. `words` describe it, or are None where nothing in the captions can.

    A style is a pattern and a mark alone: each of its images shows another shape in another colour.
    """

    name: str
    words: str | None
    shape: str
    fill: str
    pattern: str
    mark: str
    outline: tuple[float, ...] = ()
    corners: tuple[tuple[float, float], ...] = ()
    ball: str = "none"
    style: bool = False
    home: world.World = world.FIRST

    def scene(self, background: str) -> world.Scene:
        """The concept on a background."""
        own = (self.outline, self.corners, self.ball)
        return world.Scene(self.shape, self.fill, self.pattern, self.mark, background, *own)

    def backgrounds(self) -> list[str]:
        """Every background but the colours of the concept itself."""
        return [colour for colour in world.COLOURS if colour not in (self.fill, self.ball)]

    def scenes(self, count: int, rng: np.random.Generator) -> list[world.Scene]:
        """`count` scenes, on every background in turn; of a style, of every shape in turn, in colours that differ."""
        if self.style:
            return [self._in_style(index, rng) for index in range(count)]
        backgrounds = rng.permutation(self.backgrounds())
        return [self.scene(str(backgrounds[index % len(backgrounds)])) for index in range(count)]

    def _in_style(self, index: int, rng: np.random.Generator) -> world.Scene:
        shape = list(outlines.SHAPES)[index % len(outlines.SHAPES)]
        fills = [colour for colour in world.COLOURS if colour != world.HIDES.get(self.mark)]
        fill = rng.choice(fills)
        background = rng.choice([colour for colour in world.COLOURS if colour != fill])
        return world.Scene(shape, str(fill), self.pattern, self.mark, str(background))

    def images(self, count: int, seed: int) -> list[tuple[NDArray[np.uint8], world.Scene]]:
        """`count` images (64, 64, 3) with their scenes, each in its own pose."""
        rng = np.random.default_rng([seed, *self.name.encode()])
        scenes = self.scenes(count, rng)
        return [(world.draw(scene, world.sample_pose(scene, rng)), scene) for scene in scenes]


def problems(name: str, data: dict[str, Any]) -> list[Message]:
    """What is wrong with one concept of a file."""
    found = []
    choices: dict[str, Collection[str]] = {"pattern": world.PATTERNS, "mark": world.MARKS}
    shape, outline, corners = data.get("shape", "odd"), data.get("outline"), data.get("corners")
    if data.get("style"):
        shape = "any"
    else:
        choices |= {"fill": world.COLOURS, "shape": world.SHAPES, "ball": ("none", *world.COLOURS)}
    for key, allowed in choices.items():
        if (value := {"ball": "none", **data, "shape": shape}.get(key)) not in allowed:
            found.append(
                message(
                    "toy.concept_value",
                    'Concept "{concept}" has {key} "{value}". Choose one of: {allowed:, }.',
                    concept=name,
                    key=key,
                    value=value,
                    allowed=[*map(str, allowed)],
                )
            )
    if shape == "odd" and not (corners or outline):
        found.append(
            message(
                "toy.concept_shapeless",
                'Concept "{concept}" has an odd shape but no outline and no corners. Give one of the two.',
                concept=name,
            )
        )
    if outline and len(outline) != outlines.ODD_SIZE:
        found.append(
            message(
                "toy.concept_outline",
                'Concept "{concept}" has {count:outline weight|outline weights}. Give {size}.',
                concept=name,
                count=len(outline),
                size=outlines.ODD_SIZE,
            )
        )
    if corners and len(corners) < 3:
        found.append(
            message(
                "toy.concept_corners",
                'Concept "{concept}" has {count:corner|corners}. Give three or more [x, y] within -1 … 1.',
                concept=name,
                count=len(corners),
            )
        )
    return found


def read(path: Path = FILE, of: world.World | None = None) -> dict[str, Concept]:
    """The concepts of a file by name, of a world: the first, if not said, but for the wide world's own file. Raises
    InputError with every problem in it.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            message(
                "toy.concepts_unreadable",
                'The concept file "{path}" cannot be read ({reason}). Give a JSON file with concepts by name.',
                path=path,
                reason=error,
            )
        ) from error
    if not isinstance(raw, dict) or not all(isinstance(data, dict) for data in raw.values()):
        raise InputError(
            message(
                "toy.concepts_unnamed",
                'The concept file "{path}" has no concepts by name. Write {example}.',
                path=path,
                example='{"name": {"fill": …}, …}',
            )
        )
    found = [problem for name, data in raw.items() for problem in problems(name, data)]
    if found:
        raise InputError(found)
    of = of or (world.WIDE if path == WIDE_FILE else world.FIRST)
    return {name: concept(name, data, of) for name, data in raw.items()}


def concept(name: str, data: dict[str, Any], of: world.World = world.FIRST) -> Concept:
    """One concept of a world from its checked entry."""
    return Concept(
        name=name,
        words=data.get("words"),
        shape=data.get("shape", "odd"),
        fill=data.get("fill", ""),
        pattern=data["pattern"],
        mark=data["mark"],
        outline=tuple(float(weight) for weight in data.get("outline", ())),
        corners=tuple((float(x), float(y)) for x, y in data.get("corners", ())),
        ball=data.get("ball", "none"),
        style=bool(data.get("style")),
        home=of,
    )


def same_thing(scene: world.Scene, concept: Concept) -> bool:
    """Whether the scene shows the concept: the outline for a nameless one, pattern and mark for a style, else shape,
    fill, pattern (mark and ball, where it has them).
    """
    if concept.style:
        return (scene.pattern, scene.mark) == (concept.pattern, concept.mark)
    if concept.words is None:
        return bool(scene.outline and concept.outline) and math.dist(scene.outline, concept.outline) < NEAR
    if scene.shape != concept.shape or scene.fill != concept.fill or scene.pattern != concept.pattern:
        return False
    return concept.mark in ("none", scene.mark) and concept.ball in ("none", scene.ball)


def is_held_out(scene: world.Scene, concepts: dict[str, Concept]) -> bool:
    """Whether training must not see this scene."""
    return any(same_thing(scene, concept) for concept in concepts.values())
