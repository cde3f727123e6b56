"""Notices on words that take something over: a phrase that the model knows, or a word of the captions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from tinv_ext.core.data.captions import FILEWORDS, NAME
from tinv_ext.core.data.variation import split_tags
from tinv_ext.core.messages import Message, message
from tinv_ext.core.preflight.notices import listed
from tinv_ext.core.preflight.subsets import PreparedImage, PreparedSubset
from tinv_ext.core.prompts.reader import PromptReader, Tokenizer, Word

_ENDS = "</w>"  # of a whole word, as CLIP writes its tokens
_SHORTEST = 3  # letters of a word that is looked for within others
_FEWEST, _NEARLY_ALL = 4, 0.9  # captions, and the part of them that names something
_TAGS = 30  # in the table


def on_words(
    word: Word,
    subsets: Sequence[PreparedSubset],
    reader: PromptReader,
    init_text: str,
    beside: Sequence[str] = (),
) -> list[Message]:
    """What the word that is trained, and the embeddings in the folder, change in prompts that do not mean them.

    Captions count where a template line takes them in. The words `beside` it are trained, too.
    """
    notices = phrase_notices(word, reader.tokenizer)
    subsets = [subset for subset in subsets if word.name in subset.taught]
    reader = replace(reader, words=tuple(one for one in reader.words if one.name not in beside))
    used = [image for subset in subsets if subset.uses_captions for image in subset.images]
    lines = dict.fromkeys(line for subset in subsets for line in subset.lines)
    return [
        *notices,
        *_in_templates(word, list(lines), reader),
        *_in_captions(word, used, reader),
        *_eaten(word, used, reader),
        *_always_named(word, used, init_text),
    ]


def phrase_notices(word: Word, tokenizer: Tokenizer) -> list[Message]:
    """That a name is a phrase which the model knows, if it is one."""
    return [_phrase(word.name)] if _is_phrase(word, tokenizer) else []


def _is_phrase(word: Word, tokenizer: Tokenizer) -> bool:
    """Whether a name is made of words that the model knows, and nothing else."""
    spellings = tokenizer.spellings(word.ids)
    letters = [spelling for spelling in spellings if spelling.removesuffix(_ENDS).isalpha()]
    return len(letters) > 1 and all(spelling.endswith(_ENDS) for spelling in spellings)


def _phrase(name: str) -> Message:
    return message(
        "preflight.name_is_a_phrase",
        'The model knows every word of "{name}". Wherever a prompt has this phrase, the trained vectors take its '
        'place. Choose a name that nobody would write otherwise, such as "{name}-x1".',
        name=name,
    )


def _in_templates(word: Word, lines: Sequence[str], reader: PromptReader) -> Iterator[Message]:
    """Embeddings of the folder that stand in template lines, such as one that is called "photo"."""
    texts = [line.replace(FILEWORDS, "").replace(NAME, word.name) for line in lines]
    found = {text: _others(word, text, reader) for text in texts}
    for name in sorted({name for names in found.values() for name in names}):
        with_it = [text for text, names in found.items() if name in names]
        yield message(
            "preflight.embedding_in_template",
            '{count:template line contains|template lines contain} "{name}", the name of an embedding, such as '
            '"{line}": its vectors are used there instead of the word. Rename the embedding if that is not meant.',
            count=len(with_it),
            name=name,
            line=with_it[0],
        )


def _others(word: Word, text: str, reader: PromptReader) -> set[str]:
    """The embeddings of the folder that a text calls up."""
    return {name for chunk in reader.read(text).chunks for _, name in chunk.words} - {word.name}


def _in_captions(word: Word, images: Sequence[PreparedImage], reader: PromptReader) -> Iterator[Message]:
    """Embeddings of the folder that stand in captions: their vectors are trained with, and not the words."""
    files: dict[str, list[str]] = {}
    for image in images:
        for name in sorted(_others(word, image.caption.text, reader)):
            files.setdefault(name, []).append(image.name)
    for name, with_it in files.items():
        yield message(
            "preflight.embedding_in_captions",
            'Captions contain "{name}" ({files}), the name of an embedding: its vectors are used there instead of the '
            "word. Rename the embedding if that is not meant.",
            name=name,
            files=listed(with_it),
        )


def _eaten(word: Word, images: Sequence[PreparedImage], reader: PromptReader) -> Iterator[Message]:
    """The word as a part of a longer one, which is read as other tokens."""
    if len(word.name) < _SHORTEST:
        return
    longer = re.compile(rf"\S*{re.escape(word.name)}\S*", re.IGNORECASE)
    found = [
        (image.name, match[0])
        for image in images
        for match in [longer.search(image.caption.text)]
        if match and not reader.finds(word.name, image.caption.text)
    ]
    if found:
        yield message(
            "preflight.word_eaten",
            'In the captions of {count:image|images} ({files}) the word "{word}" is part of a longer one, such as '
            '"{longer}", which the model reads as something else. Put spaces around it.',
            count=len(found),
            files=listed([name for name, _ in found]),
            word=word.name,
            longer=found[0][1],
        )


def _always_named(word: Word, images: Sequence[PreparedImage], init_text: str) -> Iterator[Message]:
    """What nearly every caption names beside the word: it explains the images, so the word need not learn it."""
    captioned = [image for image in images if image.caption.source]
    if len(captioned) < _FEWEST:
        return
    counts = Counter(thing for image in captioned for thing in _named(image, init_text))
    always = [thing for thing, count in counts.most_common() if count >= _NEARLY_ALL * len(captioned)]
    if always:
        yield message(
            "preflight.always_named",
            "Nearly all captions name {things}. What is always named beside the word is hardly learned by it: remove "
            'it from the captions if it belongs to "{word}".',
            things=listed([f'"{thing}"' for thing in always]),
            word=word.name,
        )


def _named(image: PreparedImage, init_text: str) -> set[str]:
    """The tags of an image, without the word, and what its captions have of the initialization text."""
    rules = image.subset.rules
    tags = {tag for tag in image_tags(image) if tag and not rules.holds_word(tag)}
    return tags | subject_named(image.caption.text, init_text)


def subject_named(caption: str, init_text: str) -> set[str]:
    """The words of the initialization text that a caption names, too."""
    words = set(re.findall(r"\w+", caption.lower()))
    return {start for start in re.findall(r"\w{3,}", init_text.lower()) if start in words}


def image_tags(image: PreparedImage) -> set[str]:
    """The tags of an image's captions; none of a caption that is a sentence."""
    lists = [split_tags(text, image.subset.rules.caption_separator) for text in image.caption.text.split("\n")]
    return {tag for tags in lists if len(tags) > 1 for tag in tags if tag}


def tag_table(images: Sequence[PreparedImage]) -> Message | None:
    """The most frequent tags, each with the number of images that have it; None where captions have none."""
    counts = Counter(tag for image in images if image.subset.uses_captions for tag in image_tags(image))
    if not counts:
        return None
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = [f"{tag} ({count})" for tag, count in ranked[:_TAGS]]
    return message(
        "preflight.tags",
        "The most frequent of {count:tag|tags}: {tags:, }.",
        count=len(counts),
        tags=shown,
    )
