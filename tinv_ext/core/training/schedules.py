"""Rates as functions of the step, in the grammar of the WebUI: `0.005:100, 1e-3:1000, 1e-5`.

`rate:step` holds until that step, a bare `rate` (or `rate:-1`) to the end. The format is that of AUTOMATIC1111 v1.10.1
`modules/textual_inversion/learn_schedule.py`; where that silently ignores a part, this one says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message

_DECIMAL_COMMA = re.compile(r"(?:^|[,\s])\d+,\d+(?:[eE][-+]?\d+)?(?=$|[:,\s])")
LARGEST = 1e30  # what is larger than float32 ends an optimizer's step with an error of its own


@dataclass(frozen=True)
class Schedule:
    """Pieces of constant rate: `pieces[i] = (rate, end)`, used for steps below `end`; `end` None means for ever."""

    pieces: tuple[tuple[float, int | None], ...]

    @property
    def end(self) -> int | None:
        """First step for which the schedule says nothing, or None if it never ends."""
        return self.pieces[-1][1]

    def at(self, step: int) -> float:
        """Rate of the update that leads from `step` to `step + 1`; past the end the last rate goes on."""
        for rate, end in self.pieces:
            if end is None or step < end:
                return rate
        return self.pieces[-1][0]


def decimal_comma(text: str) -> Message:
    """The problem of a number written with a decimal comma."""
    return message(
        "training.decimal_comma", '"{text}" has a comma in a number. Write a point, as in "0.005".', text=text
    )


def parse_schedule(text: str) -> Schedule:
    """Read a schedule, or raise `InputError` with a sentence for each thing wrong in it."""
    pieces: list[tuple[float, int | None]] = []
    problems: list[str] = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        if pieces and pieces[-1][1] is None:
            problems.append(decimal_comma(text) if _DECIMAL_COMMA.search(text) else _unreachable(item))
            break
        try:
            piece = _parse_piece(item)
        except InputError as error:
            problems += error.problems
            continue
        last = pieces[-1][1] if pieces else 0
        if piece[1] is not None and last is not None and piece[1] <= last:
            problems.append(
                message(
                    "training.steps_must_grow",
                    '"{item}" ends at step {step}, not after step {last} before it. Steps must grow.',
                    item=item,
                    step=piece[1],
                    last=last,
                )
            )
        pieces.append(piece)
    if not pieces and not problems:
        problems.append(
            message(
                "training.schedule_empty", 'The schedule is empty. Write a rate such as "0.005" or "0.005:100, 1e-3".'
            )
        )
    if problems:
        raise InputError(problems)
    return Schedule(tuple(pieces))


def _unreachable(item: str) -> Message:
    return message(
        "training.rate_unreachable",
        '"{item}" can never be used: the rate before it holds to the end. Give that one a step.',
        item=item,
    )


def _parse_piece(item: str) -> tuple[float, int | None]:
    rate_text, colon, step_text = item.partition(":")
    try:
        rate = float(rate_text)
    except ValueError:
        raise InputError(
            message("training.not_a_rate", '"{item}" is not "rate" or "rate:step", such as "0.005:100".', item=item)
        ) from None
    if not 0 <= rate <= LARGEST:
        raise InputError(
            message(
                "training.rate_out_of_range",
                'The rate in "{item}" must be a number from 0 to {most:g}.',
                item=item,
                most=LARGEST,
            )
        )
    if not colon:
        return rate, None
    try:
        step = int(step_text)
    except ValueError:
        raise InputError(
            message(
                "training.step_not_whole",
                'The step in "{item}" must be a whole number, such as "0.005:100".',
                item=item,
            )
        ) from None
    if step == -1:
        return rate, None
    if step < 1:
        raise InputError(
            message(
                "training.step_too_small", 'The step in "{item}" must be 1 or more (or -1 for "to the end").', item=item
            )
        )
    return rate, step
