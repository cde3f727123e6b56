"""Other names of settings, taken wherever values travel by name: config files, flags, the API, facts of older files.

Each table holds one program's names. To accept the names of another, add a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinv_ext.core.messages import Message, message

TINV_0_1: Mapping[str, str] = {
    "vectors": "num_vectors",
    "weights": "init_embedding",
    "fit": "resize_mode",
    "word_in_front": "prepend_word",
    "use_alpha": "alpha_as_loss_weight",
    "learn_rate": "learning_rate",
    "accumulate": "gradient_accumulation_steps",
    "evaluation_pictures": "evaluation_images",
    "evaluation_draws": "evaluation_timesteps",
    "checkpoint_every": "save_state_every",
    "checkpoint_seconds": "save_state_seconds",
    "keep_copies": "keep_snapshots",
    "card_picture": "thumbnail",
}
"""What our own settings were called before config.json had a version."""

WEBUI: Mapping[str, str] = {
    "embedding_name": "name",
    "num_vectors_per_token": "num_vectors",
    "data_root": "images",
    "training_width": "width",
    "training_height": "height",
    "template_file": "template",
    "tag_drop_out": "tag_dropout",
    "use_weight": "alpha_as_loss_weight",
    "latent_sampling_method": "latent_sampling",
    "gradient_step": "gradient_accumulation_steps",
    "clip_grad_mode": "clip_mode",
    "clip_grad_value": "clip_value",
    "create_image_every": "preview_every",
    "preview_sampler_name": "preview_sampler",
    "save_embedding_every": "save_every",
    "save_image_with_stored_embedding": "save_image_embedding",
}
"""What the WebUI's trainer calls them (v1.10.1 modules/textual_inversion/textual_inversion.py, train_embedding)."""

ALIASES: Mapping[str, str] = {**TINV_0_1, **WEBUI}
"""Every other name, with the name of the setting."""


def read_names(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[Message]]:
    """`values` by the names of the settings, and a problem for each setting that comes twice with different values.

    Of two names of one setting the first counts. Values are the same if their texts are.
    """
    current: dict[str, Any] = {}
    came_as: dict[str, str] = {}
    problems = []
    for given, value in values.items():
        name = ALIASES.get(given, given)
        if name in current and str(current[name]) != str(value):
            problems.append(
                message(
                    "settings.given_twice",
                    '"{first}" and "{second}" are the same setting but have different values. Keep only one of them.',
                    first=came_as[name],
                    second=given,
                )
            )
        current.setdefault(name, value)
        came_as.setdefault(name, given)
    return current, problems


def current_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` by the names of the settings. Where one comes twice the first counts, as in `read_names`."""
    return read_names(values)[0]


def overridden(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with `changes` in their place, whatever names either comes by."""
    changed = current_names(changes)
    return {**{name: value for name, value in values.items() if ALIASES.get(name, name) not in changed}, **changes}


def facts_by_current_names(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a run, a state or an embedding, with the settings among them by their current names."""
    settings = facts.get("settings")
    return {**facts, "settings": current_names(settings)} if isinstance(settings, Mapping) else dict(facts)
