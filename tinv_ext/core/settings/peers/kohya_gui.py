"""What kohya's GUI saves (bmaltais/kohya_ss, kohya_gui/textual_inversion_gui.py, 45088f0, 2026-07), as kohya's options.

The file of its tab Textual Inversion is JSON with fields of the form, some of which are called otherwise than the
option of the trainer that they become. The TOML file that it writes for the trainer is understood, too.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message
from tinv_ext.core.settings.peers import reasons as why
from tinv_ext.core.settings.peers.conversions import one_of
from tinv_ext.core.settings.peers.kohya import KOHYA
from tinv_ext.core.settings.peers.option import Option, Values, into, is_neutral, is_on, unused

_FORM = ("model_list", "max_resolution", "lr_warmup")  # in its files of every kind of training, and in no others
_TI = "token_string"
_USUAL_STEPS = 1600  # of kohya's trainer


def _resolution(value: Any) -> Values:
    return {"resolution": value}


def _optimizer(value: Any) -> Values:
    return {"optimizer_type": value}


def _template(value: Any) -> Values:
    """Its usual choice, "caption", is none."""
    names = {"caption": "", "object template": "use_object_template", "style template": "use_style_template"}
    chosen = one_of(names, "template", value)
    return {chosen: True} if chosen else {}


def _bucket_step(value: Any) -> Values:
    """Its form begins at 1 pixel; a latent is 8 wide, so kohya's trainer rounds to them."""
    step = _number(value)
    return {"bucket_reso_steps": value if step is None else _whole(max(8.0, step))}


def _tracker(value: Any) -> Values:
    return {"log_with": "wandb"} if is_on(value) else {}


KOHYA_GUI: Mapping[str, Option] = {
    "max_resolution": into(_resolution, "`width`, `height`"),
    "optimizer": into(_optimizer, "`optimizer`"),
    "template": into(_template, '`template`; "caption" is `template=none`'),
    "bucket_reso_steps": into(_bucket_step, "`bucket_step`, at least 8"),
    "epoch": Option(shown="`max_train_epochs`, where it has no number of steps"),
    "lr_warmup": Option(shown="`lr_warmup_steps`, as a share of the steps, where it has none"),
    "sample_prompts": Option(shown="`preview_prompt`"),
    "additional_parameters": Option(shown="the options that it lists"),
    "use_wandb": into(_tracker, "`log_with=wandb`"),
    "xformers": unused(why.ATTENTION, neutral=("true", "xformers", "sdpa")),
    "sdxl_no_half_vae": unused(why.VAE, neutral=("true",)),
    "sdxl": unused(why.DETECTED, neutral=("true",)),
    "model_list": unused(why.MODEL_FILES),
    "stop_text_encoder_training": unused(why.ONLY_THE_WORD),
    "noise_offset_type": unused(why.PLAIN_OFFSET),
    "no_token_padding": unused(why.LENGTH),
    "num_processes": unused(why.ONE_PROCESS, neutral=("1",)),
    "num_machines": unused(why.ONE_PROCESS, neutral=("1",)),
    "multi_gpu": unused(why.ONE_PROCESS),
    "gpu_ids": unused(why.ONE_PROCESS),
    "main_process_port": unused(why.ONE_PROCESS),
    "extra_accelerate_launch_args": unused(why.ONE_PROCESS),
    "dynamo_mode": unused(why.COMPILED, neutral=("default",)),
    "dynamo_use_fullgraph": unused(why.COMPILED),
    "dynamo_use_dynamic": unused(why.COMPILED),
    "num_cpu_threads_per_process": unused(why.ONE_PROCESS),
}
"""The fields that are called otherwise than kohya's options, or are none."""


def is_kohya_guis(values: Any) -> bool:
    """Whether kohya's GUI has written these values, as its own file or as the trainer's."""
    if not isinstance(values, Mapping):
        return False
    return values.keys() >= set(_FORM) or values.keys() >= {_TI, "epoch"}


def from_kohya_gui(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[tuple[str, Message]], list[str]]:
    """Options of kohya's trainer by name; fields that ask for what has no use here, with the reason; unknown ones.

    What is empty, off or 0 is left out, as the GUI itself does. `InputError` for another kind of training.
    """
    if _TI not in values:
        raise InputError(
            message(
                "peers.kohya_gui_other",
                "It was saved by kohya's GUI for another kind of training, such as LoRA, whose settings do not fit a "
                "textual inversion. Name one that its tab Textual Inversion has saved.",
            )
        )
    found: dict[str, Any] = _length(values)
    unused_fields, unknown = list[tuple[str, Message]](), list[str]()
    for name, value in values.items():
        option = KOHYA_GUI.get(name)
        if name in _READ_TOGETHER or _says_nothing(value):
            continue
        if option and option.converts:
            found.update(option.converts(value))
        elif option and option.reason is not None:
            if not (name in _ALWAYS_SET or is_neutral(option, value)):
                unused_fields.append((name, option.reason))
        elif name in KOHYA:
            found[name] = _whole(value)
        else:
            unknown.append(name)
    found.update(_previews(values))
    found.update(_listed(str(values.get("additional_parameters") or "")))
    return found, unused_fields, unknown


_ALWAYS_SET = ("model_list", "noise_offset_type", "num_cpu_threads_per_process")  # whatever anybody wants
_READ_TOGETHER = {"epoch", "max_train_epochs", "max_train_steps", "lr_warmup", "lr_warmup_steps"}
_READ_TOGETHER |= {"lr_scheduler_num_cycles", "additional_parameters", "sample_prompts"}


def _length(values: Mapping[str, Any]) -> dict[str, Any]:
    """How long it trains, and what is counted by that: kohya's trainer heeds epochs before steps."""
    epochs, steps, usual = (_asked(values, name) for name in ("max_train_epochs", "max_train_steps", "epoch"))
    found: dict[str, Any] = {}
    if epochs or (usual and not (steps or values.get("dataset_config"))):
        found["max_train_epochs"] = _whole(epochs or usual)
    else:
        found["max_train_steps"] = _whole(steps or _USUAL_STEPS)
    warmup = _asked(values, "lr_warmup_steps") or _asked(values, "lr_warmup") / 100
    if warmup:
        found["lr_warmup_steps"] = _whole(warmup)
    cycles = _asked(values, "lr_scheduler_num_cycles") or usual
    if cycles and "restarts" in str(values.get("lr_scheduler")):
        found["lr_scheduler_num_cycles"] = _whole(cycles)
    return found


def _asked(values: Mapping[str, Any], name: str) -> float:
    """The number of a field; 0 where it is empty. `InputError` where it has something else."""
    value = values.get(name)
    number = 0.0 if _says_nothing(value) else _number(value)
    if number is None:
        raise InputError(
            message("peers.kohya_gui_number", 'Its {name} must be a number, not "{value}".', name=name, value=value)
        )
    return number


def _previews(values: Mapping[str, Any]) -> dict[str, Any]:
    """Its form has the prompts themselves; for the trainer they are in a file, which is there without prompts, too."""
    prompts = values.get("sample_prompts")
    if _says_nothing(prompts):
        return {}
    if values.keys() >= set(_FORM):
        return {"preview_prompt": prompts}
    asked = any(_asked(values, name) for name in ("sample_every_n_steps", "sample_every_n_epochs"))
    return {"sample_prompts": prompts} if asked else {}


def _listed(text: str) -> dict[str, Any]:
    """Options as on a command line by name; one without a value is on."""
    try:
        parts = shlex.split(text)
    except ValueError as error:
        raise InputError(
            message(
                "peers.kohya_gui_parameters",
                'Its additional_parameters "{text}" cannot be read: {reason}.',
                text=text,
                reason=error,
            )
        ) from error
    found, name = dict[str, Any](), ""
    for part in parts:
        if part.startswith("--"):
            name, given, value = part[2:].partition("=")
            found[name] = value if given else True
        elif name:
            found[name] = part if found[name] is True else f"{found[name]} {part}"
    return found


def _says_nothing(value: Any) -> bool:
    """As the GUI sees it, whose 0 is False; in some of its files a field of text that was left empty has "False"."""
    return value is None or str(value).strip().lower() in ("", "false", "none") or _number(value) == 0.0


def _whole(value: Any) -> Any:
    """A form's 8.0 as 8."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _number(value: Any) -> float | None:
    """The number of a field, which may be a text; None where it has none."""
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None
