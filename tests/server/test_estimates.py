"""What earlier runs tell of the next: scaled by images and pixels, kept beside runs, never trusted blindly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinv_ext.core.settings import TrainConfig
from tinv_ext.server.estimates import FILE, Estimates

FACTS = {"model_name": "a", "model_hash": "0123456789"}
DAMAGED = '[{"model": "0123456789", "pixels": 0, "examples": 2, "batch": 2, "seconds": 1.0}]'
CONFIG = TrainConfig(width=512, height=512, batch_size=2)


def test_time_grows_with_images_and_pixels(tmp_path: Path) -> None:
    """Memory is told only where it was measured for the same."""
    estimates = Estimates()
    assert estimates.of(FACTS, CONFIG, tmp_path) == (None, None)
    estimates.learn(FACTS, CONFIG, 0.5, 2**32)
    assert estimates.of(FACTS, CONFIG, tmp_path) == (0.5, 2**32)
    assert estimates.of(FACTS, CONFIG.but(gradient_accumulation_steps=3), tmp_path) == (1.5, 2**32)
    assert estimates.of(FACTS, CONFIG.but(width=1024, height=1024), tmp_path) == (2.0, None)
    assert estimates.of({**FACTS, "model_hash": "other"}, CONFIG, tmp_path) == (None, None)


def test_the_nearest_measurement_counts(tmp_path: Path) -> None:
    """And of several alike, the last."""
    estimates = Estimates()
    estimates.learn(FACTS, CONFIG.but(batch_size=8), 8.0)
    estimates.learn(FACTS, CONFIG, 0.5)
    estimates.learn(FACTS, CONFIG, 0.25)
    assert estimates.of(FACTS, CONFIG.but(batch_size=1), tmp_path)[0] == 0.125
    assert estimates.of(FACTS, CONFIG.but(batch_size=16), tmp_path)[0] == 16.0


def test_it_is_kept_beside_the_runs(tmp_path: Path) -> None:
    """For the next process, and not twice."""
    first = Estimates()
    first.learn(FACTS, CONFIG, 0.5)
    first.keep(tmp_path)
    first.keep(tmp_path)
    assert Estimates().of(FACTS, CONFIG, tmp_path) == (0.5, None)
    assert (tmp_path / FILE).read_text().count("pixels") == 1
    first.keep(tmp_path / "gone")
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize(
    "text",
    ["", "[", "{}", "[1]", '[{"model": "0123456789"}]', "null", "[" * 10_000, DAMAGED],
)
def test_a_damaged_file_tells_nothing(tmp_path: Path, text: str) -> None:
    """It is only an estimate."""
    (tmp_path / FILE).write_text(text)
    assert Estimates().of(FACTS, CONFIG, tmp_path) == (None, None)
