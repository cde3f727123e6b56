"""A process of a run that is not its first: it does what rank 0 asks, and decides, writes and shows nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinv_ext.core.data.dataset import Dataset
from tinv_ext.core.data.images import FITTED_BYTES
from tinv_ext.core.errors import HostError
from tinv_ext.core.messages import message
from tinv_ext.core.model import Model
from tinv_ext.core.preflight.prepare import PreparedRun
from tinv_ext.core.training.fallbacks import free_memory
from tinv_ext.core.training.state import State, load_state
from tinv_ext.core.training.trainer import take_step
from tinv_ext.hosts.base import Host
from tinv_ext.run.preflight import NOTHING_KNOWN, image_scanner
from tinv_ext.run.setup import ENCODE, basis_of, dataset_of, encode_share, encoded_examples
from tinv_ext.run.torch_ranks import QUIT, TRY, LostError, TorchRanks


def follow(prepared: PreparedRun, host: Host, ranks: TorchRanks) -> None:
    """Take part in a run until rank 0 says that it is over. `LostError` where another process is gone.

    What fails here is told by rank 0, as all ranks agree on how a try went.
    """
    with ExitStack() as stack:
        follower = _Follower(prepared, host, ranks, stack)
        tasks: dict[str, Callable[..., None]] = {ENCODE: follower.encode, TRY: follower.take_step}
        while (request := ranks.next_request())[0] != QUIT:
            try:
                with ranks.agreed():
                    tasks[request[0]](*request[1:])
            except LostError:
                raise
            except Exception:  # noqa: BLE001 (rank 0 knows it, and says what comes of it)
                follower.forget()


@dataclass
class _Follower:
    """What this process has of the run: the model for as long as it lasts, its examples, and the state."""

    prepared: PreparedRun
    host: Host
    ranks: TorchRanks
    stack: ExitStack
    _model: Model | None = None
    _dataset: Dataset | None = None
    _state: State | None = None
    _given_up: dict[str, int] = field(default_factory=dict)

    def forget(self) -> None:
        """Drop the state, which rank 0 sends again, and what memory the failed try has taken."""
        self._state = None
        free_memory(self._model)

    @property
    def model(self) -> Model:
        if self._model is None:
            self._model = self.stack.enter_context(self.host.training(self.prepared.config.clip_skip))
        return self._model

    def encode(self, basis: Any) -> None:
        """Encode this rank's share of the images. HostError where rank 0 has others, or another VAE."""
        if self.prepared.to_generate:  # which rank 0 has done meanwhile
            look = image_scanner(self.prepared.config, NOTHING_KNOWN, FITTED_BYTES // self.ranks.count)
            self.prepared = self.prepared.with_class_images(look)
        if basis_of(self.prepared, self.model) != basis:
            raise HostError(
                message(
                    "ranks.other_basis",
                    "The images or the VAE here are not those of process 1. Give all processes the same files.",
                )
            )
        encode_share(self.prepared, self.model, self.ranks.share)

    def take_step(self, given_up: dict[str, int], saved: bytes | None) -> None:
        """One try of a step, with the fallbacks that rank 0 has `given_up`, from the state that it sends if need be."""
        model = self.model
        if self._dataset is None:
            self._dataset = dataset_of(self.prepared, encoded_examples(self.prepared, model)[0])
        self._give_up(given_up)
        if saved is not None:
            self._state = self._loaded(saved)
        assert self._state is not None
        take_step(self._state, self.prepared.plan, model, self._dataset, given_up["pieces_of_step"], self.ranks)

    def _give_up(self, now: dict[str, int]) -> None:
        if now["gradient_checkpointing"] and not self._given_up.get("gradient_checkpointing"):
            self.model.enable_gradient_checkpointing()
            self._given_up["gradient_checkpointing"] = 1
        if now["offloaded"] and not self._given_up.get("offloaded"):
            self.model.offload_weights()
            self._given_up["offloaded"] = 1
        while self._given_up.get("precise", 0) < now["precise"]:
            self.model.upcast()
            self._given_up["precise"] = self._given_up.get("precise", 0) + 1

    def _loaded(self, saved: bytes) -> State:
        config = self.prepared.config
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "state.safetensors"
            path.write_bytes(saved)
            state, _ = load_state(path, self.model.device, config.name, config.optimizer, config.optimizer_options)
        state.balance.power = config.timestep_balance
        return state
