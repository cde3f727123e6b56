"""CLIP's real tokenizer over the toy's captions, and which rows of the token table they train."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from transformers import CLIPTokenizer

from tinv_ext.toy import captions

# CLIP's own vocabulary, shipped once
FOLDER = Path(__file__).parents[1] / "hosts" / "diffusers" / "configs" / "sd1" / "tokenizer"
LENGTH = 77
UNKNOWN_ID = 49405  # the table's last two words carry UNKNOWN and COINED while training; afterwards they are unknown
COINED_ID = 49404
START, END = 49406, 49407


def new_tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer as SD1 uses it (padded with the end token): one for each pipeline, as embeddings add words."""
    return CLIPTokenizer.from_pretrained(str(FOLDER))


@cache
def tokenizer() -> CLIPTokenizer:
    """The same, to read captions with: nobody adds a word to it."""
    return new_tokenizer()


@cache
def ids_of(word: str) -> tuple[int, ...]:
    """The token ids of one word; what stands between blanks is tokenized by itself in CLIP, too."""
    if word in (captions.UNKNOWN, captions.COINED):
        return (UNKNOWN_ID if word == captions.UNKNOWN else COINED_ID,)
    return tuple(tokenizer()(word, add_special_tokens=False)["input_ids"])


def encode(text: str, length: int = LENGTH) -> list[int]:
    """START, the words' ids, END and padding (END) up to `length`."""
    ids = [START, *(token for word in text.split() for token in ids_of(word)), END]
    return ids + [END] * (length - len(ids))


def trained_rows() -> list[int]:
    """Every id that a caption can hold, the unknown one last."""
    rows = {token for word in captions.every_word() for token in ids_of(word)}
    return [*sorted(rows | {START, END}), UNKNOWN_ID]
