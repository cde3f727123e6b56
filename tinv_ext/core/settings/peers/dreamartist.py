"""DreamArtist, an extension of the WebUI (95b2d44, 2023-01): what its trainer takes beside the WebUI's own."""

from __future__ import annotations

from collections.abc import Mapping

from tinv_ext.core.settings.peers import reasons as why
from tinv_ext.core.settings.peers.diffusers import ADAM
from tinv_ext.core.settings.peers.option import Option, to, unused
from tinv_ext.core.settings.peers.webui import WEBUI

_SHARED = (
    "embedding_name",
    "learn_rate",
    "batch_size",
    "data_root",
    "log_directory",
    "training_width",
    "training_height",
    "steps",
    "create_image_every",
    "save_embedding_every",
    "template_file",
    "save_image_with_stored_embedding",
    "preview_from_txt2img",
    "preview_prompt",
    "preview_negative_prompt",
    "preview_steps",
    "preview_cfg_scale",
    "preview_seed",
    "preview_width",
    "preview_height",
)
DREAMARTIST: Mapping[str, Option] = {
    **{name: WEBUI[name] for name in _SHARED},
    "preview_sampler_index": Option(shown="`preview_sampler`, by its name"),
    "seed": to("seed"),
    "accumulation_steps": to("gradient_accumulation_steps"),
    "adam_beta1": ADAM,
    "adam_beta2": ADAM,
    "use_negative": to("use_negative"),
    "cfg_scale": to("cfg_scale"),
    "neg_lr_w": to("neg_lr_w"),
    "use_rec": unused(why.DREAMARTIST),
    "rec_loss_w": unused(why.DREAMARTIST),
    "classifier_path": unused(why.DREAMARTIST),
    "fw_pos_only": unused(why.DREAMARTIST),
    "ema_w": Option(shown="`ema_decay`: the average is the result"),
    "ema_rep_step": unused(why.DREAMARTIST),
    "ema_w_neg": unused(why.DREAMARTIST),
    "ema_rep_step_neg": unused(why.DREAMARTIST),
    "use_att_map": Option(shown="`masked_loss`, with masks called <image>-masklabel.png"),
    "unet_train": unused(why.ONLY_THE_WORD),
    "unet_lr": unused(why.ONLY_THE_WORD),
}
"""By name, in the order of the docs."""
