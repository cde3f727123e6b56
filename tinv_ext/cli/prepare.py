"""The command `prepare`: images made ready for training in a folder of their own, captions, and undoing both."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tinv_ext.cli.arguments import path_if_any, path_needed
from tinv_ext.cli.failures import DONE, STOPPED
from tinv_ext.cli.language import say
from tinv_ext.cli.output import show
from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import encodable, message

if TYPE_CHECKING:
    from tinv_ext.prepare.captions import Captioner
    from tinv_ext.prepare.options import PrepareOptions
    from tinv_ext.prepare.plan import Plan, PlannedImage

# Known here so that `--help` does not wait for numpy; a test holds them to those of `prepare.options`.
CROPS = ("center", "focal", "none")
EXISTING = ("ignore", "keep", "prepend", "append")
_SHOWN = 200  # images of a report
Add = Callable[[str, Callable[[dict[str, Any]], int], str], argparse.ArgumentParser]


def add_prepare(add: Add) -> None:
    """Add the command with `add(name, carry_out, about)`."""
    parser = add("prepare", _prepare, message("cli.prepare", "make images ready for training, and caption them"))
    source = message("cli.prepare_in", "folder of images")
    parser.add_argument("source", type=path_needed, metavar="IN", help=say(source))
    parser.add_argument(
        "target",
        type=path_if_any,
        nargs="?",
        metavar="OUT",
        help=say(
            message("cli.prepare_out", "folder for the new images; without it only captions and masks are written")
        ),
    )
    parser.add_argument(
        "--check", action="store_true", help=say(message("cli.prepare_check", "only say what would be done"))
    )
    parser.add_argument(
        "--undo",
        action="store_true",
        help=say(message("cli.prepare_undo", "undo the last preparation that wrote into this folder")),
    )
    _add_images(parser)
    _add_captions(parser)


def _add_images(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(say(message("cli.group_new_images", "new images")))
    group.add_argument("--width", type=int, default=512)
    group.add_argument("--height", type=int, default=512)
    about_crop = message("cli.crop", "keep the middle or the most salient part; none = keep the original size")
    group.add_argument("--crop", choices=CROPS, default="center", help=say(about_crop))
    bars = message("cli.trim_bars", "cut letterbox bars off")
    group.add_argument("--trim-bars", action="store_true", help=say(bars))
    mask = message("cli.prepare_masks", "give each image without a mask one that leaves out its plain background")
    group.add_argument("--mask-backgrounds", action="store_true", help=say(mask))
    split = message("cli.split", "cut oversized images into pieces that overlap")
    group.add_argument("--split", action="store_true", help=say(split))
    threshold = message("cli.split_threshold", "split images that are longer than the target's shape by 1 / this (0.5)")
    group.add_argument("--split-threshold", type=float, default=0.5, metavar="RATIO", help=say(threshold))
    overlap = message("cli.overlap_ratio", "what two neighbouring pieces share (0.2)")
    group.add_argument("--overlap-ratio", type=float, default=0.2, metavar="RATIO", help=say(overlap))
    flip = message("cli.flip", "add flipped copies: horizontal, vertical, both")
    group.add_argument("--flip", default="", metavar="KINDS", help=say(flip))
    leave_out = message("cli.leave_out", "leave out images that are: duplicates, blurred, small, empty")
    group.add_argument("--leave-out", default="", metavar="KINDS", help=say(leave_out))
    recursive = message("cli.prepare_recursive", "also the images in sub-folders")
    group.add_argument("--recursive", action="store_true", help=say(recursive))
    overwrite = message("cli.prepare_overwrite", "replace files of the same name in OUT; undo brings them back")
    group.add_argument("--overwrite", action="store_true", help=say(overwrite))


def _add_captions(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(say(message("cli.group_captions", "captions")))
    captioner = message("cli.caption", "caption the images by: wd14 (the WebUI's tab also has deepbooru and blip)")
    group.add_argument("--caption", default="", metavar="NAMES", help=say(captioner))
    existing = message(
        "cli.existing_captions",
        "what becomes of captions that are there: ignore = replaced, keep, prepend = put before the new one, append = "
        "put after it",
    )
    group.add_argument("--existing-captions", choices=EXISTING, default="keep", help=say(existing))
    tagger = message("cli.tagger", "the tagger's .onnx file, with selected_tags.csv next to it")
    group.add_argument("--tagger", type=path_if_any, metavar="FILE", help=say(tagger))
    threshold = message("cli.tag_threshold", "leave out tags that are less likely (0.35)")
    group.add_argument("--tag-threshold", type=float, default=0.35, metavar="SCORE", help=say(threshold))
    alphabetical = message("cli.tag_sort_alpha", "sort tags alphabetically, not by score")
    group.add_argument("--tag-sort-alpha", action="store_true", help=say(alphabetical))
    spaces = message("cli.tag_spaces", "spaces in tags in place of underscores")
    group.add_argument("--tag-spaces", action=argparse.BooleanOptionalAction, default=True, help=say(spaces))
    escape = message("cli.tag_escape", "write brackets in tags as \\( and \\)")
    group.add_argument("--tag-escape", action=argparse.BooleanOptionalAction, default=True, help=say(escape))
    filtered = message("cli.tag_filter", "tags that no caption gets, separated by commas")
    group.add_argument("--tag-filter", default="", metavar="TAGS", help=say(filtered))


def _prepare(options: dict[str, Any]) -> int:
    from tinv_ext.prepare.plan import plan
    from tinv_ext.prepare.preparation import refuse_missing

    if options["undo"]:
        return _undo(options)
    wanted, captioners = _options(options), _captioners(options)
    if not options["check"]:
        refuse_missing(wanted, captioners)
    found = plan(wanted)
    if not options["check"]:
        return _carry_out(found, captioners, options["ending"])
    show("\n".join(_report(found)))
    return DONE


def _options(options: Mapping[str, Any]) -> PrepareOptions:
    from tinv_ext.prepare.options import PrepareOptions, chosen

    same = ("width", "height", "crop", "trim_bars", "mask_backgrounds", "split", "split_threshold", "overlap_ratio")
    return PrepareOptions(
        options["source"].expanduser(),
        options["target"].expanduser() if options["target"] else None,
        flip=chosen(options["flip"]),
        leave_out=chosen(options["leave_out"]),
        captioners=chosen(options["caption"]),
        existing_captions=options["existing_captions"],
        recursive=options["recursive"],
        overwrite=options["overwrite"],
        **{name: options[name] for name in same},
    )


def _captioners(options: Mapping[str, Any]) -> dict[str, Captioner]:
    """What captions can be made by without a WebUI."""
    from tinv_ext.prepare.wd14 import TagRules, Wd14

    if not options["tagger"]:
        return {}
    rules = TagRules(
        options["tag_threshold"],
        options["tag_sort_alpha"],
        options["tag_spaces"],
        options["tag_escape"],
        options["tag_filter"],
    )
    tagger = Wd14(options["tagger"].expanduser(), rules)
    tagger.check()
    return {"wd14": tagger}


def _carry_out(plan: Plan, captioners: Mapping[str, Captioner], ending: Any) -> int:
    """Write everything; a wish to end lets the image at hand be finished."""
    from tinv_ext.prepare.preparation import Progress, prepare

    for sentence in (*plan.summary(), *plan.skipped):
        show(f"tinv: {say(sentence)}", sys.stderr)
    stop, progress = threading.Event(), Progress(0, len(plan.used))
    with ending.stopping(stop.set):
        for progress in prepare(plan, captioners, stop.is_set):
            if progress.done % 50 == 0:
                show(f"{progress.done}/{progress.total}", sys.stderr)
    for problem in progress.problems:
        show(f"tinv: {say(problem)}", sys.stderr)
    show(say(progress.sentence(plan.options.folder)))
    if progress.wrote:
        undo = message(
            "cli.undo_with", 'Undo it with: python -m tinv_ext prepare "{folder}" --undo', folder=plan.options.folder
        )
        show(say(undo), sys.stderr)
    return STOPPED if progress.done < progress.total else DONE


def _undo(options: Mapping[str, Any]) -> int:
    from tinv_ext.prepare.undo import undo_last

    if options["target"]:
        raise InputError(message("cli.undo_one", "Undo takes one folder: the one that was written into."))
    for sentence in undo_last(options["source"].expanduser()).sentences():
        show(say(sentence))
    return DONE


def _report(plan: Plan) -> Iterator[str]:
    """The plan: a summary, then a line for each image; of very many first those with findings."""
    yield from (say(sentence) for sentence in plan.summary())
    images = sorted(plan.images, key=lambda image: not image.findings) if len(plan.images) > _SHOWN else plan.images
    yield from (f"  {_line(image)}" for image in images[:_SHOWN])
    if len(images) > _SHOWN:
        yield "  " + say(message("cli.more_images", "… and {count} more", count=len(images) - _SHOWN))
    yield from (f"  {say(reason)}" for reason in plan.skipped)


def _line(image: PlannedImage) -> str:
    """An image, what becomes of it, what is remarkable about it, and its caption."""
    source = image.source
    head = "  ".join(
        part for part in (encodable(image.name), f"{source.width}×{source.height}", say(image.outcome())) if part
    )
    told = "; ".join([head, *(say(finding) for finding in image.findings.values())])
    caption = source.caption.text.replace("\n", " | ") if source.caption.source else ""
    return f'{told}  "{caption}"' if caption else told
