"""Everything that is found out before a run starts: all problems at once, or all that the run needs.

Nothing is written and no gradient computed, so this is also the check of the page and of the command line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from tinv_ext.core.data.captions import expand
from tinv_ext.core.data.dataset import Guidance
from tinv_ext.core.data.epochs import Epochs
from tinv_ext.core.data.images import ImageScan, scan_images
from tinv_ext.core.data.variation import fixed
from tinv_ext.core.errors import InputError
from tinv_ext.core.generation import PreviewPrompt, preview_prompts
from tinv_ext.core.messages import Message, message
from tinv_ext.core.model import TokenTable
from tinv_ext.core.paths import path_given
from tinv_ext.core.preflight.backgrounds import with_background_named
from tinv_ext.core.preflight.class_images import ClassImage, on_class_images, problems_of_class_images
from tinv_ext.core.preflight.initial_vectors import InitialVectors
from tinv_ext.core.preflight.notices import (
    listed,
    on_epochs,
    on_initial_vectors,
    on_previews,
    on_rates,
    on_subsets,
)
from tinv_ext.core.preflight.plan import make_plan, on_plan, on_settings
from tinv_ext.core.preflight.problems import Problems, Scanner
from tinv_ext.core.preflight.sources import Sources, usable_sources
from tinv_ext.core.preflight.stopping import stop_problems, stop_rule
from tinv_ext.core.preflight.subsets import (
    PreparedImage,
    PreparedSubset,
    epochs_of,
    lacking_word,
    read_subset,
    same_images,
    without_idle,
)
from tinv_ext.core.preflight.trained_words import (
    TrainedWord,
    first_step,
    guidance_of,
    held_out,
    never_taught,
    problems_between,
    problems_of_name,
    shared_tokens,
    trained_words,
)
from tinv_ext.core.preflight.words import on_words, tag_table
from tinv_ext.core.prompts.reader import PromptReader, Word
from tinv_ext.core.settings import SETTINGS, TrainConfig
from tinv_ext.core.settings.setting import value_problems
from tinv_ext.core.training.optimizers import try_optimizer
from tinv_ext.core.training.state import State, new_state
from tinv_ext.core.training.trainer import Plan
from tinv_ext.core.training.typical_length import typical_lengths


@dataclass(frozen=True)
class PreparedRun:
    """What a run needs, checked: subsets of images with their captions and template lines, the words with where they
    start, the plan, what previews show; and how long a token's vector usually is, by encoder.

    The run goes by the name of the first word.
    """

    config: TrainConfig
    subsets: tuple[PreparedSubset, ...]
    reader: PromptReader
    words: tuple[TrainedWord, ...]
    plan: Plan
    notices: tuple[str, ...]
    shown: tuple[PreviewPrompt, ...]
    lengths: Mapping[str, float]

    @property
    def start(self) -> int:
        """The step that it begins at."""
        return first_step(self.words)

    @property
    def guidance(self) -> Guidance | None:
        """How its negative words come into the loss; None where it has none."""
        return guidance_of(self.config, self.reader, [one.word for one in self.words])

    @property
    def images(self) -> list[PreparedImage]:
        """The images of all subsets."""
        return [image for subset in self.subsets for image in subset.images]

    @property
    def to_generate(self) -> list[ClassImage]:
        """Images of the class that have to be generated before the first step."""
        return [image for subset in self.subsets for image in subset.to_generate]

    def with_class_images(self, look: Scanner) -> PreparedRun:
        """The same once these are there. `InputError` where some cannot be used."""
        problems = Problems([])
        subsets = [
            read_subset(one.source, look, self.reader, problems) if one.to_generate else one for one in self.subsets
        ]
        complete = tuple(subset for subset in subsets if subset)
        if problems.found:
            raise InputError(problems.found)
        return replace(self, subsets=complete)

    def new_state(self, device: torch.device) -> State:
        """The state that the run begins with."""
        config, words = self.config, {one.name: one.initial.vectors for one in self.words}
        options = config.optimizer_options
        return new_state(words, config.seed, device, self.start, config.optimizer, options, self.lengths)

    @property
    def tag_table(self) -> Message | None:
        """The most frequent tags of the captions, if they are used and have any."""
        return tag_table(self.images)

    def prompts(self, count: int) -> list[str]:
        """`count` training prompts as they will be read, going through subsets, images and lines in turn."""
        captions = [subset.shown for subset in self.subsets]
        shown = []
        for number in range(count):
            turn, place = divmod(number, len(self.subsets))
            subset, texts = self.subsets[place], captions[place]
            shown.append(expand(subset.lines[turn % len(subset.lines)], texts[turn % len(texts)], subset.rules))
        return shown

    def tokens(self, image: PreparedImage) -> int:
        """Number of tokens of an image's longest prompt with the first template line, the word's vectors included."""
        line, rules = image.subset.lines[0], image.subset.rules
        texts = [fixed(text, rules) for text in image.caption.text.split("\n")]
        return max(self.reader.read(expand(line, text, rules)).length for text in texts)


def _look(folder: Path, config: TrainConfig) -> ImageScan:
    return scan_images(folder, config.fit_rules, recursive=config.recursive)


def prepare(
    config: TrainConfig,
    token_table: TokenTable,
    known: Sequence[Word],
    resumed: Mapping[str, InitialVectors] | None = None,
    files: Sequence[str] = (),
    look: Scanner = _look,
) -> PreparedRun:
    """Check settings, files, names and prompts. `InputError` has every problem found.

    `known` are the words of the embeddings that the model can use, `files` the names of all files in their folder,
    `resumed` the vectors of a run that is to be resumed, by word; `look` scans the folder of a subset.
    """
    config, wrong_values = TrainConfig.read(config.to_dict())  # these at their defaults, so that the rest is checked
    values_right, problems, later = not wrong_values, Problems(wrong_values), Problems([])
    sources = _sources(config, problems)
    config, known = sources.config, [word for word in known if word.ids]
    words, trained = trained_words(config, token_table, resumed, later)
    later.found += _problems_of_names(words, known, files, config, replace=config.overwrite or resumed is not None)
    readable = all(word.ids for word in words)
    others = tuple(other for other in known if all(other.name != word.name and other.ids != word.ids for word in words))
    reader = PromptReader(token_table.tokenizer, (*(word for word in words if word.ids), *others), config.emphasis)
    subsets = [read_subset(source, look, reader, problems) for source in sources.sources]
    problems.found += [*later.found, *same_images([subset for subset in subsets if subset])]
    complete = tuple(subset for subset in subsets if subset)
    complete, idle = without_idle(complete, reader) if readable else (complete, [])
    problems.found += [*_regularization_problems(config, complete), *stop_problems(config, complete)]
    if readable:
        problems.found += _prompt_problems(complete, reader)
        problems.found += _never_learned(complete, config, reader) if complete and all(subsets) else []
    shown = problems.attempt(preview_prompts, config)
    problems.found += _preview_problems(config, shown) if shown is not None else ()
    problems.attempt(try_optimizer, config.optimizer, config.optimizer_options)

    start = first_step(trained)
    epochs = None if problems.found else epochs_of(complete, config)
    config = (problems.attempt(_in_steps, config, epochs) if epochs else None) or config
    lengths = typical_lengths(token_table)
    largest = max((subset.config.batch_size for subset in complete), default=0)
    given = (config, start, resumed is not None, lengths, largest, stop_rule(config, complete))
    plan = problems.attempt(make_plan, *given) if values_right else None
    if problems.found or not (all(subsets) and len(trained) == len(words) and epochs and plan and shown is not None):
        raise InputError(dict.fromkeys(problems.found))
    run = PreparedRun(config, complete, reader, tuple(trained), plan, (), tuple(shown), lengths)
    notices = (
        *(text for word in words for text in shared_tokens(word, known)),
        *sources.notices,
        *idle,
        *on_class_images([image for subset in complete for image in subset.to_generate]),
        *_on_words(run),
        *on_subsets([subset for subset in complete if not subset.to_generate], config),
        *(_on_initial_vectors(config, token_table) if resumed is None else ()),
        *on_plan(plan, config, start, epochs, _seen_in_turn(complete)),
        *on_epochs(epochs, plan, complete, config, start),
        *on_settings(config),
        *on_rates(plan, config, token_table, start),
        *on_previews(shown),
    )
    named = tuple(map(with_background_named, complete))  # not before: notices are on captions that people have written
    return replace(run, subsets=named, notices=tuple(dict.fromkeys(notices)))


def _problems_of_names(
    words: Sequence[Word], known: Sequence[Word], files: Sequence[str], config: TrainConfig, *, replace: bool
) -> Iterator[Message]:
    for word in words:
        if word.name:
            yield from problems_of_name(word, known, files, replace=replace)
    yield from problems_between(words, config)


def _on_words(run: PreparedRun) -> Iterator[Message]:
    """What is to be known of each word; a negative one stands in no prompt of its own."""
    for one in run.words:
        if not one.settings.negative_of:
            beside = [other.name for other in run.words if other is not one]
            yield from on_words(one.word, run.subsets, run.reader, one.settings.init_text, beside)


def _on_initial_vectors(config: TrainConfig, token_table: TokenTable) -> Iterator[Message]:
    for word in config.word_settings:
        yield from on_initial_vectors(config.of_word(word), token_table)


def _sources(config: TrainConfig, problems: Problems) -> Sources:
    """What can be used of the sources that the settings name."""
    found = problems.attempt(usable_sources, config) or Sources(config, ())
    problems.found += found.problems
    return found


def _in_steps(config: TrainConfig, epochs: Epochs) -> TrainConfig:
    """The settings with the steps that their epochs take, and the epochs between copies, if they count in these."""
    if config.max_train_epochs:
        steps = epochs.steps(config.max_train_epochs)
        if wrong := value_problems(SETTINGS["steps"], "steps", steps):
            raise InputError(wrong)
        config = config.but(steps=steps)
    if config.save_n_epoch_ratio:  # as sd-scripts' train_textual_inversion.py has it
        whole = config.max_train_epochs or epochs.begun(config.steps)
        config = config.but(save_every_n_epochs=max(1, whole // config.save_n_epoch_ratio))
    return config


def _seen_in_turn(subsets: Sequence[PreparedSubset]) -> int:
    """How many images are seen until all of the training images have been: half of them are others that regularize."""
    images = sum(len(subset.scan.pictures) for subset in subsets if not subset.source.is_reg)
    return images * (2 if any(subset.source.is_reg for subset in subsets) else 1)


# --- prompts and plan ----------------------------------------------------------------------------------------------


def _prompt_problems(subsets: Sequence[PreparedSubset], reader: PromptReader) -> list[Message]:
    """The images of which some prompt would lack the words that it is to teach."""
    problems = []
    for taught in dict.fromkeys(subset.taught for subset in subsets):
        alike = [subset for subset in subsets if subset.taught == taught]
        lacking = [pair for subset in alike for pair in lacking_word(subset, reader)]
        if lacking:
            total = sum(len(subset.scan.pictures) for subset in alike)
            problems.append(_lacking(lacking, total, taught))
    return problems


def _never_learned(subsets: Sequence[PreparedSubset], config: TrainConfig, reader: PromptReader) -> list[str]:
    """Words of several that no prompt has, or none of an image that is trained on."""
    return [*never_taught(subsets, config, reader), *held_out(subsets, config, reader)]


def _lacking(lacking: Sequence[tuple[str, str]], total: int, taught: Sequence[str]) -> Message:
    word = taught[0] if len(taught) == 1 else message("preflight.any_word", "{words:, }", words=list(taught))
    return message(
        "preflight.word_missing",
        'The prompts of {count} of {total:image|images} would lack the word "{word}" ({files}), such as "{prompt}"'
        '. Use a template with [name], write the word in the captions, or turn on "{label}" (prepend_word).',
        count=len(lacking),
        total=total,
        word=word,
        files=listed([name for name, _ in lacking]),
        prompt=lacking[0][1],
        label=SETTINGS["prepend_word"].label,
    )


def _regularization_problems(config: TrainConfig, subsets: Sequence[PreparedSubset]) -> list[Message]:
    """Regularization images that are the training images, or that would replace each other."""
    clashes = problems_of_class_images([image for subset in subsets for image in subset.to_generate])
    if not config.reg_images.strip() or not config.images.strip():
        return clashes
    images, others = (path_given(text).absolute() for text in (config.images, config.reg_images))
    if images != others:
        return clashes
    return [
        *clashes,
        message(
            "preflight.regularization_same",
            "The folder of regularization images (reg_images) is that of the training images. Give images of the class "
            "in general, or leave it empty.",
        ),
    ]


def _preview_problems(config: TrainConfig, shown: Sequence[PreviewPrompt]) -> list[Message]:
    if not config.has_previews or shown:
        return []
    return [
        message(
            "preflight.no_preview_prompt",
            "There is no preview prompt ({setting}), although there are to be previews. Enter a prompt, or set "
            "preview_every and preview_every_n_epochs to 0.",
            setting="preview_file" if config.preview_file.strip() else "preview_prompt",
        )
    ]
