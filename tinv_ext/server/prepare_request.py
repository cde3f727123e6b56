"""What a preparation is asked for by name, from the page or a request, checked and as options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message
from tinv_ext.core.paths import path_given, path_problems
from tinv_ext.prepare.captions import Captioner
from tinv_ext.prepare.options import CAPTIONERS, PrepareOptions
from tinv_ext.prepare.wd14 import TagRules, Wd14
from tinv_ext.server.allowed_paths import PathCheck, local_only

PATHS = ("source", "target", "tagger")
_DEFAULTS = {item.name: item.default for item in fields(PrepareOptions) if item.name not in PATHS}
_RULES = {item.name: item.default for item in fields(TagRules)}
NAMES: Mapping[str, Any] = {"source": "", "target": "", "tagger": "", **_DEFAULTS, **_RULES}
"""What may be asked for, with what it is otherwise."""


def checked_paths(values: Mapping[str, Any], allowed: PathCheck | None) -> dict[str, Any]:
    """The values, their paths checked. `InputError` where one is missing or must not be used."""
    paths = {name: str(values.get(name) or "").strip() for name in PATHS}
    problems = [problem for path in paths.values() for problem in path_problems(path)]
    problems += (allowed or local_only())(paths)
    if not paths["source"]:
        problems.append(message("ui.no_source", "Enter the source directory."))
    if problems:
        raise InputError(problems)
    return {**values, **paths}


def options_of(values: Mapping[str, Any]) -> PrepareOptions:
    """The options that the values are; what is missing is as without it."""
    given = {**_DEFAULTS, **{name: value for name, value in values.items() if name in _DEFAULTS}}
    several = {name: tuple(given[name]) for name, default in _DEFAULTS.items() if isinstance(default, tuple)}
    several["captioners"] = tuple(name for name in CAPTIONERS if name in several["captioners"])
    sizes = {name: int(given[name]) for name in ("width", "height")}
    target = path_given(values["target"]) if values["target"] else None
    return PrepareOptions(path_given(values["source"]), target, **{**given, **several, **sizes})


def captioners_of(values: Mapping[str, Any], there: Mapping[str, Captioner]) -> Mapping[str, Captioner]:
    """The captioners that there are, with the tagger that is named. `InputError` where that cannot be used."""
    if "wd14" not in values.get("captioners", ()) or not values["tagger"]:
        return there
    rules = TagRules(**{name: values.get(name, default) for name, default in _RULES.items()})
    tagger = Wd14(path_given(values["tagger"]), rules)
    tagger.check()
    return {**there, "wd14": tagger}
