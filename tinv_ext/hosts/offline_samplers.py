"""The sampling methods of the offline host, known without importing diffusers; a test holds them to what it has."""

from __future__ import annotations

OFFLINE_SAMPLERS = ("DDIM", "Euler", "Euler a", "DPM++ 2M")
"""By the WebUI's names."""
