"""The toys taught a concept on the device, and the judge's figures of what was learned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tinv_ext import toy
from tinv_ext.core.settings import TrainConfig
from tinv_ext.demo import concept_test
from tinv_ext.toy import heldout
from tools.on_gpu.results import Place, Row, at_least, placed

# Variant of the toy, concept, precision; the worst share of images in docs/gpu.md is 0.88.
LESSONS = (
    ("", "clover", "bf16"),
    ("", "clover", "fp16"),
    ("", "purple-moon", "fp32"),
    ("sdxl", "clover", "fp16"),
    ("v_prediction", "clover", "fp16"),
)
_LEAST = 0.8
_LONG = 45.0  # seconds that a lesson takes at most on a GPU


def rows(place: Place) -> Iterator[Row]:
    """A row for each lesson that there is time for; on a tiny place one lesson of few steps, without a bar."""
    for variant, concept, precision in LESSONS[1:2] if place.tiny else LESSONS:
        precision = "fp32" if place.tiny else precision
        what = f"{f'toy {variant}'.strip()}, {concept}, {precision}"
        if place.seconds_left < _LONG:
            yield Row(what, {"left out": "no time"})
            continue
        given: dict[str, Any] = {"steps": 2, "evaluate_every": 1} if place.tiny else {}
        figures = lesson(place, variant, concept, precision, given)
        yield Row(what, figures) if place.tiny else at_least(what, figures, identity=_LEAST, editability=_LEAST)


def lesson(place: Place, variant: str, concept: str, precision: str, given: dict[str, Any]) -> dict[str, float]:
    """Identity and editability after the concept test's steps, and seconds of training."""
    folder = f"lesson-{variant}-{concept}-{precision}"
    host = placed(toy.pipeline(variant), place, precision, f"{folder}/embeddings")
    settings = {**concept_test.SETTINGS, "name": "zibbo", "seed": 1, "images": str(concept_test.SAMPLES / concept)}
    settings |= {"output": str(place.folder / folder), **given}
    result = concept_test.run(host, heldout.read()[concept], TrainConfig.from_dict(settings))
    return {
        "identity": result.report["identity_after"],
        "editability": result.report["editability"],
        "seconds": result.report["training_seconds"],
    }
