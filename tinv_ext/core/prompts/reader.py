"""From text to what the text encoder sees: token ids in chunks of 75, with the positions of trained words.

Chunks are those of AUTOMATIC1111 v1.10.1 `modules/sd_hijack_clip.py` (`tokenize_line`): chunks of 75 tokens between
start and end, broken after a comma at most 20 tokens back, words matched by their token ids, a word of several vectors
never split. One difference: a word that moves to the next chunk at such a comma keeps its vectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from tinv_ext.core.families import CHUNK
from tinv_ext.core.prompts.emphasis import parse_emphasis

MAX_VECTORS = CHUNK
"""Of one word: its vectors stand in one chunk."""

COMMA_BACKTRACK = 20


class Tokenizer(Protocol):
    """What is needed of CLIP's byte-pair encoding: the ids of a text, and those with a special meaning."""

    @property
    def start(self) -> int: ...

    @property
    def end(self) -> int: ...

    @property
    def comma(self) -> int: ...

    def ids(self, text: str) -> list[int]:
        """Token ids of `text`, without start and end, not truncated."""
        ...

    def spellings(self, ids: Sequence[int]) -> list[str]:
        """How each token is written, for people."""
        ...


@dataclass(frozen=True)
class Word:
    """A name in a prompt that has `count` vectors, which go in wherever `ids` occur in a text."""

    name: str
    ids: tuple[int, ...]
    count: int


@dataclass(frozen=True)
class Chunk:
    """77 positions: start, 75 tokens, end (and padding with end). `words` are (position of the first vector, name)."""

    ids: tuple[int, ...]
    weights: tuple[float, ...]
    words: tuple[tuple[int, str], ...]
    used: int


@dataclass(frozen=True)
class Prompt:
    """A text in chunks; at least one."""

    text: str
    chunks: tuple[Chunk, ...]

    def holds(self, name: str) -> bool:
        """Whether it contains the word, with all of its vectors (a word is never split)."""
        return any(name == found for chunk in self.chunks for _, found in chunk.words)

    @property
    def length(self) -> int:
        """Number of tokens, counting vectors, but not start, end and padding."""
        return sum(chunk.used for chunk in self.chunks)


@dataclass(frozen=True)
class PromptReader:
    """Reads texts with one tokenizer and the words known to it. Brackets are plain text unless `emphasis` is set."""

    tokenizer: Tokenizer
    words: tuple[Word, ...] = ()
    emphasis: bool = False
    _longest_first: tuple[Word, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # a word of no tokens would be everywhere, and one with too many vectors fits into no chunk
        readable = (word for word in self.words if word.ids and word.count <= MAX_VECTORS)
        object.__setattr__(self, "_longest_first", tuple(sorted(readable, key=lambda word: -len(word.ids))))

    def read(self, text: str) -> Prompt:
        """Tokenize and cut `text`."""
        return _read(self, text)

    def finds(self, name: str, text: str) -> bool:
        """Whether `text` contains `name` token for token ("cat" is not in "cattle"), as a prompt would find it."""
        if any(word.name == name for word in self.words):
            return self.read(text).holds(name)
        wanted, ids = self.tokenizer.ids(name), self.tokenizer.ids(text)
        return bool(wanted) and any(ids[place : place + len(wanted)] == wanted for place in range(len(ids)))


def padded(prompts: Sequence[Prompt], tokenizer: Tokenizer) -> tuple[Prompt, ...]:
    """The prompts with empty chunks added, so that all have as many as the longest.

    A batch is padded before it is cut into pieces: each piece then has the gradient that it has in the whole.
    """
    rows = equal_chunks(prompts, tokenizer)
    return tuple(Prompt(prompt.text, tuple(chunks)) for prompt, chunks in zip(prompts, rows))


def equal_chunks(prompts: Sequence[Prompt], tokenizer: Tokenizer) -> list[list[Chunk]]:
    """The chunks of each prompt, with empty ones added so that all have the same number."""
    most = max(len(prompt.chunks) for prompt in prompts)
    empty = _chunk(tokenizer, [])
    return [[*prompt.chunks, *[empty] * (most - len(prompt.chunks))] for prompt in prompts]


@lru_cache(maxsize=4096)
def _read(reader: PromptReader, text: str) -> Prompt:
    pieces = parse_emphasis(text) if reader.emphasis else [(text, 1.0)]
    units = (unit for part, weight in pieces for unit in _units(reader, part, weight))
    return Prompt(text, tuple(_chunk(reader.tokenizer, units) for units in _cut(units, reader.tokenizer.comma)))


@dataclass(frozen=True)
class _Unit:
    """What must not be split: one token, all vectors of a word, or a forced break between chunks (size 0)."""

    size: int
    id: int
    weight: float
    word: str | None = None


def _units(reader: PromptReader, text: str, weight: float) -> Iterator[_Unit]:
    if text == "BREAK" and weight == -1:
        yield _Unit(0, 0, weight)
        return
    ids = reader.tokenizer.ids(text)
    place = 0
    while place < len(ids):
        word = _word_at(reader._longest_first, ids, place)
        yield _Unit(word.count, 0, weight, word.name) if word else _Unit(1, ids[place], weight)
        place += len(word.ids) if word else 1


def _word_at(words: Sequence[Word], ids: Sequence[int], place: int) -> Word | None:
    return next((word for word in words if tuple(ids[place : place + len(word.ids)]) == word.ids), None)


def _cut(units: Iterable[_Unit], comma: int) -> list[list[_Unit]]:
    """Fill chunks of 75; a full one is broken after its last comma if that is near and no comma comes next."""
    chunks: list[list[_Unit]] = [[]]
    for unit in units:
        chunk = chunks[-1]
        used = sum(item.size for item in chunk)
        if unit.size == 0:
            chunks.append([])
            continue
        if used == CHUNK and unit.id != comma:
            tail = _after_last_comma(chunk, comma)
            del chunk[len(chunk) - len(tail) :]
            chunks.append(tail)
            used = sum(item.size for item in tail)
        if used + unit.size > CHUNK:
            chunks.append([])
        chunks[-1].append(unit)
    return chunks if chunks[-1] or len(chunks) == 1 else chunks[:-1]


def _after_last_comma(chunk: list[_Unit], comma: int) -> list[_Unit]:
    """What follows the last comma, if the comma lies at most `COMMA_BACKTRACK` tokens back; else nothing."""
    back = 0
    for index in range(len(chunk) - 1, -1, -1):
        back += chunk[index].size
        if back > COMMA_BACKTRACK:
            return []
        if chunk[index].id == comma and chunk[index].word is None:
            return chunk[index + 1 :]
    return []


def _chunk(tokenizer: Tokenizer, units: Sequence[_Unit]) -> Chunk:
    ids, weights, words = [tokenizer.start], [1.0], []
    for unit in units:
        if unit.word is not None:
            words.append((len(ids), unit.word))
        ids += [unit.id] * unit.size
        weights += [unit.weight] * unit.size
    used = len(ids) - 1
    padding = CHUNK + 2 - len(ids)
    return Chunk(tuple(ids + [tokenizer.end] * padding), tuple(weights + [1.0] * padding), tuple(words), used)
