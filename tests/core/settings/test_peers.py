"""Other programs' options: each one is in its table, has one meaning, and arrives where the table says."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from tests.messages import ids, refused, said
from tinv_ext.core.generation import preview_prompts
from tinv_ext.core.settings import ALIASES, DEFAULTS, SETTINGS, TrainConfig, current_names, overridden
from tinv_ext.core.settings.adopt import COMMANDS, adopt
from tinv_ext.core.settings.peers import OPTIONS, PEERS, reasons
from tinv_ext.core.settings.peers.diffusers import DIFFUSERS
from tinv_ext.core.settings.peers.kohya import KOHYA
from tinv_ext.core.settings.peers.onetrainer_file import from_onetrainer
from tinv_ext.core.settings.peers.option import Option, is_neutral
from tinv_ext.core.settings.peers.webui import TRAIN

LISTS = Path(__file__).with_name("peers")
FILES = {
    "kohya-ss/sd-scripts": "kohya",
    "kohya's GUI": "kohya_gui",
    "diffusers": "diffusers",
    "diffusers' DreamBooth (images of the class)": "dreambooth",
    "the WebUI": "webui",
    "OneTrainer": "onetrainer",
    "DreamArtist": "dreamartist",
}
LAUNCHER = {"num_cpu_threads_per_process"}  # accelerate's own, which kohya's manual writes before the script


@pytest.mark.parametrize("peer", PEERS)
def test_the_table_has_every_option_of_the_program_and_no_other(peer: str) -> None:
    """Against names taken from its source; `*` in a table stands for several."""
    names = json.loads((LISTS / f"{FILES[peer]}.json").read_text("utf-8"))["options"]
    table = PEERS[peer]
    assert [name for name in names if not any(fnmatchcase(name, row) for row in table)] == []
    assert {row for row in table if not any(fnmatchcase(name, row) for name in names)} <= LAUNCHER


def test_every_row_leads_somewhere() -> None:
    """To a setting, to an option of the command line, to a reason, or at least to a sentence of the docs."""
    for peer, table in PEERS.items():
        for name, option in table.items():
            assert option.setting or option.command or option.reason or option.shown, (peer, name)
            assert not option.setting or option.setting in SETTINGS, (peer, name)
            assert option.takes in ("", "?", "*"), (peer, name)


def test_no_option_is_lost_in_silence() -> None:
    """Those that are neither settings nor told are the few whose meaning depends on others: see `adopt`."""
    rest = {
        name
        for name, option in OPTIONS.items()
        if not (option.setting or option.command or option.converts or option.reason)
    }
    adams = {"adam_beta1", "adam_beta2", "adam_weight_decay", "adam_epsilon"}
    assert rest - SETTINGS.keys() - ALIASES.keys() == {"output_name"} | adams


def test_no_name_has_two_meanings() -> None:
    """What two programs call alike is one thing here, too."""
    for table in (KOHYA, DIFFUSERS, TRAIN):
        for name, option in table.items():
            assert _meaning(OPTIONS[name]) == _meaning(option), name


def _meaning(option: Option) -> tuple[str, str, Any, bool]:
    return option.setting, option.command, option.converts, option.reason is not None


def test_options_without_a_value_are_settings_that_are_on_or_off() -> None:
    """Else a flag would need a value that its program does not give it."""
    for name, option in OPTIONS.items():
        if option.setting and name != option.setting:
            assert option.takes == "", name
    for name in ("shuffle_caption", "alpha_mask", "weighted_captions"):
        assert isinstance(DEFAULTS[ALIASES[name]], bool)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"resolution": "448,640"}, {"width": 448, "height": 640}),
        ({"resolution": 512}, {"width": 512, "height": 512}),
        ({"resolution": " 512 x 768 "}, {"width": 512, "height": 768}),
        ({"resolution": [448, 640]}, {"width": 448, "height": 640}),
        ({"use_object_template": True}, {"template": "subject"}),
        ({"use_style_template": "true"}, {"template": "style"}),
        ({"use_style_template": False}, {}),
        ({"cache_latents": True, "cache_latents_to_disk": False}, {"cache_latents": True}),
        ({"cache_latents_to_disk": True}, {"cache_latents": True}),
        ({"learnable_property": "object"}, {"template": "subject"}),
        ({"learnable_property": "style"}, {"template": "style"}),
        ({"enable_bucket": True, "bucket_reso_steps": 32}, {"resize_mode": "buckets", "bucket_step": 32}),
        ({"flip_aug": True, "random_crop": "true"}, {"flip": "horizontal", "crop_mode": "random"}),
        ({"min_bucket_reso": 320, "max_bucket_reso": 768}, {"bucket_min": 320, "bucket_max": 768}),
        ({"resize_interpolation": "cubic"}, {"interpolation": "bicubic"}),
        ({"varsize": True}, {"resize_mode": "keep"}),
        ({"max_grad_norm": "0.5"}, {"clip_mode": "norm", "clip_value": "0.5"}),
        ({"max_grad_norm": 0.0}, {"clip_mode": "disabled"}),
        ({"sample_sampler": "k_euler_a"}, {"preview_sampler": "Euler a"}),
        ({"optimizer_type": "AdamW8bit"}, {"optimizer": "AdamW"}),
        ({"optimizer_type": "PagedLion8bit"}, {"optimizer": "Lion"}),
        ({"optimizer_type": "Prodigy"}, {"optimizer": "Prodigy"}),
        ({"use_lion_optimizer": True}, {"optimizer": "lion"}),
        ({"token_string": "mychar", "init_word": "girl"}, {"name": "mychar", "init_text": "girl"}),
        ({"num_vectors_per_token": 4, "max_train_steps": 9}, {"num_vectors": 4, "steps": 9}),
    ],
)
def test_an_option_becomes_settings(given: dict[str, Any], meant: dict[str, Any]) -> None:
    """By name and with the values that they have here; in a dictionary of settings as for the command line."""
    assert current_names(given) == meant
    named = {} if "name" in meant else {"name": "zworble"}
    assert TrainConfig.from_dict({**named, **given}) == TrainConfig.from_dict({**named, **meant})


@pytest.mark.parametrize("value", ["1,2,3", "large", "", "-5", "512,"])
def test_a_resolution_that_is_none_is_refused(value: str) -> None:
    """In a sentence with an example."""
    with refused("peers.not_a_resolution", value=value):
        TrainConfig.from_dict({"name": "zworble", "resolution": value})


def test_every_value_that_cannot_be_meant_is_told_at_once() -> None:
    """Beside those of our own settings."""
    given = {"resolution": "1,2,3", "learnable_property": "thing", "max_grad_norm": "much", "steps": 0}
    problems = TrainConfig.read({"name": "zworble", **given})[1]
    assert sorted(ids(problems)) == [
        "peers.not_a_choice",
        "peers.not_a_norm",
        "peers.not_a_resolution",
        "settings.too_small",
    ]


def test_an_option_contradicts_a_setting_that_it_means() -> None:
    """The same value twice is none; of a resolution that is overridden by half, the rest stays."""
    with refused("settings.given_twice", first="width", second="resolution"):
        TrainConfig.from_dict({"name": "zworble", "width": 512, "resolution": "448,640"})
    assert TrainConfig.from_dict({"name": "zworble", "width": 448, "resolution": "448,640"}).height == 640
    assert overridden({"resolution": "448,640"}, {"width": 512}) == {"height": 640, "width": 512}
    assert overridden({"width": 512, "seed": 3}, {"resolution": "64"}) == {"seed": 3, "resolution": "64"}


def test_what_has_no_use_is_told_once_for_each_reason() -> None:
    """And is no setting; turned off or at the value that is used anyway, it is not even told."""
    given = {"xformers": True, "sdpa": "true", "use_8bit_adam": True, "v2": True, "steps": 5, "full_fp16": False}
    adopted = adopt({**given, "vae_batch_size": "1", "wandb_api_key": None, "local_rank": "-1"})
    assert adopted.settings == {"steps": 5}
    assert said(adopted.notices, "peers.not_used", options=["--xformers", "--sdpa"], reason=reasons.ATTENTION)
    assert said(adopted.notices, "peers.not_used", options=["--use_8bit_adam"], reason=reasons.EIGHT_BIT)
    assert said(adopted.notices, "peers.not_used", options=["--v2"], reason=reasons.DETECTED)
    assert (len(adopted.notices), adopted.problems) == (3, [])


def test_a_name_that_nobody_has_is_left_for_the_settings_to_refuse() -> None:
    """With the nearest."""
    adopted = adopt({"tokn_string": "x"})
    with refused("settings.unknown_near", name="tokn_string", near="token_string"):
        TrainConfig.from_dict(adopted.settings)


def test_a_setting_of_an_options_name_comes_before_the_reason_to_have_none() -> None:
    """So a new setting or alias needs no change of the tables."""
    beside = {"token_string": {"template": "style"}, "logging_dir": {"log_with": "tensorboard"}}
    for name in (*SETTINGS, *ALIASES):
        adopted = adopt({name: "1", **beside.get(name, {})})
        assert list(adopted.settings)[:1] == [name]
        assert adopted.notices == []


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"pretrained_model_name_or_path": "m"}, {"model": "m"}),
        ({"vae": "v.pt", "resume": "r"}, {"vae": "v.pt", "resume": "r"}),
        ({"resume_from_checkpoint": "latest"}, {"resume": "latest"}),
        ({"mixed_precision": "fp16"}, {"precision": "auto"}),
        ({"mixed_precision": "no"}, {"precision": "fp32"}),
        ({"mixed_precision": "bf16"}, {"precision": "bf16"}),
        ({"debug_dataset": True}, {"debug_dataset": True}),
        ({"model": "m", "device": "cpu"}, {"model": "m", "device": "cpu"}),
    ],
)
def test_some_options_are_of_the_command_line(given: dict[str, Any], meant: dict[str, Any]) -> None:
    """The model, the device, the run to resume: no settings."""
    adopted = adopt(given)
    assert (adopted.command, adopted.settings, adopted.notices) == (meant, {}, [])
    assert set(meant) <= set(COMMANDS)


def test_a_precision_that_is_none_is_a_problem() -> None:
    """Told beside the others."""
    assert ids(adopt({"mixed_precision": "fp8"}).problems) == ["peers.not_a_choice"]


def test_what_diffusers_calls_a_rate_is_one_here() -> None:
    """Its scale, its schedule and warm-up are settings with the same meaning."""
    given = {"learning_rate": "5.0e-04", "scale_lr": True, "lr_scheduler": "cosine_with_restarts", "lr_num_cycles": "3"}
    config = TrainConfig.from_dict({"name": "zworble", **adopt({**given, "lr_warmup_steps": "10"}).settings})
    assert (config.learning_rate, config.scale_lr, config.lr_scheduler) == ("5.0e-04", True, "cosine_with_restarts")
    assert (config.lr_scheduler_num_cycles, config.lr_warmup_steps) == (3, 10)


def test_diffusers_options_of_adam_are_arguments_of_the_optimizer() -> None:
    """Both betas even if one is given, beside the arguments that there are."""
    adopted = adopt(
        {"adam_beta2": "0.99", "adam_weight_decay": "1e-2", "adam_epsilon": 1e-8, "optimizer_args": "amsgrad=true"}
    )
    assert adopted.settings == {"optimizer_args": "amsgrad=true weight_decay=1e-2 eps=1e-08 betas=0.9,0.99"}
    options = TrainConfig.from_dict({"name": "zworble", **adopted.settings}).optimizer_options
    assert options == {"amsgrad": True, "weight_decay": 0.01, "eps": 1e-8, "betas": (0.9, 0.99)}


@pytest.mark.parametrize(
    ("given", "relative"),
    [
        ({}, True),
        ({"optimizer_args": "weight_decay=0.1"}, True),
        ({"optimizer_args": ["weight_decay=0.1", "scale_parameter=False"]}, True),
        ({"optimizer_args": "relative_step=True warmup_init=True"}, True),
        ({"optimizer_args": "relative_step=False warmup_init=True"}, True),
        ({"optimizer_args": "relative_step=False"}, False),
    ],
)
def test_kohyas_adafactor_has_rates_of_its_own_unless_told(given: dict[str, Any], relative: bool) -> None:
    """sd-scripts library/train_util.py, get_optimizer; by our own name, the rate is the run's."""
    adopted = adopt({"optimizer_type": "AdaFactor", "name": "zworble", **given})
    config = TrainConfig.from_dict(adopted.settings)
    assert config.relative_steps == relative
    assert (config.optimizer_options.get("weight_decay") == 0.1) == ("weight_decay" in str(given))
    assert not TrainConfig.from_dict({"name": "zworble", "optimizer": "adafactor"}).relative_steps


def test_the_name_of_kohyas_file_is_the_word_only_where_there_is_no_other() -> None:
    """The file is named after the word."""
    assert adopt({"output_name": "char"}).settings == {"name": "char"}
    both = adopt({"output_name": "file", "token_string": "char"})
    assert current_names(both.settings)["name"] == "char"
    assert said(both.notices, "peers.not_used", options=["--output_name"], reason=reasons.FILE_NAME)
    assert ids(adopt({"output_name": "char", "token_string": "char", "template": "style"}).notices) == []


def test_kohyas_captions_are_the_prompts_unless_a_template_is_chosen() -> None:
    """Its word alone where there is no caption; what is said otherwise counts."""
    adopted = adopt({"token_string": "char"})
    assert adopted.settings == {
        "token_string": "char",
        "template": "none",
        "prepend_word": True,
        "class_tokens": "char",
    }
    assert ids(adopted.notices) == ["peers.captions_are_prompts"]
    assert adopt({"token_string": "char", "class_tokens": "girl"}).settings["class_tokens"] == "girl"
    for given in ({"use_style_template": True}, {"template_file": "mine.txt"}, {"learnable_property": "object"}):
        assert adopt({"token_string": "char", **given}).settings == {"token_string": "char", **given}


def test_a_token_in_angle_brackets_is_the_word_in_prompts_too() -> None:
    """diffusers' validation prompt has the placeholder token as it is."""
    given = {"placeholder_token": "<cat-toy>", "validation_prompt": "A <cat-toy> train"}
    assert current_names(adopt(given).settings)["preview_prompt"] == "A [name] train"
    plain = {"placeholder_token": "cat-toy", "validation_prompt": "A cat-toy train"}
    assert adopt(plain).settings == plain


@pytest.mark.parametrize(
    ("value", "neutral"),
    [("sdpa", False), ("no", True), (0, True), ("0.0", True), (None, True), ("", True), ("False", True)],
)
def test_a_value_that_asks_for_nothing_is_known(value: Any, neutral: bool) -> None:
    """It is not told: nothing is missing."""
    assert is_neutral(KOHYA["fp8_base"], value) is neutral


def test_a_configuration_of_onetrainer_is_read() -> None:
    """Its preset for embeddings with what a person sets: word, images, rate, units; the rest is named."""
    off = {"tag_dropout_enable": False, "tag_dropout_probability": 0.5, "keep_tags_count": 2}
    values, left = from_onetrainer(
        {
            "base_model_name": "m",
            "training_method": "EMBEDDING",
            "embedding": {"placeholder": "<zworble>", "initial_embedding_text": "cat", "token_count": 3, "train": True},
            "learning_rate": 3e-4,
            "learning_rate_scheduler": "COSINE_WITH_HARD_RESTARTS",
            "learning_rate_warmup_steps": 20,
            "learning_rate_cycles": 2.0,
            "learning_rate_scaler": "NONE",
            "loss_weight_fn": "MIN_SNR_GAMMA",
            "timestep_distribution": "LOGIT_NORMAL",
            "noising_bias": 0.5,
            "max_noising_strength": 0.8,
            "embedding_learning_rate": 1e-3,
            "resolution": "512x768",
            "aspect_ratio_bucketing": True,
            "clip_grad_norm": 1.0,
            "train_dtype": "FLOAT_16",
            "text_encoder_layer_skip": 1,
            "optimizer": {"optimizer": "ADAMW_8BIT", "beta1": 0.9},
            "concepts": [
                {"path": "off", "enabled": False},
                {"path": "in", "text": {"prompt_source": "sample", "enable_tag_shuffling": True, **off}},
                {"path": "more", "type": "VALIDATION"},
            ],
            "samples": [{"prompt": "a <zworble>", "diffusion_steps": 9, "frames": 1}],
            "sample_after": 50,
            "sample_after_unit": "STEP",
            "backup_after": 10,
            "backup_after_unit": "MINUTE",
            "save_every_unit": "NEVER",
            "vae": {"weight_dtype": "FLOAT_32", "model_name": ""},
            "lora_rank": 16,
        }
    )
    adopted = adopt(values)
    assert adopted.command == {"model": "m", "precision": "auto"}
    config = TrainConfig.from_dict(adopted.settings)
    assert (config.name, config.init_text, config.num_vectors, config.learning_rate) == ("zworble", "cat", 3, "0.001")
    assert (config.width, config.height, config.resize_mode, config.clip_skip) == (512, 768, "buckets", 2)
    assert (config.lr_scheduler, config.lr_warmup_steps, config.scale_lr) == ("cosine_with_restarts", 20, False)
    assert (config.lr_scheduler_num_cycles, config.min_snr_gamma, config.max_timestep) == (2, 5, 800)
    assert (config.timestep_sampling, config.logit_mean, config.logit_std) == ("logit_normal", 0.5, 1)
    assert (config.clip_mode, config.clip_value, config.optimizer) == ("norm", "1.0", "adamw")
    assert (config.images, config.template, config.shuffle_tags) == ("in", "none", True)
    assert (config.tag_dropout, config.keep_tokens) == (0, 2)
    assert (config.preview_prompt, config.preview_steps, config.preview_every) == ("a [name] --s 9", 10, 50)
    assert (config.save_state_seconds, config.save_every) == (600, 0)
    assert {"concepts[2].type=VALIDATION", "lora_rank", "training_method"} <= set(left)


def test_one_of_onetrainers_resolutions_is_taken() -> None:
    """Of a list the first."""
    assert from_onetrainer({"resolution": "512,768"})[0] == {"width": 512, "height": 512}


def test_format_and_precision_of_onetrainers_file() -> None:
    """As docs/coming-from.md says; what an embedding cannot have changes nothing."""
    values, left = from_onetrainer({"output_model_format": "SAFETENSORS", "output_dtype": "BFLOAT_16"})
    assert (values, left) == ({"save_format": "safetensors", "save_precision": "bf16"}, [])
    config = TrainConfig.from_dict({"name": "x", **values})
    assert (config.save_format, config.save_precision) == ("safetensors", "bf16")
    assert from_onetrainer({"output_model_format": "CKPT"})[0] == {"save_format": "pt"}
    assert from_onetrainer({"output_model_format": "LEGACY_SAFETENSORS", "output_dtype": "NFLOAT_4"}) == ({}, [])


def test_functions_of_onetrainer_that_are_not_here_are_named() -> None:
    """Instead of being taken for another."""
    values, left = from_onetrainer({"loss_weight_fn": "SIGMA", "timestep_distribution": "BETA"})
    assert (values, left) == ({}, ["loss_weight_fn=SIGMA", "timestep_distribution=BETA"])
    assert from_onetrainer({"loss_weight_fn": "DEBIASED_ESTIMATION"})[0] == {"debiased_estimation_loss": True}


def test_what_onetrainer_counts_otherwise() -> None:
    """Epochs, an average every so many steps, arguments of Adam, a scheduler of one's own, one loss or several."""
    values = from_onetrainer(
        {
            "sample_after": 2,
            "sample_after_unit": "EPOCH",
            "save_every": 3,
            "save_every_unit": "EPOCH",
            "ema": "GPU",
            "ema_decay": 0.9,
            "ema_update_step_interval": 5,
            "embedding": {"stop_training_after": 7, "stop_training_after_unit": "EPOCH"},
            "epochs": 100,
            "optimizer": {"optimizer": "ADAMW", "beta1": 0.8, "beta2": 0.9, "eps": 1e-7, "weight_decay": None},
            "learning_rate_scheduler": "CUSTOM",
            "custom_learning_rate_scheduler": "StepLR",
            "scheduler_params": [{"key": "step_size", "value": "5"}],
            "mse_strength": 0.0,
            "huber_strength": 1.0,
            "huber_delta": 0.2,
            "timestep_shift": 2.0,
        }
    )[0]
    config = TrainConfig.from_dict(values)
    assert (config.preview_every_n_epochs, config.save_every_n_epochs, config.max_train_epochs) == (2, 3, 7)
    assert config.ema_decay**5 == pytest.approx(0.9)
    assert config.optimizer_options == {"betas": (0.8, 0.9), "eps": 1e-7}
    assert (config.lr_scheduler_type, config.lr_scheduler_args) == ("StepLR", "step_size=5")
    assert (config.loss_type, config.huber_schedule, config.huber_c) == ("huber", "constant", 0.2)
    assert config.timestep_shift == 2
    mixed = from_onetrainer({"mse_strength": 0.5, "mae_strength": 0.5, "ema": "OFF", "ema_decay": 0.5})
    assert mixed == ({}, ["mse_strength", "mae_strength"])


def test_onetrainers_samples_are_prompts_of_previews(tmp_path: Path) -> None:
    """All that are enabled, each as it is set; also from a file of their own."""
    samples = [
        {"prompt": "a <zworble>", "width": 64, "height": 128, "seed": 3, "diffusion_steps": 9, "cfg_scale": 5.0},
        {"prompt": "off", "enabled": False},
        {"prompt": "two", "negative_prompt": "bad", "noise_scheduler": "EULER_A", "random_seed": False, "frames": 1},
    ]
    values = from_onetrainer({"samples": samples})[0]
    path = tmp_path / "samples.json"
    path.write_text(json.dumps(samples))
    for given in (values, {"preview_file": str(path)}):
        config = TrainConfig.from_dict({"name": "<zworble>", "width": 64, "height": 64, **given})
        (first,), (second,) = (prompt.requests for prompt in preview_prompts(config))
        assert (first.prompt, first.width, first.height, first.seed) == ("a zworble", 64, 128, 3)
        assert (first.steps, first.cfg_scale) == (9, 5)
        assert (second.prompt, second.negative_prompt, second.sampler) == ("two", "bad", "Euler a")
