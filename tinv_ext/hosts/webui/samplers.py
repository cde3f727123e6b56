"""Sampling methods and schedule types for previews, by the names on the program's page. Imports no model code."""

from __future__ import annotations

from modules import sd_samplers


def samplers() -> list[str]:
    """The sampling methods that are not hidden in the settings."""
    hidden = set(getattr(sd_samplers, "samplers_hidden", ()))  # v1.10.1 modules/sd_samplers.py
    return [sampler.name for sampler in sd_samplers.samplers if sampler.name not in hidden]


def schedulers() -> list[str]:
    """The schedule types; none before v1.9 and in Classic."""
    try:
        from modules import sd_schedulers
    except ImportError:
        return []
    return [scheduler.label for scheduler in sd_schedulers.schedulers]
