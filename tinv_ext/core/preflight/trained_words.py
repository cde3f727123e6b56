"""The words that a run trains, checked: their names beside each other and the embeddings there are, where they start,
and how fast each is trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tinv_ext.core.data.caption_files import ImageCaption
from tinv_ext.core.data.captions import expand
from tinv_ext.core.data.dataset import Guidance
from tinv_ext.core.data.split import split_examples
from tinv_ext.core.data.variation import fixed
from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message
from tinv_ext.core.model import TokenTable
from tinv_ext.core.names import word_problems
from tinv_ext.core.paths import path_given
from tinv_ext.core.preflight.initial_vectors import InitialVectors, from_file, from_text
from tinv_ext.core.preflight.problems import Problems
from tinv_ext.core.preflight.subsets import PreparedSubset, said_of
from tinv_ext.core.prompts.reader import PromptReader, Word
from tinv_ext.core.settings import DEFAULTS, SETTINGS, TrainConfig
from tinv_ext.core.settings.words import WordSettings
from tinv_ext.core.training.schedules import parse_schedule
from tinv_ext.core.training.word_rates import Pace


@dataclass(frozen=True)
class TrainedWord:
    """A word of a run: what is set for it, how it is found in prompts, and where its vectors start."""

    settings: WordSettings
    word: Word
    initial: InitialVectors

    @property
    def name(self) -> str:
        """What it is called, and its file."""
        return self.settings.name


def trained_words(
    config: TrainConfig, token_table: TokenTable, resumed: Mapping[str, InitialVectors] | None, problems: Problems
) -> tuple[list[Word], list[TrainedWord]]:
    """The words of a run as prompts have them, and those of them that have their vectors.

    Of a run that is `resumed` they are at hand. What is wrong with the others is among `problems`.
    """
    words, found = [], []
    for settings in config.word_settings:
        initial = resumed[settings.name] if resumed else problems.attempt(_initial_vectors, settings, token_table)
        ids = tuple(token_table.tokenizer.ids(settings.name))
        words.append(Word(settings.name, ids, initial.count if initial else 1))
        if initial:
            found.append(TrainedWord(settings, words[-1], initial))
    return words, found


def _initial_vectors(word: WordSettings, token_table: TokenTable) -> InitialVectors:
    if not word.init_embedding or (word.negative_of and not path_given(word.init_embedding).is_file()):
        return from_text(word.init_text, word.num_vectors, token_table)
    count = None if word.num_vectors == DEFAULTS["num_vectors"] else word.num_vectors
    return from_file(path_given(word.init_embedding), count, token_table)


def first_step(words: Sequence[TrainedWord]) -> int:
    """The step that a run counts from: that of the embeddings it continues, where all are of one step."""
    steps = {word.initial.step for word in words}
    return steps.pop() if len(steps) == 1 else 0


def guidance_of(config: TrainConfig, reader: PromptReader, words: Sequence[Word]) -> Guidance | None:
    """How negative words, which are among the `words`, come into the loss; None where there is none.

    A negative prompt is the prompt, with a word's negative word in the place of the word (DreamArtist cptuning.py,
    `train_embedding`).
    """
    by_name = {word.name: word for word in words}
    negatives = {one.negative_of: by_name[one.name] for one in config.word_settings if one.negative_of}
    if not negatives:
        return None
    swapped = [replace(negatives[word.name], ids=word.ids) if word.name in negatives else word for word in reader.words]
    return Guidance(PromptReader(reader.tokenizer, tuple(swapped), reader.emphasis), config.cfg_scale)


# --- pace ------------------------------------------------------------------------------------------------------------


def paces_of(config: TrainConfig) -> dict[str, Pace]:
    """How fast each word is trained and for how long; nothing where all are trained as the run says.

    `InputError` where the rate of a word cannot be meant, or none is trained.
    """
    problems = Problems([])
    paces = {word.name: problems.attempt(_pace, word, config) or Pace() for word in config.word_settings}
    if paces and not any(pace.at(0) for pace in paces.values()):
        problems.found.append(
            message(
                "preflight.nothing_to_train",
                "None of the words is to be trained ({names:, }): each has train = false or a factor of 0. Have at "
                "least one be trained.",
                names=list(paces),
            )
        )
    if problems.found:
        raise InputError(problems.found)
    return {} if all(pace == Pace() for pace in paces.values()) else paces


def _pace(word: WordSettings, config: TrainConfig) -> Pace:
    until = (word.stop_training_after or None) if word.train else 0
    if not word.learning_rate.strip():
        return Pace(word.lr_factor, until)
    rates = parse_schedule(config.learning_rate)
    if len(rates.pieces) > 1 or config.relative_steps:
        raise InputError(
            message(
                "preflight.rate_beside_schedule",
                'The word "{word}" has a learning rate of its own ({own}), but that of the run changes ("{rates}"). '
                "Give the word an lr_factor, by which each of these is multiplied.",
                word=word.name,
                own=word.learning_rate,
                rates=config.learning_rate,
            )
        )
    if not rates.at(0):
        raise InputError(
            message(
                "preflight.rate_beside_none",
                'The word "{word}" has a learning rate of its own ({own}), but that of the run is 0, by which nothing '
                "is trained. Give the run a rate, and words that are not to be trained train = false.",
                word=word.name,
                own=word.learning_rate,
            )
        )
    return Pace(word.lr_factor * float(word.learning_rate) / rates.at(0), until)


# --- prompts ----------------------------------------------------------------------------------------------------------


def never_taught(subsets: Sequence[PreparedSubset], config: TrainConfig, reader: PromptReader) -> list[str]:
    """Problems of words that are to be trained and that no prompt ever holds, or none of a subset that teaches them."""
    words = [one for one in config.word_settings if not one.negative_of]
    trained = (
        [one.name for one in words if one.train] if len(words) > 1 else []
    )  # a single one is told of by its images
    held = [{name for name in trained if _ever_holds(subset, name, reader)} for subset in subsets]
    problems: list[str] = [
        message(
            "preflight.word_never_taught",
            'No prompt contains the word "{word}", so it would learn nothing. Give it images of its own, or write it '
            "in captions or the template.",
            word=name,
        )
        for name in trained
        if not any(name in names for names in held)
    ]
    for subset, names in zip(subsets, held):
        problems += [
            said_of(
                subset.name,
                message(
                    "preflight.word_not_in_subset",
                    'No prompt of this subset contains the word "{word}", which it is to teach (words). Write it in '
                    "its captions, or remove it there.",
                    word=name,
                ),
            )
            for name in subset.source.words
            if name in trained and name not in names
        ]
    return problems


def held_out(subsets: Sequence[PreparedSubset], config: TrainConfig, reader: PromptReader) -> list[Message]:
    """Problems of words all of whose images are held out for the evaluation."""
    words = [one.name for one in config.word_settings if one.train and not one.negative_of]
    own = [(one, caption) for one in subsets if not one.source.is_reg for caption in one.captions]
    trained, evaluated = split_examples(len(own), config.evaluation_images, 1, config.seed)
    if len(words) < 2 or len(trained) == len(own):
        return []

    def among(numbers: Sequence[int], name: str) -> bool:
        images = (own[number] for number in numbers)
        return any(_ever_holds(subset, name, reader, [caption]) for subset, caption in images)

    return [
        message(
            "preflight.word_held_out",
            'All images whose prompts contain the word "{word}" are held out (evaluation_images), so it would learn '
            "nothing. Hold out fewer, give it more images, or choose another seed.",
            word=name,
        )
        for name in words
        if among(evaluated, name) and not among(trained, name)
    ]


def _ever_holds(
    subset: PreparedSubset, name: str, reader: PromptReader, captions: Sequence[ImageCaption] | None = None
) -> bool:
    """Whether some prompt of a subset, or of some of its captions, may hold a word."""
    rules = subset.rules
    given = subset.captions if captions is None else captions
    texts = [text for caption in given for text in caption.text.split("\n")]
    prompts = (expand(line, fixed(text, rules), rules) for line in subset.lines for text in texts)
    return any(reader.read(prompt).holds(name) for prompt in prompts) or any(
        subset.config.enable_wildcard and reader.finds(name, text) for text in texts
    )


# --- names -----------------------------------------------------------------------------------------------------------


BETWEEN = ("preflight.words_alike", "preflight.word_in_word")
"""What may be wrong with names beside each other."""


def problems_between(words: Sequence[Word], config: TrainConfig) -> Iterator[Message]:
    """Names of words that a prompt, or the file system, could not tell apart."""
    negatives = {(one.negative_of, one.name) for one in config.word_settings if one.negative_of}
    for place, one in enumerate(words):
        for other in words[place + 1 :]:
            if _same_name(one.name, other.name) or (one.ids and one.ids == other.ids):
                yield message(
                    "preflight.words_alike",
                    'The words "{one}" and "{other}" are the same to the model or as names of files. Give one of them '
                    "another name.",
                    one=one.name,
                    other=other.name,
                )
            elif (one.name, other.name) not in negatives and (_contains(one, other) or _contains(other, one)):
                short, long = sorted((one, other), key=lambda word: len(word.ids))
                yield message(
                    "preflight.word_in_word",
                    'The word "{long}" contains the word "{short}": where a prompt has the longer one, the shorter '
                    'would never be trained. Choose names that do not contain each other, such as "{short}-a" and '
                    '"{short}-b".',
                    short=short.name,
                    long=long.name,
                )


def _contains(long: Word, short: Word) -> bool:
    """Whether the tokens of a word stand within those of another."""
    places = range(len(long.ids) - len(short.ids) + 1)
    return bool(short.ids) and any(long.ids[place : place + len(short.ids)] == short.ids for place in places)


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
        yield from taken(word, known, files)


def taken(word: Word, known: Sequence[Word], files: Iterable[str]) -> Iterator[Message]:
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
