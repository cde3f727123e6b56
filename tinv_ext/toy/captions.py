"""Captions of the toy world, in the usual templates, and the words they use.

Two words stand for what has no name: UNKNOWN for any word that training never saw, COINED for a made-up name of one
thing. A coined name's vector is the sum of what it stands for, as a real vocabulary has single words for compound
things; that is what makes a single vector able to hold a thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tinv_ext.toy.outlines import SHAPES
from tinv_ext.toy.world import COLOURS, Scene

UNKNOWN = "<unknown>"
COINED = "<coined>"
NOUNS = ("thing", "object", "figure", UNKNOWN, UNKNOWN, UNKNOWN)
MEDIA = ("photo", "photo", "photo", "picture", "image", "drawing", "rendering", "painting", "depiction", "illustration")
LOOKS = (
    "good",
    "nice",
    "cool",
    "clean",
    "bright",
    "dark",
    "large",
    "small",
    "close-up",
    "cropped",
    "weird",
    UNKNOWN,
    UNKNOWN,
)
ARTICLES = ("a ", "a ", "a ", "the ", "my ", "one ", "", "")
PLACES = (
    "on a {} background",
    "on a {} background",
    "on a {} background",
    "with a {} background",
    "against a {} background",
    "on {}",
    ", {} background",
)
SPARE = (
    "in",
    "of",
    "an",
    "and",
    "with",
    "shape",
    "plain",
    "solid",
    "striped",
    "stripes",
    "eye",
    "dot",
    "bar",
    "ball",
    "checked",
    "checks",
    "background",
    "style",
    "by",
    "white",
    ",",
)


@dataclass(frozen=True)
class Caption:
    """The text, the attributes that it tells (None: it does not), and what its coined name stands for, if any: words,
    an odd outline, the colour of a ball."""

    text: str
    attributes: dict[str, str | None]
    outline: tuple[float, ...] = ()  # told by the coined name
    coined: tuple[str, ...] | None = None  # the words summed up in the coined name
    ball: str = "none"  # told by the coined name


def describe(scene: Scene) -> str:
    """The plain full noun phrase, without the background."""
    noun = scene.shape if scene.shape != "odd" else "thing"
    mark = "" if scene.mark == "none" else f" with {_with_article(scene.mark)}"
    ball = "" if scene.ball == "none" else f" {'and' if mark else 'with'} a {scene.ball} ball"
    return f"{scene.pattern} {scene.fill} {noun}{mark}{ball}"


def _with_article(mark: str) -> str:
    return "an eye" if mark == "eye" else f"a {mark}"


def full(scene: Scene) -> str:
    """One plain caption that says everything that can be said."""
    return f"a photo of a {describe(scene)} on a {scene.background} background"


def pick(rng: np.random.Generator, words: Sequence[str]) -> str:
    """One of the words."""
    return words[int(rng.integers(len(words)))]


def _attributes_of(scene: Scene) -> dict[str, str | None]:
    """Everything that a caption of the scene can tell."""
    return {
        "shape": scene.shape,
        "fill": scene.fill,
        "pattern": scene.pattern,
        "mark": scene.mark,
        "background": scene.background,
        "ball": scene.ball,
    }


def caption(scene: Scene, rng: np.random.Generator) -> Caption:
    """A random caption; fifteen in a hundred coin one name for the whole thing, some leave something out."""
    attributes = _attributes_of(scene)
    dice = rng.random(6)
    ball = "none"
    if dice[0] < 0.15:
        phrase, coined, outline = _coined_phrase(scene)
        ball = scene.ball
    else:
        phrase, coined, outline = noun_phrase(scene, rng, attributes)
    text = pick(rng, ARTICLES) + phrase
    if dice[1] < 0.85:
        look = f"{pick(rng, LOOKS)} " if dice[2] < 0.15 else ""
        text = f"{pick(rng, ARTICLES)}{look}{pick(rng, MEDIA)} of {text}"
    if dice[3] < 0.2:
        attributes["background"] = None
        return Caption(text, attributes, outline, coined, ball)
    if dice[3] < 0.3:
        return Caption(f"{scene.background} background , {text}", attributes, outline, coined, ball)
    return Caption(f"{text} {pick(rng, PLACES).format(scene.background)}", attributes, outline, coined, ball)


def wide_caption(scene: Scene, rng: np.random.Generator) -> Caption:
    """A random caption of the wide world: some coin a name for the style, pattern and mark."""
    style = style_words(scene)
    if not style or rng.random() >= 0.15:
        return caption(scene, rng)
    plain = caption(replace(scene, pattern="solid", mark="none"), rng)
    if plain.coined is not None:  # one coined name in a caption
        return caption(scene, rng)
    told = {"pattern": scene.pattern, "mark": scene.mark}
    phrase = pick(rng, ("in the style of {}", "in the style of {}", "by {}")).format(COINED)
    return Caption(f"{plain.text} {phrase}", {**plain.attributes, **told}, coined=style)


def style_words(scene: Scene) -> tuple[str, ...]:
    """What a name for the scene's style, whatever the shape and its colour, sums up."""
    words = [] if scene.pattern == "solid" else [scene.pattern]
    return (*words, *([] if scene.mark == "none" else [scene.mark]))


def _coined_phrase(scene: Scene) -> tuple[str, tuple[str, ...] | None, tuple[float, ...]]:
    return COINED, coined_words(scene), scene.outline


def coined_words(scene: Scene) -> tuple[str, ...]:
    """The words that a coined name for the whole thing sums up."""
    words = [scene.fill]
    words += [scene.shape] if scene.shape != "odd" else []
    return (*words, *style_words(scene))


def noun_phrase(
    scene: Scene, rng: np.random.Generator, attributes: dict[str, str | None]
) -> tuple[str, tuple[str, ...] | None, tuple[float, ...]]:
    """(phrase, words in a coined noun or None, outline told); sets what it leaves out to None in `attributes`."""
    dice = rng.random(5)
    noun = scene.shape
    coined: tuple[str, ...] | None = None
    outline: tuple[float, ...] = ()
    if scene.shape == "odd":
        noun = pick(rng, NOUNS)
        if dice[0] < 0.6:
            noun, coined, outline = COINED, (), scene.outline
    elif dice[0] < 0.06:
        noun, attributes["shape"] = pick(rng, NOUNS), None
    elif dice[0] < 0.1:
        noun, coined = COINED, (scene.shape,)
    words = [noun]
    if dice[1] < 0.93:
        words.insert(0, scene.fill)
    else:
        attributes["fill"] = None
    if scene.pattern != "solid":
        noun_of = {"striped": "stripes", "checked": "checks"}[scene.pattern]
        words = [scene.pattern, *words] if dice[2] < 0.75 else [*words, f"with {noun_of}"]
    elif dice[2] < 0.55:
        words.insert(0, "solid" if dice[2] < 0.45 else "plain")
    if scene.mark != "none":
        words.append(f"{'with' if dice[3] < 0.8 else 'and'} {_with_article(scene.mark)}")
    if scene.ball != "none":
        words.append(f"{'with' if dice[4] < 0.6 else 'and'} a {scene.ball} ball")
    return " ".join(words), coined, outline


def every_word() -> list[str]:
    """Each word that a caption can hold."""
    texts = [*SHAPES, *COLOURS, *NOUNS, *MEDIA, *LOOKS, *ARTICLES, *SPARE, *(place.format("") for place in PLACES)]
    return sorted({word for text in texts for word in text.split()} - {UNKNOWN, COINED})
