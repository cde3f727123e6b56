"""What a run keeps on disk, how often, and what is written into the embedding."""

from __future__ import annotations

from collections.abc import Mapping

from tinv_ext.core.messages import message
from tinv_ext.core.paths import path_problems
from tinv_ext.core.settings.limits import MAX_STEPS
from tinv_ext.core.settings.setting import Setting

THUMBNAILS = ("auto", "none", "new", "replace")
PRECISIONS = ("float32", "fp16", "bf16")  # of core/embedding.py, which needs torch, for which --help does not wait
SAVE_FORMATS = ("auto", "pt", "safetensors", "diffusers-folder", "diffusers-folder-bin")

TRACKERS = ("tensorboard", "wandb")  # of run/trackers.py, which a test holds them to


def trackers_named(text: str) -> list[str]:
    """The trackers that `log_with` names, parted by commas or blanks (a list in a file); "all" is every one."""
    words = text.replace(",", " ").lower().split()
    return list(dict.fromkeys(name for word in words for name in (TRACKERS if word == "all" else (word,))))


def _tracker_problems(text: str) -> list[str]:
    return [
        message(
            "settings.no_tracker",
            '"{word}" is not a tracker. Choose from {known:, }, all.',
            word=word,
            known=TRACKERS,
        )
        for word in trackers_named(text)
        if word not in TRACKERS
    ]


SAVING: Mapping[str, Setting] = {
    "save_every": Setting(
        "Save a copy of embedding to log directory every N steps",
        "A snapshot to compare with, or to go back to; 0 = only save at the end.",
        minimum=0,
        maximum=MAX_STEPS,
    ),
    "save_every_n_epochs": Setting(
        "Save a copy of embedding to log directory every N epochs",
        "Whenever so many passes through all images are over; named after epoch and step, as cat-e2-40.pt. 0 = never.",
        minimum=0,
        maximum=MAX_STEPS,
    ),
    "save_n_epoch_ratio": Setting(
        "Copies of embedding over the whole run",
        "Save a copy at the end of about so many epochs, evenly spread, instead of every N epochs. 0 = not used.",
        minimum=0,
        maximum=MAX_STEPS,
    ),
    "save_image_embedding": Setting(
        "Save images with embedding in PNG chunks",
        "Each preview can also be used as an embedding file.",
    ),
    "save_state_every": Setting(
        "Save the run's state every N steps",
        "A run can resume from here; 0 = never.",
        minimum=0,
        maximum=MAX_STEPS,
    ),
    "save_state_seconds": Setting(
        "Save the run's state every N seconds",
        "Whichever comes first; 0 = by steps only.",
        minimum=0,
        maximum=86_400,
    ),
    "keep_snapshots": Setting(
        "Keep the last N snapshots",
        "Older ones are deleted, except the one with the lowest evaluation loss; 0 = keep all.",
        minimum=0,
        maximum=10_000,
    ),
    "keep_snapshot_steps": Setting(
        "Keep the snapshots of the last N steps",
        "Older ones are deleted, except the one with the lowest evaluation loss; 0 = keep all.",
        minimum=0,
        maximum=MAX_STEPS,
    ),
    "save_format": Setting(
        "Format",
        "auto: what most programs read, .pt or, for SDXL, .safetensors. pt, safetensors: that. diffusers-folder, "
        "diffusers-folder-bin: also a folder diffusers in the run's folder, with learned_embeds.safetensors or .bin.",
        choices=SAVE_FORMATS,
        synonyms={"ckpt": "pt", ".pt": "pt", ".safetensors": "safetensors"},
    ),
    "save_precision": Setting(
        "Precision of the file",
        "Training is in float32 whatever is chosen; fp16 and bf16 halve the file and round its numbers.",
        choices=PRECISIONS,
        synonyms={"float": "float32", "fp32": "float32", "float16": "fp16", "half": "fp16", "bfloat16": "bf16"},
    ),
    "thumbnail": Setting(
        "Thumbnail",
        "Use the last preview as the embedding's thumbnail in the extra networks tab. auto: if it has none yet and the "
        "run makes previews. none: never. new: also draws one for it. replace: always; your own is kept in the run's "
        "folder.",
        choices=THUMBNAILS,
    ),
    "title": Setting(
        "Title",
        "What model lists call the embedding; written into the file. Leave empty for its name.",
    ),
    "author": Setting(
        "Author",
        "Who made the embedding; written into the file.",
    ),
    "description": Setting(
        "Description",
        "What the embedding shows and how to use it; written into the file.",
    ),
    "license": Setting(
        "License",
        "Under which license it may be used; written into the file.",
    ),
    "tags": Setting(
        "Tags",
        "Words to find it by, separated by commas; written into the file.",
    ),
    "usage_hint": Setting(
        "Usage hint",
        "A short hint for those who use it; written into the file.",
    ),
    "output": Setting(
        "Log directory",
        "Folder for runs with their previews and snapshots.",
        check=path_problems,
    ),
    "log_with": Setting(
        "Trackers",
        "Also show the curve and previews in these programs, separated by commas. tensorboard: files in the run's "
        "folder. wandb: sent to wandb.ai. Their packages must be installed.",
        suggestions=(*TRACKERS, "all"),
        check=_tracker_problems,
    ),
    "logging_dir": Setting(
        "TensorBoard directory",
        "Where TensorBoard's files go, a folder for each run; leave empty for the run's own folder.",
        check=path_problems,
    ),
    "tracker_project": Setting(
        "Project in the tracker",
        'The project at wandb; leave empty for "tinv".',
    ),
    "tracker_run": Setting(
        "Run's name in the tracker",
        "Leave empty for the name of the run's folder.",
    ),
    "push_to_hub": Setting(
        "Upload to the hub",
        "Upload the finished embedding to Hugging Face's hub, with a card, its settings and the first and last "
        "preview. Log in once with: hf auth login.",
    ),
    "hub_model_id": Setting(
        "Repository at the hub",
        'Such as "owner/name"; leave empty for the word, in your own account.',
    ),
    "hub_private": Setting(
        "Private repository",
        "Only you can see it.",
    ),
}
