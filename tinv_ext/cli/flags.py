"""The flags of commands that need a model, settings or a prompt, with their help."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tinv_ext.cli.arguments import embedding_file, path_if_any, path_or, word_or_auto
from tinv_ext.cli.language import say
from tinv_ext.core.messages import message
from tinv_ext.core.settings import ALIASES, DEFAULTS, GROUPS, SETTINGS
from tinv_ext.core.settings.peers import OPTIONS
from tinv_ext.hosts.offline_samplers import OFFLINE_SAMPLERS

_IMAGE = Path("picture.png")
PRECISIONS = ("auto", "fp32", "fp16", "bf16")


def add_model(parser: argparse.ArgumentParser, default: bool = True) -> None:
    """The flags that say which model is used, and where it runs; `default` says whether it is the toy otherwise."""
    from tinv_ext.toy import VARIANTS

    group = parser.add_argument_group(say(message("cli.group_model", "model and device")))
    variants = [f"toy-{name}" for name in VARIANTS]
    model = message(
        "cli.model",
        "toy (the default), {variants:, }, a diffusers folder, a checkpoint file, or owner/name on Hugging Face",
        variants=variants,
    )
    if not default:
        model = message(
            "cli.model_needed",
            "a diffusers folder, a checkpoint file, owner/name on Hugging Face, toy, {variants:, }",
            variants=variants,
        )
    group.add_argument("--model", default=None, help=say(model))
    group.add_argument("--vae", type=path_if_any, metavar="FILE", help=say(message("cli.vae", "use this VAE instead")))
    group.add_argument("--device", type=word_or_auto, default="auto", help="auto, cpu, cuda, cuda:1, mps …")
    group.add_argument("--precision", type=word_or_auto, default="auto", choices=PRECISIONS)
    graphs = message(
        "cli.cuda_graphs",
        "auto (the default): on CUDA, record the work of UNet and text encoders once and replay it, where that gives"
        " the same numbers; off: never",
    )
    group.add_argument("--cuda-graphs", default=None, choices=("auto", "off"), help=say(graphs))
    embeddings = message("cli.embeddings", "folder of embeddings (default: in the log directory)")
    group.add_argument("--embeddings", type=path_if_any, metavar="DIR", help=say(embeddings))


def add_settings(parser: argparse.ArgumentParser) -> None:
    """A flag for each setting and alias; those given are passed on as text, so that all problems are told at once."""
    groups = {name: parser.add_argument_group(say(title)) for name, title in GROUPS.items()}
    for name, about in SETTINGS.items():
        flag, default = "--" + name.replace("_", "-"), DEFAULTS[name]
        text = _help(name).replace("%", "%%")
        if isinstance(default, bool):
            action: Any = argparse.BooleanOptionalAction
            groups[about.group].add_argument(flag, action=action, default=argparse.SUPPRESS, help=text)
            continue
        metavar = "|".join(about.choices) if about.choices else type(default).__name__.upper()
        groups[about.group].add_argument(flag, default=argparse.SUPPRESS, metavar=metavar, help=text, **_takes(name))
    for name in dict.fromkeys([*ALIASES, *OPTIONS]):
        flag = "--" + name.replace("_", "-")
        if flag not in parser._option_string_actions:  # an option of the command line may have the same name
            parser.add_argument(flag, default=argparse.SUPPRESS, help=argparse.SUPPRESS, **_takes(name))


def _takes(name: str) -> dict[str, Any]:
    """How many values a setting, by whatever name, or another program's option has on the command line."""
    option, setting = OPTIONS.get(name), name if name in SETTINGS else ALIASES.get(name)
    if setting and isinstance(DEFAULTS[setting], bool):
        return {"action": argparse.BooleanOptionalAction}
    if option and option.takes == "*":
        return {"nargs": "*"}
    if option and option.takes == "?":
        return {"nargs": "?", "const": "true"} if setting else {"action": "store_true"}
    return {"nargs": "?", "const": "true"} if setting and "true" in SETTINGS[setting].synonyms else {}


def _help(name: str) -> str:
    about, default = SETTINGS[name], DEFAULTS[name]
    text = say(message("cli.setting", "{label}. {help}", label=about.label, help=about.help))
    if name == "preview_sampler":
        text += " " + say(message("cli.samplers", "One of {names:, }.", names=OFFLINE_SAMPLERS))
    if isinstance(default, bool) or default == "":
        return text
    return text + " " + say(message("cli.default", "(default: {value!r})", value=default))


def add_generate(parser: argparse.ArgumentParser) -> None:
    """The flags of an image to generate."""
    parser.add_argument("prompt")
    parser.add_argument(
        "--embedding",
        type=embedding_file,
        action="append",
        default=[],
        metavar="FILE",
        help=say(
            message("cli.embedding", "use this embedding, a file or owner/name at the hub; may be given several times")
        ),
    )
    parser.add_argument(  # of kohya's gen_img.py
        "--textual-inversion-embeddings",
        type=embedding_file,
        action="extend",
        nargs="+",
        dest="embedding",
        default=argparse.SUPPRESS,
        help=argparse.SUPPRESS,
    )
    parser.add_argument("--negative-prompt", default="")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cfg-scale", type=float, default=7.0)
    parser.add_argument(
        "--clip-skip",
        type=int,
        default=0,
        help=say(message("cli.clip_skip", "as with train; 0 = that with which the embeddings were trained")),
    )
    parser.add_argument(
        "--width", type=int, default=0, help=say(message("cli.width", "in pixels; 0 = the model's native size"))
    )
    parser.add_argument("--height", type=int, default=0)
    parser.add_argument(
        "--output",
        type=path_or(_IMAGE),
        default=_IMAGE,
        metavar="FILE",
        help=say(message("cli.image", "file to write, .png, .jpg or .webp")),
    )
