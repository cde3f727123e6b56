"""What the page says in words, as HTML in which everything that came from files and people is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from tinv_ext.core.preflight.prepare import PreparedRun


def problems(sentences: Sequence[str]) -> str:
    """What keeps a run from starting."""
    title = "1 problem" if len(sentences) == 1 else f"{len(sentences)} problems"
    return f'<div class="tinv-problems"><b>{title}; nothing was started.</b>{_list(sentences)}</div>'


def queued(name: str) -> str:
    """A run was taken on."""
    return f'<div class="tinv-said">The run is under way, and is shown beside this: <b>{escape(name)}</b></div>'


def said(text: str) -> str:
    """One sentence."""
    return f'<div class="tinv-said">{escape(text)}</div>'


def checked(found: PreparedRun) -> str:
    """The plan, the pictures, and ten prompts with the word's places marked."""
    return (
        f'<div class="tinv-said"><b>Ready to train.</b>{_list(found.notices)}</div>'
        f"{_pictures(found)}<h4>Training prompts</h4>{_prompts(found)}"
    )


_COUNTED = 200  # pictures whose prompts are counted: a page waits for it


def _list(sentences: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences) + "</ul>"


def _pictures(found: PreparedRun) -> str:
    rows = [
        _row(picture.path.name, f"{picture.width}×{picture.height}", caption, _length(found, index), *picture.remarks)
        for index, (picture, caption) in enumerate(zip(found.scan.pictures, found.captions))
    ]
    out = [_row(path.name, "", "", "", f"left out: it {reason}") for path, reason in found.scan.skipped]
    rows += [row.replace("<tr>", '<tr class="tinv-out">', 1) for row in out]
    head = "<tr><th>picture</th><th>size</th><th>caption</th><th>tokens</th><th></th></tr>"
    return f'<div class="tinv-table"><table>{head}{"".join(rows)}</table></div>'


def _row(name: str, size: str, caption: str, tokens: str, *remarks: str) -> str:
    cells = (name, size, caption, tokens, "; ".join(remarks))
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _length(found: PreparedRun, index: int) -> str:
    return str(found.tokens(index)) if index < _COUNTED else ""


def _prompts(found: PreparedRun) -> str:
    lines = []
    for text in found.prompts(10):
        prompt = found.reader.read(text)
        marked = escape(text).replace(escape(found.config.name), f"<mark>{escape(found.config.name)}</mark>")
        lines.append(f"<li>{marked} <small>{prompt.length} tokens</small></li>")
    return f"<ol>{''.join(lines)}</ol>"
