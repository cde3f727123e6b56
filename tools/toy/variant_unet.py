"""A variant's UNet, on the base toy's pool of latents, begun at the base's weights wherever these fit.

Velocity's plain squared error is eps's weighted 1/ᾱ (Salimans & Ho 2022, arXiv 2202.00512), which is what the base is
trained with. SDXL is told zeros for no caption, and half of the time sizes that have nothing to do with the image.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import muon
import torch
import variant_text
from stage import Average, Budget, load, rate_at, save, set_rate
from stage_text import batch_of
from stage_unet import CAP, PROBED, RATE, alphas, contexts, examples, frozen_reader, read_pool, sample_timesteps
from torch import Tensor, nn

from tinv_ext.toy import captions, variants

Told = dict[str, Any]  # the UNet's arguments beside noisy latents and timesteps
WHOLE = torch.tensor([64.0, 64.0, 0.0, 0.0, 64.0, 64.0])


def teller(variant: str, folder: Path, base: Path) -> Callable[[list[captions.Caption], torch.Generator], Told]:
    """What the UNet is told of captions, by the frozen text encoders."""
    if variant == "v_prediction":
        reader = frozen_reader(base / "text.pt")
        return lambda caption_list, generator: {"encoder_hidden_states": contexts(reader, caption_list)}
    readers = variant_text.frozen(folder / "text.pt")

    @torch.no_grad()
    def tell(caption_list: list[captions.Caption], generator: torch.Generator) -> Told:
        context, pooled = readers(batch_of(caption_list))
        some = torch.tensor([float(bool(caption.text)) for caption in caption_list])[:, None]
        added = {"text_embeds": pooled * some, "time_ids": sizes(len(caption_list), generator)}
        return {"encoder_hidden_states": context * some[..., None], "added_cond_kwargs": added}

    return tell


def sizes(count: int, generator: torch.Generator) -> Tensor:
    """What SDXL is told of images (n, 6): the truth, or original sizes and cuts drawn anywhere."""
    rows = WHOLE.repeat(count, 1)
    rows[:, :2] = torch.randint(64, 512, (count, 2), generator=generator).float()
    rows[:, 2:4] = torch.randint(0, 32, (count, 2), generator=generator).float()
    return torch.where(torch.rand(count, 1, generator=generator) < 0.5, rows, WHOLE)


def error_of(
    variant: str, unet: nn.Module, latents: Tensor, times: Tensor, noise: Tensor, told: Told, table: Tensor
) -> Tensor:
    """The loss of each example (n,): of velocity as it is, of eps weighted."""
    alpha = table[times][:, None, None, None]
    noisy = (alpha.sqrt() * latents + (1 - alpha).sqrt() * noise).contiguous(memory_format=torch.channels_last)
    answer = unet(noisy, times, **told).sample
    if variant == "v_prediction":
        return (answer - (alpha.sqrt() * noise - (1 - alpha).sqrt() * latents)).pow(2).mean((1, 2, 3))
    return (answer - noise).pow(2).mean((1, 2, 3)) * (1 / table[times]).clamp(max=CAP)


def begin(unet: nn.Module, base: Path) -> None:
    """Take the base's weights where names and numbers fit; 1×1 convolutions become linear layers."""
    held = load(base / "unet.pt", True)
    if held is None:
        return
    fresh = unet.state_dict()
    fits = {k: v for k, v in held["ema"].items() if k in fresh and v.numel() == fresh[k].numel()}
    unet.load_state_dict({**fresh, **{name: value.reshape(fresh[name].shape) for name, value in fits.items()}})


def train(variant: str, folder: Path, base: Path, budget: Budget, seed: int, resume: bool) -> None:
    """Train until the budget is spent; leaves folder/unet.pt with the averaged weights under "ema"."""
    torch.manual_seed(seed + 2)
    path, pool, table = folder / "unet.pt", read_pool(base / "pool.pt"), alphas()
    tell = teller(variant, folder, base)
    unet = variants.unet(variant).to(memory_format=torch.channels_last)
    begin(unet, base)
    average = Average(unet, 0.998)
    optimizers = muon.optimizers(unet, RATE, plain=("conv_in", "conv_out", "time_embedding", "add_embedding"))
    step = 0
    if (old := load(path, resume)) is not None:
        unet.load_state_dict(old["model"])
        for optimizer, state in zip(optimizers, old["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        average.values, average.count = old["ema"], old["step"]
        budget.spent, step = old["minutes"], old["step"]
    generator = torch.Generator().manual_seed(seed + 1000 * (step + 1))
    mean = 0.0
    for latents, caption_list in examples(pool, seed + 1000 * (step + 1)):
        if budget.part(step) >= 1:
            break
        times = sample_timesteps(len(latents), generator)
        noise = torch.randn(latents.shape, generator=generator)
        loss = error_of(variant, unet, latents, times, noise, tell(caption_list, generator), table).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        for optimizer in optimizers:
            set_rate(optimizer, rate_at(budget.part(step), step, RATE, warm=50))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        average.update(unet)
        step += 1
        mean += (loss.item() - mean) / min(step, 50)
        if step % 50 == 0 or step == 10:
            print(f"unet step {step} minute {budget.used():.1f} loss {mean:.4f}", flush=True)
        if step % 250 == 0:
            keep(path, unet, average, optimizers, step, budget)
    keep(path, unet, average, optimizers, step, budget)
    print(f"unet step {step} minute {budget.used():.1f} loss {mean:.4f}", flush=True)
    print("unet probe, right/shuffled/empty:", probe(variant, average, pool, tell, table), flush=True)


@torch.no_grad()
def probe(variant: str, average: Average, pool: Any, tell: Callable[..., Told], table: Tensor) -> str:
    """The loss at t = 500 and 850 with the right, the neighbour's and no caption, on the pool's end."""
    unet = variants.unet(variant).to(memory_format=torch.channels_last)
    unet.load_state_dict(average.values)
    latents, scenes = pool.latents[-PROBED:].float(), pool.scenes[-PROBED:]
    right = [captions.Caption(captions.full(scene), {}) for scene in scenes]
    empty = [captions.Caption("", {})] * len(right)
    noise, found = torch.randn(latents.shape, generator=torch.Generator().manual_seed(3)), []
    for time in (500, 850):
        times = torch.full((len(latents),), time)
        for caption_list in (right, right[1:] + right[:1], empty):
            told = tell(caption_list, torch.Generator().manual_seed(4))
            found.append(error_of(variant, unet, latents, times, noise, told, table).mean().item())
    return "t500 {:.4f}/{:.4f}/{:.4f} t850 {:.4f}/{:.4f}/{:.4f}".format(*found)


def keep(
    path: Path, unet: nn.Module, average: Average, optimizers: list[torch.optim.Optimizer], step: int, budget: Budget
) -> None:
    """Write the checkpoint."""
    values = {"model": unet.state_dict(), "ema": average.values}
    save(path, {**values, "optimizers": [o.state_dict() for o in optimizers], "step": step, "minutes": budget.used()})
