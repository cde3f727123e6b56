"""Limits that several settings share."""

from __future__ import annotations

MIN_SIZE, MAX_SIZE, SIZE_STEP = 64, 2048, 8
"""Width and height of an image in pixels; a latent has a pixel for every eight."""

MAX_STEPS = 1_000_000
