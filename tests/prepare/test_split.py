"""Splitting oversized images: which are split, into how many pieces, and what those share."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from tinv_ext.core.data.image_fit import Fit
from tinv_ext.prepare.split import places

SIDES = st.integers(1, 5000)
TARGETS = st.sampled_from([(512, 512), (512, 768), (768, 512), (64, 1024)])


def spans(width: int, height: int, fit: Fit, found: tuple[Fraction, ...]) -> list[tuple[int, int]]:
    """Where the pieces begin and end along the image, in pixels of the scaled image."""
    wide, high = fit.scaled(width, height)
    pieces = [Fit(fit.width, fit.height, place=place).corner(width, height) for place in found]
    along = 0 if wide - fit.width > high - fit.height else 1
    return [(corner[along], corner[along] + (fit.width, fit.height)[along]) for corner in pieces]


@settings(deadline=None)
@given(SIDES, SIDES, TARGETS, st.floats(0, 1), st.floats(0, 0.9))
def test_pieces_cover_the_image_and_overlap(
    width: int, height: int, target: tuple[int, int], threshold: float, overlap: float
) -> None:
    """From end to end, each sharing at least what was asked with the next (to a pixel), and one fewer would not do."""
    fit, shared = Fit(*target), Fraction(str(overlap))
    found = places(width, height, fit, threshold, overlap)
    ratio = Fraction(width * target[1], height * target[0])
    if min(ratio, 1 / ratio) > Fraction(str(threshold)):
        assert found == ()
    if not found:
        return
    wide, high = fit.scaled(width, height)
    length, piece = max((wide, target[0]), (high, target[1]), key=lambda pair: pair[0] - pair[1])
    at = spans(width, height, fit, found)
    assert (at[0][0], at[-1][1]) == (0, length)
    for (_, end), (start, _) in pairwise(at):
        assert end - start >= shared * piece - 1
    fewer = len(found) - 2
    assert fewer == 0 or piece + fewer * piece * (1 - shared) < length


def test_numbers_count_as_they_are_written() -> None:
    """Of a square at 512×768, six pieces share exactly nine tenths; 0.9 as a binary number is a little more."""
    assert len(places(1, 1, Fit(512, 768), 1.0, 0.9)) == 6
    assert places(3000, 10000, Fit(512, 512), 0.3, 0.2)  # 0.3 as a binary number is a little less


def test_as_the_webui_splits() -> None:
    """The figures of v1.10.1's formula: ceil((h - H·overlap) / (H·(1 - overlap))) pieces of equal distance."""
    for height, count in ((1024, 3), (1536, 4), (2048, 5), (4096, 10)):
        assert len(places(512, height, Fit(512, 512), 0.5, 0.2)) == count
        assert len(places(height, 512, Fit(512, 512), 0.5, 0.2)) == count
    assert places(512, 1023, Fit(512, 512), 0.5, 0.2) == ()
    assert places(512, 1023, Fit(512, 512), 0.6, 0.2) == (0, Fraction(1, 2), 1)
