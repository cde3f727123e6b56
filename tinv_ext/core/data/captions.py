"""What an image is called: captions next to it or in its file name, and the template lines that they go into."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message
from tinv_ext.core.paths import path_given

NAME, FILEWORDS = "[name]", "[filewords]"
TEMPLATES = Path(__file__).parents[2] / "templates"
_LEADING_NUMBERS = re.compile(r"^[-\d]+\s*")


def read_text(path: Path) -> str:
    """A text file in UTF-8 (with or without BOM) or, by its BOM, UTF-16; anything else is an `InputError`.

    NUL is refused, too: it is how UTF-16 without a BOM, and UTF-32, look.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            message(
                "captions.unreadable",
                '"{path}" cannot be read ({reason}). Check that it exists.',
                path=path,
                reason=error.strerror or error,
            )
        ) from error
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(
            message(
                "captions.not_utf8",
                '"{path}" is not UTF-8 text (see byte {byte}). Save it as UTF-8.',
                path=path,
                byte=error.start,
            )
        ) from error
    if "\0" in text:
        raise InputError(
            message("captions.nul", '"{path}" is not UTF-8 text (it contains NUL). Save it as UTF-8.', path=path)
        )
    return text


def read_caption(image: Path, *, regex: str = "", join: str = " ") -> str:
    """The caption of an image: the text of `<stem>.txt`, else the words of the file name.

    The rules of AUTOMATIC1111 v1.10.1 `modules/textual_inversion/dataset.py`: leading digits and dashes of the file
    name go, then, if there is a `regex`, its matches are joined with `join`. Line ends in a caption become spaces.
    """
    caption_file = image.with_suffix(".txt")
    if caption_file.is_file():
        return " ".join(read_text(caption_file).split())
    words = _LEADING_NUMBERS.sub("", image.stem.encode("utf-8", "ignore").decode("utf-8"))
    if regex:
        matches = re.finditer(regex, words)
        words = join.join(match.group(1) or "" if match.groups() else match.group(0) for match in matches)
    return words.strip()


def template_path(template: str) -> Path:
    """The file of a template: one of the package's by its name ("subject", "subject.txt"), else the path itself."""
    name = template if template.endswith(".txt") else f"{template}.txt"
    own = TEMPLATES / name
    return own if own.is_file() else path_given(template)


def own_templates() -> list[str]:
    """Names of the templates that come with the package."""
    return sorted(path.stem for path in TEMPLATES.glob("*.txt"))


def read_template(template: str) -> tuple[str, ...]:
    """The lines of a template file in the WebUI's format, without blank ones. `InputError` if there are none."""
    path = template_path(template)
    if not path.is_file():
        raise InputError(
            message(
                "captions.no_template",
                'There is no template "{template}". Enter the path of a text file, or one of {names:, }.',
                template=template,
                names=own_templates(),
            )
        )
    lines = tuple(line.strip() for line in read_text(path).splitlines() if line.strip())
    if not lines:
        raise InputError(
            message(
                "captions.empty_template",
                'The template "{path}" is empty. Write one prompt per line, such as "a photo of [name]".',
                path=path,
            )
        )
    return lines


def _in_letters(name: str, text: str) -> bool:
    return name.lower() in text.lower()


@dataclass(frozen=True)
class CaptionRules:
    """How a caption goes into a template line: tags shuffled or dropped, the word put in front where it is missing.

    `finds(name, text)` says whether a text contains the word; `PromptReader.finds` does so as a prompt will be read.
    """

    name: str
    shuffle_tags: bool = False
    tag_dropout: float = 0.0
    prepend_word: bool = False
    finds: Callable[[str, str], bool] = _in_letters


def expand(line: str, caption: str, rules: CaptionRules) -> str:
    """Put caption and name into a template line. With `prepend_word` a prompt without the name starts with it."""
    text = " ".join(line.replace(FILEWORDS, caption).replace(NAME, rules.name).split())
    if rules.prepend_word and not rules.finds(rules.name, text):
        return f"{rules.name} {text}".strip()
    return text


def vary(caption: str, rules: CaptionRules, rng: torch.Generator) -> str:
    """Drop and shuffle a caption's tags (between commas). A tag that contains the word is never dropped."""
    if not rules.shuffle_tags and not rules.tag_dropout:
        return caption
    tags = [tag.strip() for tag in caption.split(",")]
    if rules.tag_dropout:
        chances = torch.rand(len(tags), generator=rng).tolist()
        tags = [tag for tag, chance in zip(tags, chances) if chance >= rules.tag_dropout or _holds(tag, rules)]
    if rules.shuffle_tags and tags:
        tags = [tags[index] for index in torch.randperm(len(tags), generator=rng).tolist()]
    return ", ".join(tags)


def _holds(tag: str, rules: CaptionRules) -> bool:
    return NAME in tag or rules.finds(rules.name, tag)


def draw_line(lines: Sequence[str], rng: torch.Generator) -> str:
    """One line of a template, each with the same probability."""
    return lines[int(torch.randint(len(lines), (1,), generator=rng))]
