"""Prompts become chunks of 75 tokens exactly as the WebUI cuts them, and a word of several vectors is never split."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.fake import Letters
from tinv_ext.core.prompts.reader import CHUNK, Prompt, PromptReader, Word, equal_chunks
from tinv_ext.hosts.prompt_vectors import ClipTokenizer

COMMA = Letters().comma
Slot = tuple[int, str, int]  # token id, or 0 with the word's name and which of its vectors


def webui_cut(ids: Sequence[int], words: Sequence[Word], comma: int) -> list[list[Slot]]:
    """The facts of v1.10.1 `tokenize_line`, put down as plainly as can be.

    A full chunk is ended by the next token. Was that no comma, and stands one among the last 20 slots, then what
    comes behind it moves to the next chunk. A word that has no room left begins a chunk. The longest word counts.
    """
    done: list[list[Slot]] = []
    row: list[Slot] = []
    comma_at = -100
    at = 0
    while at < len(ids):
        fitting = [word for word in words if list(ids[at : at + len(word.ids)]) == list(word.ids)]
        word = max(fitting, key=lambda word: len(word.ids), default=None)
        size = word.count if word else 1
        if len(row) == 75:
            keep = comma_at + 1 if ids[at] != comma and comma_at >= 55 else 75
            done.append(row[:keep])
            row, comma_at = row[keep:], -100
        if len(row) + size > 75:
            done.append(row)
            row, comma_at = [], -100
        if word is None and ids[at] == comma:
            comma_at = len(row)
        row = row + ([(0, word.name, index) for index in range(size)] if word else [(ids[at], "", 0)])
        at += len(word.ids) if word else 1
    return [*done, row] if row or not done else done


def slots(prompt: Prompt, words: Sequence[Word]) -> list[list[Slot]]:
    """The used places of a prompt, for comparison with `webui_cut`."""
    counts = {word.name: word.count for word in words}
    rows = []
    for chunk in prompt.chunks:
        row: list[Slot] = [(token, "", 0) for token in chunk.ids[1 : 1 + chunk.used]]
        for place, name in chunk.words:
            row[place - 1 : place - 1 + counts[name]] = [(0, name, index) for index in range(counts[name])]
        rows.append(row)
    return rows


@st.composite
def texts(draw: st.DrawFn) -> tuple[str, tuple[Word, ...]]:
    """Up to 400 tokens, commas of any density, and up to three words of 1 to 32 vectors."""
    names = ["one", "one two", "three"][: draw(st.integers(1, 3))]
    words = tuple(Word(name, tuple(Letters().ids(name)), draw(st.integers(1, 32))) for name in names)
    rng = random.Random(draw(st.integers(0, 2**32)))
    commas, named = draw(st.sampled_from([0.0, 0.02, 0.1, 0.4])), draw(st.sampled_from([0.0, 0.02, 0.1]))
    plain = ["a", "photo", "of", "thing", "two"]
    pick = [",", *names, *plain]
    weights = [commas, *[named / len(names)] * len(names), *[(1 - commas - named) / len(plain)] * len(plain)]
    return " ".join(rng.choices(pick, weights, k=draw(st.integers(10, 400)))), words


@settings(max_examples=80, deadline=None, derandomize=True)
@given(texts())
def test_chunks_are_cut_as_the_webui_cuts_them(drawn: tuple[str, tuple[Word, ...]]) -> None:
    """Prompts of 10 to 400 tokens with words of 1 to 32 vectors: every token, word and break stands where it should."""
    text, words = drawn
    prompt = PromptReader(Letters(), words).read(text)
    assert slots(prompt, words) == webui_cut(Letters().ids(text), words, COMMA)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(texts())
def test_a_chunk_is_77_places_and_a_word_is_whole(drawn: tuple[str, tuple[Word, ...]]) -> None:
    """Start, at most 75, end; no vector of a word lies beyond its chunk, no two words overlap."""
    text, words = drawn
    counts = {word.name: word.count for word in words}
    for chunk in PromptReader(Letters(), words).read(text).chunks:
        assert len(chunk.ids) == len(chunk.weights) == CHUNK + 2
        assert chunk.ids[0] == Letters().start
        assert set(chunk.ids[1 + chunk.used :]) == {Letters().end}
        ends = [place + counts[name] for place, name in chunk.words]
        assert all(end <= 1 + chunk.used for end in ends)
        assert all(place >= end for (place, _), end in zip(chunk.words[1:], ends))


@pytest.mark.parametrize("length", [1, 74, 75, 76, 149, 150, 151, 400])
@pytest.mark.parametrize("count", [1, 2, 32, 75])
def test_a_word_at_the_seam_begins_a_chunk(length: int, count: int) -> None:
    """Behind `length` tokens a word of `count` vectors stays where there is room, else it begins the next chunk."""
    word = Word("it", tuple(Letters().ids("it")), count)
    prompt = PromptReader(Letters(), (word,)).read(" ".join(["a"] * length) + " it")
    last = prompt.chunks[-1]
    room = 75 - length % 75 if length % 75 else 0
    assert last.words == (((75 - room + 1) if count <= room else 1, "it"),)
    assert prompt.length == length + count


def test_the_comma_lies_at_most_20_places_back() -> None:
    """With 19 tokens behind the comma they move to the next chunk; with 20 they stay; before a comma nothing moves."""

    def used(text: str) -> list[int]:
        return [chunk.used for chunk in PromptReader(Letters()).read(text).chunks]

    for behind, moved in ((19, True), (20, False)):
        full = " ".join(["a"] * (74 - behind)) + " , " + " ".join(["b"] * behind)
        assert used(full + " c") == ([75 - behind, behind + 1] if moved else [75, 1])
        assert used(full + " ,") == [75, 1]
        assert used(full) == [75]


def test_a_word_that_moves_with_the_tail_keeps_its_vectors() -> None:
    """The WebUI leaves the vectors in the old chunk (its `fixes` do not move); ours move with the word."""
    word = Word("it", tuple(Letters().ids("it")), 4)
    prompt = PromptReader(Letters(), (word,)).read(" ".join(["a"] * 69) + " , it b b")
    assert [chunk.words for chunk in prompt.chunks] == [(), ((1, "it"),)]
    assert prompt.holds("it")


def test_a_word_that_no_chunk_can_hold_is_plain_text() -> None:
    """A program may have an embedding of more than 75 vectors, which no text encoder takes."""
    text = "a b c"
    for count, held in ((75, True), (76, False), (200, False)):
        prompt = PromptReader(Letters(), (Word("b", tuple(Letters().ids("b")), count),)).read(text)
        assert prompt.holds("b") is held
        assert all(len(chunk.ids) == 77 for chunk in prompt.chunks)


def test_an_empty_text_is_one_empty_chunk() -> None:
    """A prompt has at least one chunk."""
    for text in ("", "   "):
        prompt = PromptReader(Letters()).read(text)
        assert [chunk.used for chunk in prompt.chunks] == [0]
        assert set(prompt.chunks[0].ids[1:]) == {Letters().end}


def test_a_batch_is_padded_to_equal_chunks() -> None:
    """The shorter prompt gets empty chunks behind its own."""
    reader = PromptReader(Letters())
    short, long = reader.read("a"), reader.read(" ".join(["a"] * 151))
    rows = equal_chunks([short, long], Letters())
    assert [[chunk.used for chunk in row] for row in rows] == [[1, 0, 0], [75, 75, 1]]
    assert rows[0][0] == short.chunks[0]


def test_the_longest_of_fitting_words_counts(clip: ClipTokenizer) -> None:
    """ "mychar-two" is not read as "mychar" with something behind it, in whichever order they are known."""
    words = [Word(name, tuple(clip.ids(name)), 2) for name in ("mychar", "mychar-two")]
    for order in (words, words[::-1]):
        prompt = PromptReader(clip, tuple(order)).read("a photo of MyChar-Two and mychar")
        assert [name for _, name in prompt.chunks[0].words] == ["mychar-two", "mychar"]


@pytest.mark.parametrize(
    "name, text, found",
    [
        ("mychar4", "MYCHAR4, 1girl", True),
        ("mychar4", "mychar42", True),  # digits are tokens of their own
        ("mychar", "mychars", False),
        ("art-x", "party-x", False),
        ("画风", "a 画风 photo", True),
        ("cat", "a cattle", False),
        ("cat", "a cat", True),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_a_word_is_found_by_its_tokens(clip: ClipTokenizer, name: str, text: str, found: bool, known: bool) -> None:
    """Not by its letters: what `finds` says is what a prompt holds."""
    word = Word(name, tuple(clip.ids(name)), 3)
    assert PromptReader(clip, (word,) if known else ()).finds(name, text) is found
    assert PromptReader(clip, (word,)).read(text).holds(name) is found


def test_a_longer_word_hides_the_one_that_it_begins_with() -> None:
    """`finds` agrees with the prompt: "it" is not found where the prompt holds "it was"."""
    words = tuple(Word(name, tuple(Letters().ids(name)), 1) for name in ("it", "it was"))
    assert not PromptReader(Letters(), words).finds("it", "so it was")
    assert PromptReader(Letters(), words[:1]).finds("it", "so it was")


def test_brackets_are_text_unless_asked() -> None:
    """Training prompts are plain text: nothing is weighted, BREAK is a word."""
    text = "(a:1.4) BREAK [b]"
    plain, weighted = PromptReader(Letters()).read(text), PromptReader(Letters(), emphasis=True).read(text)
    assert len(plain.chunks) == 1
    assert set(plain.chunks[0].weights) == {1.0}
    assert [chunk.weights[1] for chunk in weighted.chunks] == [1.4, pytest.approx(1 / 1.1)]
    assert [chunk.weights[2] for chunk in weighted.chunks] == [1.0, 1.0]


def test_a_weight_covers_all_vectors_of_a_word() -> None:
    """(it:1.5) with three vectors has three places of weight 1.5."""
    word = Word("it", tuple(Letters().ids("it")), 3)
    chunk = PromptReader(Letters(), (word,), emphasis=True).read("a (it:1.5) b").chunks[0]
    assert chunk.weights[:7] == (1.0, 1.0, 1.5, 1.5, 1.5, 1.0, 1.0)


def test_a_word_of_no_tokens_is_nowhere() -> None:
    """A file called " .pt" makes one: it once matched at every place, for ever."""
    reader = PromptReader(Letters(), (Word(" ", (), 2), Word("it", tuple(Letters().ids("it")), 1)))
    prompt = reader.read("a photo of it")
    assert (prompt.length, prompt.holds("it"), prompt.holds(" ")) == (4, True, False)
    assert not PromptReader(Letters()).finds("\u3000", "a photo")
