"""docs/coming-from.md: what other trainers' command lines and options are here, from the tables of the peers."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tinv_ext.cli.given import given_settings
from tinv_ext.cli.main import read_options
from tinv_ext.core.settings import ALIASES, SETTINGS, current_names
from tinv_ext.core.settings.peers import PEERS, Option

HEAD = """<!-- Written by `make docs`. -->

# Coming from another trainer

Put the command line that you have after `tinv train`, launcher included. Options keep their names, with underscores or
dashes, as `--name value` or `--name=value`; the same names work in a settings file (`--config`, kohya's
`--config_file`). An option that has no use here is accepted, and a line says why. A mistyped one is refused with the
nearest name. OneTrainer's presets and config.json can be given with `--config`, too, as can what the tab Textual
Inversion of kohya's GUI (kohya_ss) has saved. On the page, "Settings from a file…" takes the same files, or they are
dropped where images are. `tinv check` with the same line shows what a training would do, without starting it.

What is different:

- The embedding is always named after its word, so `--token_string` (kohya) or `--placeholder_token` (diffusers) is also
  the name of the file. Of `<cat-toy>` the file is `cat-toy.pt`, and that is the word in the WebUI, which goes by the
  file's name; in diffusers it stays `<cat-toy>`.
- The finished file is in `<output_dir>/embeddings`; previews, snapshots and the curve are in a folder of their own for
  each run.
- `init_word` and `initializer_token` may have any number of tokens; they are spread over the vectors.
- Captions are used by the templates `subject_filewords` and `style_filewords`, and are the whole prompt with `none`.
  `--token_string` chooses `none`, as kohya's trainer does without a template of its own; the word is put in front of
  captions that lack it.
- kohya's documented learning rate of 1e-6 hardly moves the vectors. 5e-3 is the default here.

## Command lines
"""

KOHYA_MANUAL = "https://github.com/kohya-ss/sd-scripts/blob/48d368f/docs/"
DIFFUSERS_MANUAL = "https://github.com/huggingface/diffusers/blob/58eb52c/examples/textual_inversion/"
COMMAND_LINES: Mapping[str, tuple[str, str]] = {
    "kohya, SD1 and SD2": (
        f"{KOHYA_MANUAL}train_textual_inversion.md",
        """accelerate launch --num_cpu_threads_per_process 1 train_textual_inversion.py \\
  --pretrained_model_name_or_path="path/to/model.safetensors" \\
  --dataset_config="dataset_config.toml" \\
  --output_dir="output" \\
  --output_name="my_textual_inversion" \\
  --save_model_as="safetensors" \\
  --token_string="mychar" \\
  --init_word="girl" \\
  --num_vectors_per_token=4 \\
  --max_train_steps=1600 \\
  --learning_rate=1e-6 \\
  --optimizer_type="AdamW8bit" \\
  --mixed_precision="fp16" \\
  --cache_latents \\
  --sdpa""",
    ),
    "kohya, SDXL": (
        f"{KOHYA_MANUAL}train_textual_inversion.md",
        """accelerate launch --num_cpu_threads_per_process 1 sdxl_train_textual_inversion.py \\
  --pretrained_model_name_or_path="path/to/sdxl_model.safetensors" \\
  --dataset_config="dataset_config.toml" \\
  --output_dir="output" \\
  --output_name="my_sdxl_textual_inversion" \\
  --save_model_as="safetensors" \\
  --token_string="mychar" \\
  --init_word="girl" \\
  --num_vectors_per_token=4 \\
  --max_train_steps=1600 \\
  --learning_rate=1e-6 \\
  --optimizer_type="AdamW8bit" \\
  --mixed_precision="fp16" \\
  --cache_latents \\
  --sdpa""",
    ),
    "kohya, the Japanese manual": (
        f"{KOHYA_MANUAL}train_ti_README-ja.md",
        """accelerate launch --num_cpu_threads_per_process 1 train_textual_inversion.py \\
  --dataset_config="dataset.toml" \\
  --output_dir="output" \\
  --output_name="mychar4" \\
  --save_model_as=safetensors \\
  --prior_loss_weight=1.0 \\
  --max_train_steps=1600 \\
  --learning_rate=1e-6 \\
  --optimizer_type="AdamW8bit" \\
  --xformers \\
  --mixed_precision="fp16" \\
  --cache_latents \\
  --gradient_checkpointing \\
  --token_string=mychar4 --init_word=cute --num_vectors_per_token=4""",
    ),
    "kohya, the older English manual": (
        "",
        """accelerate launch --num_cpu_threads_per_process 1 train_textual_inversion.py \\
  --pretrained_model_name_or_path=model.ckpt \\
  --train_data_dir=data/db/char1 --output_dir=ti_train1 \\
  --resolution=448,640 --train_batch_size=1 --learning_rate=1e-4 \\
  --max_train_steps=400 --use_8bit_adam --xformers --mixed_precision=fp16 \\
  --save_every_n_epochs=1 --save_model_as=safetensors --clip_skip=2 --seed=42 --color_aug \\
  --token_string=mychar4 --init_word=cute --num_vectors_per_token=4""",
    ),
    "diffusers": (
        f"{DIFFUSERS_MANUAL}README.md",
        """accelerate launch textual_inversion.py \\
  --pretrained_model_name_or_path=$MODEL_NAME \\
  --train_data_dir=$DATA_DIR \\
  --learnable_property="object" \\
  --placeholder_token="<cat-toy>" \\
  --initializer_token="toy" \\
  --resolution=512 \\
  --train_batch_size=1 \\
  --gradient_accumulation_steps=4 \\
  --max_train_steps=3000 \\
  --learning_rate=5.0e-04 \\
  --scale_lr \\
  --lr_scheduler="constant" \\
  --lr_warmup_steps=0 \\
  --push_to_hub \\
  --output_dir="textual_inversion_cat\"""",
    ),
    "diffusers, with more vectors and validation images": (
        f"{DIFFUSERS_MANUAL}README.md",
        """accelerate launch textual_inversion.py \\
  --pretrained_model_name_or_path=$MODEL_NAME \\
  --train_data_dir=$DATA_DIR \\
  --learnable_property="object" \\
  --placeholder_token="<cat-toy>" \\
  --initializer_token="toy" \\
  --num_vectors 5 \\
  --validation_prompt="A <cat-toy> train" \\
  --num_validation_images=4 \\
  --validation_steps=100 \\
  --checkpointing_steps=500 \\
  --resume_from_checkpoint="latest" \\
  --enable_xformers_memory_efficient_attention \\
  --output_dir="textual_inversion_cat\"""",
    ),
    "diffusers, SDXL": (
        f"{DIFFUSERS_MANUAL}README_sdxl.md",
        """accelerate launch textual_inversion_sdxl.py \\
  --pretrained_model_name_or_path=$MODEL_NAME \\
  --train_data_dir=$DATA_DIR \\
  --learnable_property="object" \\
  --placeholder_token="<cat-toy>" \\
  --initializer_token="toy" \\
  --mixed_precision="bf16" \\
  --resolution=768 \\
  --train_batch_size=1 \\
  --gradient_accumulation_steps=4 \\
  --max_train_steps=500 \\
  --learning_rate=5.0e-04 \\
  --scale_lr \\
  --lr_scheduler="constant" \\
  --lr_warmup_steps=0 \\
  --save_as_full_pipeline \\
  --output_dir="./textual_inversion_cat_sdxl\"""",
    ),
}


def page() -> str:
    """The page as Markdown: command lines with what they mean, then the options of each program."""
    lines = [_command_line(title, source, text) for title, (source, text) in COMMAND_LINES.items()]
    tables = [_table(peer, options) for peer, options in PEERS.items()]
    return "\n\n".join([HEAD.rstrip("\n"), *lines, OPTIONS_HEAD, *tables]) + "\n"


OPTIONS_HEAD = """## Options

Names of settings are those of [settings.md](settings.md); `--…` is an option of `tinv train` that is no setting."""


def _command_line(title: str, source: str, text: str) -> str:
    told: list[str] = []
    options = read_options(["train", *shlex.split(text.replace("\\\n", " "))])
    settings = current_names(given_settings(options, told.append))
    shown = [f"`{name}={value}`" for name, value in settings.items()]
    shown += [f"`--{name} {options[name]}`" for name in ("model", "precision") if options[name] not in (None, "auto")]
    heading = f"### {title[0].upper()}{title[1:]}" if not source else f"### [{title[0].upper()}{title[1:]}]({source})"
    notices = "".join(f"\n- {notice}" for notice in told)
    return f"{heading}\n\n```sh\ntinv train {text}\n```\n\nThe settings: {', '.join(shown)}.\n{notices}".rstrip("\n")


def _table(peer: str, options: Mapping[str, Option]) -> str:
    title = f"### {peer[0].upper()}{peer[1:]}"
    rows = [f"| `{name}` | {meaning(name, option)} |" for name, option in options.items()]
    return "\n".join([title, "", "| option | here |", "| --- | --- |", *rows])


def meaning(name: str, option: Option) -> str:
    """What an option is here, in a few words. A reason not to have it ends where there is a setting of its name."""
    setting = name if name in SETTINGS else ALIASES.get(name, "")
    if option.reason and setting:
        return f"`{setting}`"
    if option.setting:
        return f"`{option.setting}`"
    if option.reason:
        return str(option.reason)
    return f"`{option.shown}`" if option.shown.startswith("--") and " " not in option.shown else option.shown
