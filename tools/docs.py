"""Write the generated tables of the documentation anew; with --check, only say whether they are true."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tinv_ext.core.settings import DEFAULTS, GROUPS, SETTINGS  # noqa: E402  (the path first)

BEGIN, END = "<!-- settings: written by `make docs` -->\n", "<!-- end of settings -->"


def settings_table() -> str:
    """The settings as Markdown, a table for each group."""
    lines = []
    for group in GROUPS:
        lines += [f"**{group}**", "", "| setting | default | limits | meaning |", "| --- | --- | --- | --- |"]
        for name, about in SETTINGS.items():
            if about.group == group:
                shown = f"`{DEFAULTS[name]}`" if DEFAULTS[name] not in ("", " ") else ""
                row = f"| `{name}` | {shown} | {limits(name)} | {about.label}. {about.help} |"
                lines.append(row.replace("  ", " "))
        lines.append("")
    return "\n".join(lines)


def limits(name: str) -> str:
    """The values that a setting takes, in a few words."""
    about = SETTINGS[name]
    if about.choices:
        return ", ".join(about.choices)
    if about.minimum is None or about.maximum is None:
        return ""
    step = f", by {about.multiple}" if about.multiple else ""
    return ("0, " if about.zero else "") + f"{about.minimum:g} … {about.maximum:g}{step}"


def renewed(text: str) -> str:
    """The README with its tables as they should be."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{settings_table()}\n{END}{after}"


def main() -> int:
    """Rewrite, or check; 1 if the check finds a difference."""
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    if "--check" in sys.argv:
        return int(renewed(text) != text)
    path.write_text(renewed(text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
