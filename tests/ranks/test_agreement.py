"""What several processes are told before anything starts, and who computes which examples."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.core.fake import Fake, dataset, initial
from tests.messages import ids, said
from tinv_ext.cli.launched import Launch, is_beside, launch_of
from tinv_ext.core.errors import InputError
from tinv_ext.core.training.draws import order_of, passes, sample_batch
from tinv_ext.core.training.objective import Objective
from tinv_ext.run.agreement import Seat, differences, problems_of_all, seat_problems
from tinv_ext.run.torch_ranks import TorchRanks


def test_a_launcher_is_recognised_by_its_variables() -> None:
    """Both launchers say the same; one process is no launch; what cannot be is told before anybody waits for it."""
    assert launch_of({}) is None
    assert launch_of({"RANK": "0", "WORLD_SIZE": "1"}) is None
    assert launch_of({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}) == Launch(3, 4, 1)
    for rank, count in (("", "2"), ("2", "2"), ("x", "2"), ("0", "many")):
        with pytest.raises(InputError) as error:
            launch_of({"RANK": rank, "WORLD_SIZE": count})
        assert said(error.value.problems, "ranks.bad_environment", rank=rank, count=count)
        assert not is_beside({"RANK": rank, "WORLD_SIZE": count})
    assert [is_beside({"RANK": rank, "WORLD_SIZE": "2"}) for rank in "01"] == [False, True]


SEATS: list[tuple[list[Seat], list[str]]] = [
    ([Seat("a", 0, 2, "auto"), Seat("a", 1, 2, "auto")], []),
    ([Seat("a", 0, 0, "auto"), Seat("a", 1, 0, "cpu")], []),
    ([Seat("a", 0, 1, "auto"), Seat("b", 0, 0, "auto")], ["ranks.no_gpu"]),
    ([Seat("a", 0, 1, "auto"), Seat("a", 1, 1, "auto"), Seat("a", 2, 1, "cuda")], ["ranks.more_than_gpus"] * 2),
    ([Seat("a", 0, 0, "cuda:1"), Seat("a", 1, 0, "cuda:1")], ["ranks.device_given"]),
]


@pytest.mark.parametrize(("seats", "problems"), SEATS, ids=str)
def test_each_process_needs_a_gpu_of_its_own_where_any_has_one(seats: list[Seat], problems: list[str]) -> None:
    """One without a GPU beside others, and more processes than GPUs, are named."""
    assert ids(seat_problems(seats)) == problems


def test_the_problems_of_all_are_told_once() -> None:
    """Those of the first process as they are, those that only others have with their number."""
    told = problems_of_all([["no images"], ["no images"], ["no images", "no model"]])
    assert (told[0], len(told)) == ("no images", 2)
    assert said(told[1:], "ranks.problem", number=3, problem="no model")


def test_processes_that_differ_say_in_what() -> None:
    """Settings and models with both values, images by their names."""
    first: dict[str, Any] = {"settings": {"seed": 1}, "images": {"a.png": "x", "b.png": "y"}, "model": {"name": "m"}}
    same, other = dict(first), {"settings": {"seed": 2}, "images": {"a.png": "z", "c.png": "y"}, "model": {"name": "n"}}
    told = differences([first, same, other])
    assert [text.values["number"] for text in told] == [3, 3, 3]  # type: ignore[attr-defined]
    assert ids([text.values["problem"] for text in told]) == [  # type: ignore[attr-defined]
        "ranks.other_settings",
        "ranks.other_images",
        "ranks.other_model",
    ]
    assert "seed 2 ≠ 1" in told[0]
    assert "a.png, b.png, c.png" in told[1]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_every_example_of_a_step_is_computed_by_one_process(count: int) -> None:
    """In passes that are cut again, with the very draws of the step; also with more processes than batches."""
    state, pictures, model = initial(), dataset(), Fake()
    draws = [sample_batch(state, Objective(), model.noise, pictures, 3) for _ in range(2)]
    whole = {place: draw.noise[row] for where, draw in passes(draws, 1) for row, place in enumerate(where)}
    shares = [TorchRanks(rank, count).share(6) for rank in range(count)]
    for pieces in (1, 2, 6):
        found = [pair for share in shares for pair in passes(draws, pieces, share)]
        assert sorted(place for where, _ in found for place in where) == sorted(order_of(draws)) == list(range(6))
        for where, draw in found:
            assert len(where) <= -(-6 // pieces)
            assert all(torch.equal(draw.noise[row], whole[place]) for row, place in enumerate(where))
