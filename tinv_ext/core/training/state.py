"""Everything that changes while a run goes on, and nothing else. Saved, it makes a run resume where it was."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from tinv_ext.core.atomic import atomic_copy, atomic_write
from tinv_ext.core.checksum import KEY as CHECKSUM
from tinv_ext.core.checksum import checksum
from tinv_ext.core.data.order import Order
from tinv_ext.core.errors import FormatError
from tinv_ext.core.messages import Message, message
from tinv_ext.core.model import Words

from .balance import Balance, checked_table
from .optimizer_rows import DEFAULT, optimizer_name, optimizer_row
from .optimizers import (
    OptimizerState,
    TakesSamples,
    from_tensors_and_json,
    get_state,
    make_optimizer,
    set_state,
    to_tensors_and_json,
)
from .outliers import Outliers, outliers_of
from .progress import Progress, from_file
from .standstill import SUCCESSORS, Standstill, standstill_of
from .state_contents import FORMAT, UNREADABLE, contents_of, damaged, is_older_whole, previous_of
from .word_rates import ALL, Moves


@dataclass(frozen=True)
class StateBackup:
    """A copy of all that a step changes, and of the run's progress."""

    step: int
    vectors: list[Tensor]
    optimizer: OptimizerState
    rng: Tensor
    order: Order
    averages: list[Tensor]
    balance: Any
    progress: Progress
    standstill: Standstill
    outliers: Outliers


@dataclass
class State:
    """A run at `step`: the vectors of its words (leaves, float32), the optimizer, the generator, the data order.

    `vectors` and `start` are by word and encoder; `start` holds those with which the run began. `averages` are the
    means of the vectors over the last steps, as `leaves`; none where nothing is averaged.
    """

    step: int
    vectors: dict[str, dict[str, Tensor]]
    start: Words
    optimizer: torch.optim.Optimizer
    rng: torch.Generator
    optimizer_name: str = DEFAULT
    order: Order = field(default_factory=Order)
    averages: list[Tensor] = field(default_factory=list)
    balance: Balance = field(default_factory=Balance)
    progress: Progress = field(default_factory=Progress)
    standstill: Standstill = field(default_factory=Standstill)
    outliers: Outliers = field(default_factory=Outliers)

    def leave_alone(self, moves: Moves) -> None:
        """Before an update: forget the gradients of the words that it is to leave alone."""
        for name, word in self.vectors.items():
            for leaf in word.values() if not moves.of(name) else ():
                leaf.grad = None
        if moves.fixed and isinstance(self.optimizer, TakesSamples):
            names = [name for name, word in self.vectors.items() for _ in word]
            self.optimizer.leave_out([place for place, name in enumerate(names) if name in moves.fixed])

    def update(self, rate: float, moves: Moves = ALL) -> None:
        """One optimizer step with the gradients at hand, which are then forgotten.

        A word's move is multiplied by its factor. One that is left alone stays bit for bit as it is; where the
        optimizer solves for all words together, only if it is not trained at all.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        together = isinstance(self.optimizer, TakesSamples)
        factors = {
            name: moves.of(name) for name in self.vectors if not together or moves.of(name) or name in moves.fixed
        }
        kept = [
            (leaf, leaf.detach().clone(), factor)
            for name, factor in factors.items()
            for leaf in (self.vectors[name].values() if factor != 1.0 else ())
        ]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        for leaf, before, factor in kept:
            leaf.detach().copy_(torch.lerp(before, leaf.detach(), factor) if factor else before)
        self.step += 1

    @torch.no_grad()
    def begin_again(self, optimizer: str, lengths: Mapping[str, float], kept: Collection[str] = ()) -> None:
        """Go on from the first vectors with another optimizer; the progress is of what it learns from here on.

        The words to be `kept` are trained no more, and stay as they are.
        """
        for name, word in self.vectors.items():
            for encoder, leaf in word.items():
                leaf.grad = None
                if name not in kept:
                    leaf.copy_(self.start[name][encoder])
        self.optimizer, self.optimizer_name = _optimizer(optimizer, self.vectors, lengths), optimizer
        self.averages, self.outliers = [], Outliers()
        self.progress = self.progress.begun_again(self.step)
        self.standstill = self.standstill.handed_over(self.step)

    def begin_averages(self, decay: float) -> None:
        """Before a step: have the averages begin at the vectors where there are none yet; a `decay` of 0 wants none."""
        if decay and not self.averages:
            self.averages = [leaf.detach().clone() for leaf in self.leaves()]

    @torch.no_grad()
    def average(self, decay: float, inv_gamma: float, moves: Moves = ALL) -> None:
        """Have the averages follow the vectors, leaving `decay` of themselves, less in the first steps; 0: none.

        Those of words that a step leaves alone stay, too.

        The decay grows as in diffusers' EMAModel with power 1: at step k it is at most k / (k + inv_gamma), so that
        the average is about one of the last k / inv_gamma steps. 9 is TensorFlow's ExponentialMovingAverage.
        """
        if not decay:
            self.averages = []
            return
        decay = min(decay, self.step / (self.step + inv_gamma))
        moved = [moves.of(name) for name, word in self.vectors.items() for _ in word]
        self.averages = [
            torch.lerp(leaf, mean, decay) if factor else mean
            for leaf, mean, factor in zip(self.leaves(), self.averages, moved)
        ]

    @property
    def result(self) -> Words:
        """What a run has learnt so far: the averages or, where nothing is averaged, the vectors."""
        return self.by_word(self.averages or self.leaves())

    def by_word(self, leaves: Sequence[Tensor]) -> Words:
        """Tensors in the order of `leaves`, by word and encoder."""
        values = iter(leaves)
        return {name: {encoder: next(values) for encoder in word} for name, word in self.vectors.items()}

    def leaves(self) -> list[Tensor]:
        """All vectors, by word and encoder in their order: the optimizer's parameters."""
        return [vectors for word in self.vectors.values() for vectors in word.values()]

    def pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The vectors, each (n, width), with where they began."""
        for name, word in self.vectors.items():
            for encoder, vectors in word.items():
                yield vectors, self.start[name][encoder]

    def gradients(self) -> list[Tensor]:
        """Gradients of the vectors, as `leaves`; zeros where none has arrived."""
        return [torch.zeros_like(v) if v.grad is None else v.grad for v in self.leaves()]

    def backup(self) -> StateBackup:
        """All of it, to be restored if the step that follows fails anywhere."""
        vectors = [leaf.detach().clone() for leaf in self.leaves()]
        optimizer, averages = get_state(self.optimizer), list(self.averages)  # these are replaced, never changed
        rng, order = self.rng.get_state(), self.order.backup()
        measures = self.balance.backup(), self.progress, self.standstill, self.outliers
        return StateBackup(self.step, vectors, optimizer, rng, order, averages, *measures)

    def restore(self, backup: StateBackup) -> None:
        """Go back to the backup; gradients are forgotten."""
        self.step = backup.step
        self.order.restore(backup.order)
        self.rng.set_state(backup.rng)
        self.averages = list(backup.averages)
        self.balance.restore(backup.balance)
        self.progress, self.standstill, self.outliers = backup.progress, backup.standstill, backup.outliers
        self.optimizer.zero_grad(set_to_none=True)
        for leaf, values in zip(self.leaves(), backup.vectors):
            leaf.detach().copy_(values)
        set_state(self.optimizer, backup.optimizer)

    def lengths(self) -> Tensor:
        """Mean length of the vectors and mean distance from where they began, (2,), where these are largest."""
        pairs = [(vectors.detach(), start) for vectors, start in self.pairs()]
        return torch.stack([torch.stack([a.norm(dim=1).mean(), (a - b).norm(dim=1).mean()]) for a, b in pairs]).amax(0)

    def values(self, word: str) -> dict[str, Tensor]:
        """A copy of a word's `result` by encoder, on the CPU, detached."""
        return {encoder: v.detach().float().cpu().clone() for encoder, v in self.result[word].items()}


def new_state(
    words: Words,
    seed: int,
    device: torch.device,
    step: int = 0,
    optimizer: str = DEFAULT,
    options: Mapping[str, Any] | None = None,
    lengths: Mapping[str, float] | None = None,
) -> State:
    """A run at its beginning: an optimizer over the vectors alone, one CPU generator from `seed`.

    `lengths` are typical ones of token vectors by encoder, for an optimizer that measures by them.
    """
    vectors = {name: {encoder: _leaf(v, device) for encoder, v in word.items()} for name, word in words.items()}
    start = {name: {encoder: v.detach().clone() for encoder, v in word.items()} for name, word in vectors.items()}
    made = _optimizer(optimizer, vectors, lengths or {}, options)
    return State(step, vectors, start, made, torch.Generator().manual_seed(seed), optimizer_name(optimizer))


def _optimizer(
    name: str, words: Words, lengths: Mapping[str, float], options: Mapping[str, Any] | None = None
) -> torch.optim.Optimizer:
    leaves = [leaf for word in words.values() for leaf in word.values()]
    row = optimizer_row(name)
    if lengths and row.takes_lengths:
        options = {"lengths": [lengths[encoder] for word in words.values() for encoder in word], **(options or {})}
    if len(words) > 1 and row.takes_words:
        options = {"words": [len(word) for word in words.values()], **(options or {})}
    return make_optimizer(name, leaves, options)


def _leaf(vectors: Tensor, device: torch.device) -> Tensor:
    return vectors.detach().to(device, torch.float32, copy=True).requires_grad_()


# --- files ---------------------------------------------------------------------------------------------------------


def save_state(state: State, path: Path, facts: Mapping[str, Any]) -> None:
    """Write the state as one safetensors file, whole or not at all; `facts` are kept beside it as JSON.

    The state that was there is kept as `previous_of(path)`, unless it is damaged.
    """
    tensors, optimizer = to_tensors_and_json(get_state(state.optimizer))
    tensors |= {"rng": state.rng.get_state(), "order": torch.tensor(state.order.numbers(), dtype=torch.int64)}
    if state.balance.table is not None:
        tensors["balance"] = state.balance.table
    tensors |= state.progress.tensors()
    averages = {"average": state.result} if state.averages else {}
    best = {"best": state.by_word(state.progress.best.vectors)} if state.progress.best else {}
    for kind, words in {"vectors": state.vectors, "start": state.start, **averages, **best}.items():
        for name, word in words.items():
            for encoder, vectors in word.items():
                tensors[f"{kind}/{name}/{encoder}"] = vectors.detach().cpu().contiguous()
    about = {
        "format": FORMAT,
        "step": str(state.step),
        "words": json.dumps({name: list(word) for name, word in state.vectors.items()}),
        "optimizer": json.dumps({"name": state.optimizer_name, **optimizer}),
        "progress": state.progress.about(),
        "standstill": state.standstill.about(),
        "outliers": state.outliers.about(),
        "facts": json.dumps(dict(facts)),
    }
    about[CHECKSUM] = checksum(tensors, about)
    if is_older_whole(path, state.step):
        atomic_copy(path, previous_of(path))
    with atomic_write(path) as file:
        file.write(save(tensors, about))


def load_last_state(
    path: Path,
    device: torch.device,
    word: str = "",
    optimizer: str = DEFAULT,
    options: Mapping[str, Any] | None = None,
) -> tuple[State, dict[str, Any], Message | None]:
    """The state at `path`, or the one before where that is damaged or gone, with a sentence then; and its facts.

    `FormatError` of the last one where neither can be read.
    """
    try:
        return *load_state(path, device, word, optimizer, options), None
    except FormatError as error:
        damage = error
    try:
        state, facts = load_state(previous_of(path), device, word, optimizer, options)
    except FormatError:
        raise damage from None
    return (
        state,
        facts,
        message(
            "state.previous",
            "The run's last state cannot be used. The run goes on from the one before it, of step {step}, and takes "
            "the steps after that again. ({reason})",
            step=state.step,
            reason=damage.problems[0],
        ),
    )


def load_state(
    path: Path,
    device: torch.device,
    word: str = "",
    optimizer: str = DEFAULT,
    options: Mapping[str, Any] | None = None,
) -> tuple[State, dict[str, Any]]:
    """Read what `save_state` wrote, and its facts. `FormatError` if the file is damaged or something else.

    `word` is the word of a file of version 0.1, which did not say it. The file must have been saved with `optimizer`,
    made with `options`: a file does not decide which code runs.
    """
    tensors, about = contents_of(path)
    try:
        facts = json.loads(about["facts"])
        if not isinstance(facts, dict):
            raise TypeError(f"facts of type {type(facts).__name__}")
        if not all(bool(torch.isfinite(value).all()) for key, value in tensors.items() if key.startswith("vectors")):
            raise ValueError("its vectors are not finite")
        if about["format"] == FORMAT:
            return _checked(_rebuild(tensors, about, device, optimizer, options)), facts
        return _checked(_rebuild_1(tensors, about, device, word)), facts
    except UNREADABLE as error:
        raise FormatError(damaged(path, error)) from error


def _checked(state: State) -> State:
    """The state, whose vectors must be rows of numbers. ValueError if they are not."""
    for vectors, start in state.pairs():
        if vectors.dim() != 2 or vectors.shape != start.shape:
            raise ValueError("its vectors are not rows of numbers")
    for values, leaves in ((state.averages, state.leaves()), *state.progress.best_beside(state.vectors)):
        if values and [one.shape for one in values] != [leaf.shape for leaf in leaves]:
            raise ValueError("its averages or best vectors are not those of its vectors")
    if state.step < 0 or not state.leaves():
        raise ValueError("it has no vectors or a negative step")
    return state


def _rebuild(
    tensors: Mapping[str, Tensor],
    about: Mapping[str, str],
    device: torch.device,
    optimizer: str,
    options: Mapping[str, Any] | None,
) -> State:
    words: dict[str, list[str]] = json.loads(about["words"])

    def of(kind: str) -> Words:
        return {name: {key: tensors[f"{kind}/{name}/{key}"] for key in keys} for name, keys in words.items()}

    saved, standstill = json.loads(about["optimizer"]), standstill_of(about.get("standstill"))
    if standstill.switched:
        optimizer, options = SUCCESSORS[optimizer_name(optimizer)][standstill.switched - 1].optimizer, None
    if saved["name"] != optimizer_name(optimizer):
        raise ValueError(f"it was saved with the optimizer {saved['name']}, not {optimizer}")
    state = new_state(of("vectors"), 0, device, int(about["step"]), optimizer, options)
    set_state(state.optimizer, from_tensors_and_json(tensors, saved, device))

    def leaves_of(kind: str) -> list[Tensor]:
        there = of(kind) if any(key.startswith(f"{kind}/") for key in tensors) else {}
        return [values for word in there.values() for values in word.values()]

    state.averages = [values.to(device, copy=True) for values in leaves_of("average")]
    state.balance = Balance(table=checked_table(tensors.get("balance")))
    state.standstill, state.outliers = standstill, outliers_of(about.get("outliers"))
    state.progress = from_file(tensors, about.get("progress"), leaves_of("best"))
    return _restore_position(state, of("start"), tensors)


def _rebuild_1(tensors: Mapping[str, Tensor], about: Mapping[str, str], device: torch.device, word: str) -> State:
    """As version 0.1 wrote it: one word, AdamW, whose step count lies on the CPU and whose groups were not saved."""
    vectors = {key.partition(".")[2]: value for key, value in tensors.items() if key.startswith("vectors.")}
    start = {encoder: tensors.get(f"start.{encoder}", value) for encoder, value in vectors.items()}
    state = new_state({word: vectors}, 0, device, int(about["step"]))
    for encoder, leaf in state.vectors[word].items():
        prefix = f"optimizer.{encoder}."
        moments = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
        if moments:
            state.optimizer.state[leaf] = {k: v if k == "step" else v.to(device) for k, v in moments.items()}
    return _restore_position(state, {word: start}, tensors)


def _restore_position(state: State, start: Words, tensors: Mapping[str, Tensor]) -> State:
    device = state.leaves()[0].device
    state.start = {
        name: {encoder: values.to(device, torch.float32, copy=True) for encoder, values in word.items()}
        for name, word in start.items()
    }
    state.rng.set_state(tensors["rng"])
    state.order = Order(tensors["order"].tolist())
    return state
