"""Everything that changes while a run goes on, and nothing else. Saved, it makes a run go on where it stood."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from tinv_ext.core.atomic import atomic_write
from tinv_ext.core.errors import FormatError

FORMAT = "tinv-state-1"


@dataclass(frozen=True)
class StateBackup:
    """A copy of a state: values and optimizer moments in the order of its vectors."""

    step: int
    values: list[Tensor]
    moments: list[dict[str, Tensor]]
    rng: Tensor
    order: list[int]


@dataclass
class State:
    """A run at `step`: the word's vectors (leaves, float32), the optimizer, the random generator, the data order.

    `start` holds the vectors with which the run began.
    """

    step: int
    vectors: dict[str, Tensor]
    start: dict[str, Tensor]
    optimizer: torch.optim.AdamW
    rng: torch.Generator
    order: list[int] = field(default_factory=list)

    def update(self, rate: float) -> None:
        """One optimizer step with the gradients at hand, which are then forgotten."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1

    def copy(self) -> StateBackup:
        """All of it, to be put back if the step that follows fails anywhere."""
        moments = [
            {key: value.clone() for key, value in self.optimizer.state.get(vector, {}).items()}
            for vector in self.vectors.values()
        ]
        values = [vector.detach().clone() for vector in self.vectors.values()]
        return StateBackup(self.step, values, moments, self.rng.get_state(), list(self.order))

    def restore(self, kept: StateBackup) -> None:
        """Be as when the copy was made; gradients are forgotten."""
        self.step, self.order = kept.step, list(kept.order)
        self.rng.set_state(kept.rng)
        for vector, value, moments in zip(self.vectors.values(), kept.values, kept.moments):
            vector.grad = None
            vector.detach().copy_(value)
            self.optimizer.state.pop(vector, None)
            if moments:
                self.optimizer.state[vector] = moments

    def gradients(self) -> list[Tensor]:
        """Gradients of the vectors, by encoder; zeros where none has arrived."""
        return [torch.zeros_like(v) if v.grad is None else v.grad for v in self.vectors.values()]

    def lengths(self) -> tuple[float, float]:
        """Mean length of the vectors, and mean distance from where they began, of the encoder where it is largest."""
        pairs = [(vector.detach(), self.start[encoder]) for encoder, vector in self.vectors.items()]
        found = [torch.stack([a.norm(dim=1).mean(), (a - b).norm(dim=1).mean()]) for a, b in pairs]
        length, distance = torch.stack(found).amax(dim=0).tolist()
        return length, distance

    def values(self) -> dict[str, Tensor]:
        """A copy of the vectors on the CPU, detached."""
        return {encoder: vector.detach().float().cpu().clone() for encoder, vector in self.vectors.items()}


def new_state(vectors: Mapping[str, Tensor], seed: int, device: torch.device, step: int = 0) -> State:
    """A run at its beginning: AdamW without weight decay over the vectors alone, one CPU generator from `seed`."""
    leaves = {
        encoder: vector.detach().to(device, torch.float32, copy=True).requires_grad_()
        for encoder, vector in vectors.items()
    }
    optimizer = torch.optim.AdamW(list(leaves.values()), lr=0.0, weight_decay=0.0)
    start = {encoder: leaf.detach().clone() for encoder, leaf in leaves.items()}
    return State(step, leaves, start, optimizer, torch.Generator().manual_seed(seed))


def save_state(state: State, path: Path, facts: Mapping[str, Any]) -> None:
    """Write the state as one safetensors file, whole or not at all; `facts` are kept beside it as JSON."""
    tensors = {"rng": state.rng.get_state(), "order": torch.tensor(state.order, dtype=torch.int64)}
    for encoder, vector in state.vectors.items():
        tensors[f"vectors.{encoder}"] = vector.detach().cpu().contiguous()
        tensors[f"start.{encoder}"] = state.start[encoder].cpu().contiguous()
        for key, value in state.optimizer.state.get(vector, {}).items():
            tensors[f"optimizer.{encoder}.{key}"] = torch.as_tensor(value).detach().cpu().contiguous()
    about = {"format": FORMAT, "step": str(state.step), "facts": json.dumps(dict(facts), ensure_ascii=False)}
    with atomic_write(path) as file:
        file.write(save(tensors, about))


def load_state(path: Path, device: torch.device) -> tuple[State, dict[str, Any]]:
    """Read what `save_state` wrote, and its facts. `FormatError` if the file is damaged or something else."""
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            # copies: Windows replaces no file that is still mapped into memory
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 (not a dict)
        if about.get("format") != FORMAT:
            raise FormatError(f'"{path}" is not the state of a run.')
        return _rebuild(tensors, int(about["step"]), device), json.loads(about["facts"])
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise FormatError(f'The state "{path}" is damaged or was written by something else: {error}.') from error


def _rebuild(tensors: Mapping[str, Tensor], step: int, device: torch.device) -> State:
    vectors = {key.partition(".")[2]: value for key, value in tensors.items() if key.startswith("vectors.")}
    state = new_state(vectors, 0, device, step)
    for encoder, vector in state.vectors.items():
        prefix = f"optimizer.{encoder}."
        kept = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
        if kept:  # AdamW keeps its step count on the CPU, its moments beside the vectors
            state.optimizer.state[vector] = {k: v if k == "step" else v.to(device) for k, v in kept.items()}
        state.start[encoder] = tensors.get(f"start.{encoder}", vector.detach()).to(device, torch.float32, copy=True)
    state.rng.set_state(tensors["rng"])
    state.order = tensors["order"].tolist()
    return state
