"""Notices: what a person should know of a run before it starts, though nothing of it hinders the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tinv_ext.core.data.buckets import nearest
from tinv_ext.core.data.captions import FILEWORDS, NAME
from tinv_ext.core.data.images import ImageScan
from tinv_ext.core.model import TokenTable
from tinv_ext.core.prompts.emphasis import BRACKETS
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.training.trainer import Plan

_NAMED = 5  # files named in one sentence


def on_pictures(found: ImageScan, captions: Sequence[str], lines: Sequence[str], config: TrainConfig) -> list[str]:
    """Pictures left out or remarkable, captions with brackets, settings that change nothing here."""
    notices = [f"{path.name} is left out: it {reason}." for path, reason in found.skipped]
    notices += [f"{picture.path.name} {remark}." for picture in found.pictures for remark in picture.remarks]
    used = captions if any(FILEWORDS in line for line in lines) else ()
    bracketed = [p.path.name for p, text in zip(found.pictures, used) if BRACKETS.search(text.replace(NAME, ""))]
    if bracketed and not config.emphasis:
        notices.append(
            f"Captions have brackets ({listed(bracketed)}); they are read as plain text, not as emphasis. Set emphasis "
            "if they are meant as weights."
        )
    if config.alpha_as_loss_weight and not any(picture.transparent for picture in found.pictures):
        notices.append("No picture has transparency, so the alpha channel changes nothing.")
    if config.resize_mode == "buckets":
        notices.append(_buckets(found, config))
    if config.evaluation_images >= len(found.pictures):
        notices.append(
            f"{_counted(config.evaluation_images, 'picture')} to be kept aside of {len(found.pictures)} would leave "
            "none to train on; training pictures are measured instead."
        )
    return notices


def _buckets(found: ImageScan, config: TrainConfig) -> str:
    """How many pictures come to which size."""
    counts = Counter(nearest(picture.width, picture.height, config.sizes) for picture in found.pictures)
    said = ", ".join(f"{width}×{height} ({count})" for (width, height), count in sorted(counts.items()))
    return f"Buckets: {said}."


def on_initial_vectors(config: TrainConfig, token_table: TokenTable) -> list[str]:
    """An initialization text longer than its vectors can hold."""
    tokens = len(token_table.tokenizer.ids(config.init_text.strip()))
    if config.init_embedding or not config.num_vectors or tokens <= config.num_vectors:
        return []
    return [
        f'The initialization text "{config.init_text}" has {_counted(tokens, "token")} and the word '
        f"{_counted(config.num_vectors, 'vector')}: the tokens that are more are left out. Set the number of vectors "
        "to 0 to have one for each token."
    ]


def on_plan(plan: Plan, config: TrainConfig, start: int, pictures: int) -> list[str]:
    """How often each of so many `pictures` will be seen from step `start` on; where the rates end the run early."""
    seen = (plan.steps - start) * config.examples_per_step
    each = f"{seen / pictures:.0f}" if seen >= 10 * pictures else f"{seen / pictures:.1f}"
    notices = [
        f"{plan.steps - start} steps, each of {_counted(config.examples_per_step, 'picture')}: {seen} pictures seen, "
        f"each about {each} times."
    ]
    if plan.steps < config.steps:
        notices.append(f"The rates end at step {plan.steps}, and so will the run (max steps is {config.steps}).")
    return notices


def listed(names: Sequence[str]) -> str:
    """The first of the names."""
    return ", ".join(names[:_NAMED]) + (" …" if len(names) > _NAMED else "")


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")
