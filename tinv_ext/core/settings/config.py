"""The settings of a run: one frozen dataclass, from which come validation, flags, the page and config.json.

Each field carries its label, help, limits, choices and group; a default or a limit stands nowhere else. The labels are
those of the WebUI's own Train tab where it has the setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any

from tinv_ext.core.data.buckets import Size, bucket_sizes
from tinv_ext.core.errors import InputError
from tinv_ext.core.names import name_problems
from tinv_ext.core.paths import path_problems
from tinv_ext.core.prompts.reader import MAX_VECTORS
from tinv_ext.core.settings.aliases import read_names
from tinv_ext.core.settings.checks import regex_problems, schedule_problems
from tinv_ext.core.settings.setting import Setting, converted, kind_of, setting, value_problems

GROUPS = ("word", "images", "training", "evaluation", "previews", "saving", "model")
RESIZE_MODES = ("crop", "buckets", "stretch")
LATENT_SAMPLING = ("once", "deterministic", "random")
THUMBNAILS = ("none", "new", "replace")
CLIP_MODES = ("disabled", "value", "norm")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All settings of one training run. Values travel by name; `problems()` says what is wrong with them."""

    # word
    name: str = setting(
        "", "word", "Name", "The new word: what you type in a prompt, and the file's name.", check=name_problems
    )
    init_text: str = setting(
        "*",
        "word",
        "Initialization text",
        "Words near to what the pictures show, such as the class (“cat”). Empty begins with zeros.",
    )
    num_vectors: int = setting(
        1,
        "word",
        "Number of vectors per token",
        "How many token vectors the word stands for; 0 takes one for each token of the initialization text.",
        minimum=0,
        maximum=MAX_VECTORS,
    )
    init_embedding: str = setting(
        "", "word", "Start from embedding", "An embedding file to go on from, with its step count.", check=path_problems
    )
    overwrite: bool = setting(
        False,
        "word",
        "Overwrite old embedding",
        "Replace an embedding of this name (the old file is kept as a backup).",
    )

    # images
    images: str = setting(
        "",
        "images",
        "Dataset directory",
        "Folder with the pictures and, beside them, captions.",
        check=path_problems,
    )
    width: int = setting(
        0,
        "images",
        "Width",
        "Width in pixels that pictures are brought to; 0 takes the size that the model was made for.",
        minimum=64,
        maximum=2048,
        multiple=8,
        zero=True,
    )
    height: int = setting(
        0,
        "images",
        "Height",
        "Height in pixels that pictures are brought to; 0 takes the size that the model was made for.",
        minimum=64,
        maximum=2048,
        multiple=8,
        zero=True,
    )
    resize_mode: str = setting(
        "crop",
        "images",
        "Resize",
        "Scale and cut at the middle (crop), the same to the nearest of many shapes with as many pixels (buckets), or "
        "distort (stretch).",
        choices=RESIZE_MODES,
    )
    bucket_step: int = setting(
        64,
        "images",
        "Bucket resolution steps",
        "Width and height of buckets are multiples of it.",
        minimum=8,
        maximum=1024,
        multiple=8,
    )
    template: str = setting(
        "subject",
        "images",
        "Prompt template",
        "subject, style, subject_filewords, style_filewords, none (the caption alone), or a file of your own.",
        check=path_problems,
    )
    caption_regex: str = setting(
        "", "images", "Filename word regex", "Takes words out of file names for captions.", check=regex_problems
    )
    caption_join: str = setting(" ", "images", "Filename join string", "Stands between the words the regex finds.")
    shuffle_tags: bool = setting(
        False, "images", "Shuffle tags by ',' when creating prompts", "Draw the order of caption tags anew each time."
    )
    tag_dropout: float = setting(
        0.0,
        "images",
        "Drop out tags when creating prompts",
        "Chance with which each tag of a caption is left out.",
        minimum=0.0,
        maximum=1.0,
    )
    prepend_word: bool = setting(
        False,
        "images",
        "Put the word in front",
        "Begin prompts that lack the word with it, instead of refusing them.",
    )
    emphasis: bool = setting(
        False, "images", "Brackets are emphasis", "Read (…) and [...] in training prompts as weights, not as text."
    )
    alpha_as_loss_weight: bool = setting(
        False,
        "images",
        "Use PNG alpha channel as loss weight",
        "What is transparent in a picture is not learnt.",
    )
    latent_sampling: str = setting(
        "random",
        "images",
        "Latent sampling method",
        "Sample the VAE's latent anew at each visit (random), once for the run, or take its mean (deterministic).",
        choices=LATENT_SAMPLING,
    )
    cache_latents: bool = setting(
        True, "images", "Keep latents on disk", "Encoded pictures are kept for the next run on the same pictures."
    )

    # training
    steps: int = setting(
        1000,
        "training",
        "Max steps",
        "The run ends at this step, counted from the embedding's beginning.",
        minimum=1,
        maximum=1_000_000,
    )
    learning_rate: str = setting(
        "0.005",
        "training",
        "Embedding Learning rate",
        "A rate, or rates with the step each holds to: 0.005:100, 1e-3:1000, 1e-5.",
        check=schedule_problems,
    )
    batch_size: int = setting(1, "training", "Batch size", "Pictures in one forward pass.", minimum=1, maximum=1024)
    gradient_accumulation_steps: int = setting(
        1,
        "training",
        "Gradient accumulation steps",
        "Forward passes whose gradients make up one step.",
        minimum=1,
        maximum=1024,
    )
    clip_mode: str = setting(
        "disabled",
        "training",
        "Gradient Clipping",
        "Limit each component (value) or the length (norm) of the gradient.",
        choices=CLIP_MODES,
    )
    clip_value: str = setting(
        "0.1",
        "training",
        "Gradient clip value",
        "The limit; it may change by step like a rate.",
        check=schedule_problems,
    )
    seed: int = setting(0, "training", "Seed", "Same seed, same run.", minimum=0, maximum=2**63 - 1)

    # evaluation
    evaluate_every: int = setting(
        50, "evaluation", "Evaluate every N steps", "0 never evaluates.", minimum=0, maximum=1_000_000
    )
    evaluation_images: int = setting(
        0,
        "evaluation",
        "Pictures kept aside",
        "This many pictures are not trained on but measured; 0 measures on training pictures.",
        minimum=0,
        maximum=1000,
    )
    evaluation_timesteps: int = setting(
        1, "evaluation", "Timesteps per picture", "Fixed timesteps at which each is measured.", minimum=1, maximum=100
    )

    # previews
    preview_every: int = setting(
        100,
        "previews",
        "Save an image to log directory every N steps",
        "Also one before the first step and one after the last; 0 makes none.",
        minimum=0,
        maximum=1_000_000,
    )
    preview_prompt: str = setting(
        "a photo of [name]", "previews", "Preview prompt", "One prompt a line; [name] becomes the word."
    )
    preview_negative_prompt: str = setting("", "previews", "Preview negative prompt", "What previews should not show.")
    preview_steps: int = setting(
        20, "previews", "Preview sampling steps", "Denoising steps of a preview.", minimum=1, maximum=150
    )
    preview_sampler: str = setting(
        "DDIM",
        "previews",
        "Preview sampling method",
        "By its name in the WebUI; offline DDIM, Euler, Euler a, DPM++ 2M.",
    )
    preview_scheduler: str = setting(
        "",
        "previews",
        "Preview schedule type",
        "By its name in the WebUI (since 1.9); empty leaves it to the sampling method.",
    )
    preview_cfg_scale: float = setting(
        7.0, "previews", "Preview CFG Scale", "How strictly a preview follows its prompt.", minimum=1.0, maximum=30.0
    )
    preview_seed: int = setting(
        1,
        "previews",
        "Preview seed",
        "The same for all previews, so that they can be compared.",
        minimum=0,
        maximum=2**32 - 1,
    )
    preview_width: int = setting(
        0,
        "previews",
        "Preview width",
        "0 takes the width of training.",
        minimum=64,
        maximum=2048,
        multiple=8,
        zero=True,
    )
    preview_height: int = setting(
        0,
        "previews",
        "Preview height",
        "0 takes the height of training.",
        minimum=64,
        maximum=2048,
        multiple=8,
        zero=True,
    )

    # saving
    save_every: int = setting(
        0,
        "saving",
        "Save a copy of embedding to log directory every N steps",
        "0 saves only at the end.",
        minimum=0,
        maximum=1_000_000,
    )
    save_image_embedding: bool = setting(
        True, "saving", "Save images with embedding in PNG chunks", "Each preview is also an embedding file."
    )
    save_state_every: int = setting(
        100,
        "saving",
        "Save the run's state every N steps",
        "From it a run goes on; 0 saves none.",
        minimum=0,
        maximum=1_000_000,
    )
    save_state_seconds: int = setting(
        60,
        "saving",
        "Save the run's state every N seconds",
        "Whichever comes first; 0 goes by steps alone.",
        minimum=0,
        maximum=86_400,
    )
    keep_snapshots: int = setting(
        0,
        "saving",
        "Keep the last N copies",
        "Older ones are deleted, except the one with the lowest evaluation loss; 0 keeps all.",
        minimum=0,
        maximum=10_000,
    )
    thumbnail: str = setting(
        "none",
        "saving",
        "Card picture",
        "Show the last preview on the embedding's card: never, where you have put no picture of your own (new), or in "
        "place of it, which is kept in the run's folder (replace).",
        choices=THUMBNAILS,
    )
    author: str = setting("", "saving", "Author", "Who made it; written into the embedding.")
    license: str = setting("", "saving", "Licence", "Under which licence it may be used; written into the embedding.")
    output: str = setting(
        "textual_inversion",
        "saving",
        "Log directory",
        "Folder for runs, their previews and copies.",
        check=path_problems,
    )

    # model
    clip_skip: int = setting(
        0,
        "model",
        "Clip skip",
        "At which of SD1's last text layers to stop, counted as in the WebUI; 0 takes what is set there. SD2 and SDXL "
        "have theirs by config.",
        minimum=1,
        maximum=12,
        zero=True,
    )

    @property
    def examples_per_step(self) -> int:
        """Pictures that one optimizer step sees."""
        return self.batch_size * self.gradient_accumulation_steps

    @property
    def sizes(self) -> tuple[Size, ...]:
        """Width and height of training: one, or that of each bucket."""
        if self.resize_mode != "buckets":
            return ((self.width, self.height),)
        return bucket_sizes(self.width, self.height, self.bucket_step)

    def problems(self) -> list[str]:
        """A sentence for each value that cannot be used."""
        return [
            problem for name, about in SETTINGS.items() for problem in value_problems(about, name, getattr(self, name))
        ]

    def to_dict(self) -> dict[str, Any]:
        """Values by name, as JSON can hold them."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """Settings from values by name, numbers also as text. `InputError` with every problem in them."""
        config, problems = cls.read(values)
        if problems:
            raise InputError(problems)
        return config

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> tuple[TrainConfig, list[str]]:
        """As `from_dict`, but what cannot be used is told and left at its default, so that more can be checked."""
        values, twice = read_names(values)
        problems: list[str] = [*twice]
        known: dict[str, Any] = {}
        for name, value in values.items():
            if name not in SETTINGS:
                problems.append(f'There is no setting "{name}".{_nearest(name)}')
                continue
            try:
                meant = converted(DEFAULTS[name], value)
            except (ValueError, OverflowError):
                problems.append(f"{SETTINGS[name].label} ({name}) must be {kind_of(DEFAULTS[name])}, not {value!r}.")
                continue
            wrong = value_problems(SETTINGS[name], name, meant)
            problems += wrong
            if not wrong:
                known[name] = meant
        return cls(**known), problems

    def but(self, **changes: Any) -> TrainConfig:
        """The same settings with some changed."""
        return replace(self, **changes)


SETTINGS: dict[str, Setting] = {item.name: item.metadata["about"] for item in fields(TrainConfig)}
DEFAULTS: dict[str, Any] = {item.name: item.default for item in fields(TrainConfig)}


def _nearest(name: str) -> str:
    near = get_close_matches(name, SETTINGS, 1)
    return f' Did you mean "{near[0]}"?' if near else ""
