"""Files of an image folder that are read as something else than was meant: masks as images, JSON as captions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from tinv_ext.core.data.image_folder import IMAGE_SUFFIXES, files_beside
from tinv_ext.core.data.masks import BESIDE
from tinv_ext.core.messages import Message, message
from tinv_ext.core.paths import path_given
from tinv_ext.core.preflight.files_not_used import counted
from tinv_ext.core.preflight.subsets import PreparedSubset

_PARAMETERS = re.compile(r"\bNegative prompt: |\bSteps: \d+, (?:Sampler|Schedule type|CFG scale|Seed|Size): ")
_MARKUP = re.compile(r"<!doctype html|<html|<\?xml|\{\\rtf", re.IGNORECASE)
_NAMED_AS_MASK = re.compile(r"(.+)[-_. ](?:mask|matte|masklabel)", re.IGNORECASE)


def on_masks_of_other_names(subset: PreparedSubset) -> Iterator[Message]:
    """Masks that are trained as images, and those that are passed over as they are no PNG."""
    scan = subset.scan
    stems = {(image.path.parent, image.path.stem.lower()) for image in scan.pictures}
    found = ((image.path, _NAMED_AS_MASK.fullmatch(image.path.stem)) for image in scan.pictures)
    named = [scan.name(path) for path, match in found if match and (path.parent, match[1].lower()) in stems]
    if named:
        yield message(
            "preflight.masks_among_images",
            "{count:image is|images are} named like a mask of another ({files}), but trained as any image. The mask of "
            "a.png is a-masklabel.png beside it, or a.png in a folder of masks (mask_folder).",
            **counted(named),
        )
    if other := [scan.name(path) for path in _of_other_formats(subset)]:
        yield message(
            "preflight.masks_not_png",
            "{count:mask is|masks are} not used ({files}): save {count:it|them} as PNG, such as a-masklabel.png.",
            **counted(other),
        )


def _of_other_formats(subset: PreparedSubset) -> list[Path]:
    folder, config = subset.scan.folder, subset.config
    masks = path_given(config.mask_folder) if config.mask_folder.strip() else None
    files = files_beside(folder, config.recursive, masks) if folder.is_dir() else ()
    return sorted(
        path
        for path in files
        if path.stem.endswith(BESIDE) and path.suffix.lower() in IMAGE_SUFFIXES and path.suffix.lower() != ".png"
    )


def captions_of_json(subset: PreparedSubset) -> Iterator[Message]:
    """Captions that are the data of another program: the names of its fields would be learned."""
    scan = subset.scan
    named = [scan.name(image.path) for image, caption in zip(scan.pictures, subset.captions) if _is_json(caption.text)]
    if named:
        yield message(
            "preflight.captions_of_json",
            "The captions of {count:image|images} are JSON ({files}), which is trained as it stands, names of fields "
            "and all. Write the caption alone into a text file, or all of them into metadata.jsonl.",
            **counted(named),
        )


def captions_of_other_programs(subset: PreparedSubset) -> Iterator[Message]:
    """Captions of which all but a part is no caption: an image's generation parameters, as the WebUI can save them in
    a text file beside it, and text with the marks of another program."""
    scan, captions = subset.scan, subset.captions
    if named := [
        scan.name(one.path) for one, caption in zip(scan.pictures, captions) if _PARAMETERS.search(caption.text)
    ]:
        yield message(
            "preflight.captions_of_parameters",
            "The captions of {count:image|images} are generation parameters ({files}), which are trained as they "
            "stand, negative prompt, sampler and all. Leave only the prompt in the text file.",
            **counted(named),
        )
    if named := [scan.name(one.path) for one, caption in zip(scan.pictures, captions) if _MARKUP.match(caption.text)]:
        yield message(
            "preflight.captions_of_markup",
            "The captions of {count:image|images} are a web page or formatted text ({files}), which is trained as it "
            "stands, marks and all. Save the caption alone as plain text.",
            **counted(named),
        )


def _is_json(text: str) -> bool:
    if text[:1] not in ("{", "["):
        return False
    try:
        return isinstance(json.loads(text), (dict, list))
    except (ValueError, RecursionError):  # a wildcard, say
        return False
