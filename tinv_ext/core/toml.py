"""Reading TOML: of Python itself since 3.11, of a package before; and writing it, which Python does not."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message


def parse_toml(text: str) -> dict[str, Any]:
    """The table that a text holds. ValueError where it is no TOML, InputError where nothing here can read it."""
    try:
        import tomllib
    except ImportError:  # Python 3.10
        try:
            import tomli as tomllib  # type: ignore[no-redef]
        except ImportError:
            raise InputError(
                message(
                    "files.no_toml",
                    "Reading TOML needs Python 3.11 or the package tomli. Install tomli, or use JSON.",
                )
            ) from None
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def as_toml(value: Any) -> str:
    """A value within a line: a text, number, boolean, or a list or table of such; anything else as its text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # inf, nan
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(as_toml, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(_pairs(value))}}}"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")  # which JSON leaves, TOML forbids


def toml_tables(tables: Mapping[str, Any], within: str = "") -> list[str]:
    """The lines of tables, and lists of tables, by name, `within` another such as "datasets."."""
    lines: list[str] = []
    for name, value in tables.items():
        of_list = isinstance(value, list)
        head = f"[[{within}{name}]]" if of_list else f"[{within}{name}]"
        for table in value if of_list else [value]:
            below = {key: inner for key, inner in table.items() if _is_tables(inner)}
            plain = {key: inner for key, inner in table.items() if key not in below}
            lines += ["", head, *_pairs(plain), *toml_tables(below, f"{within}{name}.")]
    return lines


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, Mapping) for one in value)


def _pairs(table: Mapping[str, Any]) -> list[str]:
    """Names with their values; not those without one, as JSON has them."""
    keys = {key: key if _BARE.fullmatch(key) else json.dumps(key, ensure_ascii=False) for key in table}
    return [f"{keys[key]} = {as_toml(value)}" for key, value in table.items() if value is not None]


_BARE = re.compile(r"[\w-]+", re.ASCII)
