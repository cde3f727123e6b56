"""Everything that is found out before a run starts: all problems at once, or all that the run needs.

Nothing is written and no gradient computed, so this is also the check of the page and of the command line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from tinv_ext.core.data.captions import expand
from tinv_ext.core.data.epochs import Epochs
from tinv_ext.core.data.images import ImageScan, scan_images
from tinv_ext.core.data.variation import fixed
from tinv_ext.core.errors import InputError
from tinv_ext.core.generation import ImageRequest, PreviewPrompt, preview_prompts
from tinv_ext.core.messages import Message, message
from tinv_ext.core.model import TokenTable
from tinv_ext.core.names import word_problems
from tinv_ext.core.paths import path_given
from tinv_ext.core.preflight.class_images import ClassImage, on_class_images
from tinv_ext.core.preflight.initial_vectors import InitialVectors, from_file, from_text
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
from tinv_ext.core.preflight.words import on_words, tag_table
from tinv_ext.core.prompts.reader import PromptReader, Word
from tinv_ext.core.settings import DEFAULTS, SETTINGS, TrainConfig
from tinv_ext.core.settings.setting import value_problems
from tinv_ext.core.training.optimizers import try_optimizer
from tinv_ext.core.training.state import State, new_state
from tinv_ext.core.training.trainer import Plan
from tinv_ext.core.training.typical_length import typical_lengths


@dataclass(frozen=True)
class PreparedRun:
    """What a run needs, checked: subsets of images with their captions and template lines, the word, where it starts,
    the plan; and how long a token's vector usually is, by encoder."""

    config: TrainConfig
    subsets: tuple[PreparedSubset, ...]
    reader: PromptReader
    initial: InitialVectors
    plan: Plan
    notices: tuple[str, ...]
    previews: tuple[ImageRequest, ...]
    lengths: Mapping[str, float]

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
        config, initial = self.config, self.initial
        words = {config.name: initial.vectors}
        options = config.optimizer_options
        return new_state(words, config.seed, device, initial.step, config.optimizer, options, self.lengths)

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
    resumed: InitialVectors | None = None,
    files: Sequence[str] = (),
    look: Scanner = _look,
) -> PreparedRun:
    """Check settings, files, names and prompts. `InputError` has every problem found.

    `known` are the words of the embeddings that the model can use, `files` the names of all files in their folder,
    `resumed` the vectors of a run that is to be resumed; `look` scans the folder of a subset.
    """
    config, wrong_values = TrainConfig.read(config.to_dict())  # these at their defaults, so that the rest is checked
    values_right, problems, later = not wrong_values, Problems(wrong_values), Problems([])
    sources = _sources(config, problems)
    config, known = sources.config, [word for word in known if word.ids]
    initial = resumed or later.attempt(_initial_vectors, config, token_table)

    word = Word(config.name, tuple(token_table.tokenizer.ids(config.name)), initial.count if initial else 1)
    if config.name:
        later.found += problems_of_name(word, known, files, replace=config.overwrite or resumed is not None)
    others = tuple(other for other in known if other.name != word.name and other.ids != word.ids)
    reader = PromptReader(token_table.tokenizer, (word, *others) if word.ids else others, config.emphasis)
    subsets = [read_subset(source, look, reader, problems) for source in sources.sources]
    problems.found += [*later.found, *same_images([subset for subset in subsets if subset])]
    complete = tuple(subset for subset in subsets if subset)
    complete, idle = without_idle(complete, reader) if word.ids else (complete, [])
    problems.found += [*_regularization_problems(config), *stop_problems(config, complete)]
    if word.ids:
        problems.found += _prompt_problems(complete, reader, word.name)
    shown = problems.attempt(preview_prompts, config)
    problems.found += _preview_problems(config, shown) if shown is not None else ()
    problems.attempt(try_optimizer, config.optimizer, config.optimizer_options)

    start = initial.step if initial else 0
    epochs = None if problems.found else epochs_of(complete, config)
    config = (problems.attempt(_in_steps, config, epochs) if epochs else None) or config
    lengths = typical_lengths(token_table)
    largest = max((subset.config.batch_size for subset in complete), default=0)
    given = (config, start, resumed is not None, lengths, largest, stop_rule(config, complete))
    plan = problems.attempt(make_plan, *given) if values_right else None
    if problems.found or not (all(subsets) and initial and epochs and plan and shown is not None):
        raise InputError(dict.fromkeys(problems.found))
    notices = (
        *shared_tokens(word, known),
        *sources.notices,
        *idle,
        *on_class_images([image for subset in complete for image in subset.to_generate]),
        *on_words(word, complete, reader, config.init_text),
        *on_subsets([subset for subset in complete if not subset.to_generate], config),
        *(on_initial_vectors(config, token_table) if resumed is None else ()),
        *on_plan(plan, config, start, epochs, _seen_in_turn(complete)),
        *on_epochs(epochs, plan, complete, config, start),
        *on_settings(config),
        *on_rates(plan, config, token_table, start),
        *on_previews(shown),
    )
    previews = tuple(request for prompt in shown for request in prompt.requests)
    return PreparedRun(config, complete, reader, initial, plan, notices, previews, lengths)


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


def _initial_vectors(config: TrainConfig, token_table: TokenTable) -> InitialVectors:
    if not config.init_embedding:
        return from_text(config.init_text, config.num_vectors, token_table)
    count = None if config.num_vectors == DEFAULTS["num_vectors"] else config.num_vectors
    return from_file(path_given(config.init_embedding), count, token_table)


# --- the name ----------------------------------------------------------------------------------------------------


def problems_of_name(word: Word, known: Sequence[Word], files: Iterable[str], *, replace: bool) -> Iterator[Message]:
    """What is wrong with the name beside the embeddings there are, which it may `replace`."""
    yield from word_problems(word.name, word.ids)
    if not word.ids:
        return
    for other in known:
        if other.ids == word.ids and not _same_name(other.name, word.name):
            yield message(
                "preflight.same_tokens",
                '"{name}" has the same tokens as the embedding "{other}", so no prompt could tell them apart. Choose '
                "another name.",
                name=word.name,
                other=other.name,
            )
    if not replace:
        yield from _taken(word, known, files)


def _taken(word: Word, known: Sequence[Word], files: Iterable[str]) -> Iterator[Message]:
    """Embeddings of this name, or, where the model can use none, files of it."""
    label = SETTINGS["overwrite"].label
    names = [other.name for other in known if _same_name(other.name, word.name)]
    for name in names:
        yield message(
            "preflight.embedding_exists",
            'There is already an embedding "{name}". Choose another name, or turn on "{label}" (overwrite); the old '
            "file is kept as a backup.",
            name=name,
            label=label,
        )
    for file in files:
        if not names and _same_name(Path(file).stem, word.name):
            yield message(
                "preflight.file_exists",
                'There is already a file "{file}" among the embeddings, although this model cannot use it. Choose '
                'another name, or turn on "{label}" (overwrite); the old file is kept as a backup.',
                file=file,
                label=label,
            )


def shared_tokens(word: Word, known: Sequence[Word]) -> list[Message]:
    """Notices on embeddings whose tokens are the first of the word's, or the other way round."""
    return [
        message(
            "preflight.shared_tokens",
            '"{name}" shares its first tokens with the embedding "{other}". Where a prompt fits both, the longer name '
            "wins.",
            name=word.name,
            other=other.name,
        )
        for other in known
        if not _same_name(other.name, word.name)
        and (other.ids == word.ids[: len(other.ids)] or word.ids == other.ids[: len(word.ids)])
    ]


def _same_name(one: str, other: str) -> bool:
    return one.lower() == other.lower()


# --- prompts and plan ----------------------------------------------------------------------------------------------


def _prompt_problems(subsets: Sequence[PreparedSubset], reader: PromptReader, word: str) -> list[Message]:
    """The images of which some prompt would lack the word."""
    lacking = [pair for subset in subsets for pair in lacking_word(subset, reader)]
    if not lacking:
        return []
    return [
        message(
            "preflight.word_missing",
            'The prompts of {count} of {total:image|images} would lack the word "{word}" ({files}), such as "{prompt}"'
            '. Use a template with [name], write the word in the captions, or turn on "{label}" (prepend_word).',
            count=len(lacking),
            total=sum(len(subset.scan.pictures) for subset in subsets),
            word=word,
            files=listed([name for name, _ in lacking]),
            prompt=lacking[0][1],
            label=SETTINGS["prepend_word"].label,
        )
    ]


def _regularization_problems(config: TrainConfig) -> list[Message]:
    """Regularization images that are the training images."""
    if not config.reg_images.strip() or not config.images.strip():
        return []
    images, others = (path_given(text).absolute() for text in (config.images, config.reg_images))
    if images != others:
        return []
    return [
        message(
            "preflight.regularization_same",
            "The folder of regularization images (reg_images) is that of the training images. Give images of the class "
            "in general, or leave it empty.",
        )
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
