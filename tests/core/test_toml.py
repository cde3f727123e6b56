"""TOML as it is written is read as the same."""

from __future__ import annotations

import math

from tinv_ext.core.toml import as_toml, parse_toml, toml_tables


def test_what_is_written_is_read() -> None:
    """Texts with any characters, numbers of all kinds, lists, tables and lists of tables within each other."""
    tables = {
        "general": {
            "a": 'ü "x" \\ \n \x7f \x00 \U0001f600',
            "b": 1e-05,
            "c": True,
            "d": [1, [2.5, "e"]],
            "f": {"g h": -0.0},
        },
        "datasets": [
            {"key with blanks": 10**20, "subsets": [{"words": ["a", "b"]}, {}], "empty": []},
            {"subsets": [{"x": "y"}]},
        ],
    }
    assert parse_toml("\n".join(toml_tables(tables))) == tables
    assert math.isnan(parse_toml(f"x = {as_toml(math.nan)}")["x"])
    assert parse_toml(f"x = {as_toml(-math.inf)}") == {"x": -math.inf}
    assert toml_tables({"words": [{"name": "a", "none": None}], "nothing": []}) == ["", "[[words]]", 'name = "a"']
