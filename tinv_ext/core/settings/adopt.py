"""A whole set of options of another program as settings, with a line on each option that has no use here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message
from tinv_ext.core.names import bare_name
from tinv_ext.core.settings.aliases import ALIASES, CONVERSIONS, current_names
from tinv_ext.core.settings.arguments import read_arguments
from tinv_ext.core.settings.config import SETTINGS
from tinv_ext.core.settings.peers import OPTIONS
from tinv_ext.core.settings.peers.option import is_neutral
from tinv_ext.core.settings.peers.reasons import CURVE, EIGHT_BIT, FILE_NAME

COMMANDS = ("model", "vae", "device", "precision", "cuda_graphs", "embeddings", "resume", "debug_dataset")
"""What a settings file may name beside settings, because it is an option of the command line."""


@dataclass
class Adopted:
    """What options mean: settings and options of the command line by name, what has no use, and what is wrong."""

    settings: dict[str, Any] = field(default_factory=dict)
    command: dict[str, Any] = field(default_factory=dict)
    notices: list[Message] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def adopt(values: Mapping[str, Any]) -> Adopted:
    """The meaning of options by name. A name that nobody has stays among the settings, which refuse it."""
    adopted, unused = Adopted(), dict[Message, list[str]]()
    special: dict[str, Any] = {}
    for name, value in values.items():
        if name == "num_train_epochs" and "max_train_steps" in values:
            continue  # of diffusers' two, the steps count
        option = OPTIONS.get(name)
        if name in SETTINGS or name in ALIASES or name in CONVERSIONS:
            adopted.settings[name] = value
        elif name in COMMANDS:
            adopted.command[name] = value
        elif option is None:
            adopted.settings[name] = value
        elif option.command:
            _add_command(adopted, name, value)
        elif option.reason is None:
            special[name] = value
        elif not is_neutral(option, value):
            unused.setdefault(option.reason, []).append(name)
    _name_by_file(adopted, special.get("output_name"), unused)
    _name_in_prompt(adopted)
    _track_in_folder(adopted, unused)
    _add_adams(adopted, special)
    optimizer = str(values.get("optimizer_type", ""))
    _rates_of_adafactor(adopted, optimizer)
    if values.get("token_string"):
        _prompt_by_captions(adopted)
    if optimizer.lower().endswith("8bit"):
        unused.setdefault(EIGHT_BIT, []).append(f"optimizer_type={optimizer}")
    for reason, names in unused.items():
        adopted.notices.append(not_used([f"--{name}" for name in names], reason))
    return adopted


def not_used(options: list[str], reason: Message) -> Message:
    """A sentence saying that options have no use here, and why."""
    return message("peers.not_used", "Not used: {options:, }. {reason}", options=options, reason=reason)


def _add_command(adopted: Adopted, name: str, value: Any) -> None:
    option = OPTIONS[name]
    if not str(value).strip():  # a form's empty field, which no conversion can read
        adopted.command[option.command] = value
        return
    try:
        adopted.command.update(option.converts(value) if option.converts else {option.command: value})
    except InputError as error:
        adopted.problems += error.problems


def _name_by_file(adopted: Adopted, file: Any, unused: dict[Message, list[str]]) -> None:
    """kohya has a word for training and a file whose name is typed later; here both are the word."""
    word = current_names(adopted.settings).get("name")
    if file and not word:
        adopted.settings["name"] = file
    elif file and str(file) != str(word):
        unused.setdefault(FILE_NAME, []).append("output_name")


def _name_in_prompt(adopted: Adopted) -> None:
    """A word in angle brackets, as diffusers' users have it, is none in a prompt of the previews either."""
    current = current_names(adopted.settings)
    word, prompt = str(current.get("name", "")), current.get("preview_prompt")
    if prompt and word != bare_name(word):
        _replace(adopted, "preview_prompt", str(prompt).replace(word, "[name]"))


def _track_in_folder(adopted: Adopted, unused: dict[Message, list[str]]) -> None:
    """With kohya and diffusers a folder for logs alone means TensorBoard; here where its package is installed."""
    current = current_names(adopted.settings)
    if not str(current.get("logging_dir") or "").strip() or "log_with" in current:
        return
    if find_spec("tensorboard"):
        adopted.settings["log_with"] = "tensorboard"
    else:
        del adopted.settings["logging_dir"]
        unused.setdefault(CURVE, []).append("logging_dir")


def _prompt_by_captions(adopted: Adopted) -> None:
    """In kohya's trainer a caption is the whole prompt, unless one of its templates is chosen."""
    current = current_names(adopted.settings)
    if "template" in current:
        return
    word = bare_name(str(current["name"]))
    meant = {"template": "none", "prepend_word": True, "class_tokens": word}
    adopted.settings |= {name: value for name, value in meant.items() if name not in current}
    adopted.notices.append(
        message(
            "peers.captions_are_prompts",
            "--token_string: as in kohya's trainer, the captions are the prompts; {word} is put in front where it is "
            "missing. For prompts without captions: --use_object_template or --use_style_template.",
            word=word,
        )
    )


def _add_adams(adopted: Adopted, special: Mapping[str, Any]) -> None:
    """diffusers' options of Adam as arguments of the optimizer."""
    added = [f"{name}={special[given]}" for given, name in _ADAM.items() if given in special]
    if "adam_beta1" in special or "adam_beta2" in special:
        added.append(f"betas={special.get('adam_beta1', 0.9)},{special.get('adam_beta2', 0.999)}")
    if added:
        before = str(current_names(adopted.settings).get("optimizer_args", ""))
        _replace(adopted, "optimizer_args", " ".join([before, *added]).strip())


def _rates_of_adafactor(adopted: Adopted, optimizer: str) -> None:
    """kohya's `optimizer_type=Adafactor` has its own rates unless relative_step=False is given.

    sd-scripts library/train_util.py, get_optimizer.
    """
    if optimizer.lower() != "adafactor":
        return
    given: Any = current_names(adopted.settings).get("optimizer_args") or ""
    text = " ".join(map(str, given)) if isinstance(given, list) else str(given)
    try:
        named = read_arguments(text)
    except InputError:  # which the settings raise, too, beside all else that is wrong
        return
    if "relative_step" not in named:
        _replace(adopted, "optimizer_args", f"{text} relative_step=True".strip())


_ADAM = {"adam_weight_decay": "weight_decay", "adam_epsilon": "eps"}


def _replace(adopted: Adopted, setting: str, value: Any) -> None:
    kept = {name: given for name, given in adopted.settings.items() if ALIASES.get(name, name) != setting}
    adopted.settings = {**kept, setting: value}
