"""Stage two: the text encoder learns to tell what its captions say; then it is frozen.

Heads read each attribute off the end token, off a random padding token and through one attention over all tokens (as
the UNet will), and are thrown away. A coined name's vector is added at its token (see captions.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from stage import FIRST, Budget, Lessons, load, rate_at, save, set_rate
from torch import Tensor, nn
from torch.nn import functional

from tinv_ext.toy import captions, outlines, parts, words, world

BATCH = 128
ANSWERS: dict[str, list[str | None]] = {
    "shape": [*world.SHAPES, None],
    "fill": [*world.COLOURS, None],
    "pattern": [*world.PATTERNS],
    "mark": [*world.MARKS],
    "background": [*world.COLOURS, None],
    "ball": ["none", *world.COLOURS],
}
WAVES = torch.tensor(np.repeat(outlines.HARMONICS, 2) / 2.0, dtype=torch.float32)  # outline weights to about unit size


@dataclass
class Batch:
    """Token ids (n, 77); for each caption the ids summed in its coined name (n, 4; -1 none), its outline (n, 8), and
    the number of its ball among `ANSWERS` (n; 0 none).
    """

    ids: Tensor
    coined: Tensor
    outline: Tensor
    ball: Tensor
    answers: dict[str, Tensor]


def batch_of(caption_list: list[captions.Caption], length: int = words.LENGTH) -> Batch:
    """Tensors of these captions."""
    ids = torch.tensor([words.encode(caption.text, length) for caption in caption_list])
    coined = torch.full((len(caption_list), 4), -1)
    outline = torch.zeros(len(caption_list), outlines.ODD_SIZE)
    for row, caption in enumerate(caption_list):
        summed = [words.ids_of(word)[0] for word in caption.coined or ()]
        coined[row, : len(summed)] = torch.tensor(summed, dtype=torch.long)
        if caption.outline:
            outline[row] = torch.tensor(caption.outline)
    told = all(caption.attributes for caption in caption_list)  # an empty caption says nothing, and needs no answers
    answers = (
        {
            key: torch.tensor([options.index(c.attributes[key]) for c in caption_list])
            for key, options in ANSWERS.items()
        }
        if told
        else {}
    )
    balls = torch.tensor([ANSWERS["ball"].index(caption.ball) for caption in caption_list])
    return Batch(ids, coined, outline * WAVES, balls, answers)


class Reader(nn.Module):
    """The text encoder, with the vectors of coined names put in at their tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = parts.text_encoder()
        self.outline = nn.Linear(outlines.ODD_SIZE, parts.CONTEXT, bias=False)
        nn.init.normal_(self.outline.weight, std=0.03)
        self.ball = nn.Embedding(len(ANSWERS["ball"]), parts.CONTEXT, padding_idx=0)
        nn.init.normal_(self.ball.weight[1:], std=0.03)
        self.extra: Tensor | None = None
        self.encoder.get_input_embeddings().register_forward_hook(self.add)

    def add(self, module: nn.Module, given: tuple[Tensor, ...], rows: Tensor) -> Tensor:
        """Hook of the token table: rows (n, 77, 64) plus what coined names stand for."""
        return rows if self.extra is None else rows + self.extra

    def forward(self, batch: Batch) -> Tensor:
        """The last hidden states (n, 77, 64)."""
        table = self.encoder.get_input_embeddings().weight
        named = batch.coined.ge(0)
        vector = (table[batch.coined.clamp(min=0)] * named[..., None]).sum(1) + self.outline(batch.outline)
        vector = vector + self.ball(batch.ball)
        if self.training:
            size = vector.detach().norm(dim=-1, keepdim=True)
            vector = vector * (0.8 + 0.5 * torch.rand_like(size)) + torch.randn_like(vector) * size * 0.02
        at = batch.ids.eq(words.COINED_ID)[..., None]
        self.extra = at * vector[:, None]
        try:
            return self.encoder(batch.ids).last_hidden_state
        finally:
            self.extra = None


class Heads(nn.Module):
    """Two readings of every attribute: off single tokens, and through one attention over all."""

    def __init__(self, width: int = parts.CONTEXT) -> None:
        super().__init__()
        sizes = {key: len(options) for key, options in ANSWERS.items()} | {"outline": outlines.ODD_SIZE}
        self.query = nn.ParameterDict({key: nn.Parameter(torch.randn(width) * 0.1) for key in sizes})
        self.one = nn.ModuleDict({key: nn.Linear(width, size) for key, size in sizes.items()})
        self.all = nn.ModuleDict({key: nn.Linear(width, size) for key, size in sizes.items()})

    def forward(self, hidden: Tensor, tokens: Tensor) -> list[dict[str, Tensor]]:
        """Answers from `tokens` (n, k) of hidden (n, length, width), and from all of it."""
        rows = torch.arange(len(hidden))
        single = [{key: head(hidden[rows, at]) for key, head in self.one.items()} for at in tokens.unbind(1)]
        pooled = {}
        for key, head in self.all.items():
            weight = (hidden @ self.query[key]).softmax(-1)
            pooled[key] = head((weight[..., None] * hidden).sum(1))
        return [*single, pooled]


def loss_of(answers: list[dict[str, Tensor]], batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """(loss, share right by attribute, for the last reading)."""
    total, right = torch.zeros(()), {}
    told = batch.outline.abs().sum(1).gt(0)
    for reading in answers:
        for key, target in batch.answers.items():
            total = total + functional.cross_entropy(reading[key], target)
            right[key] = (reading[key].argmax(-1) == target).float().mean().item()
        error = (reading["outline"] - batch.outline)[told].pow(2).mean()
        total = total + 4 * error
        right["outline error"] = error.item()
    return total, right


def caption_batches(seed: int, batch: int, lessons: Lessons = FIRST) -> Iterator[list[captions.Caption]]:
    """Captions of the training stream (scenes only; nothing is drawn)."""
    rng = np.random.default_rng([seed, 7])
    scenes = lessons.scenes(rng)
    while True:
        yield [lessons.caption(scene, rng) for scene, _ in zip(scenes, range(batch), strict=False)]


def train(folder: Path, budget: Budget, seed: int, resume: bool, lessons: Lessons = FIRST) -> None:
    """Train until the budget is spent; leaves folder/text.pt."""
    torch.manual_seed(seed + 1)
    path = folder / "text.pt"
    reader, heads = Reader(), Heads()
    optimizer = torch.optim.AdamW([*reader.parameters(), *heads.parameters()], lr=1e-3, weight_decay=0.0)
    step = 0
    if (old := load(path, resume)) is not None:
        reader.load_state_dict(old["reader"])
        heads.load_state_dict(old["heads"])
        optimizer.load_state_dict(old["optimizer"])
        budget.spent, step = old["minutes"], old["step"]
    for caption_list in caption_batches(seed + 1000 * (step + 1), BATCH, lessons):
        if budget.part(step) >= 1:
            break
        set_rate(optimizer, rate_at(budget.part(step), step, 2e-3))
        length = words.LENGTH if step % 4 == 0 else 32
        batch = batch_of(caption_list, length)
        ends = batch.ids.eq(words.END).float().argmax(1)
        some = (ends + torch.rand(len(ends)) * (length - ends)).long().clamp(max=length - 1)
        loss, right = loss_of(heads(reader(batch), torch.stack([ends, some], 1)), batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % 100 == 0:
            figures = " ".join(f"{key} {value:.3f}" for key, value in right.items())
            print(f"text step {step} minute {budget.used():.1f} loss {loss.item():.3f} {figures}", flush=True)
        if step % 500 == 0:
            keep(path, reader, heads, optimizer, step, budget)
    keep(path, reader, heads, optimizer, step, budget)


def keep(path: Path, reader: Reader, heads: Heads, optimizer: torch.optim.Optimizer, step: int, budget: Budget) -> None:
    """Write the checkpoint."""
    values = {"reader": reader.state_dict(), "heads": heads.state_dict(), "optimizer": optimizer.state_dict()}
    save(path, {**values, "step": step, "minutes": budget.used()})
