"""What a run trains on: its images as examples, the fixed set that it is evaluated on, and its state."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from tinv_ext.core.data.dataset import Dataset, Example
from tinv_ext.core.data.latents import EncodedImage, EncodeRules, encode_images
from tinv_ext.core.data.masks import MaskRules, load_mask, shown_by
from tinv_ext.core.data.split import split_examples
from tinv_ext.core.data.subsets import Subset
from tinv_ext.core.errors import NumericError
from tinv_ext.core.messages import message
from tinv_ext.core.model import Model
from tinv_ext.core.noise import Noise
from tinv_ext.core.preflight.prepare import PreparedRun
from tinv_ext.core.preflight.subsets import PreparedImage, PreparedSubset
from tinv_ext.core.settings import SETTINGS, TrainConfig
from tinv_ext.core.training.balance import table_of
from tinv_ext.core.training.evaluation import EvalSet, losses_by_timestep, make_eval_set
from tinv_ext.core.training.fallbacks import encode_with_retry, one_by_one_without_room
from tinv_ext.core.training.state import State
from tinv_ext.run.run_folder import latents_folder

BALANCE_DRAWS = 32  # that the model's loss by timestep is measured with
FEWEST_DRAWS = 8  # of an evaluation that may end the run
EVALUATED = 8  # training images in the evaluation, where none are held out


@dataclass(frozen=True)
class Training:
    """What the loop and its recorder need. `eval_set` is None where nothing is evaluated.

    `facts` are what the steps depend on; they are saved with the state. `prediction` is what the UNet answers.
    """

    dataset: Dataset
    eval_set: EvalSet | None
    state: State
    facts: Mapping[str, Any]
    prediction: str


def encoded_examples(
    prepared: PreparedRun,
    model: Model,
    report: Callable[[int, int], None] = lambda done, total: None,
    tell: Callable[[str], None] = lambda text: None,
) -> tuple[list[Example], list[Example]]:
    """The examples to train on and those to evaluate on, chosen by the seed."""
    config = prepared.config
    examples: list[Example] = []
    done = 0
    heard: set[str] = set()

    def tell_once(text: str) -> None:
        if text not in heard:
            heard.add(text)
            tell(text)

    for subset in prepared.subsets:
        before = done

        def advance(now: int, total: int, before: int = before) -> None:
            nonlocal done
            done = before + now
            report(done, before + total)

        examples += _examples(subset, prepared.plan.steps, model, latents_folder(config), advance, tell_once)
    own = [example for example in examples if not example.subset.is_reg]
    trained, evaluated = split_examples(len(own), config.evaluation_images, EVALUATED, config.seed)
    regularizing = [example for example in examples if example.subset.is_reg]
    return [*(own[number] for number in trained), *regularizing], [own[number] for number in evaluated]


ENCODE = "encode"
"""The task of encoding images, by its name for several processes."""


def encode_share(
    prepared: PreparedRun,
    model: Model,
    share: Callable[[int], range],
    report: Callable[[int, int], None] = lambda done, total: None,
    tell: Callable[[str], None] = lambda text: None,
) -> None:
    """Encode those images into the cache that are this process's `share` of their number.

    All are encoded together when every process has done its share; a run that caches no latents leaves it to each.
    """
    if not (cache := latents_folder(prepared.config)):
        return
    for subset in prepared.subsets:
        places = share(len(subset.scan.pictures))
        own = subset.scan.pictures[places.start : places.stop]
        fitted = {image.digest: subset.scan.fitted[image.digest] for image in own if image.digest in subset.scan.fitted}
        rules = EncodeRules(subset.config.fit_rules, model.vae_digest)
        encode = partial(encode_with_retry, model)
        encode_images(own, rules, encode, cache, report, tell, fitted, _pixels_at_once(model))


def _pixels_at_once(model: Model) -> int:
    """As many as a VAE is given together. One image on a CPU: more are no faster there, and change the last digits."""
    return _PIXELS_ON_CUDA if model.device.type == "cuda" else 0


_PIXELS_ON_CUDA = 4 * 512 * 512  # SD's VAE in float32 takes about 2 GB for them, by its largest layers


def basis_of(prepared: PreparedRun, model: Model) -> tuple[str, ...]:
    """A digest of all images with their captions, and that of the VAE: what several processes must have alike."""
    seen = "\n".join(sorted(image.contents for image in prepared.images))
    return hashlib.sha256(seen.encode("utf-8", "surrogatepass")).hexdigest(), model.vae_digest


def _examples(
    subset: PreparedSubset,
    steps: int,
    model: Model,
    cache: Path | None,
    report: Callable[[int, int], None],
    tell: Callable[[str], None],
) -> list[Example]:
    """The images of a subset, encoded, with their captions."""
    config, scan, sampled = subset.config, subset.scan, subset.sampled(steps)
    rules = EncodeRules(config.fit_rules, model.vae_digest)
    encode = partial(encode_with_retry, model)
    images = encode_images(scan.pictures, rules, encode, cache, report, tell, scan.fitted, _pixels_at_once(model))
    return [_example(image, variants, sampled, config) for image, variants in zip(subset.images, images)]


def _example(image: PreparedImage, variants: Sequence[EncodedImage], sampled: Subset, config: TrainConfig) -> Example:
    """An image with its variants; of those that are bit for bit alike, only one. A mask counts before transparency."""
    mask = image.mask and load_mask(image.mask)
    rules = MaskRules(config.unmasked_weight, config.normalize_masked_area_loss)
    found: list[Example] = []
    for number, variant in enumerate(variants):
        shown = variant.opacity if config.alpha_as_loss_weight else None
        if mask:
            shown = shown_by(mask, variant.fit, variant.corner)
        weights = None if shown is None else rules.weights(shown)
        name = f"{image.name}#{number}" if number else image.name
        example = Example(name, variant.latent, image.caption.text, variant.size_cond, sampled, weights)
        if not any(example.equals(other) for other in found):
            found.append(example)
    return replace(found[0], others=tuple(found[1:]))


def dataset_of(prepared: PreparedRun, examples: Sequence[Example]) -> Dataset:
    """The examples with the run's way of sampling."""
    config = prepared.config
    accumulate = config.gradient_accumulation_steps
    sizes = (config.batch_size, accumulate)
    return Dataset(examples, prepared.reader, config.latent_sampling, config.seed, *sizes, prepared.guidance)


def balanced(state: State, prepared: PreparedRun, model: Model, examples: Sequence[Example]) -> State:
    """The state, its timesteps balanced as the settings say: by losses that are measured now, unless they were before.

    They are those of the initial vectors, on at most as many images as draws. Where none is finite, the model is made
    more precise for this session; NumericError where that does not help.
    """
    state.balance.power = prepared.config.timestep_balance
    if state.balance.power and state.balance.table is None:
        few = examples[:BALANCE_DRAWS]
        draws = -(-BALANCE_DRAWS // len(few))
        seed = prepared.config.seed
        measured = make_eval_set(few, prepared.reader, model.noise, draws, seed, prepared.guidance)
        at_once = prepared.config.micro_batch_size or prepared.config.batch_size

        def losses_of(size: int) -> tuple[Tensor, Tensor]:
            return losses_by_timestep(model, measured, state.vectors, size, prepared.plan.objective)

        while state.balance.table is None:
            timesteps, losses = one_by_one_without_room(model, losses_of, at_once)
            state.balance.table = table_of(timesteps, model.noise.timesteps, losses)
            if state.balance.table is None and model.upcast() is None:
                raise NumericError(
                    message(
                        "run.nothing_to_balance_by",
                        "{label} (timestep_balance) divides by the model's own losses, and none of them is a number "
                        "above 0. Set it to 0, or check the model and the masks.",
                        label=SETTINGS["timestep_balance"].label,
                    )
                )
    return state


def eval_set_of(prepared: PreparedRun, examples: Sequence[Example], noise: Noise) -> EvalSet:
    """The fixed set of the evaluation, in prompts of the template's first line.

    Where it may end the run, it has draws enough to tell how sure it is.
    """
    config = prepared.config
    draws = max(config.evaluation_timesteps, -(-FEWEST_DRAWS // len(examples)) if prepared.plan.stop else 1)
    return make_eval_set(examples, prepared.reader, noise, draws, config.seed, prepared.guidance)
