"""Checks of settings that are more than a range, as problems of a text."""

from __future__ import annotations

import re

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message
from tinv_ext.core.training.schedules import parse_schedule


def schedule_problems(text: str) -> list[str]:
    """Why a text is not a schedule of rates."""
    try:
        parse_schedule(text)
    except InputError as error:
        return list(error.problems)
    return []


def regex_problems(text: str) -> list[str]:
    """Why a text is not a regular expression."""
    try:
        re.compile(text)
    except re.error as error:
        return [
            message(
                "settings.not_a_regex",
                '"{text}" is not a regular expression ({error}). Leave it empty if you do not need one.',
                text=text,
                error=error,
            )
        ]
    return []
