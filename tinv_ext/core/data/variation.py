"""How a caption varies from visit to visit: wildcards, tags in another order or dropped, no caption at all.

After kohya's trainers (sd-scripts library/train_util.py, BaseDataset.process_caption). Unlike there, what holds the
word is never dropped: a prompt without it teaches nothing. Nothing that is not set takes a random number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from tinv_ext.core.data.captions import COMMAS, CaptionRules, draw_line

_COMMA = re.compile(rf"{COMMAS}|\n")
_SEMICOLON = re.compile("[;；؛]")
_WILDCARD = re.compile(r"\{\{|\}\}|\{([^{}]+)\}")


@dataclass(frozen=True)
class Visit:
    """A visit of an image, for which a prompt is drawn: its step and epoch, both from 1."""

    step: int = 1
    epoch: int = 1


FIRST = Visit()


def vary(caption: str, rules: CaptionRules, rng: torch.Generator, visit: Visit = FIRST) -> str:
    """One variation of a caption."""
    if _is_dropped(rules, rng, visit):
        return ", ".join(rules.words_in(caption))
    if rules.wildcards:
        caption = _chosen(caption, lambda options: draw_line(options, rng))
    return _arranged(caption, rules, lambda tags: _varied(tags, rules, rng, visit))


def fixed(caption: str, rules: CaptionRules) -> str:
    """The whole caption, with the first of the words of each wildcard: what the evaluation takes."""
    return _without_chance(caption, rules, lambda options: options[0])


def least(caption: str, rules: CaptionRules) -> str:
    """The variation that is the least likely to hold the word."""
    return _without_chance(caption, rules, lambda options: min(options, key=rules.holds_word))


def split_tags(caption: str, separator: str = "") -> list[str]:
    """The tags of a caption: between the separators, or, where there is none, between commas of any script.

    Where a caption has no comma they are between its semicolons.
    """
    if separator:
        return [tag.strip() for tag in caption.split(separator)]
    parting = _COMMA if _COMMA.search(caption) else _SEMICOLON
    return [tag.strip() for tag in parting.split(caption)]


def _without_chance(caption: str, rules: CaptionRules, choose: Callable[[Sequence[str]], str]) -> str:
    if rules.wildcards:
        caption = _chosen(caption, choose)
    return _arranged(caption, rules, None)


def _is_dropped(rules: CaptionRules, rng: torch.Generator, visit: Visit) -> bool:
    """Whether no caption is used at this visit: by chance, or in every so many epochs."""
    by_chance = rules.caption_dropout > 0 and float(torch.rand(1, generator=rng)) < rules.caption_dropout
    return by_chance or (rules.caption_dropout_every > 0 and visit.epoch % rules.caption_dropout_every == 0)


def _chosen(caption: str, choose: Callable[[Sequence[str]], str]) -> str:
    """A caption with one of the words of each {a|b}; {{ and }} are brackets."""
    return _WILDCARD.sub(lambda found: choose(found[1].split("|")) if found[1] else found[0][0], caption)


def _arranged(caption: str, rules: CaptionRules, change: Callable[[list[str]], list[str]] | None) -> str:
    """A caption whose tags, but for those that stay in their place, are changed; and without the separators."""
    varies = rules.shuffle_tags or rules.tag_dropout or rules.warmup_steps
    if (change and varies) or (rules.keep_tokens_separator and rules.keep_tokens_separator in caption):
        first, loose, last = _parts(caption, rules)
        caption = ", ".join([*first, *(change(loose) if change and varies else loose), *last])
    if rules.secondary_separator:
        caption = caption.replace(rules.secondary_separator, rules.caption_separator or ",")
    return caption


def _parts(caption: str, rules: CaptionRules) -> tuple[list[str], list[str], list[str]]:
    """Tags that stay first, those that may change, and those that stay last."""
    separator, keep = rules.caption_separator, rules.keep_tokens_separator
    if not separator and rules.secondary_separator and rules.secondary_separator in caption:
        separator = ","  # no semicolon of the other separator parts tags
    if keep and keep in caption:
        first, loose, last = (*caption.split(keep, 2), "")[:3]
        parts = [[tag for tag in split_tags(part, separator) if tag] for part in (first, loose, last)]
        return parts[0], parts[1], parts[2]
    tags = split_tags(caption, separator)
    return tags[: rules.keep_tokens], tags[rules.keep_tokens :], []


def _varied(tags: list[str], rules: CaptionRules, rng: torch.Generator, visit: Visit) -> list[str]:
    """Tags of which some are left out, in another order."""
    if visit.step <= rules.warmup_steps:
        grown = (visit.step - 1) * (len(tags) - rules.warmup_min) // rules.warmup_steps
        some = rules.warmup_min + max(0, grown)
        tags = [*tags[:some], *(tag for tag in tags[some:] if rules.holds_word(tag))]
    if rules.tag_dropout:
        chances = torch.rand(len(tags), generator=rng).tolist()
        tags = [tag for tag, chance in zip(tags, chances) if chance >= rules.tag_dropout or rules.holds_word(tag)]
    if rules.shuffle_tags and tags:
        tags = [tags[index] for index in torch.randperm(len(tags), generator=rng).tolist()]
    return tags
