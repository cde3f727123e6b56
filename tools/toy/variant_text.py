"""SDXL's two text encoders, trained together to tell what their captions say, as in the stage text; then frozen.

The heads read what the UNet will be given: the states before the last layer of both, side by side, and the pooled text.
"""

from __future__ import annotations

from pathlib import Path

import torch
from stage import Budget, load, rate_at, save, set_rate
from stage_text import Batch, Heads, batch_of, caption_batches, loss_of
from torch import Tensor, nn

from tinv_ext.toy import outlines, variants, words

BATCH = 128


class Reader(nn.Module):
    """Both encoders, with the vectors of coined names put in at their tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(variants.text_encoders())
        tables = [encoder.get_input_embeddings() for encoder in self.encoders]
        self.outlines = nn.ModuleList(nn.Linear(outlines.ODD_SIZE, t.embedding_dim, bias=False) for t in tables)
        for outline in self.outlines:
            nn.init.normal_(outline.weight, std=0.03)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Context (n, length, 112) and pooled text (n, 64)."""
        first, second = self.encoders
        hidden = self._read(first, self.outlines[0], batch, batch.ids)
        ended = batch.ids.eq(words.END).cumsum(1)
        more = self._read(second, self.outlines[1], batch, batch.ids.where(ended < 2, variants.PAD_2))
        return torch.cat([hidden.hidden_states[-2], more.hidden_states[-2]], -1), more.text_embeds

    def _read(self, encoder: nn.Module, outline: nn.Module, batch: Batch, ids: Tensor):  # type: ignore[no-untyped-def]
        table = encoder.get_input_embeddings()
        named = batch.coined.ge(0)
        vector = (table.weight[batch.coined.clamp(min=0)] * named[..., None]).sum(1) + outline(batch.outline)
        if self.training:
            size = vector.detach().norm(dim=-1, keepdim=True)
            vector = vector * (0.8 + 0.5 * torch.rand_like(size)) + torch.randn_like(vector) * size * 0.02
        extra = ids.eq(words.COINED_ID)[..., None] * vector[:, None]
        handle = table.register_forward_hook(lambda module, given, rows: rows + extra)
        try:
            return encoder(input_ids=ids, output_hidden_states=True)
        finally:
            handle.remove()


def train(folder: Path, budget: Budget, seed: int, resume: bool) -> None:
    """Train until the budget is spent; leaves folder/text.pt."""
    torch.manual_seed(seed + 1)
    path = folder / "text.pt"
    reader, heads, pooled = Reader(), Heads(variants.CONTEXT), Heads(variants.POOLED)
    learned = nn.ModuleList([reader, heads, pooled])
    optimizer = torch.optim.AdamW(learned.parameters(), lr=1e-3, weight_decay=0.0)
    step = 0
    if (old := load(path, resume)) is not None:
        learned.load_state_dict(old["learnt"])
        optimizer.load_state_dict(old["optimizer"])
        budget.spent, step = old["minutes"], old["step"]
    for caption_list in caption_batches(seed + 1000 * (step + 1), BATCH):
        if budget.part(step) >= 1:
            break
        set_rate(optimizer, rate_at(budget.part(step), step, 2e-3))
        length = words.LENGTH if step % 4 == 0 else 32
        batch = batch_of(caption_list, length)
        context, text = reader(batch)
        ends = batch.ids.eq(words.END).float().argmax(1)
        some = (ends + torch.rand(len(ends)) * (length - ends)).long().clamp(max=length - 1)
        whole, right = loss_of(heads(context, torch.stack([ends, some], 1)), batch)
        none = torch.zeros(len(text), 1, dtype=torch.long)
        loss = whole + loss_of(pooled(text[:, None], none), batch)[0]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % 100 == 0 or step == 1:
            figures = " ".join(f"{key} {value:.3f}" for key, value in right.items())
            print(f"text step {step} minute {budget.used():.1f} loss {loss.item():.3f} {figures}", flush=True)
        if step % 500 == 0:
            keep(path, learned, optimizer, step, budget)
    keep(path, learned, optimizer, step, budget)


def keep(path: Path, learned: nn.Module, optimizer: torch.optim.Optimizer, step: int, budget: Budget) -> None:
    """Write the checkpoint; the reader, which alone is shipped, is the first of what was learned."""
    values = {"learnt": learned.state_dict(), "optimizer": optimizer.state_dict()}
    save(path, {**values, "step": step, "minutes": budget.used()})


def frozen(path: Path) -> Reader:
    """The trained encoders."""
    held = load(path, True)
    if held is None:
        raise SystemExit(f"{path} is missing: run the stage text of the variant first.")
    reader = Reader()
    reader.load_state_dict({k.removeprefix("0."): v for k, v in held["learnt"].items() if k.startswith("0.")})
    return reader.eval().requires_grad_(False)
