"""Everything that is found out before a run starts: all problems at once, or all that the run needs.

Nothing is written here and no gradient computed; the same function is the check of the page and of the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tinv_ext.core.data.buckets import Size
from tinv_ext.core.data.captions import CaptionRules, expand, read_caption, read_template
from tinv_ext.core.data.images import ImageScan, scan_images
from tinv_ext.core.errors import InputError
from tinv_ext.core.generation import preview_requests
from tinv_ext.core.model import TokenTable
from tinv_ext.core.paths import path_given
from tinv_ext.core.preflight.initial_vectors import InitialVectors, from_file, from_text
from tinv_ext.core.preflight.notices import listed, on_initial_vectors, on_pictures, on_plan
from tinv_ext.core.prompts.reader import PromptReader, Word
from tinv_ext.core.settings import DEFAULTS, TrainConfig
from tinv_ext.core.training.gradients import Clip
from tinv_ext.core.training.schedules import parse_schedule
from tinv_ext.core.training.trainer import Plan

T = TypeVar("T")


@dataclass(frozen=True)
class PreparedRun:
    """What a run needs, checked: the pictures with their captions, template lines, word, beginning and plan."""

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
        """`count` training prompts as they will be read, going through pictures and lines in turn."""
        pairs = ((self.lines[i % len(self.lines)], self.captions[i % len(self.captions)]) for i in range(count))
        return [expand(line, caption, self.rules) for line, caption in pairs]

    def tokens(self, index: int) -> int:
        """How many tokens the prompt of a picture has with the first template line, the word's vectors counted in."""
        return self.reader.read(expand(self.lines[0], self.captions[index], self.rules)).length


def prepare(
    config: TrainConfig,
    token_table: TokenTable,
    known: Sequence[Word],
    resumed: InitialVectors | None = None,
    files: Sequence[str] = (),
    scan: Callable[[Path, Sequence[Size]], ImageScan] = scan_images,
) -> PreparedRun:
    """Check settings, files, names and prompts. `InputError` holds a sentence for each problem found.

    `known` are the words that the model's user already has, `files` the names of all files that lie where embeddings
    do; `resumed` is where a run that is resumed stands; `scan` looks at a folder for the sizes that may be trained.
    """
    config, problems = TrainConfig.read(config.to_dict())  # what is wrong is told, and does not hinder the other checks

    def attempt(make: Callable[[], T]) -> T | None:
        try:
            return make()
        except InputError as error:
            problems.extend(error.problems)
            return None

    if not config.images.strip():
        problems.append("No picture folder is given. Set the dataset directory (images).")
        found = None
    else:
        found = attempt(lambda: scan(path_given(config.images), config.sizes))
    lines = attempt(lambda: read_template(config.template))
    captions = attempt(lambda: _captions(found, config)) if found else None
    initial = resumed or attempt(lambda: _initial_vectors(config, token_table))
    word = Word(config.name, tuple(token_table.tokenizer.ids(config.name)), initial.count if initial else 1)
    replace = config.overwrite or resumed is not None
    notices = _name(word, known, replace, problems) if config.name else []
    if config.name and not replace:
        problems += _taken(word, known, files)
    others = tuple(other for other in known if other.name != word.name and other.ids != word.ids)
    reader = PromptReader(token_table.tokenizer, (word, *others) if word.ids else others, config.emphasis)
    rules = CaptionRules(config.name, config.shuffle_tags, config.tag_dropout, config.word_in_front, reader.finds)
    if found and lines and captions and word.ids:
        problems += _prompts(found, captions, lines, rules, reader)
        notices += on_pictures(found, captions, lines, config)
    problems += _preview_problems(config)
    notices += on_initial_vectors(config, token_table) if resumed is None else []
    plan = attempt(lambda: _plan(config, initial.step if initial else 0, resumed is not None, problems))
    if problems:
        raise InputError(dict.fromkeys(problems))
    assert found is not None  # these are None only with a problem
    assert lines is not None
    assert captions is not None
    assert initial is not None
    assert plan is not None
    notices += on_plan(plan, config, initial.step, len(found.pictures))
    return PreparedRun(config, found, captions, lines, rules, reader, initial, plan, tuple(notices))


def _captions(found: ImageScan, config: TrainConfig) -> tuple[str, ...]:
    captions: list[str] = []
    problems: list[str] = []
    for picture in found.pictures:
        try:
            captions.append(read_caption(picture.path, regex=config.caption_regex, join=config.caption_join))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return tuple(captions)


def _initial_vectors(config: TrainConfig, token_table: TokenTable) -> InitialVectors:
    if not config.weights:
        return from_text(config.init_text, config.vectors, token_table)
    count = None if config.vectors == DEFAULTS["vectors"] else config.vectors
    return from_file(path_given(config.weights), count, token_table)


def _preview_problems(config: TrainConfig) -> list[str]:
    if not config.preview_every or preview_requests(config):
        return []
    return [
        f"Previews every {config.preview_every} steps are asked for, but there is no preview prompt (preview_prompt). "
        "Write one, or make no previews (0)."
    ]


def _taken(word: Word, known: Sequence[Word], files: Sequence[str]) -> list[str]:
    """A sentence where a file of this name lies among the embeddings although the model cannot use it."""
    if any(other.name.lower() == word.name.lower() for other in known):
        return []
    return [
        f'There is already a file "{file}" among the embeddings, though this model cannot use it. Choose another name, '
        "or set overwrite (the old file is kept as a backup)."
        for file in files
        if Path(file).stem.lower() == word.name.lower()
    ]


def _name(word: Word, known: Sequence[Word], replace: bool, problems: list[str]) -> list[str]:
    """Problems of the name among the words there are, and the notices on it."""
    if not word.ids:
        problems.append(f'The name "{word.name}" has no token of its own. Use letters or digits.')
        return []
    if len(word.ids) == 1:
        problems.append(
            f'"{word.name}" is a word that the model already knows (token {word.ids[0]}). '
            f'Choose a name that is not, such as "{word.name}-1".'
        )
    notices = []
    for other in known:
        if other.name.lower() == word.name.lower():
            if not replace:
                problems.append(
                    f'There is already an embedding "{other.name}". Choose another name, or set overwrite '
                    "(the old file is kept as a backup)."
                )
        elif other.ids == word.ids:
            problems.append(
                f'"{word.name}" has the same token ids as the embedding "{other.name}", so a prompt could not tell '
                "them apart. Choose another name."
            )
        elif other.ids == word.ids[: len(other.ids)] or word.ids == other.ids[: len(word.ids)]:
            notices.append(
                f'"{word.name}" and the embedding "{other.name}" begin alike; where both fit in a prompt, '
                "the longer one wins."
            )
    return notices


def _prompts(
    found: ImageScan, captions: Sequence[str], lines: Sequence[str], rules: CaptionRules, reader: PromptReader
) -> list[str]:
    """A sentence naming the pictures whose prompts lack the word after expansion."""
    lacking = []
    for picture, caption in zip(found.pictures, captions):
        bad = next((t for line in lines if not reader.read(t := expand(line, caption, rules)).holds(rules.name)), None)
        if bad is not None:
            lacking.append((picture.path.name, bad))
    if not lacking:
        return []
    return [
        f'{len(lacking)} of {len(found.pictures)} pictures would have prompts without the word "{rules.name}" '
        f'({listed([name for name, _ in lacking])}), for instance "{lacking[0][1]}". Use a template with [name], '
        "write the word into the captions, or set word_in_front to put it in front."
    ]


def _plan(config: TrainConfig, start: int, resumed: bool, problems: Sequence[str]) -> Plan | None:
    """A resumed run may have taken its last step already, without having written its file."""
    if problems:
        return None
    rates = parse_schedule(config.learn_rate)
    clip = None if config.clip_mode == "disabled" else Clip(config.clip_mode, parse_schedule(config.clip_value).at)
    steps = config.steps if rates.end is None else min(config.steps, rates.end)
    if steps < start or (steps == start and not resumed):
        raise InputError(
            f"Max steps counts from the embedding's beginning: it has {start} steps already and the run would end at "
            f"{steps}. Set more than {start}."
        )
    return Plan(steps, config.batch_size, config.accumulate, rates.at, clip)
