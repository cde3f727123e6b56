"""What the page's part for preparing images asks for: its controls in order, with labels, limits and choices.

Labels are those of the WebUI's Extras tab and its former Preprocess. Limits and meanings: `prepare/options.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tinv_ext.core.messages import Message, message, translated, with_values
from tinv_ext.prepare.options import CAPTIONERS, CROPS, EXISTING, FINDINGS, FLIPS, SIDES, STEP
from tinv_ext.prepare.plan import KINDS
from tinv_ext.server.prepare_request import NAMES

_WD14 = message("prepare_form.wd14", "Tagger (wd14)")
GROUPS: Mapping[str, Message] = {
    "folders": message("prepare_form.folders", "Folders"),
    "images": message("prepare_form.images", "New images"),
    "splitting": message("prepare_form.splitting", "Split oversized images"),
    "captions": message("prepare_form.captions", "Captions"),
    "wd14": _WD14,
}
_CHOICES: Mapping[str, Message] = {
    "center": message("prepare_form.center", "the middle"),
    "focal": message("prepare_form.focal", "the most salient part"),
    "none": message("prepare_form.none", "nothing: keep the size"),
    "horizontal": message("prepare_form.horizontal", "left to right"),
    "vertical": message("prepare_form.vertical", "upside down"),
    "both": message("prepare_form.both", "both ways"),
    **KINDS,
    "ignore": message("prepare_form.ignore", "replace them"),
    "keep": message("prepare_form.keep", "keep them"),
    "prepend": message("prepare_form.prepend", "put them before the new ones"),
    "append": message("prepare_form.append", "put them after the new ones"),
    "wd14": _WD14,
}


@dataclass(frozen=True)
class FormControl:
    """One control. `limits` are minimum, maximum and multiple, as far as there are any."""

    group: str
    label: Message
    help: Message | None = None
    kind: str = ""
    choices: Sequence[str] = ()
    limits: Mapping[str, float] | None = None


_SIZE = {"minimum": SIDES[0], "maximum": SIDES[1], "multiple": STEP}
CONTROLS: Mapping[str, FormControl] = {
    "source": FormControl("folders", message("prepare_form.source", "Source directory"), kind="path"),
    "target": FormControl(
        "folders",
        message("prepare_form.target", "Destination directory"),
        message(
            "prepare_form.target_help", "New images go here. Leave empty to caption or mask the images where they are."
        ),
        "path",
    ),
    "width": FormControl("images", message("prepare_form.width", "Width of new images"), limits=_SIZE),
    "height": FormControl("images", message("prepare_form.height", "Height of new images"), limits=_SIZE),
    "crop": FormControl("images", message("prepare_form.crop", "Crop to"), choices=CROPS),
    "flip": FormControl(
        "images",
        message("prepare_form.flip", "Create flipped copies"),
        message("prepare_form.flip_help", "Copies that are added."),
        choices=FLIPS,
    ),
    "leave_out": FormControl(
        "images",
        message("prepare_form.leave_out", "Leave out"),
        message("prepare_form.leave_out_help", "Images that are not taken over. They stay where they are."),
        choices=FINDINGS,
    ),
    "trim_bars": FormControl("images", message("prepare_form.trim_bars", "Cut off letterbox bars")),
    "mask_backgrounds": FormControl(
        "images",
        message("prepare_form.mask_backgrounds", "Mask plain backgrounds"),
        message(
            "prepare_form.mask_backgrounds_help",
            "An image without a mask is given one that leaves out its plain background: it is not learned.",
        ),
    ),
    "recursive": FormControl("images", message("prepare_form.recursive", "Images in sub-folders")),
    "overwrite": FormControl("images", message("prepare_form.overwrite", "Replace files of the same name")),
    "split": FormControl("splitting", message("prepare_form.split", "Split oversized images")),
    "split_threshold": FormControl(
        "splitting",
        message("prepare_form.split_threshold", "Threshold"),
        message(
            "prepare_form.split_threshold_help", "Split images that are longer than the target's shape by 1 / this."
        ),
        limits={"minimum": 0, "maximum": 1, "multiple": 0.05},
    ),
    "overlap_ratio": FormControl(
        "splitting",
        message("prepare_form.overlap_ratio", "Overlap ratio"),
        message("prepare_form.overlap_ratio_help", "How much of their length neighbouring pieces share."),
        limits={"minimum": 0, "maximum": 0.9, "multiple": 0.05},
    ),
    "captioners": FormControl(
        "captions",
        message("prepare_form.captioners", "Caption by"),
        message(
            "prepare_form.captioners_help",
            "In the WebUI also blip and deepbooru, as set on its Settings page (Interrogate). wd14 needs a file of its "
            "own.",
        ),
        choices=CAPTIONERS,
    ),
    "existing_captions": FormControl(
        "captions", message("prepare_form.existing", "Existing captions"), choices=EXISTING
    ),
    "tagger": FormControl(
        "wd14",
        message("prepare_form.tagger", "Tagger file"),
        message("prepare_form.tagger_help", "The .onnx file, with selected_tags.csv next to it."),
        "path",
    ),
    "threshold": FormControl(
        "wd14",
        message("prepare_form.threshold", "Score threshold"),
        limits={"minimum": 0, "maximum": 1, "multiple": 0.01},
    ),
    "sort_alpha": FormControl("wd14", message("prepare_form.sort_alpha", "Sort tags alphabetically")),
    "use_spaces": FormControl("wd14", message("prepare_form.use_spaces", "Use spaces in tags")),
    "escape": FormControl("wd14", message("prepare_form.escape", "Escape brackets")),
    "filter_tags": FormControl(
        "wd14", message("prepare_form.filter_tags", "Leave out these tags (separated by commas)")
    ),
}
_KINDS: Mapping[type, str] = {bool: "switch", int: "whole", float: "number", str: "text", tuple: "several"}


def prepare_form(captioners: Iterable[str], language: str) -> dict[str, Any]:
    """The form as JSON, like that of GET /settings; of captioners those that the program has, and wd14."""
    there = {*captioners, "wd14"}
    controls = []
    for name, about in CONTROLS.items():
        default = NAMES[name]
        choices = [one for one in about.choices if name != "captioners" or one in there]
        kind = about.kind or ("choice" if choices and isinstance(default, str) else _KINDS[type(default)])
        controls.append(
            {
                "name": name,
                "group": about.group,
                "label": translated(about.label, language),
                "help": translated(about.help, language) if about.help else "",
                "kind": kind,
                "default": list(default) if isinstance(default, tuple) else default,
                **(about.limits or {}),
                "choices": [{"value": one, "label": _choice(one, language)} for one in choices],
                "suggestions": [],
            }
        )
    groups = [{"name": name, "title": translated(title, language)} for name, title in GROUPS.items()]
    return {"groups": groups, "controls": controls}


def _choice(name: str, language: str) -> str:
    return translated(_CHOICES[name], language) if name in _CHOICES else name


def by_label(problem: str) -> str:
    """A problem with an option, named as its control is, with the option's name behind it for programs."""
    name = str(problem.values.get("name")) if isinstance(problem, Message) else ""
    if not isinstance(problem, Message) or name not in CONTROLS:
        return problem
    label = message("prepare_form.named", "{label} ({name})", label=CONTROLS[name].label, name=name)
    return with_values(problem, lambda value: label if value == name else value)
