"""The WebUI's own trainer: Create embedding, Train, and the page Training of its settings (v1.10.1, 82a973c)."""

from __future__ import annotations

from collections.abc import Mapping

from tinv_ext.core.settings.peers import reasons as why
from tinv_ext.core.settings.peers.conversions import only_if_on
from tinv_ext.core.settings.peers.option import Option, into, to, unused

TRAIN: Mapping[str, Option] = {
    "embedding_name": to("name"),
    "num_vectors_per_token": to("num_vectors"),
    "learn_rate": to("learning_rate"),
    "batch_size": to("batch_size"),
    "gradient_step": to("gradient_accumulation_steps"),
    "data_root": to("images"),
    "log_directory": to("output"),
    "training_width": to("width"),
    "training_height": to("height"),
    "varsize": into(only_if_on(resize_mode="keep"), "`resize_mode=keep`", "?"),
    "steps": to("steps"),
    "clip_grad_mode": to("clip_mode"),
    "clip_grad_value": to("clip_value"),
    "shuffle_tags": to("shuffle_tags"),
    "tag_drop_out": to("tag_dropout"),
    "latent_sampling_method": to("latent_sampling"),
    "use_weight": to("alpha_as_loss_weight"),
    "create_image_every": to("preview_every"),
    "save_embedding_every": to("save_every"),
    "template_file": to("template"),
    "template_filename": to("template"),
    "save_image_with_stored_embedding": to("save_image_embedding"),
    "preview_prompt": to("preview_prompt"),
    "preview_negative_prompt": to("preview_negative_prompt"),
    "preview_steps": to("preview_steps"),
    "preview_sampler_name": to("preview_sampler"),
    "preview_cfg_scale": to("preview_cfg_scale"),
    "preview_seed": to("preview_seed"),
    "preview_width": to("preview_width"),
    "preview_height": to("preview_height"),
}
"""The arguments of `train_embedding` in modules/textual_inversion/textual_inversion.py, and of its settings-*.json."""

_CREATE: Mapping[str, Option] = {
    "name": Option(shown="`tinv create NAME`, or `name` of a training"),
    "init_text": to("init_text"),
    "overwrite_old": to("overwrite"),
}
_PAGE: Mapping[str, Option] = {
    "preview_from_txt2img": Option(shown="the button Copy from txt2img"),
    "unload_models_when_training": unused(why.RAM),
    "pin_memory": unused(why.LOADING),
    "save_optimizer_state": unused(why.STATE),
    "save_training_settings_to_txt": unused(why.ALWAYS_CONFIG),
    "dataset_filename_word_regex": to("caption_regex"),
    "dataset_filename_join_string": to("caption_join"),
    "training_image_repeats_per_epoch": to("repeats"),
    "training_write_csv_every": unused(why.CURVE),
    "training_xattention_optimizations": unused(why.ATTENTION),
    "training_enable_tensorboard": into(only_if_on(log_with="tensorboard"), "`log_with=tensorboard`"),
    "training_tensorboard_save_images": unused(why.TENSORBOARD),
    "training_tensorboard_flush_every": unused(why.TENSORBOARD),
}
_AS_SET = Option(shown="used as it is set there, by the tab Prepare")
_EXTRAS: Mapping[str, Option] = {
    "autosized_crop.enable": Option(shown="`resize_mode=keep`, or `tinv prepare --width --height`"),
    "autosized_crop.mindim": to("bucket_min"),
    "autosized_crop.maxdim": to("bucket_max"),
    "autosized_crop.minarea": unused(why.BUCKETS),
    "autosized_crop.maxarea": unused(why.BUCKETS),
    "autosized_crop.objective": unused(why.BUCKETS),
    "autosized_crop.threshold": unused(why.BUCKETS),
    "caption.enable": Option(shown="`tinv prepare --caption`, or the tab Prepare"),
    "caption.option": Option(shown="`tinv prepare --caption`, or the tab Prepare"),
    "create_flipped_copies.enable": Option(shown="`flip`, or `tinv prepare --flip`"),
    "create_flipped_copies.option": Option(shown="`flip`, or `tinv prepare --flip`"),
    "focal_crop.enable": Option(shown="`crop_mode=focal`, or `tinv prepare --crop focal`"),
    "focal_crop.face_weight": unused(why.FOCAL),
    "focal_crop.entropy_weight": unused(why.FOCAL),
    "focal_crop.edges_weight": unused(why.FOCAL),
    "focal_crop.debug": unused(why.FOCAL),
    "split_oversized.enable": Option(shown="`tinv prepare --split`"),
    "split_oversized.split_threshold": Option(shown="`tinv prepare --split-threshold`"),
    "split_oversized.overlap_ratio": Option(shown="`tinv prepare --overlap-ratio`"),
    "interrogate_deepbooru_score_threshold": Option(shown="`tinv prepare --tag-threshold`"),
    "deepbooru_sort_alpha": Option(shown="`tinv prepare --tag-sort-alpha`"),
    "deepbooru_use_spaces": Option(shown="`tinv prepare --tag-spaces`"),
    "deepbooru_escape": Option(shown="`tinv prepare --tag-escape`"),
    "deepbooru_filter_tags": Option(shown="`tinv prepare --tag-filter`"),
    "interrogate_*": _AS_SET,
}
"""Extras, and the page Interrogate of the settings."""
WEBUI: Mapping[str, Option] = {**_CREATE, **TRAIN, **_PAGE, **_EXTRAS}
"""By name, in the order of the docs."""
