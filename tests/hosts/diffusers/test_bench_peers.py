"""The loops that bench/peers.py times beside ours take the same step."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import torch

from bench import peers, step
from bench.floor import floor
from bench.models import pipeline
from bench.scripts import PLACEHOLDER, WAYS, Script
from bench.sides import BuiltIn, Ours, Work, work

CPU = torch.device("cpu")


def toy() -> Work:
    """The same each time."""
    return work(pipeline("toy", CPU, torch.float32), 64, 2)


@pytest.fixture(scope="module")
def gradient() -> torch.Tensor:
    """That of our step."""
    return Ours(toy()).gradient()


@pytest.mark.parametrize("name", list(WAYS))
def test_a_script_takes_the_same_step(name: str, gradient: torch.Tensor) -> None:
    """Its gradient on the word is ours; a step moves the word's row of the table and no other."""
    it = toy()
    script = Script(it, WAYS[name])
    torch.testing.assert_close(script.gradient(), gradient, rtol=1e-3, atol=1e-3 * float(gradient.abs().max()))
    table = it.pipeline.text_encoder.get_input_embeddings().weight
    before = table.detach().clone()
    with ExitStack() as stack:
        script.steps(stack)()
    moved = (table != before).any(1)
    assert moved.nonzero().flatten().tolist() == [PLACEHOLDER]


@pytest.mark.parametrize("family", ["sd2", "sdxl"])
def test_in_every_family(family: str) -> None:
    """Paddings, both text encoders and the size conditioning are those of our step."""
    made = [work(pipeline(family, CPU, torch.float32, narrow=True), 64, 1) for _ in range(3)]
    gradient = Ours(made[0]).gradient()
    others = [Script(made[1], WAYS["kohya"]), *([BuiltIn(made[2])] if family == "sd2" else [])]
    for other in others:
        torch.testing.assert_close(other.gradient(), gradient, rtol=1e-3, atol=1e-3 * float(gradient.abs().max()))


def test_the_limit_is_that_of_a_real_step() -> None:
    """Convolutions, linear layers and attention of UNet and text encoder are seen and timed."""
    assert floor(Ours(toy()).gradient, CPU)["processor"] > 0


def test_what_is_measured_by_default_needs_no_large_model() -> None:
    """The toy, and every family narrow; `--full` has their real shapes. The built-in trainer knows no SDXL."""
    usual = peers.cases(peers.arguments(["--precisions", "fp32"]))
    assert [(case.model, case.narrow) for case in usual] == [
        ("toy", False),
        *((name, True) for name in peers.FAMILIES),
    ]
    full = peers.cases(peers.arguments(["--full", "--precisions", "fp32", "bf16", "--narrow"]))
    assert len(full) == 2 * (1 + len(peers.FAMILIES))
    assert [case.model for case in full if "builtin" in case.ways()] == ["toy", "sd15", "sd2"]


def test_steps_in_half_precision_are_compared_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """By sides started for it and ended at once; those that are timed are not asked, whose rounding would decide."""
    started: list[tuple[str, ...]] = []

    class Answers:
        def __init__(self, way: str, *given: object) -> None:
            started.append((way, *map(str, given[-2:])))
            self.gradient = {"ours": [3.0, 4.0], "kohya": [3.0, 4.5]}[way]
            self.ended = False

        def ask(self, command: str) -> list[float]:
            assert (command, self.ended) == ("gradient", False)
            return self.gradient

        def close(self) -> None:
            self.ended = True

    monkeypatch.setattr(step, "Side", Answers)
    sides = {way: Answers(way, "--precision", "fp32") for way in ("ours", "kohya")}
    shape = ("toy", peers.arguments([]), 64, 1)
    assert step.apart(sides, "fp32", *shape) == {"kohya": 0.1}
    assert (len(started), [side.ended for side in sides.values()]) == (2, [False, False])
    for side in sides.values():
        side.ended = True
    assert step.apart(sides, "bf16", *shape) == {"kohya": 0.1}
    assert started[2:] == [("ours", "--precision", "fp32"), ("kohya", "--precision", "fp32")]
