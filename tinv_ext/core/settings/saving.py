"""What a run keeps on disk, how often, and what is written into the embedding."""

from __future__ import annotations

from collections.abc import Mapping

from tinv_ext.core.paths import path_problems
from tinv_ext.core.settings.limits import MAX_STEPS
from tinv_ext.core.settings.setting import Setting

THUMBNAILS = ("none", "new", "replace")

SAVING: Mapping[str, Setting] = {
    "save_every": Setting(
        "Save a copy of embedding to log directory every N steps",
        "A snapshot to compare with, or to go back to; 0 = only save at the end.",
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
    "thumbnail": Setting(
        "Thumbnail",
        "Use the last preview as the embedding's thumbnail in the extra networks tab. none: never. new: if there is "
        "none yet. replace: always; your own is kept in the run's folder.",
        choices=THUMBNAILS,
    ),
    "author": Setting(
        "Author",
        "Who made the embedding; written into the file.",
    ),
    "license": Setting(
        "License",
        "Under which license it may be used; written into the file.",
    ),
    "output": Setting(
        "Log directory",
        "Folder for runs with their previews and snapshots.",
        check=path_problems,
    ),
}
