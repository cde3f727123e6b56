"""Whatever ends a run, wherever it strikes: what is then on disk resumes to the very run, vectors and curve."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

from tests.faults.killing import SETTINGS, Place, fake_place
from tinv_ext.core.errors import HostError
from tinv_ext.core.model import Model
from tinv_ext.run import preflight, runner
from tinv_ext.run.evaluations import CurveRows
from tinv_ext.run.tasks import Moment

pytestmark = pytest.mark.once

ERRORS = [KeyboardInterrupt(), SystemExit(3), ValueError("a bug"), OSError(5, "input/output error"), HostError("gone")]
WITHIN = "_train"  # the steps, and everything beside them


class Strike:
    """While it is the profile function, counts the calls (of Python and C) below `_train` and raises at one of them."""

    def __init__(self, number: int = 0, error: BaseException | None = None) -> None:
        self.number, self.error, self.count, self.inside = number, error, 0, 0

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        if frame.f_code.co_name == WITHIN and event in ("call", "return"):
            self.inside += 1 if event == "call" else -1
        if not self.inside or event not in ("call", "c_call"):
            return
        self.count += 1
        if self.count == self.number and self.error:
            raise self.error


def struck(place: Place, strike: Strike) -> BaseException | None:
    """What came out of a run that was struck, if it has ended it."""
    prepared = preflight.prepare_run(place.config, place.host)
    sys.setprofile(strike)
    try:
        runner.start(prepared, place.host)
    except BaseException as error:  # noqa: BLE001 (it is what is looked at)
        return error
    finally:
        sys.setprofile(None)
        torch.set_grad_enabled(True)  # a strike inside torch's own `no_grad().__exit__` leaves the thread without it
    return None


def alone(folder: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, str]], int]:
    """Vectors and curve of a run that was left alone, and how many calls it makes."""
    place, counting = fake_place(folder), Strike()
    assert struck(place, counting) is None
    return (*place.result(), counting.count)


@pytest.mark.parametrize("places", [10, pytest.param(400, marks=pytest.mark.full)])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_what_ends_a_run_anywhere_costs_it_nothing(error: BaseException, places: int, tmp_path: Path) -> None:
    """In a step, between two, at a row of the curve, in an evaluation, a save, a preview: resumed = uninterrupted."""
    vectors, curve, calls = alone(tmp_path / "alone")
    assert [row["step"] for row in curve] == [str(step) for step in range(SETTINGS["steps"] + 1)]
    draw, ended = random.Random(type(error).__name__), 0
    for index in range(places):
        number = draw.randint(calls * index // places + 1, calls * (index + 1) // places)
        place = fake_place(tmp_path / str(number))
        came = struck(place, Strike(number, error))
        ended += came is error
        if place.run_folder() and came is not None:
            place.check()
            place.go_on()
        found, rows = place.result()
        assert rows == curve, f"call {number} of {calls}"
        assert all(torch.equal(found[key], vectors[key]) for key in vectors), f"call {number} of {calls}"
    assert ended >= 2  # the others were absorbed: a preview or a copy less


@pytest.mark.parametrize("step", [0, 3, 5])
def test_a_strike_between_a_step_and_its_row_takes_the_step_back(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step is done, its row is not: what is kept is the state from before, and the status says so."""
    vectors, curve, _ = alone(tmp_path / "alone")
    place, add = fake_place(tmp_path / "struck"), CurveRows.add

    def interrupted(rows: CurveRows, moment: Moment, model: Model | None) -> None:
        if moment.number == step:
            raise KeyboardInterrupt
        add(rows, moment, model)

    with monkeypatch.context() as patch:
        patch.setattr(CurveRows, "add", interrupted)
        assert isinstance(struck(place, Strike()), KeyboardInterrupt)
    run = place.run_folder()
    assert run is not None
    assert (run.status().status, run.status().steps) == ("stopped", max(0, step - 1))
    assert run.state.is_file() == (step > 0)
    place.go_on()
    found, rows = place.result()
    assert rows == curve
    assert all(torch.equal(found[key], vectors[key]) for key in vectors)
