"""Options of Hugging Face diffusers' textual_inversion.py and textual_inversion_sdxl.py (58eb52c, 2026-08).

With those of train_dreambooth.py that are about images of the class, as these can be had here, too.
"""

from __future__ import annotations

from collections.abc import Mapping

from tinv_ext.core.settings.peers import reasons as why
from tinv_ext.core.settings.peers.conversions import learnable_property, only_if_on
from tinv_ext.core.settings.peers.kohya import KOHYA
from tinv_ext.core.settings.peers.option import Option, command, into, to, unused

# Both programs have it, with one meaning.
_SHARED = (
    "pretrained_model_name_or_path",
    "train_data_dir",
    "resolution",
    "train_batch_size",
    "gradient_accumulation_steps",
    "max_train_steps",
    "learning_rate",
    "lr_scheduler",
    "lr_warmup_steps",
    "seed",
    "mixed_precision",
    "gradient_checkpointing",
    "output_dir",
    "logging_dir",
    "use_8bit_adam",
)
ADAM = Option(shown="`optimizer_args`")
DIFFUSERS: Mapping[str, Option] = {
    "placeholder_token": to("name"),
    "initializer_token": to("init_text"),
    "num_vectors": to("num_vectors"),
    "learnable_property": into(learnable_property, "`template`: `subject` or `style`"),
    **{name: KOHYA[name] for name in _SHARED},
    "repeats": to("repeats"),
    "center_crop": into(only_if_on(resize_mode="crop"), "`resize_mode=crop`", "?"),
    "num_train_epochs": to("max_train_epochs"),
    "scale_lr": to("scale_lr", "?"),
    "lr_num_cycles": to("lr_scheduler_num_cycles"),
    "adam_beta1": ADAM,
    "adam_beta2": ADAM,
    "adam_weight_decay": ADAM,
    "adam_epsilon": ADAM,
    "validation_prompt": to("preview_prompt"),
    "validation_steps": to("preview_every"),
    "validation_epochs": to("preview_every_n_epochs"),
    "num_validation_images": to("preview_images"),
    "save_steps": to("save_every"),
    "checkpointing_steps": to("save_state_every"),
    "checkpoints_total_limit": unused(why.STATE),
    "resume_from_checkpoint": command("resume"),
    "no_safe_serialization": into(
        only_if_on(save_format="diffusers-folder-bin"), "`save_format=diffusers-folder-bin`", "?"
    ),
    "save_as_full_pipeline": unused(why.ONLY_THE_WORD, "?"),
    "enable_xformers_memory_efficient_attention": unused(why.ATTENTION, "?"),
    "allow_tf32": unused(why.TF32, "?"),
    "dataloader_num_workers": unused(why.LOADING),
    "local_rank": unused(why.ONE_PROCESS, neutral=("-1",)),
    "revision": unused(why.MODEL_FILES),
    "variant": unused(why.DETECTED),
    "tokenizer_name": unused(why.MODEL_FILES),
    "report_to": to("log_with"),
    "push_to_hub": to("push_to_hub", "?"),
    "hub_token": unused(why.SECRET),
    "hub_model_id": to("hub_model_id"),
}
"""By name, in the order of the docs."""

DREAMBOOTH: Mapping[str, Option] = {
    "with_prior_preservation": into(lambda value: {}, "`num_class_images` above 0", "?"),
    "class_data_dir": to("reg_images"),
    "class_prompt": to("class_prompt"),
    "num_class_images": to("num_class_images"),
    "prior_loss_weight": KOHYA["prior_loss_weight"],
    "sample_batch_size": unused(why.CLASS_IMAGES, neutral=("1",)),
    "prior_generation_precision": unused(why.CLASS_IMAGES),
}
"""By name, in the order of the docs."""
