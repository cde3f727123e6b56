"""What runs are compared on: the nine concepts held out from the toy's training and five more, or the wide world's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import repository  # noqa: F401  (where tinv_ext is)

from tinv_ext.toy import heldout, judge, world

MORE = Path(__file__).with_name("more_concepts.json")  # the toy's training may have had the like of them by chance


def read(own: Path | None = None, variant: str | None = None) -> Mapping[str, heldout.Concept]:
    """All of the variant's world by name, or those of a file of one's own."""
    if variant == "wide":
        return heldout.read(own or heldout.WIDE_FILE, world.WIDE)
    if own:
        return heldout.read(own)
    return {**heldout.read(), **heldout.read(MORE)}


def judged(known: Mapping[str, heldout.Concept]) -> list[str]:
    """The names of those that the judge can tell: of odd shapes it knows the held-out ones only."""

    def told(concept: heldout.Concept) -> bool:
        shape = concept.shape if concept.words else concept.name
        return concept.style or shape in judge.classes(concept.home)["shape"]

    return [name for name, concept in known.items() if told(concept)]
