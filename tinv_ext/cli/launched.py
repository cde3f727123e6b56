"""A training in several processes, as `accelerate launch -m tinv_ext train …` or torchrun start them.

Both say by environment variables which process of how many one is. Each takes the GPU of its number on its machine.
The first one (rank 0) shows, writes and decides; from the others only errors are heard.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from tinv_ext.cli.failures import DONE
from tinv_ext.core.errors import FormatError, InputError
from tinv_ext.core.messages import message
from tinv_ext.core.settings import TrainConfig, current_names

if TYPE_CHECKING:
    from tinv_ext.cli.signals import Ending
    from tinv_ext.core.preflight.prepare import PreparedRun
    from tinv_ext.core.training.ranks import Ranks
    from tinv_ext.hosts.base import Host
    from tinv_ext.run.status import Status
    from tinv_ext.run.torch_ranks import TorchRanks

H = TypeVar("H", bound="Host")
R = TypeVar("R")
_ACCUMULATION = "gradient_accumulation_steps"


@dataclass(frozen=True)
class Launch:
    """Which process of how many this is, and its number on its machine."""

    rank: int
    count: int
    local_rank: int


def launch_of(environment: Mapping[str, str]) -> Launch | None:
    """What a launcher says of this process; None where it is the only one. `InputError` where that is not usable."""
    texts = [environment.get(name, default) for name, default in (("RANK", ""), ("WORLD_SIZE", "1"))]
    if texts[1] in ("", "1"):
        return None
    try:
        rank, count = (int(text) for text in texts)
        local = int(environment.get("LOCAL_RANK", "0"))
        if not 0 <= rank < count or local < 0:
            raise ValueError
    except ValueError:
        raise InputError(
            message(
                "ranks.bad_environment",
                'The environment says that this is process RANK="{rank}" of WORLD_SIZE="{count}", which cannot be. '
                "Start the training with accelerate launch or torchrun, or unset WORLD_SIZE to train in one process.",
                rank=texts[0],
                count=texts[1],
            )
        ) from None
    return Launch(rank, count, local)


def is_beside(environment: Mapping[str, str]) -> bool:
    """Whether this is one of several processes, and not the first. What makes no sense is told where it matters."""
    try:
        launch = launch_of(environment)
    except InputError:
        return False
    return launch is not None and launch.rank > 0


# --- meeting the others, each on its device --------------------------------------------------------------------------


def meet(environment: Mapping[str, str] = os.environ) -> Ranks:
    """The processes of this run, once all have met. `HostError` where they do not find each other."""
    from tinv_ext.core.training.ranks import ALONE

    launch = launch_of(environment)
    if launch is None:
        return ALONE
    from tinv_ext.run.torch_ranks import TorchRanks

    return TorchRanks.meet(launch.rank, launch.count)


def take_device(ranks: Ranks, options: dict[str, Any], environment: Mapping[str, str] = os.environ) -> None:
    """Choose the device of this process, as the launcher says. `InputError` where there are not enough."""
    if environment.get("ACCELERATE_MIXED_PRECISION") == "bf16" and options["precision"] == "auto":
        options["precision"] = "bf16"
    if environment.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true") and options["device"] == "auto":
        options["device"] = "cpu"
    launch, several = launch_of(environment), _several(ranks)
    if launch is None or several is None:
        return
    from tinv_ext.run.agreement import seat_of, seat_problems, use_gpu

    seat = seat_of(launch.local_rank, options["device"])
    _refuse(several, seat_problems(several.exchange(seat)))
    if seat.gpus:
        options["device"] = use_gpu(launch.local_rank)
    elif options["precision"] == "auto":  # which a CPU chooses by its speed: each process might by another
        options["precision"] = "fp32"


def _several(ranks: Ranks) -> TorchRanks | None:
    """The processes, where there is more than one."""
    if ranks.count == 1:
        return None
    from tinv_ext.run.torch_ranks import TorchRanks

    return ranks if isinstance(ranks, TorchRanks) else None


def _refuse(ranks: TorchRanks, problems: Sequence[str]) -> None:
    """Where there are problems, rank 0 tells them; the others are done."""
    if problems and ranks.leads:
        raise InputError(problems)
    if problems:
        raise SystemExit(DONE)


# --- the same run in all of them -------------------------------------------------------------------------------------


def by_all(ranks: Ranks, act: Callable[[], R]) -> R:
    """What `act` returns, done by every process. `InputError` has the problems of all of them."""
    several = _several(ranks)
    if several is None:
        return act()
    from tinv_ext.run.agreement import problems_of_all

    done, problems = list[R](), tuple[str, ...]()
    try:
        done = [act()]
    except (InputError, FormatError) as error:
        problems = error.problems
    _refuse(several, problems_of_all(several.exchange(problems)))
    return done[0]


def prepared_by_all(
    ranks: Ranks, prepare: Callable[[], tuple[H, PreparedRun | Status]]
) -> tuple[H, PreparedRun | Status]:
    """What `prepare` returns: the host, and the run as it was prepared, or its status where nothing is left to do.

    `InputError` has the problems of all processes, also where they do not agree on what is to be trained.
    """
    host, prepared = by_all(ranks, prepare)
    several = _several(ranks)
    if several is None:
        return host, prepared
    from tinv_ext.run.agreement import compared, differences
    from tinv_ext.run.status import Status

    facts = {} if isinstance(prepared, Status) else compared(prepared, host)
    _refuse(several, differences(several.exchange(facts)))
    if isinstance(prepared, Status):
        return host, prepared
    shared = _shared_out(prepared, several)
    several.begin()
    return host, shared


def total(config: TrainConfig, ranks: Ranks) -> TrainConfig:
    """A new run's settings, whose batches are those of one process, with the batches that a step has in all."""
    config = config.but(**{_ACCUMULATION: config.gradient_accumulation_steps * ranks.count})
    if ranks.count > 1 and (problems := config.problems()):
        raise InputError(problems)
    return config


def total_changes(given: Mapping[str, Any], ranks: Ranks) -> Mapping[str, Any]:
    """The same of what a resumed run is to change. What it does not change stays as it is for all processes."""
    current = current_names(given)
    try:
        batches = int(current[_ACCUMULATION]) * ranks.count
    except (KeyError, TypeError, ValueError):  # none given, or what is told with the other problems
        return given
    return {**current, _ACCUMULATION: batches}


def _shared_out(prepared: PreparedRun, ranks: TorchRanks) -> PreparedRun:
    """The run with a notice of how its steps are shared out. `InputError` where there is nothing for some to do."""
    examples = prepared.config.examples_per_step
    if examples < ranks.count:
        few = message(
            "ranks.too_few_images",
            "A step of this run has {examples:image|images}, too few for {count} processes. Start fewer processes, or "
            "raise gradient_accumulation_steps.",
            examples=examples,
            count=ranks.count,
        )
        _refuse(ranks, [few])
    shared = message(
        "ranks.shared",
        "{count} processes share each step of {examples:image|images}.",
        count=ranks.count,
        examples=examples,
    )
    return replace(prepared, notices=(shared, *prepared.notices))


# --- while it goes on ------------------------------------------------------------------------------------------------


def follow(prepared: PreparedRun | Status, host: Host, ranks: Ranks, ending: Ending) -> int:
    """Do what rank 0 asks until it is done. To be told to end is a wish that it hears after the step at hand."""
    from tinv_ext.run.follower import follow as follow_run
    from tinv_ext.run.status import Status

    several = _several(ranks)
    if several is None or isinstance(prepared, Status):
        return DONE
    with ending.stopping(several.ask_to_stop):
        follow_run(prepared, host, several)
    return DONE


def shown_by_first(tell: Callable[[str], None]) -> Callable[[str], None]:
    """`tell` in the first process, nothing in the others."""
    return (lambda notice: None) if is_beside(os.environ) else tell


def stopped_by(ranks: Ranks, stop: Callable[[], None]) -> None:
    """Call `stop` where one of the other processes was told to end."""
    if several := _several(ranks):
        several.stop = stop


@contextmanager
def letting_go(ranks: Ranks, ending: Ending) -> Iterator[None]:
    """Let the other processes go at the end. Where the training fails, the launcher's signals come too late to matter:
    first it is said why."""
    several, well = _several(ranks), False
    try:
        yield
        well = True
    except SystemExit:  # all have agreed on it
        well = True
        raise
    except BaseException:
        if several:
            ending.stop = lambda: None
        raise
    finally:
        if several:
            several.quit()
        if several and well:
            several.part()
