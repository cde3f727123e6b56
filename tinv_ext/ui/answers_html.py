"""The page's answers as HTML in the language of whoever asks; what came from files and people is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from tinv_ext.core.errors import TinvError
from tinv_ext.core.messages import encodable, message, translated
from tinv_ext.core.preflight.prepare import PreparedRun

_COUNTED = 200  # images whose prompts are counted: a page waits for it


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


def checked(prepared: PreparedRun, language: str) -> str:
    """The notices, the images, and ten prompts in which the embedding's name is marked."""
    ready = _text(message("ui.ready", "Ready to train."), language)
    prompts = _text(message("ui.training_prompts", "Training prompts"), language)
    tags = sentence(prepared.tag_table, language) if prepared.tag_table else ""
    return (
        f'<div class="tinv-said"><b>{ready}</b>{_list(prepared.notices, language)}</div>'
        f"{_images(prepared, language)}{tags}<h4>{prompts}</h4>{_prompts(prepared, language)}"
    )


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


def _images(prepared: PreparedRun, language: str) -> str:
    rows = [
        row((encodable(image.name), f"{picture.width}×{picture.height}", caption, tokens, remarks))
        for index, image in enumerate(prepared.images)
        for tokens in [prepared.tokens(image) if index < _COUNTED else ""]
        for picture, caption in [(image.picture, image.caption.text.replace("\n", " | "))]
        for remarks in ["; ".join(translated(remark, language) for remark in picture.remarks)]
    ]
    for subset in prepared.subsets:
        for path, reason in subset.scan.skipped:
            skipped = message("ui.image_left_out", "left out: {reason}", reason=reason)
            rows.append(row((encodable(subset.file(path)), "", "", "", translated(skipped, language)), excluded=True))
    heads = (
        message("ui.head_image", "image"),
        message("ui.head_size", "size"),
        message("ui.head_caption", "caption"),
        message("ui.head_tokens", "tokens"),
        "",
    )
    return table(heads, rows, language)


def _prompts(prepared: PreparedRun, language: str) -> str:
    name = escape(prepared.config.name)
    lines = []
    for prompt in prepared.prompts(10):
        marked = escape(prompt).replace(name, f"<mark>{name}</mark>")
        tokens = message("ui.tokens", "{count:token|tokens}", count=prepared.reader.read(prompt).length)
        lines.append(f"<li>{marked} <small>{_text(tokens, language)}</small></li>")
    return f"<ol>{''.join(lines)}</ol>"
