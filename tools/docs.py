"""Write what follows from the settings: docs/settings*.md, docs/coming-from.md, and their part of zh_CN.json.

With --check nothing is written, and the exit code says whether a file would change.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from coming_from import page  # noqa: E402  (the path first)

from tinv_ext.core.messages import templates, translated  # noqa: E402  (the path first)
from tinv_ext.core.settings import ALIASES, DEFAULTS, GROUPS, SETTINGS  # noqa: E402

CHINESE = "zh_CN"
HEADS = {
    "en": (
        "# Settings\n\nEach setting is a flag of `tinv train` and `tinv check` (`--learning-rate`), a name in a "
        "`--config` file and in the API (`learning_rate`), and a control on the page. "
        "Other names work, too: see [coming-from.md](coming-from.md).",
        "| setting | default | values | what it does | other names |",
    ),
    CHINESE: (
        "# 设置\n\n每个设置都是 `tinv train` 和 `tinv check` 的一个参数（`--learning-rate`），也是 `--config` 文件和 "
        "API 中的一个名称（`learning_rate`），以及页面上的一个控件。"
        "其他训练程序的名称也可以用：见 [coming-from.md](coming-from.md)。",
        "| 设置 | 默认值 | 取值 | 作用 | 其他名称 |",
    ),
}
MULTIPLES = {"en": "multiples of {}", CHINESE: "{} 的倍数"}


def settings_page(language: str) -> str:
    """All settings as Markdown, a table for each group."""
    intro, head = HEADS[language]
    parts = [f"<!-- Written by `make docs`. -->\n\n{intro}"]
    for group, title in GROUPS.items():
        rows = [_row(name, language) for name, about in SETTINGS.items() if about.group == group]
        parts.append("\n".join([f"## {translated(title, language)}\n", head, "| --- | --- | --- | --- | --- |", *rows]))
    return "\n\n".join(parts) + "\n"


def _row(name: str, language: str) -> str:
    about = SETTINGS[name]
    default = f"`{DEFAULTS[name]}`" if DEFAULTS[name] not in ("", " ") else ""
    meaning = f"**{translated(about.label, language)}**<br>{translated(about.help, language)}"
    others = ", ".join(f"`{alias}`" for alias, setting in ALIASES.items() if setting == name)
    return f"| `{name}` | {default} | {values(name, language)} | {meaning} | {others} |"


def values(name: str, language: str) -> str:
    """The values that a setting takes, in a few words."""
    about = SETTINGS[name]
    if about.choices:
        return ", ".join(f"`{choice}`" for choice in about.choices)
    if about.minimum is None or about.maximum is None:
        return ""
    step = f" ({MULTIPLES[language].format(about.multiple)})" if about.multiple else ""
    return ("0, " if about.zero else "") + f"{about.minimum} … {about.maximum}{step}"


def localization(text: str) -> str:
    """The WebUI's localization file with the settings' part as it should be.

    The file is English text → Chinese. The settings' part is everything from the first setting's label on.
    """
    entries = json.loads(text)
    first = str(next(iter(SETTINGS.values())).label)
    by_hand = list(entries)[: list(entries).index(first)] if first in entries else list(entries)
    whole = {**{key: entries[key] for key in by_hand}, **dict(_translations())}
    return json.dumps(whole, indent=4, ensure_ascii=False) + "\n"


def _translations() -> Iterator[tuple[str, str]]:
    chinese = templates(CHINESE)
    for about in SETTINGS.values():
        yield str(about.label), translated(about.label, CHINESE)
        yield str(about.help), translated(about.help, CHINESE)
        yield from ((choice, chinese[f"choice.{choice}"]) for choice in about.choices)


def main() -> int:
    """Write the files, or check them; 1 if the check finds a difference."""
    words = ROOT / "localizations" / "zh_CN.json"
    files = {
        ROOT / "docs" / "settings.md": settings_page("en"),
        ROOT / "docs" / "settings.zh-CN.md": settings_page(CHINESE),
        ROOT / "docs" / "coming-from.md": page(),
        words: localization(words.read_text("utf-8")),
    }
    different = [path for path, text in files.items() if not path.is_file() or path.read_text("utf-8") != text]
    if "--check" in sys.argv:
        return int(bool(different))
    for path in different:
        path.write_text(files[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
