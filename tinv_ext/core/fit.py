"""Whether an embedding fits a model: as many encoders, with vectors of the same widths, and not too many."""

from __future__ import annotations

from collections.abc import Mapping

from tinv_ext.core.embedding import Embedding
from tinv_ext.core.families import CHUNK
from tinv_ext.core.messages import Message, message


def unfit(embedding: Embedding, widths: Mapping[str, int]) -> Message | None:
    """Why a model with these widths by encoder cannot use the embedding; None if it can."""
    if fits(embedding.widths, widths):
        return too_long(embedding)
    return message(
        "fit.other_model",
        'The embedding "{name}" has vectors of width {has: and }, but the model takes {takes: and }. It was made for '
        "another kind of model.",
        name=embedding.name,
        has=_listed(embedding.widths),
        takes=_listed(widths),
    )


def too_long(embedding: Embedding) -> Message | None:
    """Why no model can use an embedding, as no prompt can hold it; None if one can."""
    if embedding.count <= CHUNK:
        return None
    return message(
        "fit.too_long",
        'The embedding "{name}" has {count} vectors, but a word can have at most {most}: they stand in a prompt '
        "together. No model can use it.",
        name=embedding.name,
        count=embedding.count,
        most=CHUNK,
    )


def unfit_widths(has: Mapping[str, int], widths: Mapping[str, int]) -> Message | None:
    """As `unfit`, for vectors that have no name."""
    if fits(has, widths):
        return None
    return message(
        "fit.other_widths",
        "The embedding has vectors of width {has: and }, but the model takes {takes: and }. It was made for another "
        "kind of model.",
        has=_listed(has),
        takes=_listed(widths),
    )


def fits(has: Mapping[str, int], widths: Mapping[str, int]) -> bool:
    """Whether the widths are the same. Names do not count: a file with one tensor does not say its encoder's."""
    return sorted(has.values()) == sorted(widths.values())


def _listed(widths: Mapping[str, int]) -> list[str]:
    return [f"{width} ({encoder})" for encoder, width in widths.items()]
