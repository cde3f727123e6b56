"""The language of the command line: that of LC_ALL, LC_MESSAGES or LANG, else the system's."""

from __future__ import annotations

import locale
import os

from tinv_ext.core.messages import Message, language_of, translated
from tinv_ext.core.printable import printable, printable_lines


def language() -> str:
    """The language to speak, of those that there are translations for."""
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if os.environ.get(variable):
            return language_of(os.environ[variable])
    name = locale.getlocale()[0] or ""
    return language_of("zh_CN" if name.startswith("Chinese (Simplified)") else name)  # as Windows names it


def say(text: str) -> str:
    """`text` in that language; as it is where it is not a message. What is in it cannot steer a terminal."""
    return translated(printable(text), language()) if isinstance(text, Message) else printable_lines(text)
