"""Notices on words that take something over: a phrase that the model knows, or a word of the captions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tinv_ext.core.messages import Message, message
from tinv_ext.core.preflight.notices import listed, uses_captions
from tinv_ext.core.preflight.subsets import PreparedImage, PreparedSubset
from tinv_ext.core.prompts.reader import PromptReader, Tokenizer, Word

_ENDS = "</w>"  # of a whole word, as CLIP writes its tokens


def on_words(word: Word, subsets: Sequence[PreparedSubset], reader: PromptReader) -> list[Message]:
    """What the word that is trained, and the embeddings in the folder, change in prompts that do not mean them.

    Captions count where a template line takes them in.
    """
    notices = [_phrase(word.name)] if _is_phrase(word, reader.tokenizer) else []
    used = [image for subset in subsets if uses_captions(subset) for image in subset.images]
    return [*notices, *_in_captions(word, used, reader)]


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


def _in_captions(word: Word, images: Sequence[PreparedImage], reader: PromptReader) -> Iterator[Message]:
    """Embeddings of the folder that stand in captions: their vectors are trained with, and not the words."""
    files: dict[str, list[str]] = {}
    for image in images:
        names = {name for chunk in reader.read(image.caption.text).chunks for _, name in chunk.words} - {word.name}
        for name in sorted(names):
            files.setdefault(name, []).append(image.name)
    for name, with_it in files.items():
        yield message(
            "preflight.embedding_in_captions",
            'Captions contain "{name}" ({files}), the name of an embedding: its vectors are used there instead of the '
            "word. Rename the embedding if that is not meant.",
            name=name,
            files=listed(with_it),
        )
