"""What surrounds the page: the program that shows it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PageContext:
    """What the page takes from the program around it.

    `language` is that of the page; where it is empty, everybody is answered in the language that the browser asks for.
    `token` lets the page use the routes that change something.
    """

    language: str = ""
    token: str = ""
