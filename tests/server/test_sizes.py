"""Sizes for people, the same as the page's script has them (tests/javascript/runs.test.js)."""

from __future__ import annotations

from tinv_ext.server.sizes import size_of


def test_sizes_are_in_the_unit_that_suits_them() -> None:
    """Never "0.00 MB", nor four digits."""
    sizes = [0, 999, 1000, 4_321, 45_678, 999_499, 999_500, 1_234_567, 123_456_789, 2_400_000_000, 5 * 10**12]
    texts = "0 B, 999 B, 1.0 kB, 4.3 kB, 46 kB, 999 kB, 1.0 MB, 1.2 MB, 123 MB, 2.4 GB, 5.0 TB"
    assert list(map(size_of, sizes)) == texts.split(", ")
