"""What an image's caption is, and how it varies from visit to visit."""

from __future__ import annotations

from collections.abc import Mapping

from tinv_ext.core.settings.checks import regex_problems
from tinv_ext.core.settings.limits import MAX_STEPS
from tinv_ext.core.settings.setting import Setting

CAPTIONS: Mapping[str, Setting] = {
    "caption_extension": Setting(
        "Caption file extension",
        "Only files that end so are captions, such as .txt; empty = .txt, then .caption.",
    ),
    "class_tokens": Setting(
        "Class tokens",
        "The caption of images without a caption file; empty = the words of the file name. Folders called N_name have "
        "their name.",
    ),
    "caption_regex": Setting(
        "Filename word regex",
        "For images without a caption file: picks the words of the caption out of the file name.",
        check=regex_problems,
    ),
    "caption_join": Setting(
        "Filename join string",
        "Goes between the words that the regex finds.",
    ),
    "caption_prefix": Setting(
        "Caption prefix",
        "Put before every caption.",
    ),
    "caption_suffix": Setting(
        "Caption suffix",
        "Put after every caption.",
    ),
    "shuffle_tags": Setting(
        "Shuffle tags by ',' when creating prompts",
        "Shuffle the tags at every step.",
    ),
    "tag_dropout": Setting(
        "Drop out tags when creating prompts",
        "Probability of dropping each tag.",
        minimum=0.0,
        maximum=1.0,
    ),
    "keep_tokens": Setting(
        "Keep the first N tags",
        "So many tags at the start of a caption are neither shuffled nor dropped.",
        minimum=0,
        maximum=1000,
    ),
    "keep_tokens_separator": Setting(
        "Separator of kept tags",
        "Tags before it, and those after a second one, are neither shuffled nor dropped, such as |||.",
    ),
    "caption_separator": Setting(
        "Tag separator",
        "What parts the tags of a caption; empty = commas.",
    ),
    "secondary_separator": Setting(
        "Secondary tag separator",
        "Tags parted by it stay together and become a single one, such as ;;;.",
    ),
    "enable_wildcard": Setting(
        "Wildcards in captions",
        "At each visit {{red|blue}} becomes one of its words. Brackets that are doubled are brackets.",
    ),
    "caption_dropout_rate": Setting(
        "Caption dropout",
        "Probability of using no caption; where the caption holds the word, the word stays.",
        minimum=0.0,
        maximum=1.0,
    ),
    "caption_dropout_every_n_epochs": Setting(
        "Drop captions every N epochs",
        "In every N-th epoch no caption is used; 0 = never.",
        minimum=0,
        maximum=MAX_STEPS,
    ),
    "token_warmup_min": Setting(
        "Tags at the start of the warm-up",
        "How many tags of a caption are used at the first step of the tag warm-up.",
        minimum=1,
        maximum=1000,
    ),
    "token_warmup_step": Setting(
        "Tag warm-up",
        "The step from which all tags are used, or, below 1, the fraction of the run; 0 = from the start.",
        minimum=0.0,
        maximum=float(MAX_STEPS),
    ),
    "name_background": Setting(
        "Name the background",
        "Where the images share a plain background of which no caption and no mask tells, their prompts say it, such "
        'as "on a white background": the word does not learn it.',
    ),
}
