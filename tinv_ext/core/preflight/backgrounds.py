"""Images that show the same: one picture only, or one background, which the word would learn with the thing.

A plain background is named in the prompts (`name_background`): the word then does not learn it (docs/toy.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from tinv_ext.core.data.borders import share_background, shared_colors
from tinv_ext.core.data.captions import FILEWORDS, TEMPLATES, template_path
from tinv_ext.core.data.plain_color import on_background
from tinv_ext.core.messages import Message, message
from tinv_ext.core.preflight.subsets import PreparedSubset
from tinv_ext.core.settings import TrainConfig


def with_background_named(subset: PreparedSubset) -> PreparedSubset:
    """The subset with prompts that say the background of each image, where `words_of_background` has words for it.

    A caption says it last; where the template has no captions, it is all that there is of one.
    """
    words = words_of_background(subset)
    if not words:
        return subset
    texts, lines, rules = words, subset.lines, subset.rules
    if subset.uses_captions:
        texts = ["\n".join(_joined(line, said) for line in text.split("\n")) for text, said in zip(subset.texts, words)]
    else:
        lines = tuple(f"{line} {FILEWORDS}" for line in lines)
        rules = replace(rules, tag_dropout=0.0, caption_dropout=0.0, caption_dropout_every=0)  # these are for captions
    captions = tuple(replace(caption, text=text) for caption, text in zip(subset.captions, texts))
    return replace(subset, captions=captions, lines=lines, rules=rules)


def _joined(*texts: str) -> str:
    return ", ".join(filter(None, texts))


def words_of_background(subset: PreparedSubset) -> list[str]:
    """What the prompts of each image are to say of the background that all share; "" where its own is not plain.

    Nothing where they share none, it has no one colour, or captions, masks or prompts tell of it already.
    """
    if not may_name(subset.config) or subset.source.is_reg or subset.masks or subset.tells:
        return []
    images = subset.scan.pictures
    return [*map(on_background, shared_colors([one.border for one in images], [one.background for one in images]))]


def may_name(config: TrainConfig) -> bool:
    """Whether prompts may say backgrounds: those of our own templates, but for styles, of which one may be part. In any
    other template each line is as somebody wants it."""
    template = template_path(config.template)
    return config.name_background and template.parent == TEMPLATES and not template.stem.startswith("style")


def told_background(subset: PreparedSubset) -> Iterator[Message]:
    """That all images look alike at their borders: what prompts will say of it, or what to do where none tells."""
    if said := words_of_background(subset):
        yield message(
            "preflight.background_named",
            "The images have one background, so their prompts say it ({words:, }): the word does not learn it. To turn "
            "that off, use name_background=false.",
            words=list(dict.fromkeys(filter(None, said))),
        )
        return
    if subset.source.is_reg or subset.masks or subset.tells or len(pictures_of([subset])) == 1:
        return
    if share_background([image.border for image in subset.scan.pictures]):
        yield message(
            "preflight.same_background",
            "The images look alike at their borders. If that is one background, the word will learn it, too. Say it in "
            "the prompts (with the template subject_filewords: in captions, or in class_tokens such as "
            '"on a white background"), mask it (masked_loss), or use images with other backgrounds.',
        )


def pictures_of(subsets: Sequence[PreparedSubset]) -> set[str]:
    """The digests of the pictures that are to be learnt: of those alike byte for byte, one."""
    return {image.digest for subset in subsets if not subset.source.is_reg for image in subset.scan.pictures}


def on_one_picture(subsets: Sequence[PreparedSubset]) -> Iterator[Message]:
    """That all images are the same, or that there is only one."""
    count = sum(len(subset.scan.pictures) for subset in subsets if not subset.source.is_reg)
    if len(pictures_of(subsets)) != 1:
        return
    if any(words_of_background(subset) for subset in subsets):
        yield message(
            "preflight.one_pose",
            "{count:image shows|images show} one picture only, so the word will learn its pose, too. Use other images "
            "as well, three or more in all.",
            count=count,
        )
    else:
        yield message(
            "preflight.one_picture",
            "{count:image shows|images show} one picture only, so the word will learn its background and its pose, "
            "too. Use other images as well, three or more in all, or say in a caption what is not the word (template "
            "subject_filewords).",
            count=count,
        )
