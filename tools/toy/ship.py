"""Put a training folder's parts into the one fp16 file that is shipped: python tools/toy/ship.py FOLDER [--to FILE].

`--variant NAME` ships the UNet, and SDXL's text encoders, of that variant; of the wide world all parts.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import repository  # noqa: F401
import torch
from safetensors.torch import save_file
from stage import load
from torch import Tensor

from tinv_ext.toy import model, parts, variants, words

DEVIATION = 0.02  # of a sampled latent in units of the latents' spread: as good as none, as in SD1's own autoencoder


def folded(vae: dict[str, Tensor], mean: Tensor, spread: Tensor) -> dict[str, Tensor]:
    """The autoencoder whose latents times SD1's scale have mean 0 and spread 1: a map put into its 1×1 convolutions."""
    size = spread * parts.SCALE  # new = (old - mean) / size
    vae = dict(vae)
    weight, bias = vae["quant_conv.weight"].clone(), vae["quant_conv.bias"].clone()
    weight[:4] /= size[:, None, None, None]
    bias[:4] = (bias[:4] - mean) / size
    weight[4:], bias[4:] = 0, 2 * math.log(DEVIATION / parts.SCALE)  # the log-variance
    vae["quant_conv.weight"], vae["quant_conv.bias"] = weight, bias
    weight = vae["post_quant_conv.weight"]
    vae["post_quant_conv.bias"] = vae["post_quant_conv.bias"] + weight[:, :, 0, 0] @ mean
    vae["post_quant_conv.weight"] = weight * size[None, :, None, None]
    return vae


def text_tensors(reader: dict[str, Tensor], prefix: str = "encoder.", more: Sequence[int] = ()) -> dict[str, Tensor]:
    """The text encoder's tensors by the names of transformers 5, of the table only the trained rows and `more`."""
    held = {
        name[len(prefix) :].removeprefix("text_model."): value
        for name, value in reader.items()
        if name.startswith(prefix)
    }
    held = {name: value for name, value in held.items() if not name.endswith("position_ids")}
    ids = torch.tensor([*more, *words.trained_rows()])
    held["rows"] = held.pop(model.TABLE)[ids]
    return {**held, "row_ids": ids.int()}


def gather(folder: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors, metadata) of a training folder."""
    vae, text, pool, unet = (load(folder / f"{name}.pt", True) for name in ("vae", "text", "pool", "unet"))
    if vae is None or text is None or pool is None or unet is None:
        raise SystemExit(f"{folder} lacks vae.pt, text.pt, pool.pt or unet.pt: train every stage first.")
    tensors = {f"vae.{k}": v for k, v in folded(vae["ema"], pool["mean"], pool["spread"]).items()}
    tensors |= {f"text.{k}": v for k, v in text_tensors(text["reader"]).items()}
    tensors |= {f"unet.{k}": v for k, v in unet["ema"].items()}
    return tensors, provenance_of(folder, {"vae": vae, "text": text, "unet": unet})


def gather_variant(folder: Path, variant: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors, metadata) of a variant's training folder."""
    unet, text = load(folder / "unet.pt", True), load(folder / "text.pt", True)
    if unet is None or (variant == "sdxl" and text is None):
        raise SystemExit(f"{folder} lacks unet.pt or text.pt: train the variant first.")
    tensors, held = {f"unet.{k}": v for k, v in unet["ema"].items()}, {"unet": unet}
    if text is not None and variant == "sdxl":
        held["text"] = text
        for prefix, index, more in (("text.", 0, ()), ("text_2.", 1, (variants.PAD_2,))):
            found = text_tensors(text["learnt"], f"0.encoders.{index}.", more)
            tensors |= {prefix + name: value for name, value in found.items()}
    return tensors, provenance_of(folder, held)


def provenance_of(folder: Path, held: dict[str, dict[str, Any]]) -> dict[str, str]:
    """How the weights were made: commits, seeds, machines, minutes and steps."""
    minutes = {name: f"{one['minutes']:.1f} min, {one['step']} steps" for name, one in held.items()}
    starts = json.loads((folder / "made.json").read_text(encoding="utf-8"))
    provenance = {
        name: "; ".join(dict.fromkeys(str(start[name]) for start in starts)) for name in ("commit", "seed", "on")
    }
    return {**provenance, "torch": torch.__version__, **minutes}


def main() -> None:
    """Write the file and print its size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--to", type=Path)
    parser.add_argument("--variant", choices=variants.VARIANTS)
    options = parser.parse_args()
    whole = options.variant in (None, "wide")
    tensors, provenance = gather(options.folder) if whole else gather_variant(options.folder, options.variant)
    to: Path = options.to or (variants.file_of(options.variant) if options.variant else model.FILE)
    small = {
        name: (value.half() if value.is_floating_point() else value).contiguous() for name, value in tensors.items()
    }
    to.parent.mkdir(parents=True, exist_ok=True)
    save_file(small, str(to), metadata=provenance)
    to.chmod(0o644)  # safetensors leaves it to the owner alone
    print(f"{to}: {to.stat().st_size / 1e6:.2f} MB, {provenance}")


if __name__ == "__main__":
    main()
