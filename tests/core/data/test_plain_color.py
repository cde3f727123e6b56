"""The colour of a plain background has the name that people give it; what is not plain has none."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tinv_ext.core.data.plain_color import on_background, plain_color
from tinv_ext.toy import world

COLORS = {
    "white": ["#ffffff", "#eeece6", "#d7d5d2"],
    "gray": ["#c0c0c0", "#808080", "#464846"],
    "black": ["#000000", "#0a0c09", "#202830"],
    "red": ["#dc1e1e", "#ff4040"],
    "orange": ["#fa8c14", "#ffa500"],
    "yellow": ["#f8dc28", "#ffff99"],
    "green": ["#1ea532", "#b4e6b4", "#143c19"],
    "turquoise": ["#008080", "#3ccde1"],
    "blue": ["#87ceeb", "#233cd7", "#0a0a5a"],
    "purple": ["#a528be", "#dcd2f5"],
    "pink": ["#ffc0cb", "#ff69b4"],
    "brown": ["#785032", "#b48c64", "#781414"],
    "beige": ["#e6d7be", "#ede0c8"],
}


@pytest.mark.parametrize(("name", "color"), [(name, color) for name, colors in COLORS.items() for color in colors])
def test_a_color_has_its_name(name: str, color: str) -> None:
    """Also behind a subject that reaches the lower edge, and with a camera's noise."""
    image = Image.new("RGB", (320, 240), color)
    other = "#ff0000" if name in ("blue", "green") else "#0000ff"
    ImageDraw.Draw(image).ellipse((80, 60, 240, 400), fill=other)
    assert plain_color(image) == name
    noise = np.random.default_rng(1).normal(0, 4, (240, 320, 3))
    assert plain_color(Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))) == name


def test_a_white_wall_in_uneven_light_is_white() -> None:
    """As it is photographed: darker towards the corners, a little warm, with noise."""
    down, across = np.mgrid[-1:1:240j, -1:1:320j]
    light = 235 - 45 * (down**2 + across**2) / 2 + np.random.default_rng(1).normal(0, 3, (240, 320))
    wall = Image.fromarray(np.stack([light, 0.985 * light, 0.96 * light], -1).clip(0, 255).astype(np.uint8))
    ImageDraw.Draw(wall).ellipse((80, 50, 240, 220), fill="#285ac8")
    assert plain_color(wall) == "white"


def test_the_toy_world_names_its_colors_so() -> None:
    """Its model has learnt what these words mean."""
    assert {name: plain_color(Image.new("RGB", (64, 64), color)) for name, color in world.COLOURS.items()} == {
        name: name for name in world.COLOURS
    }


def test_what_is_not_plain_has_no_name() -> None:
    """A pattern, several colours, half of each; a border of one colour counts, whatever is within."""
    checks = np.indices((64, 64)).sum(0) // 4 % 2 * 255
    assert plain_color(Image.fromarray(checks.astype(np.uint8))) == ""
    halves = Image.new("RGB", (64, 64), "#ff0000")
    halves.paste("#0000ff", (0, 0, 32, 64))
    assert plain_color(halves) == ""
    framed = Image.fromarray(checks.astype(np.uint8)).convert("RGB").resize((200, 200))
    framed.paste("#00ff00", (0, 0, 200, 30))
    framed.paste("#00ff00", (0, 170, 200, 200))
    framed.paste("#00ff00", (0, 0, 30, 200))
    framed.paste("#00ff00", (170, 0, 200, 200))
    assert plain_color(framed) == "green"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "F"])
def test_images_of_every_mode_have_a_color(mode: str) -> None:
    """White stays white; so does what is transparent, as it is trained on, and an image of a single pixel."""
    assert plain_color(Image.new("L", (50, 70), 255).convert(mode)) == "white"
    assert plain_color(Image.new("RGBA", (50, 70), (9, 9, 9, 0))) == "white"
    assert plain_color(Image.new("L", (1, 1), 255).convert(mode)) == "white"


def test_it_is_said_in_english() -> None:
    """With its article, as prompts are; of no colour, nothing is said."""
    assert [*map(on_background, ("white", "orange", ""))] == ["on a white background", "on an orange background", ""]
