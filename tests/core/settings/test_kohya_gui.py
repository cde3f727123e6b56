"""A file of kohya's GUI: every field that it saves has a meaning, which is that of the trainer's options it becomes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.messages import refused
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.settings.adopt import adopt
from tinv_ext.core.settings.peers.kohya import KOHYA
from tinv_ext.core.settings.peers.kohya_gui import KOHYA_GUI, from_kohya_gui, is_kohya_guis

FIELDS = json.loads(Path(__file__).with_name("peers").joinpath("kohya_gui.json").read_text("utf-8"))["fields"]
FORM: dict[str, Any] = {
    **dict.fromkeys(FIELDS, ""),
    "model_list": "custom",
    "pretrained_model_name_or_path": "/models/sd15.safetensors",
    "train_data_dir": "/images",
    "output_dir": "/out",
    "output_name": "cat_v1",
    "token_string": "mycat",
    "init_word": "cat",
    "num_vectors_per_token": 3.0,
    "template": "object template",
    "max_resolution": "640,512",
    "optimizer": "AdamW8bit",
    "learning_rate": 0.005,
    "lr_scheduler": "cosine_with_restarts",
    "lr_warmup": 10,
    "lr_warmup_steps": 0,
    "epoch": 8,
    "max_train_steps": 0,
    "max_train_epochs": "0",
    "train_batch_size": "2",
    "mixed_precision": "bf16",
    "seed": "42",
    "bucket_reso_steps": 1,
    "enable_bucket": True,
    "cache_latents": True,
    "color_aug": False,
    "xformers": "sdpa",
    "max_token_length": "75",
    "num_processes": 1,
    "num_cpu_threads_per_process": 2,
    "dynamo_backend": "no",
    "noise_offset_type": "Original",
    "sample_every_n_steps": 50,
    "sample_prompts": "a photo of mycat --w 512\na drawing of mycat",
    "sample_sampler": "euler_a",
    "huggingface_repo_id": "False",
    "metadata_author": "False",
    "additional_parameters": '--min_timestep=10 --caption_prefix "a nice" --flip_aug --lr_scheduler_args a=1 b=2',
}


def meant(**changed: Any) -> TrainConfig:
    """The settings of a form with these fields."""
    found, unused, unknown = from_kohya_gui({**FORM, **changed})
    assert (unused, unknown) == ([], [])
    adopted = adopt(found)
    config, problems = TrainConfig.read(adopted.settings)
    assert problems == [], problems
    return config


def test_every_field_has_a_meaning() -> None:
    """In the table of the GUI or, as the trainer's option, in that of the trainer."""
    assert [name for name in FIELDS if name not in KOHYA_GUI and name not in KOHYA] == []


def test_a_form_means_what_the_trainer_is_given() -> None:
    """Names of its own, percents, texts for numbers, empty fields, and the options that it lists."""
    config = meant(additional_parameters='--min_timestep=10 --caption_prefix "a nice" --flip_aug')
    values = config.to_dict()
    expected = {
        "name": "mycat",
        "init_text": "cat",
        "num_vectors": 3,
        "template": "subject",
        "images": "/images",
        "output": "/out",
        "width": 640,
        "height": 512,
        "optimizer": "AdamW",
        "learning_rate": "0.005",
        "lr_scheduler": "cosine_with_restarts",
        "lr_scheduler_num_cycles": 8,
        "lr_warmup_steps": 0.1,
        "max_train_epochs": 8,
        "batch_size": 2,
        "seed": 42,
        "resize_mode": "buckets",
        "bucket_step": 8,
        "flip": "horizontal",
        "min_timestep": 10,
        "caption_prefix": "a nice",
        "preview_every": 50,
        "preview_prompt": "a photo of mycat --w 512\na drawing of mycat",
        "preview_sampler": "Euler a",
        "push_to_hub": False,
        "author": "",
        "lr_scheduler_args": "",
    }
    assert {name: values[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("changed", "steps", "epochs"),
    [
        ({"max_train_steps": 300}, 300, 0),
        ({"max_train_steps": "300", "max_train_epochs": "4"}, None, 4),
        ({"dataset_config": "/d.toml"}, 1600, 0),
        ({"epoch": 0}, 1600, 0),
    ],
)
def test_epochs_come_before_steps_as_in_the_trainer(changed: dict[str, Any], steps: int | None, epochs: int) -> None:
    """Where nothing says how long, it is kohya's usual number."""
    found = from_kohya_gui({**FORM, **changed})[0]
    assert (found.get("max_train_steps") and int(found["max_train_steps"])) == steps
    assert int(found.get("max_train_epochs", 0)) == epochs


def test_the_file_for_the_trainer_is_understood_too() -> None:
    """The GUI has worked out the steps then."""
    written = {"token_string": "mycat", "epoch": 8, "max_train_steps": 96, "resolution": "512,512", "xformers": True}
    assert is_kohya_guis(written)
    found, unused, unknown = from_kohya_gui(written)
    assert (found, unused, unknown) == (
        {"token_string": "mycat", "max_train_steps": 96, "resolution": "512,512"},
        [],
        [],
    )


def test_prompts_of_the_file_for_the_trainer_are_in_a_file() -> None:
    """Which the GUI writes even where it samples nothing."""
    written = {"token_string": "mycat", "epoch": 8, "max_train_steps": 96, "sample_prompts": "/out/sample/prompt.txt"}
    assert from_kohya_gui(written)[0] == {"token_string": "mycat", "max_train_steps": 96}
    found = from_kohya_gui({**written, "sample_every_n_epochs": 2})[0]
    assert found["sample_prompts"] == "/out/sample/prompt.txt"
    config, problems = TrainConfig.read(adopt(found).settings)
    assert (config.preview_file, config.preview_every_n_epochs, problems) == ("/out/sample/prompt.txt", 2, [])


def test_what_has_no_use_is_told() -> None:
    """With its reason; a field that nobody knows by its name."""
    found, unused, unknown = from_kohya_gui({**FORM, "multi_gpu": True, "gpu_ids": "0,1", "of_tomorrow": 1})
    assert [name for name, _ in unused] == ["gpu_ids", "multi_gpu"]
    assert unknown == ["of_tomorrow"]
    assert "multi_gpu" not in found


def test_another_kind_of_training_is_refused() -> None:
    """A LoRA's rate and length are not those of a word."""
    lora = {name: value for name, value in FORM.items() if name != "token_string"} | {"LoRA_type": "Standard"}
    assert is_kohya_guis(lora)
    with refused("peers.kohya_gui_other"):
        from_kohya_gui(lora)


def test_fields_that_cannot_be_read_are_refused() -> None:
    """A quote that is left open in the options that it lists; a template that does not exist; a number that is none."""
    with refused("peers.kohya_gui_parameters"):
        from_kohya_gui({**FORM, "additional_parameters": '--a "b'})
    with refused("peers.not_a_choice", option="template"):
        from_kohya_gui({**FORM, "template": "of tomorrow"})
    with refused("peers.kohya_gui_number", name="epoch"):
        from_kohya_gui({**FORM, "epoch": "eight"})


def test_files_of_others_are_none() -> None:
    """kohya's own options, a run's settings, nothing at all."""
    assert not any(map(is_kohya_guis, ({"token_string": "a", "resolution": 512}, {"optimizer": "adamw"}, [], None)))
