"""Everything that is found out before a run starts: all problems at once, or all that the run needs.

Nothing is written and no gradient computed, so this is also the check of the page and of the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from tinv_ext.core.data.buckets import Size
from tinv_ext.core.data.caption_files import CaptionFiles, ImageCaption
from tinv_ext.core.data.captions import CaptionRules, expand, read_template
from tinv_ext.core.data.images import ImageScan, scan_images
from tinv_ext.core.errors import InputError
from tinv_ext.core.generation import preview_requests
from tinv_ext.core.messages import Message, message
from tinv_ext.core.model import TokenTable
from tinv_ext.core.names import word_problems
from tinv_ext.core.paths import path_given
from tinv_ext.core.preflight.initial_vectors import InitialVectors, from_file, from_text
from tinv_ext.core.preflight.notices import listed, on_captions, on_images, on_initial_vectors, on_plan, on_rates
from tinv_ext.core.preflight.words import on_words
from tinv_ext.core.prompts.reader import PromptReader, Word
from tinv_ext.core.settings import DEFAULTS, SETTINGS, TrainConfig
from tinv_ext.core.training.gradients import Clip
from tinv_ext.core.training.schedules import parse_schedule
from tinv_ext.core.training.trainer import Plan

P = ParamSpec("P")
T = TypeVar("T")
Scanner = Callable[[Path, Sequence[Size], bool], ImageScan]
"""Looks at a folder, for sizes, with or without its sub-folders."""


@dataclass(frozen=True)
class PreparedRun:
    """What a run needs, checked: images with their captions (one a line of each text), template lines, the word, where
    it starts, the plan."""

    config: TrainConfig
    scan: ImageScan
    captions: tuple[str, ...]
    lines: tuple[str, ...]
    rules: CaptionRules
    reader: PromptReader
    initial: InitialVectors
    plan: Plan
    notices: tuple[str, ...]

    def prompts(self, count: int) -> list[str]:
        """`count` training prompts as they will be read, going through images and lines in turn."""
        captions = [caption for text in self.captions for caption in text.split("\n")]
        pairs = ((self.lines[i % len(self.lines)], captions[i % len(captions)]) for i in range(count))
        return [expand(line, caption, self.rules) for line, caption in pairs]

    def tokens(self, index: int) -> int:
        """Number of tokens of an image's longest prompt with the first template line, the word's vectors included."""
        captions = self.captions[index].split("\n")
        return max(self.reader.read(expand(self.lines[0], caption, self.rules)).length for caption in captions)


@dataclass
class _Problems:
    """The problems found so far, so that one does not hide the next."""

    found: list[str]

    def attempt(self, check: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """What `check` gives, or None, with its problems kept."""
        try:
            return check(*args, **kwargs)
        except InputError as error:
            self.found += error.problems
            return None


def prepare(
    config: TrainConfig,
    token_table: TokenTable,
    known: Sequence[Word],
    resumed: InitialVectors | None = None,
    files: Sequence[str] = (),
    look: Scanner = lambda folder, sizes, recursive: scan_images(folder, sizes, recursive=recursive),
) -> PreparedRun:
    """Check settings, files, names and prompts. `InputError` has every problem found.

    `known` are the words of the embeddings that the model can use, `files` the names of all files in their folder,
    `resumed` the vectors of a run that is to be resumed; `look` scans a folder for the sizes that may be trained.
    """
    config, wrong_values = TrainConfig.read(config.to_dict())  # these at their defaults, so that the rest is checked
    known = [word for word in known if word.ids]
    problems = _Problems(wrong_values)
    scan = problems.attempt(_scan, config, look)
    sources = problems.attempt(_captions, scan, config) if scan else None
    captions = tuple(caption.text for caption in sources) if sources else None
    lines = problems.attempt(read_template, config.template)
    initial = resumed or problems.attempt(_initial_vectors, config, token_table)

    word = Word(config.name, tuple(token_table.tokenizer.ids(config.name)), initial.count if initial else 1)
    if config.name:
        problems.found += _name_problems(word, known, files, replace=config.overwrite or resumed is not None)
    others = tuple(other for other in known if other.name != word.name and other.ids != word.ids)
    reader = PromptReader(token_table.tokenizer, (word, *others) if word.ids else others, config.emphasis)
    rules = CaptionRules(
        config.name, config.shuffle_tags, config.tag_dropout, config.prepend_word, reader.finds, config.emphasis
    )
    if scan and captions and lines and word.ids:
        problems.found += _prompt_problems(scan, captions, lines, rules, reader)
    problems.found += _preview_problems(config)

    start = initial.step if initial else 0
    plan = None if problems.found else problems.attempt(_plan, config, start, resumed is not None)
    if not (
        scan and sources and captions and lines and initial and plan
    ):  # something is missing only where there is a problem
        raise InputError(dict.fromkeys(problems.found))
    notices = (
        *_shared_tokens(word, known),
        *on_words(word, scan, captions, lines, reader),
        *on_images(scan, captions, lines, config),
        *on_captions(scan, sources, lines, config),
        *(on_initial_vectors(config, token_table) if resumed is None else ()),
        *on_plan(plan, config, start, len(scan.pictures)),
        *on_rates(plan, token_table, start),
    )
    return PreparedRun(config, scan, captions, lines, rules, reader, initial, plan, notices)


def _scan(config: TrainConfig, look: Scanner) -> ImageScan:
    if not config.images.strip():
        raise InputError(
            message(
                "preflight.no_image_folder",
                "{label} (images) is empty. Enter the folder of your training images.",
                label=SETTINGS["images"].label,
            )
        )
    return look(path_given(config.images), config.sizes, config.recursive)


def _captions(scan: ImageScan, config: TrainConfig) -> tuple[ImageCaption, ...]:
    problems = _Problems([])
    files = CaptionFiles(scan.folder, config.caption_regex, config.caption_join)
    captions = [problems.attempt(files.of, image.path) for image in scan.pictures]
    if problems.found or files.problems:
        raise InputError([*problems.found, *files.problems])
    return tuple(caption or ImageCaption("") for caption in captions)


def _initial_vectors(config: TrainConfig, token_table: TokenTable) -> InitialVectors:
    if not config.init_embedding:
        return from_text(config.init_text, config.num_vectors, token_table)
    count = None if config.num_vectors == DEFAULTS["num_vectors"] else config.num_vectors
    return from_file(path_given(config.init_embedding), count, token_table)


# --- the name ----------------------------------------------------------------------------------------------------


def _name_problems(word: Word, known: Sequence[Word], files: Iterable[str], *, replace: bool) -> Iterator[Message]:
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


def _shared_tokens(word: Word, known: Sequence[Word]) -> list[Message]:
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


def _prompt_problems(
    scan: ImageScan, captions: Sequence[str], lines: Sequence[str], rules: CaptionRules, reader: PromptReader
) -> list[Message]:
    """The images of which some prompt would lack the word."""
    lacking = []
    for image, caption in zip(scan.pictures, captions):
        prompts = (expand(line, text, rules) for line in lines for text in caption.split("\n"))
        without = next((prompt for prompt in prompts if not reader.read(prompt).holds(rules.name)), None)
        if without is not None:
            lacking.append((scan.name(image.path), without))
    if not lacking:
        return []
    return [
        message(
            "preflight.word_missing",
            'The prompts of {count} of {total:image|images} would lack the word "{word}" ({files}), such as "{prompt}"'
            '. Use a template with [name], write the word in the captions, or turn on "{label}" (prepend_word).',
            count=len(lacking),
            total=len(scan.pictures),
            word=rules.name,
            files=listed([name for name, _ in lacking]),
            prompt=lacking[0][1],
            label=SETTINGS["prepend_word"].label,
        )
    ]


def _preview_problems(config: TrainConfig) -> list[Message]:
    if not config.preview_every or preview_requests(config):
        return []
    return [
        message(
            "preflight.no_preview_prompt",
            "There is no preview prompt (preview_prompt), although there is to be a preview every "
            "{steps:step|steps}. Enter a prompt, or set that to 0.",
            steps=config.preview_every,
        )
    ]


def _plan(config: TrainConfig, start: int, resumed: bool) -> Plan:
    """The plan from step `start` on. A resumed run may be at its last step: then only its file is missing."""
    rates = parse_schedule(config.learning_rate)
    clip = None if config.clip_mode == "disabled" else Clip(config.clip_mode, parse_schedule(config.clip_value).at)
    steps = config.steps if rates.end is None else min(config.steps, rates.end)
    if steps < start or (steps == start and not resumed):
        raise InputError(
            message(
                "preflight.no_steps_left",
                "Max steps counts from the embedding's own step 0. The embedding is already at step {start}, and the "
                "run would end at step {end}. Set more than {start}.",
                start=start,
                end=steps,
            )
        )
    return Plan(steps, config.batch_size, config.gradient_accumulation_steps, rates.at, clip)
