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
    """By sides started for it, of which none is left when the next begins, as real models need the memory."""
    started: list[tuple[str, ...]] = []
    alive: list[str] = []

    class Answers:
        def __init__(self, way: str, *given: object) -> None:
            assert alive == []
            alive.append(way)
            started.append((way, *map(str, given[-2:])))

        def ask(self, command: str) -> list[float]:
            assert command == "gradient"
            return {"ours": [3.0, 4.0], "kohya": [3.0, 4.5]}[alive[0]]

        def close(self) -> None:
            alive.clear()

    monkeypatch.setattr(step, "Side", Answers)
    found = step.gradients_in_float32(("ours", "kohya"), "toy", peers.arguments([]), 64, 1)
    assert step.apart(found) == {"kohya": 0.1}
    assert started == [("ours", "--precision", "fp32"), ("kohya", "--precision", "fp32")]


def test_some_of_the_ways_are_measured_alone() -> None:
    """Ours is always among them."""
    (case,) = peers.cases(peers.arguments(["--models", "sdxl", "--narrow", "--precisions", "bf16", "--ways", "kohya"]))
    assert case.ways() == ("ours", "kohya")
