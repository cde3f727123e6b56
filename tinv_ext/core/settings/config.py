"""The settings of a run: values by name, from which come flags, page, API and config.json.

`TrainConfig` has the names, types and defaults. What people are told of a setting, and which values it takes, is an
entry in the file of its group. A new setting is a line here and an entry there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from tinv_ext.core.data.buckets import bucket_sizes
from tinv_ext.core.data.image_fit import FitRules
from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message
from tinv_ext.core.names import bare_name
from tinv_ext.core.paths import LOG_DIRECTORY
from tinv_ext.core.settings.aliases import read_names, unknown_name
from tinv_ext.core.settings.arguments import read_arguments
from tinv_ext.core.settings.captions import CAPTIONS
from tinv_ext.core.settings.evaluation import EVALUATION
from tinv_ext.core.settings.images import IMAGES
from tinv_ext.core.settings.limits import MAX_SIZE
from tinv_ext.core.settings.loss import LOSS
from tinv_ext.core.settings.model import MODEL
from tinv_ext.core.settings.presets import USUAL, chosen_preset, contradictions, preset_values
from tinv_ext.core.settings.previews import PREVIEWS
from tinv_ext.core.settings.saving import SAVING
from tinv_ext.core.settings.setting import Setting, converted, type_problem, value_problems
from tinv_ext.core.settings.training import TRAINING
from tinv_ext.core.settings.word import WORD
from tinv_ext.core.settings.words import WordSettings, as_text, name_first, read_tables, settings_of_words
from tinv_ext.core.training.rates import ADAFACTOR, FALLING

_ENTRIES: Mapping[str, Mapping[str, Setting]] = {
    "word": WORD,
    "images": IMAGES,
    "captions": CAPTIONS,
    "training": TRAINING,
    "loss": LOSS,
    "evaluation": EVALUATION,
    "previews": PREVIEWS,
    "saving": SAVING,
    "model": MODEL,
}
_RELATIVE = ("relative_step", "warmup_init")  # Adafactor's arguments with which it has rates of its own


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All settings of one training run. What people set goes through `read`, beneath which their preset stands."""

    # word
    name: str = ""
    angle_brackets: bool = False
    init_text: str = "*"
    num_vectors: int = 1
    init_embedding: str = ""
    overwrite: bool = False
    words: str = ""
    use_negative: bool = False
    nvpt_neg: int = 0
    cfg_scale: float = 5.0
    neg_lr_w: float = 1.0

    # images
    images: str = ""
    dataset_config: str = ""
    in_json: str = ""
    recursive: bool = False
    repeats: int = 1
    width: int = 0
    height: int = 0
    resize_mode: str = "crop"
    crop_mode: str = "center"
    interpolation: str = "lanczos"
    bucket_step: int = 64
    bucket_min: int = 0
    bucket_max: int = 0
    bucket_no_upscale: bool = False
    flip: str = "none"
    color_aug: bool = False
    image_variants: int = 4
    template: str = "subject"
    prepend_word: bool = False
    emphasis: bool = False
    alpha_as_loss_weight: bool = False
    masked_loss: bool = False
    mask_folder: str = ""
    unmasked_weight: float = 0.0
    unmasked_probability: float = 0.0
    normalize_masked_area_loss: bool = True
    reg_images: str = ""
    class_prompt: str = ""
    num_class_images: int = 0
    prior_loss_weight: float = 1.0
    latent_sampling: str = "random"
    cache_latents: bool = True

    # captions
    caption_extension: str = ""
    class_tokens: str = ""
    caption_regex: str = ""
    caption_join: str = " "
    caption_prefix: str = ""
    caption_suffix: str = ""
    shuffle_tags: bool = False
    tag_dropout: float = 0.0
    keep_tokens: int = 0
    keep_tokens_separator: str = ""
    caption_separator: str = ""
    secondary_separator: str = ""
    enable_wildcard: bool = False
    caption_dropout_rate: float = 0.0
    caption_dropout_every_n_epochs: int = 0
    token_warmup_min: int = 1
    token_warmup_step: float = 0.0
    name_background: bool = False

    # training
    preset: str = "classic"
    purpose: str = "object"
    steps: int = 1000
    max_train_epochs: int = 0
    optimizer: str = "adamw"
    optimizer_args: str = ""
    learning_rate: str = "0.005"
    lr_scheduler: str = "constant"
    lr_warmup_steps: float = 0.0
    lr_scheduler_num_cycles: int = 1
    lr_scheduler_power: float = 1.0
    lr_scheduler_min_lr_ratio: float = 0.0
    lr_decay_steps: float = 0.0
    lr_scheduler_timescale: int = 0
    lr_scheduler_type: str = ""
    lr_scheduler_args: str = ""
    scale_lr: bool = False
    batch_size: int = 1
    gradient_accumulation_steps: int = 1
    micro_batch_size: int = 0
    gradient_checkpointing: str = "auto"
    offload_weights: str = "auto"
    clip_mode: str = "disabled"
    clip_value: str = "0.1"
    preserve_embedding_norm: bool = False
    max_vector_norm: float = 0.0
    pull_to_init: float = 0.0
    ema_decay: float = 0.0
    ema_inv_gamma: float = 9.0
    downweight_odd_images: bool = False
    seed: int = 0

    # loss
    loss_type: str = "l2"
    huber_schedule: str = "snr"
    huber_c: float = 0.1
    huber_scale: float = 1.0
    min_snr_gamma: float = 0.0
    debiased_estimation_loss: bool = False
    p2_gamma: float = 0.0
    scale_v_pred_loss_like_noise_pred: bool = False
    v_pred_like_loss: float = 0.0
    timestep_sampling: str = "uniform"
    timestep_balance: float = 0.0
    logit_mean: float = 0.0
    logit_std: float = 1.0
    min_timestep: int = 0
    max_timestep: int = 0
    timestep_shift: float = 1.0
    noise_offset: float = 0.0
    noise_offset_random_strength: bool = False
    adaptive_noise_scale: float = 0.0
    multires_noise_iterations: int = 0
    multires_noise_discount: float = 0.3
    ip_noise_gamma: float = 0.0
    ip_noise_gamma_random_strength: bool = False
    zero_terminal_snr: bool = False

    # evaluation
    evaluate_every: int = 50
    evaluation_images: int = 0
    evaluation_timesteps: int = 1
    stop_when_done: str = "off"
    patience: int = 60
    result: str = "best"

    # previews
    preview_every: int = 100
    preview_every_n_epochs: int = 0
    preview_at_first: bool = True
    preview_prompt: str = "a photo of [name]"
    preview_file: str = ""
    preview_images: int = 1
    preview_negative_prompt: str = ""
    preview_steps: int = 10
    preview_sampler: str = "DPM++ 2M"
    preview_scheduler: str = ""
    preview_cfg_scale: float = 7.0
    preview_seed: int = 1
    preview_width: int = 0
    preview_height: int = 0

    # saving
    save_every: int = 0
    save_every_n_epochs: int = 0
    save_n_epoch_ratio: int = 0
    save_image_embedding: bool = True
    save_state_every: int = 100
    save_state_seconds: int = 60
    keep_snapshots: int = 0
    keep_snapshot_steps: int = 0
    save_format: str = "auto"
    save_precision: str = "float32"
    thumbnail: str = "auto"
    title: str = ""
    author: str = ""
    description: str = ""
    license: str = ""
    tags: str = ""
    usage_hint: str = ""
    output: str = LOG_DIRECTORY
    log_with: str = ""
    logging_dir: str = ""
    tracker_project: str = ""
    tracker_run: str = ""
    push_to_hub: bool = False
    hub_model_id: str = ""
    hub_private: bool = False

    # model
    clip_skip: int = 0

    @property
    def token(self) -> str:
        """The word as diffusers has it: with its angle brackets, if it has some."""
        return f"<{self.name}>" if self.angle_brackets else self.name

    @property
    def word_settings(self) -> tuple[WordSettings, ...]:
        """What is set for each word that the run trains; the one called `name` comes first, without [[words]] alone."""
        return settings_of_words(self.words, self.to_dict())

    @property
    def names(self) -> list[str]:
        """The names of its words."""
        return [word.name for word in self.word_settings]

    def of_word(self, word: WordSettings) -> TrainConfig:
        """The settings as they are for one of the words and its own images."""
        return self.with_own({**word.of_the_word, **word.own})

    def with_own(self, own: Mapping[str, Any]) -> TrainConfig:
        """With the settings that some of the images have of their own; a size of 0 is that of the run."""
        return self.but(**{name: value for name, value in own.items() if value or name not in ("width", "height")})

    def bare(self, text: str) -> str:
        """A prompt with the words where it has their tokens: in prompts of diffusers that is one thing."""
        for word in self.word_settings:
            text = text.replace(word.token, word.name)
        return text

    @property
    def has_previews(self) -> bool:
        """Whether previews are made regularly, without anybody pressing a button."""
        return bool(self.preview_every or self.preview_every_n_epochs)

    @property
    def examples_per_step(self) -> int:
        """Images that one optimizer step sees."""
        return self.batch_size * self.gradient_accumulation_steps

    @property
    def rate_depends_on_steps(self) -> bool:
        """Whether changing the number of steps changes the learning rate of earlier steps."""
        return self.lr_scheduler in FALLING or 0 < self.lr_warmup_steps < 1

    @property
    def optimizer_options(self) -> dict[str, Any]:
        """`optimizer_args` by name; of Adafactor's own rates what is left to it, as `rate` of the plan has the rest."""
        given = read_arguments(self.optimizer_args)
        if not self.relative_steps:
            return given
        return {"scale_parameter": True, **{name: value for name, value in given.items() if name not in _RELATIVE}}

    @property
    def relative_steps(self) -> bool:
        """Whether Adafactor's own learning rates are wanted, by the scheduler or, as with kohya, by arguments."""
        given = read_arguments(self.optimizer_args)
        wanted = self.lr_scheduler == ADAFACTOR or any(given.get(name) for name in _RELATIVE)
        return self.optimizer.lower() == "adafactor" and wanted

    @property
    def fit_rules(self) -> FitRules:
        """The sizes that images are brought to, and the number of variants of each."""
        if self.resize_mode == "buckets":
            sizes = bucket_sizes(self.width, self.height, self.bucket_step, self.bucket_min, self.bucket_max)
        else:
            sizes = ((self.width, self.height),)
        keep = self.resize_mode == "keep"
        return FitRules(
            sizes=sizes,
            stretch=self.resize_mode == "stretch",
            keep=keep,
            no_upscale=self.bucket_no_upscale and self.resize_mode == "buckets",
            step=self.bucket_step,
            longest=(self.bucket_max or MAX_SIZE) if keep else max(side for size in sizes for side in size),
            interpolation=self.interpolation,
            crop=self.crop_mode,
            flip=self.flip,
            color_aug=self.color_aug,
            variants=self.image_variants,
        )

    def problems(self) -> list[Message]:
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
        """As `from_dict`, but what cannot be used is told and left at its default, so that more can be checked.

        What is not among the values is what their preset and purpose say (`presets.py`).
        """
        values, twice = read_names(values)
        problems: list[str] = [*twice, *contradictions(values)]
        usable: dict[str, Any] = {}
        bracketed = False
        for name, value in values.items():
            if name not in SETTINGS:
                problems.append(unknown_name(name, SETTINGS))
                continue
            if name == "words":
                tables, wrong = read_tables(value, SETTINGS, DEFAULTS)
                problems += wrong
                usable["words"] = as_text(tables)
                continue
            try:
                typed = converted(DEFAULTS[name], SETTINGS[name].chosen(value))
            except (ValueError, OverflowError):
                problems.append(type_problem(SETTINGS[name], name, DEFAULTS[name], value))
                continue
            if name == "name":
                typed, token = bare_name(typed), typed  # as diffusers' users have it
                bracketed = typed != token
            wrong = value_problems(SETTINGS[name], name, typed)
            problems += wrong
            if not wrong:
                usable[name] = typed
        usable |= {"angle_brackets": True} if bracketed else {}
        problems += name_first(usable)
        if (usable.get("dataset_config") or usable.get("in_json")) and "template" not in values:
            usable["template"] = "none"  # as where the file is from: its captions are the prompts
        if "preset" not in usable:
            usable["preset"] = chosen_preset(usable)
        chosen = preset_values(usable["preset"], usable.get("purpose", DEFAULTS["purpose"]))
        return cls(**{**chosen, **usable}), problems

    def but(self, **changes: Any) -> TrainConfig:
        """The same settings with some changed."""
        return replace(self, **changes)


GROUPS: Mapping[str, Message] = {
    "word": message("settings.group_word", "Word"),
    "images": message("settings.group_images", "Images and prompts"),
    "captions": message("settings.group_captions", "Captions"),
    "training": message("settings.group_training", "Training"),
    "loss": message("settings.group_loss", "Loss and noise"),
    "evaluation": message("settings.group_evaluation", "Evaluation"),
    "previews": message("settings.group_previews", "Previews"),
    "saving": message("settings.group_saving", "Saving"),
    "model": message("settings.group_model", "Model"),
}
"""Groups by name, with their titles."""
SETTINGS: Mapping[str, Setting] = {
    name: setting.named(name, group) for group, entries in _ENTRIES.items() for name, setting in entries.items()
}
_BY_FIELD: Mapping[str, Any] = {item.name: item.default for item in fields(TrainConfig)}
DEFAULTS: Mapping[str, Any] = {**_BY_FIELD, **preset_values(USUAL, TrainConfig.purpose), "preset": USUAL}
"""What a setting is for whoever sets nothing. (The fields have what it is in the preset classic.)"""
assert list(SETTINGS) == list(DEFAULTS), "each setting is a line of TrainConfig and, in the same order, an entry"
