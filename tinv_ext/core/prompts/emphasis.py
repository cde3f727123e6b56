"""Emphasis in brackets, where the setting `emphasis` is on: `(more)`, `[less]`, `(exactly:1.3)`, `BREAK`.

The notation is that of AUTOMATIC1111 v1.10.1 `modules/prompt_parser.py` (`parse_prompt_attention`): a round bracket
multiplies by 1.1, a square one divides by it, `\\(` is a plain bracket, an unclosed bracket counts to the end, a
backslash before anything else is dropped.
"""

from __future__ import annotations

import re

STEP = 1.1
_TOKEN = re.compile(r"\\[\\()\[\]]|\\|\(|\[|:\s*([+-]?[\d.]+)\s*\)|\)|\]|[^\\()\[\]:]+|:")
_BREAK = re.compile(r"\s*\bBREAK\b\s*")
BRACKETS = re.compile(r"(?<!\\)[()\[\]]")


def parse_emphasis(text: str) -> list[tuple[str, float]]:
    """The pieces of `text` with their weights, in order; ("BREAK", -1) where a new chunk starts."""
    pieces: list[list[object]] = []
    weights: list[float] = []
    round_open: list[int] = []
    square_open: list[int] = []

    def multiply(start: int, factor: float) -> None:
        for index in range(start, len(weights)):
            weights[index] *= factor

    for match in _TOKEN.finditer(text):
        token, number = match.group(0), match.group(1)
        if token.startswith("\\"):
            pieces.append([token[1:]])
            weights.append(1.0)
        elif token == "(":
            round_open.append(len(pieces))
        elif token == "[":
            square_open.append(len(pieces))
        elif number is not None and round_open:
            multiply(round_open.pop(), _number(number))
        elif token == ")" and round_open:
            multiply(round_open.pop(), STEP)
        elif token == "]" and square_open:
            multiply(square_open.pop(), 1 / STEP)
        else:
            _append(pieces, weights, token)
    for start in round_open:
        multiply(start, STEP)
    for start in square_open:
        multiply(start, 1 / STEP)
    return _merge([(str(piece[0]), weight) for piece, weight in zip(pieces, weights)])


def _append(pieces: list[list[object]], weights: list[float], text: str) -> None:
    for index, part in enumerate(_BREAK.split(text)):
        if index:
            pieces.append(["BREAK"])
            weights.append(-1.0)
        if part:
            pieces.append([part])
            weights.append(1.0)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 1.0


def _merge(pieces: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Join neighbours of equal weight, so that no token is cut where the weight does not change. BREAK stays alone."""
    merged: list[tuple[str, float]] = []
    for text, weight in pieces:
        if merged and merged[-1][1] == weight and "BREAK" not in (text, merged[-1][0]):
            merged[-1] = (merged[-1][0] + text, weight)
        else:
            merged.append((text, weight))
    return merged or [("", 1.0)]
