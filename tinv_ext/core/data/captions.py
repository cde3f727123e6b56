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
from tinv_ext.core.small_files import read_small

NAME, FILEWORDS = "[name]", "[filewords]"
TEMPLATES = Path(__file__).parents[2] / "templates"
COMMAS = "[,，、﹐﹑､،]"  # of all scripts
_ESCAPED_BRACKET = re.compile(r"\\([()\[\]])")
_LEADING_NUMBERS = re.compile(r"^[-\d]+\s*")


def read_text(path: Path) -> str:
    """A text file in UTF-8 (with or without BOM) or, by its BOM, UTF-16; anything else is an `InputError`.

    NUL is refused, too: it is how UTF-16 without a BOM, and UTF-32, look; and so is what is far too large for a text.
    """
    try:
        data = read_small(path)
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


def words_of_name(stem: str, regex: str = "", join: str = " ") -> str:
    """The caption in the name of an image without a caption file.

    The rules of AUTOMATIC1111 v1.10.1 `modules/textual_inversion/dataset.py`: leading digits and dashes of the file
    name go, then, if there is a `regex`, its matches are joined with `join`.
    """
    words = _LEADING_NUMBERS.sub("", stem.encode("utf-8", "ignore").decode("utf-8"))
    if regex:
        matches = re.finditer(regex, words)
        words = join.join(match.group(1) or "" if match.groups() else match.group(0) for match in matches)
    return words.replace("\n", " ").strip()


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
    """How a caption varies and goes into a template line; the word is put in front where it is missing.

    `finds(name, text)` says whether a text contains the word; `PromptReader.finds` does so as a prompt will be read.
    Without `emphasis` an escaped bracket is a bracket; with it, the parser of emphasis sees to that. The rest is what
    the settings of the same names mean; `warmup_steps` are those after which a caption has all its tags. `others` are
    the names of the further words that are trained; with one of `instead`, which are among them, a prompt needs no
    other word.
    """

    name: str
    shuffle_tags: bool = False
    tag_dropout: float = 0.0
    prepend_word: bool = False
    finds: Callable[[str, str], bool] = _in_letters
    emphasis: bool = False
    keep_tokens: int = 0
    keep_tokens_separator: str = ""
    caption_separator: str = ""
    secondary_separator: str = ""
    wildcards: bool = False
    caption_dropout: float = 0.0
    caption_dropout_every: int = 0  # epochs
    warmup_min: int = 1
    warmup_steps: int = 0
    others: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()

    def words_in(self, text: str) -> list[str]:
        """The words that are trained and that a part of a caption will be, or contain; the first is [name]."""
        own = NAME in text or self.finds(self.name, text)
        return [*([NAME] if own else []), *(name for name in self.others if self.finds(name, text))]

    def holds_word(self, text: str) -> bool:
        """Whether a part of a caption will be a word that is trained, or contain one."""
        return NAME in text or any(self.finds(name, text) for name in (self.name, *self.others))


def expand(line: str, caption: str, rules: CaptionRules) -> str:
    """Put caption and name into a template line. With `prepend_word` a prompt that lacks the name starts with it."""
    text = " ".join(line.replace(FILEWORDS, caption).replace(NAME, rules.name).split())
    if not rules.emphasis:
        text = _ESCAPED_BRACKET.sub(r"\1", text)
    if rules.prepend_word and not any(rules.finds(name, text) for name in (rules.name, *rules.instead)):
        return f"{rules.name} {text}".strip()
    return text


def draw_caption(captions: str, rng: torch.Generator) -> str:
    """One of an image's captions, which are a line each. Of a single one no random number is taken."""
    if "\n" not in captions:
        return captions
    return draw_line(captions.split("\n"), rng)


def draw_line(lines: Sequence[str], rng: torch.Generator) -> str:
    """One line of a template, each with the same probability."""
    return lines[int(torch.randint(len(lines), (1,), generator=rng))]
