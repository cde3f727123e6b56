"""Notices: what people should know about a run before it starts, although nothing of it prevents the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PureWindowsPath

from tinv_ext.core.data.captions import NAME
from tinv_ext.core.data.epochs import Epochs
from tinv_ext.core.data.faces import have_detector
from tinv_ext.core.data.images import ImageScan
from tinv_ext.core.data.masks import image_mask, masks_not_used
from tinv_ext.core.generation import PreviewPrompt
from tinv_ext.core.messages import Message, message
from tinv_ext.core.model import TokenTable
from tinv_ext.core.paths import path_given
from tinv_ext.core.preflight.backgrounds import on_one_picture, told_background
from tinv_ext.core.preflight.files_not_used import on_files_not_used
from tinv_ext.core.preflight.mistaken_files import captions_of_json, captions_of_other_programs, on_masks_of_other_names
from tinv_ext.core.preflight.subsets import PreparedSubset
from tinv_ext.core.prompts.emphasis import BRACKETS
from tinv_ext.core.settings import SETTINGS, TrainConfig
from tinv_ext.core.training.optimizer_rows import optimizer_row
from tinv_ext.core.training.optimizers import takes_samples
from tinv_ext.core.training.trainer import Plan
from tinv_ext.core.training.typical_length import typical_lengths

_FIRST = 10  # steps
_SHARE = 0.2  # what works in the beginning
_LEAST_FACTOR = 0.1  # below which kohya's trainers warn, too
_TOO_FAR, _TOO_NEAR = 3.0, 0.05  # lengths of a vector
_NAMED = 5  # files named in one sentence


def on_subsets(subsets: Sequence[PreparedSubset], config: TrainConfig) -> list[str]:
    """What is worth knowing of the images and captions of each subset, and how many can be held out."""
    notices = [subset.said(notice) for about in _ABOUT for subset in subsets for notice in about(subset)]
    notices += on_one_picture(subsets)
    total = sum(len(subset.scan.pictures) for subset in subsets if not subset.source.is_reg)
    if config.evaluation_images >= total:
        notices.append(
            message(
                "preflight.too_many_held_out",
                "{count:image|images} cannot be held out of {total}, as none would be left to train on. Training "
                "images are measured instead.",
                count=config.evaluation_images,
                total=total,
            )
        )
    return notices


def _on_images(subset: PreparedSubset) -> Iterator[Message]:
    """Images that are skipped or remarkable, captions with brackets, settings that make no difference here."""
    scan, config = subset.scan, subset.config
    extension = config.caption_extension.strip().lower().lstrip(".")
    for path, reason in scan.skipped:
        if extension and path.suffix.lower() == f".{extension}":  # captions by a suffix of one's own
            continue
        yield message("preflight.image_skipped", "{file} is skipped: it {reason}.", file=scan.name(path), reason=reason)
    for image in scan.pictures:
        for remark in image.remarks:
            yield message("preflight.image_remark", "{file} {remark}.", file=scan.name(image.path), remark=remark)
    if scan.below:
        yield message(
            "preflight.below",
            'Sub-folders hold images that are not used: {folders}. Turn on "{label}" (recursive) to use them, too.',
            folders=listed(scan.below),
            label=SETTINGS["recursive"].label,
        )
    if not config.emphasis and subset.uses_captions:
        yield from _brackets(scan, subset.texts)
    if config.alpha_as_loss_weight and not any(image.transparent for image in scan.pictures):
        yield message(
            "preflight.no_transparency", "No image has transparent parts, so the alpha channel has no effect."
        )
    yield from _on_fit(scan, config)
    yield from _on_masks(subset)


def _on_masks(subset: PreparedSubset) -> Iterator[Message]:
    """Images without a mask, masks that show nothing, masks that are not used."""
    scan, masks, config = subset.scan, subset.masks, subset.config
    without = [scan.name(image.path) for image in scan.pictures if image.path not in masks]
    if masks or config.masked_loss:
        if without:
            yield message(
                "masks.missing",
                "{count} of {total:image|images} have no mask ({files}): all of each is learned.",
                count=len(without),
                total=len(scan.pictures),
                files=listed(without),
            )
    elif beside := [scan.name(image.path) for image in scan.pictures if image_mask(image, scan, None)]:
        yield message(
            "masks.not_used",
            '{count:image has|images have} a mask that is not used ({files}). To use it, turn on "{label}" '
            "(masked_loss).",
            count=len(beside),
            files=listed(beside),
            label=SETTINGS["masked_loss"].label,
        )
    if (
        config.mask_folder.strip()
        and not subset.name
        and (idle := masks_not_used(path_given(config.mask_folder), masks))
    ):
        yield message(
            "masks.of_no_image",
            "{count:file|files} in the mask folder {count:has|have} the name of no image: {files}.",
            count=len(idle),
            files=listed(idle),
        )
    if black := [mask.path.name for mask in masks.values() if mask.black]:
        yield message(
            "masks.black",
            "{count:mask is|masks are} black everywhere ({files}), so all of the image is learned.",
            count=len(black),
            files=listed(black),
        )


def _on_fit(scan: ImageScan, config: TrainConfig) -> Iterator[Message]:
    """To which sizes images come and in how many variants, and settings of it that make no difference."""
    if config.resize_mode in ("buckets", "keep"):
        yield _buckets(scan, config)
    if config.resize_mode != "buckets" and (config.bucket_min or config.bucket_no_upscale):
        yield message(
            "preflight.no_buckets",
            "The settings of buckets have no effect, because {label} (resize_mode) is {mode}.",
            label=SETTINGS["resize_mode"].label,
            mode=config.resize_mode,
        )
    if config.crop_mode == "focal" and not have_detector():
        yield message(
            "preflight.no_face_detector",
            "OpenCV is not installed, so crops go by edges and detail alone, not by faces.",
        )
    variants = [len(config.fit_rules.fits(*image.size)) for image in scan.pictures]
    if max(variants) > 1:
        yield message(
            "preflight.variants",
            "{images:image|images} in up to {most} variants (crops, colors, flips): {total:latent|latents} in all.",
            images=len(variants),
            most=max(variants),
            total=sum(variants),
        )


def _on_captions(subset: PreparedSubset) -> Iterator[Message]:
    """Where the captions come from, if that may not be what was meant; nothing of captions that no template uses."""
    scan = subset.scan
    named = [(scan.name(image.path), caption) for image, caption in zip(scan.pictures, subset.captions)]
    if not subset.uses_captions:
        written = [name for name, caption in named if caption.source]
        if written:
            yield _unused(written, subset.config)
        return
    yield from captions_of_json(subset)
    yield from captions_of_other_programs(subset)
    class_tokens = subset.config.class_tokens
    if of_names := [(name, caption.text) for name, caption in named if not caption.source and not class_tokens]:
        yield message(
            "preflight.file_names_as_captions",
            "{count} of {total:image has|images have} no caption file, so the words of the file name are the caption, "
            'such as "{caption}" of {file}.',
            count=len(of_names),
            total=len(named),
            caption=of_names[0][1],
            file=of_names[0][0],
        )
    if several := [name for name, caption in named if "\n" in caption.text]:
        yield message(
            "preflight.several_captions",
            "The captions of {count:image|images} have several lines ({files}): each visit uses one of them.",
            count=len(several),
            files=listed(several),
        )
    if disputed := [(name, caption) for name, caption in named if caption.others]:
        yield message(
            "preflight.captions_disagree",
            "{count:image has|images have} caption files that disagree, such as {file}: {used} is used, not "
            "{others:, }.",
            count=len(disputed),
            file=disputed[0][0],
            used=disputed[0][1].source,
            others=disputed[0][1].others,
        )


_ABOUT = (_on_images, on_masks_of_other_names, on_files_not_used, _on_captions, told_background)


def _unused(files: Sequence[str], config: TrainConfig) -> Message:
    return message(
        "preflight.captions_unused",
        'The captions of {count:image|images} are not used, because the template "{template}" has no [filewords].',
        count=len(files),
        template=PureWindowsPath(config.template).name.removesuffix(".txt"),  # of which / and \\ both part folders
    )


def _brackets(scan: ImageScan, captions: Sequence[str]) -> list[Message]:
    files = [
        scan.name(image.path) for image, text in zip(scan.pictures, captions) if BRACKETS.search(text.replace(NAME, ""))
    ]
    if not files:
        return []
    return [
        message(
            "preflight.brackets",
            'Captions contain brackets ({files}). They are read as plain text; turn on "{label}" (emphasis) if they '
            "are meant as weights.",
            files=listed(files),
            label=SETTINGS["emphasis"].label,
        )
    ]


def _buckets(scan: ImageScan, config: TrainConfig) -> Message:
    """How many images come to which size."""
    counts = Counter(config.fit_rules.size_of(*image.size) for image in scan.pictures)
    sizes = [f"{width}×{height} ({count})" for (width, height), count in sorted(counts.items())]
    return message("preflight.buckets", "Buckets: {sizes:, }.", sizes=sizes)


def on_initial_vectors(config: TrainConfig, token_table: TokenTable) -> list[Message]:
    """An initialization text with more tokens than the word has vectors."""
    tokens = len(token_table.tokenizer.ids(config.init_text.strip()))
    if config.init_embedding or not config.num_vectors or tokens <= config.num_vectors:
        return []
    return [
        message(
            "preflight.tokens_ignored",
            'The initialization text "{text}" has {tokens:token|tokens}, but the word has only {vectors:vector|vectors}'
            ": the extra tokens are ignored. Set the number of vectors to 0 to have one for each token.",
            text=config.init_text,
            tokens=tokens,
            vectors=config.num_vectors,
        )
    ]


def on_epochs(
    epochs: Epochs, plan: Plan, subsets: Sequence[PreparedSubset], config: TrainConfig, start: int
) -> list[Message]:
    """How long an epoch is, where a setting counts in epochs or images are repeated."""
    counted = config.max_train_epochs or config.save_every_n_epochs or config.preview_every_n_epochs
    repeated = any(one.config.repeats > 1 or one.config.caption_dropout_every_n_epochs for one in subsets)
    if not counted and not repeated:
        return []
    return [
        message(
            "preflight.epochs",
            "An epoch has {images:image|images} with all repeats; epochs from here on: {epochs}.",
            images=epochs.images,
            epochs=f"{float((plan.steps - start) * epochs.per_step / epochs.images):.3g}",
        )
    ]


def on_rates(plan: Plan, config: TrainConfig, token_table: TokenTable, start: int) -> list[Message]:
    """Learning rates that cannot work, by how far steps can take a vector beside the length of the model's own.

    A step of AdamW moves each of d numbers by about the rate, and so a vector by rate × √d (Kingma & Ba 2015, section
    2.1). Rates that work move it by a tenth to one length at first; 0.005 at d = 768 is a third.
    """
    steps = range(start, plan.steps, max(1, (plan.steps - start) // 1000))
    rates = [plan.rate(step) for step in steps]
    if not rates:
        return []
    if optimizer_row(config.optimizer).rate != "step":
        return [*_on_optimizer(plan, config, max(rates))]
    notices: list[Message] = []
    for encoder, length in typical_lengths(token_table).items():
        reach = token_table.widths[encoder] ** 0.5 / length if length else 0.0
        if max(rates[:_FIRST]) * reach > _TOO_FAR:
            notices.append(
                message(
                    "preflight.rate_too_large",
                    "The learning rate {rate:g} is too large for this model: one step can move a vector by {times:.0f} "
                    "times the length of the model's own. Rates about {usual:.1g} work.",
                    rate=max(rates[:_FIRST]),
                    times=max(rates[:_FIRST]) * reach,
                    usual=0.3 / reach,
                )
            )
        elif sum(rates) / len(rates) * (plan.steps - start) * reach < _TOO_NEAR:
            notices.append(
                message(
                    "preflight.rate_too_small",
                    "The learning rate {rate:g} is too small: {steps:step|steps} can hardly move the vectors. Rates "
                    "about {usual:.1g} work.",
                    rate=max(rates),
                    steps=plan.steps - start,
                    usual=0.3 / reach,
                )
            )
    return notices[:1]


def on_previews(prompts: Sequence[PreviewPrompt]) -> list[Message]:
    """Options of preview prompts that mean nothing for these models."""
    return [
        message(
            "preflight.preview_options_unused",
            "{place}: {options:, } is for models of other kinds, and not used.",
            place=prompt.place,
            options=prompt.unused,
        )
        for prompt in prompts
        if prompt.unused
    ]


def _on_optimizer(plan: Plan, config: TrainConfig, largest: float) -> Iterator[Message]:
    """Settings that mean something else to an optimizer than they do to AdamW; `largest` is the highest rate."""
    if plan.clip and takes_samples(config.optimizer):
        yield message(
            "preflight.clip_unused",
            "{label} (clip_mode) has no effect with the optimizer {optimizer}: it limits each step by itself.",
            label=SETTINGS["clip_mode"].label,
            optimizer=config.optimizer,
        )
    meaning = optimizer_row(config.optimizer).rate
    if meaning == "factor" and not _LEAST_FACTOR < largest < 1 / _LEAST_FACTOR:
        yield message(
            "preflight.rate_is_a_factor",
            "{optimizer} finds the learning rate by itself and multiplies it by yours, which is {rate:g}. Set "
            "learning_rate to 1.",
            optimizer=config.optimizer,
            rate=largest,
        )
    if meaning == "share" and not _LEAST_FACTOR * _SHARE < largest < _SHARE / _LEAST_FACTOR:
        yield message(
            "preflight.rate_is_a_share",
            "With {optimizer} the learning rate is how far a step moves the word, as a share of its length; yours "
            "is {rate:g}. Set learning_rate to {usual:g}.",
            optimizer=config.optimizer,
            rate=largest,
            usual=_SHARE,
        )


def listed(names: Sequence[str]) -> str:
    """The first of the names."""
    return ", ".join(names[:_NAMED]) + (" …" if len(names) > _NAMED else "")
