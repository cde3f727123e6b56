"""The language in which whoever asks is answered."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from tinv_ext.core.messages import ENGLISH, language_of, translated

PACKAGE = Path(__file__).parents[1]


def accepted_language(header: str | None) -> str:
    """Of an Accept-Language header (RFC 9110, 12.5.4), the preferred language that we have; English if there is none.

    "de, zh-CN;q=0.9, en;q=0.8" → "zh_CN".
    """
    for tag in _by_preference(header or ""):
        language = language_of(tag)
        if language != ENGLISH or tag.lower().startswith(ENGLISH):
            return language
    return ENGLISH


def all_translated(texts: Iterable[str], language: str) -> list[str]:
    """Each text in the language."""
    return [translated(text, language) for text in texts]


@cache
def page_labels(language: str) -> Mapping[str, str]:
    """The page's fixed labels in a language of `core.messages.languages`, by their English; none for English.

    They are those of the file that the WebUI reads, which lies at the top of the repository, in a wheel in `assets`.
    """
    files = [folder / "localizations" / f"{language}.json" for folder in (PACKAGE / "assets", PACKAGE.parent)]
    return next((json.loads(path.read_text("utf-8")) for path in files if path.is_file()), {})


def _by_preference(header: str) -> list[str]:
    parts = (part.partition(";") for part in header.split(","))
    weighted = [(_weight(parameters), tag.strip()) for tag, _, parameters in parts]
    return [tag for weight, tag in sorted(weighted, key=lambda item: -item[0]) if tag and weight > 0]


def _weight(parameters: str) -> float:
    """The weight of "q=0.8": 1 where there is none, 0 for one that cannot be read."""
    name, _, value = parameters.partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
