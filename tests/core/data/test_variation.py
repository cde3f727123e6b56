"""How captions vary, as kohya's manual says it (sd-scripts docs/config_README-en.md), and that the word stays."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.core.fake import Letters
from tinv_ext.core.data.captions import CaptionRules
from tinv_ext.core.data.variation import FIRST, Visit, fixed, least, vary
from tinv_ext.core.prompts.reader import PromptReader, Word

READER = PromptReader(Letters(), (Word("it", tuple(Letters().ids("it")), 2),))


def rules(**given: Any) -> CaptionRules:
    """Rules for the word "it", found as prompts find it."""
    return CaptionRules("it", finds=READER.finds, **given)


def drawn(caption: str, count: int = 60, visit: Visit = FIRST, **given: Any) -> set[str]:
    """The variations that come up."""
    rng = torch.Generator().manual_seed(1)
    return {vary(caption, rules(**given), rng, visit) for _ in range(count)}


def test_nothing_set_takes_no_random_number() -> None:
    """So runs from before these settings stay as they were."""
    rng = torch.Generator().manual_seed(0)
    state = rng.get_state()
    text = "a {red|blue} cat ||| b;;;c"
    assert vary(text, rules(), rng, Visit(7, 3)) == fixed(text, rules()) == text
    assert torch.equal(rng.get_state(), state)


def test_the_first_tags_stay() -> None:
    """keep_tokens: neither shuffled nor dropped."""
    assert drawn("a, b, c, d", shuffle_tags=True, keep_tokens=2) == {"a, b, c, d", "a, b, d, c"}
    assert drawn("a, b, c, d", tag_dropout=1.0, keep_tokens=2) == {"a, b"}
    assert drawn("a, b", shuffle_tags=True, keep_tokens=5) == {"a, b"}


def test_the_separator_keeps_both_ends() -> None:
    """The manual's example; the separator itself is never seen, whatever else is set."""
    caption = "1girl, hatsune miku, vocaloid ||| stage, microphone ||| best quality, rating: general"
    ends = "1girl, hatsune miku, vocaloid, {}, best quality, rating: general"
    both = {ends.format("stage, microphone"), ends.format("microphone, stage")}
    assert drawn(caption, shuffle_tags=True, keep_tokens_separator="|||") == both
    assert drawn(caption, keep_tokens_separator="|||") == {ends.format("stage, microphone")}
    assert drawn(caption, tag_dropout=1.0, keep_tokens_separator="|||") == {ends.replace(" {},", "")}
    assert fixed(caption, rules(keep_tokens_separator="|||")) == ends.format("stage, microphone")
    assert drawn("a ||| b, c", shuffle_tags=True, keep_tokens_separator="|||") == {"a, b, c", "a, c, b"}


def test_what_a_secondary_separator_parts_stays_together() -> None:
    """The manual's example: shuffled and dropped as one tag, and then parted by commas."""
    assert drawn("1girl, sky;;;cloud;;;day", shuffle_tags=True, secondary_separator=";;;") == {
        "1girl, sky,cloud,day",
        "sky,cloud,day, 1girl",
    }
    assert drawn("sky;;;cloud", tag_dropout=0.5, secondary_separator=";;;") == {"sky,cloud", ""}
    assert drawn("a;;;b|c", shuffle_tags=True, secondary_separator=";;;", caption_separator="|") == {"a|b, c", "c, a|b"}


def test_wildcards_become_one_of_their_words() -> None:
    """The manual's examples; doubled brackets are brackets."""
    assert drawn("a {simple|white} background", wildcards=True) == {"a simple background", "a white background"}
    assert drawn("vocaloid, {{retro style}}", wildcards=True) == {"vocaloid, {retro style}"}
    assert fixed("a {simple|white} background", rules(wildcards=True)) == "a simple background"
    assert drawn("{a, b|c}", wildcards=True, shuffle_tags=True) == {"a, b", "b, a", "c"}


def test_a_word_that_a_wildcard_may_hide_is_found() -> None:
    """`least` is the variation that lacks the word if any does."""
    assert least("{it|a cat} and {a dog|it}", rules(wildcards=True)) == "a cat and a dog"
    assert least("{it|here it is}", rules(wildcards=True)) in ("it", "here it is")


@pytest.mark.parametrize("caption, dropped", [("a cat", ""), ("a cat, it", "[name]"), ("[name] here", "[name]")])
def test_a_dropped_caption_keeps_the_word(caption: str, dropped: str) -> None:
    """By chance, as often as it says, or in every so many epochs; else a prompt would teach nothing."""
    rng = torch.Generator().manual_seed(3)
    times = [vary(caption, rules(caption_dropout=0.3), rng) == dropped for _ in range(800)]
    assert sum(times) / 800 == pytest.approx(0.3, abs=0.05)
    epochs = [vary(caption, rules(caption_dropout_every=3), rng, Visit(1, epoch)) for epoch in range(1, 7)]
    assert epochs == [caption, caption, dropped, caption, caption, dropped]


@pytest.mark.parametrize(
    "caption, dropped",
    [("she at home", "she"), ("it and she", "[name], she"), ("she, [name]", "[name], she"), ("at home", "")],
)
def test_a_dropped_caption_keeps_each_of_several_words(caption: str, dropped: str) -> None:
    """And none that it does not have: its image would teach the wrong word."""
    given = rules(caption_dropout=1.0, others=("she",))
    assert vary(caption, given, torch.Generator()) == dropped


def test_tags_warm_up() -> None:
    """From so many tags at the first step to all of them, in equal parts; a tag with the word is there from the start.

    kohya's floor(step · (tags - min) / steps) + min, of steps that begin at 0.
    """
    caption = "a, b, c, d, it"
    given = {"warmup_min": 1, "warmup_steps": 8}
    found = [vary(caption, rules(**given), torch.Generator(), Visit(step)) for step in (1, 2, 3, 5, 7, 8, 9, 100)]
    assert found == ["a, it", "a, it", "a, b, it", "a, b, c, it", "a, b, c, d, it", *["a, b, c, d, it"] * 3]
    assert vary("a", rules(warmup_min=5, warmup_steps=8), torch.Generator(), Visit(3)) == "a"
