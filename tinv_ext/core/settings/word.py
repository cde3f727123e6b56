"""The word that is taught, and where its vectors start."""

from __future__ import annotations

from collections.abc import Mapping

from tinv_ext.core.names import name_problems
from tinv_ext.core.paths import path_problems
from tinv_ext.core.prompts.reader import MAX_VECTORS
from tinv_ext.core.settings.setting import Setting
from tinv_ext.core.settings.words import text_problems

WORD: Mapping[str, Setting] = {
    "name": Setting(
        "Name",
        "The word you will type in prompts, and the name of the file.",
        check=name_problems,
    ),
    "angle_brackets": Setting(
        "Angle brackets",
        "In diffusers the word is the name in angle brackets; the file, and the word in the WebUI and ComfyUI, have "
        "none. A name typed in brackets turns this on.",
    ),
    "init_text": Setting(
        "Initialization text",
        'A word close to what the images show ("cat"). Leave empty to start from zero.',
    ),
    "num_vectors": Setting(
        "Number of vectors per token",
        "How many vectors the word gets; 0 = one for each token of the initialization text.",
        minimum=0,
        maximum=MAX_VECTORS,
    ),
    "init_embedding": Setting(
        "Start from embedding",
        "Continue training this embedding, keeping its step count.",
        check=path_problems,
    ),
    "overwrite": Setting(
        "Overwrite old embedding",
        "Replace an embedding of the same name; the old file is kept as a backup.",
    ),
    "words": Setting(
        "Words",
        "Several words trained in one run: tables [[words]], each with a name and what the word has of its own, such "
        "as init_text, num_vectors, images, lr_factor, stop_training_after. See docs/several-words.md.",
        check=text_problems,
    ),
    "use_negative": Setting(
        "Negative word",
        'Train a second word for the negative prompt at the same time, "<name>-neg", with guidance in the loss '
        "(DreamArtist). A step takes twice the memory.",
    ),
    "nvpt_neg": Setting(
        "Number of vectors of the negative word",
        "0 = as many as the word.",
        minimum=0,
        maximum=MAX_VECTORS,
    ),
    "cfg_scale": Setting(
        "CFG scale in training",
        "How far the negative word is pushed away in the loss: negative + scale × (positive − negative).",
        minimum=1.0,
        maximum=30.0,
    ),
    "neg_lr_w": Setting(
        "Learning rate of the negative word",
        "As a factor of the word's own.",
        minimum=0.0,
        maximum=100.0,
    ),
}
