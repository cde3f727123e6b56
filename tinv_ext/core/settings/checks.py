"""What some settings have to be, as sentences about those that are not."""

from __future__ import annotations

import re

from tinv_ext.core.errors import InputError
from tinv_ext.core.training.schedules import parse_schedule


def schedule_problems(text: str) -> list[str]:
    """Why a text is no schedule of rates."""
    try:
        parse_schedule(text)
    except InputError as error:
        return list(error.problems)
    return []


def regex_problems(text: str) -> list[str]:
    """Why a text is no regular expression."""
    try:
        re.compile(text)
    except re.error as error:
        return [f'"{text}" is not a regular expression ({error}). Leave it empty if you need none.']
    return []
