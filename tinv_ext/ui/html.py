"""What the page says in words, as HTML in which everything that came from files and people is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from tinv_ext.core.prepare import Preparation


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


def checked(found: Preparation) -> str:
    """The plan, the pictures, and ten prompts with the word's places marked."""
    return (
        f'<div class="tinv-said"><b>Ready to train.</b>{_list(found.notices)}</div>'
        f"{_pictures(found)}<h4>Training prompts</h4>{_prompts(found)}"
    )


def _list(sentences: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences) + "</ul>"


def _pictures(found: Preparation) -> str:
    rows = [
        f"<tr><td>{escape(picture.path.name)}</td><td>{picture.width}×{picture.height}</td><td>{escape(caption)}</td></tr>"
        for picture, caption in zip(found.survey.pictures, found.captions)
    ]
    rows += [
        f'<tr class="tinv-out"><td>{escape(path.name)}</td><td></td><td>left out: it {escape(reason)}</td></tr>'
        for path, reason in found.survey.skipped
    ]
    head = "<tr><th>picture</th><th>size</th><th>caption</th></tr>"
    return f'<div class="tinv-table"><table>{head}{"".join(rows)}</table></div>'


def _prompts(found: Preparation) -> str:
    lines = []
    for text in found.prompts(10):
        prompt = found.reader.read(text)
        marked = escape(text).replace(escape(found.config.name), f"<mark>{escape(found.config.name)}</mark>")
        lines.append(f"<li>{marked} <small>{prompt.length} tokens</small></li>")
    return f"<ol>{''.join(lines)}</ol>"
