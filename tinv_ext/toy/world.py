"""The toy world: scenes of one big shape on a flat background, drawn at 64×64 pixels.

A scene says what is seen (shape, fill, pattern, mark, ball, background), a pose how it happens to lie. There are two
worlds: the first, and a wider one with checks, more marks and a ball at the shape's side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tinv_ext.toy import outlines

SIZE = 64
RADIUS = 23.0  # pixels, at scale 1
STRIPE = 20.0  # pixels from one stripe to the next
CHECK = 14.0  # pixels from one check to the next
SMOOTH = 4  # drawn this much larger, then averaged
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (225, 35, 35),
    "green": (30, 165, 50),
    "blue": (35, 60, 215),
    "yellow": (248, 220, 40),
    "purple": (165, 40, 190),
    "turquoise": (60, 205, 225),
    "white": (242, 242, 242),
    "black": (22, 22, 22),
}
GREY = (128, 128, 128)  # between the stripes of every striped shape; no word, fill or background has it
SHAPES = (*outlines.SHAPES, "odd")
PATTERNS = ("solid", "striped", "checked")
MARKS = ("none", "eye", "dot", "bar")

HIDES = {"dot": "black", "bar": "white"}  # on this colour the mark is not seen


@dataclass(frozen=True)
class World:
    """What a world's images show beside shapes and colours. The first one's judge knows marks that no caption names."""

    name: str
    patterns: tuple[str, ...]
    marks: tuple[str, ...]
    judged_marks: tuple[str, ...]
    balls: bool


FIRST = World("first", PATTERNS[:2], MARKS[:2], MARKS, balls=False)
WIDE = World("wide", PATTERNS, MARKS, MARKS, balls=True)


@dataclass(frozen=True)
class Scene:
    """What an image shows. `outline` holds the weights of an odd outline, `corners` those of a drawn one; `ball` is the
    colour of the ball at the shape's side, or "none"."""

    shape: str
    fill: str
    pattern: str
    mark: str
    background: str
    outline: tuple[float, ...] = ()
    corners: tuple[tuple[float, float], ...] = ()
    ball: str = "none"


@dataclass(frozen=True)
class Pose:
    """How the shape lies: shift in pixels, scale, turn in degrees."""

    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0
    turn: float = 0.0


def sample_outline(rng: np.random.Generator) -> tuple[float, ...]:
    """Weights of a random odd outline, norm .25 to .5; in half of them one wave stands out."""
    weights = rng.normal(size=outlines.ODD_SIZE)
    if rng.random() < 0.5:
        leading = int(rng.integers(len(outlines.HARMONICS)))
        weights *= np.where(np.arange(outlines.ODD_SIZE) // 2 == leading, 1.0, 0.3)
    weights *= rng.uniform(0.25, 0.5) / np.linalg.norm(weights)
    return tuple(round(float(weight), 4) for weight in weights)


def sample_scene(rng: np.random.Generator) -> Scene:
    """A random scene; every fourth shape is odd, a third is striped, an eighth has an eye."""
    odd = rng.random() < 0.25
    shape = "odd" if odd else SHAPES[int(rng.integers(len(outlines.SHAPES)))]
    first = int(rng.integers(len(COLOURS)))
    second = (first + 1 + int(rng.integers(len(COLOURS) - 1))) % len(COLOURS)
    fill, background = list(COLOURS)[first], list(COLOURS)[second]
    pattern = "striped" if rng.random() < 0.35 else "solid"
    mark = "eye" if rng.random() < 0.12 else "none"
    return Scene(shape, fill, pattern, mark, background, sample_outline(rng) if odd else ())


def sample_wide_scene(rng: np.random.Generator) -> Scene:
    """A random scene of the wide world: each pattern and mark often enough to be learned, a ball on every fourth.

    A mark has another colour than the shape's.
    """
    scene = sample_scene(rng)
    pattern = str(rng.choice(WIDE.patterns, p=[0.46, 0.27, 0.27]))
    mark = str(rng.choice(WIDE.marks, p=[0.61, 0.11, 0.14, 0.14]))
    if scene.fill == HIDES.get(mark):
        mark = "eye"
    ball = "none"
    if rng.random() < 0.25:
        ball = str(rng.choice([colour for colour in COLOURS if colour not in (scene.fill, scene.background)]))
    return replace(scene, pattern=pattern, mark=mark, ball=ball)


def sample_pose(scene: Scene, rng: np.random.Generator) -> Pose:
    """A small random shift, scale and turn."""
    most = outlines.TURNS.get(scene.shape, 6.0)
    x, y = rng.uniform(-3, 3, size=2)
    return Pose(float(x), float(y), float(rng.uniform(0.93, 1.07)), float(rng.uniform(-most, most)))


def rings(scene: Scene) -> list[outlines.Points]:
    """The scene's outline as rings of points, radius 1."""
    if scene.corners:
        return outlines.polygon(scene.corners)
    if scene.outline:
        return outlines.odd(scene.outline)
    return outlines.SHAPES[scene.shape]()


def mask(points_of_rings: list[outlines.Points], pose: Pose) -> NDArray[np.float32]:
    """(64, 64) coverage in 0…1 of the first ring less the others."""
    angle = np.deg2rad(pose.turn)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    canvas = Image.new("L", (SIZE * SMOOTH, SIZE * SMOOTH), 0)
    pen = ImageDraw.Draw(canvas)
    for index, points in enumerate(points_of_rings):
        placed = points @ rotation.T * RADIUS * pose.scale + (SIZE / 2 + pose.x, SIZE / 2 + pose.y)
        pen.polygon([(float(x) * SMOOTH, float(y) * SMOOTH) for x, y in placed], fill=0 if index else 255)
    return np.asarray(canvas.reduce(SMOOTH), dtype=np.float32) / np.float32(255)


def paint(canvas: NDArray[np.float32], cover: NDArray[np.float32], colour: Any) -> NDArray[np.float32]:
    """`colour` (3,) or (64, 64, 3) laid over (64, 64, 3) where `cover` (64, 64) says."""
    return canvas * (1 - cover[..., None]) + np.asarray(colour, dtype=np.float32) * cover[..., None]


def fill_of(scene: Scene, pose: Pose) -> NDArray[np.float32]:
    """(64, 64, 3): the shape's paint, flat or in level stripes, or in checks, of the fill and grey."""
    flat = np.broadcast_to(np.asarray(COLOURS[scene.fill], dtype=np.float32), (SIZE, SIZE, 3))
    if scene.pattern == "solid":
        return flat
    height = np.arange(SIZE) + 0.5 - SIZE / 2 - pose.y
    if scene.pattern == "checked":
        across = np.arange(SIZE) + 0.5 - SIZE / 2 - pose.x
        waves = np.sin(np.pi * height / CHECK)[:, None] * np.sin(np.pi * across / CHECK)[None]
        return paint(flat, np.clip(waves * CHECK / np.pi + 0.5, 0, 1).astype(np.float32), GREY)
    away = np.abs((height + STRIPE / 2) % STRIPE - STRIPE / 2)  # pixels from the middle of a stripe of the fill
    cover = np.broadcast_to(np.clip(away - STRIPE / 4 + 0.5, 0, 1)[:, None], (SIZE, SIZE)).astype(np.float32)
    return paint(flat, cover, GREY)


def add_mark(canvas: NDArray[np.float32], mark: str, pose: Pose) -> NDArray[np.float32]:
    """The canvas with the mark on the shape's middle."""
    if mark == "eye":
        canvas = paint(canvas, mask([outlines.circle(0.38)], pose), COLOURS["white"])
        return paint(canvas, mask([outlines.circle(0.2)], pose), COLOURS["black"])
    if mark == "dot":
        return paint(canvas, mask([outlines.circle(0.3, (-0.3, -0.3))], pose), COLOURS["black"])
    if mark == "bar":
        return paint(
            canvas,
            mask(outlines.polygon([(-0.6, -0.16), (0.6, -0.16), (0.6, 0.16), (-0.6, 0.16)]), pose),
            COLOURS["white"],
        )
    return canvas


def draw(scene: Scene, pose: Pose | None = None) -> NDArray[np.uint8]:
    """The image (64, 64, 3)."""
    pose = pose or Pose()
    canvas = np.broadcast_to(np.asarray(COLOURS[scene.background], dtype=np.float32), (SIZE, SIZE, 3))
    canvas = paint(canvas, mask(rings(scene), pose), fill_of(scene, pose))
    canvas = add_mark(canvas, scene.mark, pose)
    if scene.ball != "none":
        canvas = paint(canvas, mask([outlines.circle(0.4, (0.8, -0.8))], pose), COLOURS[scene.ball])
    image: NDArray[np.uint8] = np.clip(canvas + 0.5, 0, 255).astype(np.uint8)
    return image


def stream(rng: np.random.Generator, held_out: Any = None, world: World = FIRST) -> Iterator[Scene]:
    """Scenes of a world without end; `held_out(scene)` says which ones training must never see."""
    sample = sample_wide_scene if world is WIDE else sample_scene
    while True:
        scene = sample(rng)
        if held_out is None or not held_out(scene):
            yield scene


def on(scene: Scene, background: str) -> Scene:
    """The same thing on another background."""
    return replace(scene, background=background)
