"""The subsets of a run, checked: images with their captions, template lines, and what they have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tinv_ext.core.data.caption_files import CaptionFiles, ImageCaption
from tinv_ext.core.data.captions import FILEWORDS, CaptionRules, expand, read_template
from tinv_ext.core.data.epochs import Epochs, Share, epochs_of_shares
from tinv_ext.core.data.images import ImageScan, TrainingImage, grouped
from tinv_ext.core.data.masks import Mask, masks_of
from tinv_ext.core.data.metadata_file import Metadata, read_metadata
from tinv_ext.core.data.split import split_examples
from tinv_ext.core.data.subsets import Subset
from tinv_ext.core.data.variation import fixed, least
from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message
from tinv_ext.core.paths import path_given
from tinv_ext.core.preflight.class_images import ClassImage, class_images, class_word, scan_class
from tinv_ext.core.preflight.problems import Problems, Scanner
from tinv_ext.core.preflight.sources import Source
from tinv_ext.core.prompts.reader import PromptReader
from tinv_ext.core.settings import SETTINGS, TrainConfig
from tinv_ext.core.settings.limits import MAX_SIZE


@dataclass(frozen=True)
class PreparedImage:
    """An image of a subset: what it is called among all of the run, and its captions, one a line."""

    name: str
    picture: TrainingImage
    caption: ImageCaption
    subset: PreparedSubset

    @property
    def mask(self) -> Mask | None:
        """Its mask, if it has one."""
        return self.subset.masks.get(self.picture.path)

    @property
    def contents(self) -> str:
        """Its image, mask and caption, as digests and text: another where any of these is."""
        mask = f" {self.mask.digest}" if self.mask else ""
        return f"{self.picture.digest}{mask} {self.caption.text}"


@dataclass(frozen=True)
class PreparedSubset:
    """Images of one source with their captions. `config` are the run's settings with the subset's in their place.

    `name` is "" where the run has no other subset. Until those `to_generate` are there, it has no images; its one
    caption is what theirs will be.
    """

    source: Source
    scan: ImageScan
    captions: tuple[ImageCaption, ...]
    lines: tuple[str, ...]
    rules: CaptionRules
    masks: Mapping[Path, Mask] = field(default_factory=dict)  # by the path of the image
    to_generate: tuple[ClassImage, ...] = ()

    @property
    def name(self) -> str:
        """What people call it."""
        return self.source.name

    @property
    def config(self) -> TrainConfig:
        """The settings of this subset."""
        return self.source.config

    @property
    def taught(self) -> tuple[str, ...]:
        """The words of which each of its prompts must hold one."""
        return self.source.words or (self.rules.name, *self.rules.others)

    def file(self, path: Path) -> str:
        """What a file is called among all of the run."""
        return f"{self.name}/{self.scan.name(path)}" if self.name else self.scan.name(path)

    @property
    def images(self) -> list[PreparedImage]:
        """The images that are used."""
        pairs = zip(self.scan.pictures, self.captions)
        return [PreparedImage(self.file(picture.path), picture, caption, self) for picture, caption in pairs]

    @property
    def texts(self) -> list[str]:
        """The captions of each image, one a line."""
        return [caption.text for caption in self.captions]

    @property
    def uses_captions(self) -> bool:
        """Whether a template line takes the captions in."""
        return any(FILEWORDS in line for line in self.lines)

    @property
    def tells(self) -> bool:
        """Whether captions, which may say what is not the word, are part of its prompts."""
        return self.uses_captions and any(caption.source or self.config.class_tokens for caption in self.captions)

    @property
    def shown(self) -> list[str]:
        """Every caption as it is without chance."""
        return [fixed(text, self.rules) for texts in self.texts for text in texts.split("\n")]

    def sampled(self, steps: int) -> Subset:
        """What its examples have in common in a run of so many steps."""
        warmup = self.config.token_warmup_step
        rules = replace(self.rules, warmup_steps=int(warmup if warmup >= 1 else warmup * steps))
        config, source = self.config, self.source
        unmasked = config.unmasked_probability
        return Subset(self.lines, rules, config.repeats, source.weight, unmasked, source.is_reg, config.batch_size)

    def said(self, text: str) -> str:
        """A sentence about it, with its name where there are others."""
        return said_of(self.name, text)


def said_of(name: str, text: str) -> str:
    """A sentence about the subset of a name."""
    return message("preflight.of_subset", "{subset}: {text}", subset=name, text=text) if name else text


def read_subset(source: Source, look: Scanner, reader: PromptReader, problems: Problems) -> PreparedSubset | None:
    """The images, captions and template of a source; None where one of them is not to be had.

    What cannot be used is among `problems` then; masks alone leave the rest to be checked, too.
    """
    own = Problems([])
    config = source.config
    generates = source.is_reg and config.num_class_images > 0
    scan = own.attempt(scan_class if generates else _scan, config, look)
    found = own.attempt(_captions, scan, config, class_word(config) if generates else "") if scan else None
    of_class = (config.class_prompt.strip(),) if source.is_reg and config.class_prompt.strip() else None
    lines = of_class or own.attempt(read_template, config.template)
    masks = own.attempt(_masks, found[0], config) if found else None
    own.found += _bucket_problems(config)
    problems.found += [said_of(source.name, problem) for problem in own.found]
    if not (found and lines):
        return None
    scan, captions = found
    captions = tuple(replace(caption, text=config.bare(caption.text)) for caption in captions)
    lines = tuple(config.bare(line) for line in lines)
    subset = PreparedSubset(source, scan, captions, lines, _rules(source, reader), masks or {})
    return _with_class_images(subset, problems) if generates else subset


def _with_class_images(subset: PreparedSubset, problems: Problems) -> PreparedSubset | None:
    """The subset with the images that are to be generated; all it has counts once they are there."""
    own = Problems([])
    images = own.attempt(class_images, subset.config, subset.lines)
    problems.found += [said_of(subset.name, problem) for problem in own.found]
    if not images:
        return None if own.found else subset
    caption = ImageCaption(class_word(subset.config))
    scan = ImageScan(subset.scan.folder, (), ())
    return replace(subset, scan=scan, captions=(caption,), masks={}, to_generate=images)


def without_idle(
    subsets: Sequence[PreparedSubset], reader: PromptReader
) -> tuple[tuple[PreparedSubset, ...], list[str]]:
    """The subsets but those of regularization images whose prompts never hold the word, with a sentence on each.

    Nothing is learned from these: of a frozen model, only the word could be.
    """
    idle = [one for one in subsets if one.source.is_reg and _never_holds_word(one, reader)]
    notices = [
        one.said(
            message(
                "preflight.regularization_idle",
                "{count:image is|images are} not used, because nothing can be learned from prompts without the word, "
                'such as "{prompt}": the model stays as it is. Use a class prompt with [name] (class_prompt).',
                count=len(one.images) or len(one.to_generate),
                prompt=_without(one, one.captions[0], reader),
            )
        )
        for one in idle
    ]
    return tuple(one for one in subsets if not any(one is other for other in idle)), notices


def _never_holds_word(subset: PreparedSubset, reader: PromptReader) -> bool:
    return all(_without(subset, caption, reader) is not None for caption in subset.captions)


def lacking_word(subset: PreparedSubset, reader: PromptReader) -> list[tuple[str, str]]:
    """The images of which some prompt would lack the word, each with one such prompt."""
    found = [(image.name, _without(subset, image.caption, reader)) for image in subset.images]
    return [(name, prompt) for name, prompt in found if prompt is not None]


def _without(subset: PreparedSubset, caption: ImageCaption, reader: PromptReader) -> str | None:
    """Some prompt of a caption that lacks the word, if there is one."""
    texts = [least(text, subset.rules) for text in caption.text.split("\n")]
    prompts = (expand(line, text, subset.rules) for line in subset.lines for text in texts)
    return next((prompt for prompt in prompts if not any(map(reader.read(prompt).holds, subset.taught))), None)


def _rules(source: Source, reader: PromptReader) -> CaptionRules:
    config = source.config
    others = tuple(one.name for one in config.word_settings if one.name != config.name and not one.negative_of)
    return CaptionRules(
        config.name,
        config.shuffle_tags,
        config.tag_dropout,
        config.prepend_word,
        reader.finds,
        config.emphasis,
        config.keep_tokens,
        config.keep_tokens_separator,
        config.caption_separator,
        config.secondary_separator,
        config.enable_wildcard,
        config.caption_dropout_rate,
        config.caption_dropout_every_n_epochs,
        config.token_warmup_min,
        others=others,
        instead=source.words[1:] if source.words else others,
    )


def _bucket_problems(config: TrainConfig) -> list[Message]:
    """Limits of buckets that the training size itself does not keep."""
    least, most = config.bucket_min, config.bucket_max or MAX_SIZE
    sides = (config.width, config.height)
    if config.resize_mode != "buckets" or not all(sides) or (least <= min(sides) and max(sides) <= most):
        return []
    return [
        message(
            "preflight.bucket_limits",
            "The training size {width}×{height} does not lie within the limits of buckets: bucket_min is {least}, "
            "bucket_max is {most}. Change these, or width and height.",
            width=config.width,
            height=config.height,
            least=least,
            most=most,
        )
    ]


def _scan(config: TrainConfig, look: Scanner) -> ImageScan:
    if not config.images.strip():
        raise InputError(
            message(
                "preflight.no_image_folder",
                "{label} (images) is empty. Enter the folder of your training images.",
                label=SETTINGS["images"].label,
            )
        )
    return look(path_given(config.images), config)


def _masks(scan: ImageScan, config: TrainConfig) -> dict[Path, Mask]:
    """The masks that the settings ask for; a folder of masks is meant to be used."""
    if not config.mask_folder.strip():
        return masks_of(scan, None) if config.masked_loss else {}
    folder = path_given(config.mask_folder)
    if not folder.is_dir():
        raise InputError(
            message(
                "masks.no_folder",
                'The mask folder "{folder}" (mask_folder) does not exist or is not a folder. Check the path.',
                folder=folder,
            )
        )
    if folder.resolve() == scan.folder.resolve():
        raise InputError(
            message(
                "masks.same_folder",
                'The mask folder (mask_folder) is the image folder itself, "{folder}". Put the masks into a folder of '
                "their own, or name them <image>-masklabel.png and turn on masked_loss.",
                folder=folder,
            )
        )
    return masks_of(scan, folder)


def epochs_of(subsets: Sequence[PreparedSubset], config: TrainConfig) -> Epochs:
    """The epochs of a run on these subsets, as its dataset will have them: without the images that are held out."""
    own = [_share(subset) for subset in subsets if not subset.source.is_reg for _ in subset.scan.pictures]
    trained, _ = split_examples(len(own), config.evaluation_images, 1, config.seed)
    regularizing = [
        _share(subset)
        for subset in subsets
        if subset.source.is_reg
        for _ in range(len(subset.scan.pictures) or subset.config.num_class_images)
    ]
    return epochs_of_shares([*(own[number] for number in trained), *regularizing], config.gradient_accumulation_steps)


def _share(subset: PreparedSubset) -> Share:
    """What one of its images contributes."""
    return Share(subset.config.repeats, subset.config.batch_size, subset.source.is_reg)


def same_images(subsets: Sequence[PreparedSubset]) -> list[Message]:
    """Problems of images that two subsets of one dataset have: which captions and repeats count?"""
    seen: dict[tuple[int, str], PreparedImage] = {}
    pairs = []
    for image in (image for subset in subsets for image in subset.images):
        first = seen.setdefault((image.subset.source.dataset, image.picture.digest), image)
        if first.subset is not image.subset:
            pairs.append(message("preflight.same_pair", "{one} and {other}", one=first.name, other=image.name))
    if not pairs:
        return []
    return [
        message(
            "preflight.same_images",
            "{count:image is|images are} in two subsets: {pairs:, }. Remove one of each pair.",
            count=len(pairs),
            pairs=[*pairs[:5], *(["…"] if len(pairs) > 5 else [])],
        )
    ]


def _in_metadata(scan: ImageScan, metadata: Metadata) -> tuple[ImageScan, tuple[ImageCaption, ...]]:
    """The images that a metadata file names, with their captions; `InputError` if there are none."""
    keys = [metadata.key(picture.path, scan.folder) for picture in scan.pictures]
    pairs = [(picture, key) for picture, key in zip(scan.pictures, keys) if key is not None]
    if not pairs:
        raise InputError(
            message(
                "preflight.none_in_metadata",
                'None of the images in "{folder}" is named in "{file}", which names {count:image|images}, such as '
                '"{name}".',
                folder=scan.folder,
                file=metadata.file.name,
                count=len(metadata.captions),
                name=next(iter(metadata.captions)),
            )
        )
    reason = message("preflight.not_in_metadata", 'is not named in "{file}"', file=metadata.file.name)
    without = [(picture.path, reason) for picture, key in zip(scan.pictures, keys) if key is None]
    missing = [Path(key) for key in metadata.captions if key not in set(keys)]
    gone = message(
        "preflight.not_there", 'is named in "{file}", but is missing or cannot be used', file=metadata.file.name
    )
    skipped = [*scan.skipped, *grouped(scan.folder, without)]
    skipped += grouped(scan.folder, [(scan.folder / path, gone) for path in missing])
    captions = tuple(ImageCaption(metadata.captions[key], metadata.file.name) for _, key in pairs)
    return replace(scan, pictures=tuple(picture for picture, _ in pairs), skipped=tuple(skipped)), captions


def _captions(scan: ImageScan, config: TrainConfig, class_: str = "") -> tuple[ImageScan, tuple[ImageCaption, ...]]:
    """The images that have captions, with these; what has none is called as its class, or as its file."""
    if config.in_json.strip():
        metadata = read_metadata(path_given(config.in_json), config.caption_separator)
        scan, found = _in_metadata(scan, metadata)
        return scan, tuple(_between(config, caption) for caption in found)
    problems = Problems([])
    files = CaptionFiles(
        scan.folder, config.caption_regex, config.caption_join, class_ or config.class_tokens, config.caption_extension
    )
    captions = [problems.attempt(files.of, image.path) for image in scan.pictures]
    if problems.found or files.problems:
        raise InputError([*problems.found, *files.problems])
    return scan, tuple(_between(config, caption or ImageCaption("")) for caption in captions)


def _between(config: TrainConfig, caption: ImageCaption) -> ImageCaption:
    """A caption between what is put before and after each of its lines."""
    if not (config.caption_prefix or config.caption_suffix):
        return caption
    lines = [[config.caption_prefix, line, config.caption_suffix] for line in caption.text.split("\n")]
    return replace(caption, text="\n".join(" ".join(" ".join(parts).split()) for parts in lines))
