"""What runs are compared on: the nine concepts held out from the toy's training, and five more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import repository  # noqa: F401  (where tinv_ext is)

from tinv_ext.toy import heldout, judge

MORE = Path(__file__).with_name("more_concepts.json")  # the toy's training may have had the like of them by chance


def read(own: Path | None = None) -> Mapping[str, heldout.Concept]:
    """All by name, or those of a file of one's own."""
    return heldout.read(own) if own else {**heldout.read(), **heldout.read(MORE)}


def judged(known: Mapping[str, heldout.Concept]) -> list[str]:
    """The names of those that the judge can tell: of odd shapes it knows the held-out ones only."""
    shapes = judge.classes()["shape"]
    return [name for name, concept in known.items() if (concept.shape if concept.words else name) in shapes]
