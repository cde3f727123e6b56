"""What a run needs that is to end by itself: evaluations often enough, of images that differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tinv_ext.core.messages import Message, message
from tinv_ext.core.preflight.backgrounds import pictures_of
from tinv_ext.core.preflight.subsets import PreparedSubset
from tinv_ext.core.settings import SETTINGS, TrainConfig
from tinv_ext.core.training.stopping import Rule

_LOOKS = 2  # evaluations within the patience, at least


def may_end(config: TrainConfig, pictures: int) -> bool:
    """Whether a run may end before its last step: where that is wanted (on), or it can tell when (auto)."""
    between = config.evaluate_every * config.examples_per_step
    can_tell = 0 < between <= config.patience // _LOOKS and pictures > 1
    return config.stop_when_done == "on" or (config.stop_when_done == "auto" and can_tell)


def stop_rule(config: TrainConfig, subsets: Sequence[PreparedSubset]) -> Rule | None:
    """What ends such a run; None for any other."""
    if not may_end(config, len(pictures_of(subsets))):
        return None
    return Rule(-(-config.patience // config.examples_per_step))


def stop_problems(config: TrainConfig, subsets: Sequence[PreparedSubset]) -> Iterator[Message]:
    """Why a run that is to end by itself could not tell when it is done, with these settings and images."""
    if config.stop_when_done != "on":
        return
    label = SETTINGS["stop_when_done"].label
    between = config.evaluate_every * config.examples_per_step
    if not between:
        yield message(
            "preflight.stop_without_evaluation",
            '"{label}" (stop_when_done) goes by the evaluation, which is off. Set evaluate_every to at most {most}, or '
            "turn it off.",
            label=label,
            most=max(1, config.patience // _LOOKS // config.examples_per_step),
        )
    elif _LOOKS * between > config.patience:
        yield message(
            "preflight.stop_too_rare",
            '"{label}" (stop_when_done) looks back over {patience:image|images} (patience), but there is an evaluation '
            "only every {between:image|images} ({steps:step|steps} of {batch}). Set evaluate_every to at most {most}, "
            "or patience to at least {least}.",
            label=label,
            patience=config.patience,
            between=between,
            steps=config.evaluate_every,
            batch=config.examples_per_step,
            most=max(1, config.patience // _LOOKS // config.examples_per_step),
            least=_LOOKS * between,
        )
    if len(pictures_of(subsets)) == 1:
        yield message(
            "preflight.stop_on_one_image",
            "{count:image shows|images show} one picture only, and an evaluation on what is trained on alone cannot "
            'tell learning from memorizing. Turn off "{label}" (stop_when_done), or add other images.',
            count=sum(len(one.images) for one in subsets if not one.source.is_reg),
            label=label,
        )
