"""The page's answers as HTML in the language of whoever asks; what came from files and people is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from tinv_ext.core.errors import TinvError
from tinv_ext.core.messages import message, translated


def not_started(error: TinvError, language: str) -> str:
    """What keeps a run from starting."""
    title = message("ui.not_started", "{count:problem|problems}. Nothing was started.", count=len(error.problems))
    return _problems(title, error, language)


def not_done(error: TinvError, language: str) -> str:
    """What keeps anything else from being done."""
    title = message("ui.not_done", "{count:problem|problems}. Nothing was changed.", count=len(error.problems))
    return _problems(title, error, language)


def sentence(text: str, language: str) -> str:
    """One sentence."""
    return sentences([text], language)


def sentences(texts: Iterable[str], language: str) -> str:
    """Sentences, one after the other."""
    return f'<div class="tinv-said">{" ".join(_text(text, language) for text in texts)}</div>'


def table(heads: Iterable[str], rows: Iterable[str], language: str) -> str:
    """A table of `rows` as HTML below a row of heads."""
    head = "".join(f"<th>{_text(text, language)}</th>" for text in heads)
    return f'<div class="tinv-table"><table><tr>{head}</tr>{"".join(rows)}</table></div>'


def row(cells: Iterable[object], excluded: bool = False) -> str:
    """A row of a table; one of something that cannot be used is marked."""
    opening = '<tr class="tinv-out">' if excluded else "<tr>"
    return f"{opening}{''.join(f'<td>{escape(str(cell))}</td>' for cell in cells)}</tr>"


def _problems(title: str, error: TinvError, language: str) -> str:
    return f'<div class="tinv-problems"><b>{_text(title, language)}</b>{_list(error.problems, language)}</div>'


def _list(sentences: Sequence[str], language: str) -> str:
    return "<ul>" + "".join(f"<li>{_text(sentence, language)}</li>" for sentence in sentences) + "</ul>"


def _text(text: str, language: str) -> str:
    return escape(translated(text, language))
