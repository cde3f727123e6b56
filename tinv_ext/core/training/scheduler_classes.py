"""Learning rates of a scheduler class, as kohya's `--lr_scheduler_type` names it: worked out beforehand, step by step.

A class of torch.optim.lr_scheduler goes by its name, another by its path, such as "package.module.Class".
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message


def rates_of_class(name: str, arguments: Mapping[str, Any], rate: float, steps: int) -> tuple[float, ...]:
    """The rate of each of so many steps. `InputError` where there is no such class, or it cannot be used so.

    The scheduler is given an optimizer of its own, with `rate`; what it makes of the momentum is not used.
    """
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate, momentum=0.9)
    rates = []
    try:
        module, _, attribute = name.strip().rpartition(".")
        found = getattr(import_module(module or "torch.optim.lr_scheduler"), attribute)
        if not (isinstance(found, type) and issubclass(found, torch.optim.lr_scheduler.LRScheduler)):
            raise TypeError(f"{name} is not a torch scheduler")
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")  # a few schedulers warn of their own step
            scheduler = found(optimizer, **arguments)
            for step in range(steps):
                rates.append(float(optimizer.param_groups[0]["lr"]))
                optimizer.step()
                if step + 1 < steps:
                    scheduler.step()
    except Exception as error:
        raise InputError(
            message(
                "training.no_scheduler",
                'The scheduler "{name}" (lr_scheduler_type) cannot be used: {reason}. Check its name and '
                "lr_scheduler_args, or choose one by lr_scheduler.",
                name=name,
                reason=f"{type(error).__name__}: {error}",
            )
        ) from error
    return tuple(rates)
