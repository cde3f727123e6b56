"""Limits that several settings share."""

from __future__ import annotations

from tinv_ext.core.families import VAE_FACTOR

MIN_SIZE, MAX_SIZE, SIZE_STEP = 64, 2048, VAE_FACTOR
"""Width and height of an image in pixels."""

MAX_STEPS = 1_000_000
