"""Images that show the same: one picture only, or one background, which the word would learn with the thing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tinv_ext.core.data.borders import share_background
from tinv_ext.core.data.captions import FILEWORDS
from tinv_ext.core.messages import Message, message
from tinv_ext.core.preflight.subsets import PreparedSubset


def on_background(subset: PreparedSubset) -> Iterator[Message]:
    """What to do where all images look alike at their borders and no caption, mask or prompt of the run says so."""
    if subset.source.is_reg or subset.masks or _is_told(subset) or len(pictures_of([subset])) == 1:
        return
    if share_background([image.border for image in subset.scan.pictures]):
        yield message(
            "preflight.same_background",
            "The images look alike at their borders. If that is one background, the word will learn it, too. Say it in "
            "the prompts (with the template subject_filewords: in captions, or in class_tokens such as "
            '"on a white background"), mask it (masked_loss), or use images with other backgrounds.',
        )


def _is_told(subset: PreparedSubset) -> bool:
    """Whether captions, which may say what is not the word, are part of the prompts."""
    used = any(FILEWORDS in line for line in subset.lines)
    return used and any(caption.source or subset.config.class_tokens for caption in subset.captions)


def pictures_of(subsets: Sequence[PreparedSubset]) -> set[str]:
    """The digests of the pictures that are to be learnt: of those alike byte for byte, one."""
    return {image.digest for subset in subsets if not subset.source.is_reg for image in subset.scan.pictures}


def on_one_picture(subsets: Sequence[PreparedSubset]) -> Iterator[Message]:
    """That all images are the same, or that there is only one."""
    count = sum(len(subset.scan.pictures) for subset in subsets if not subset.source.is_reg)
    if len(pictures_of(subsets)) == 1:
        yield message(
            "preflight.one_picture",
            "{count:image shows|images show} one picture only, so the word will learn its background and its pose, "
            "too. Use other images as well, three or more in all, or say in a caption what is not the word (template "
            "subject_filewords).",
            count=count,
        )
