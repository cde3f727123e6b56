"""Put a training folder's parts into the one fp16 file that is shipped: python tools/toy/ship.py FOLDER [--to FILE]."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import repository  # noqa: F401
import torch
from safetensors.torch import save_file
from stage import load
from torch import Tensor

from tinv_ext.toy import model, parts, words

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


def text_tensors(reader: dict[str, Tensor]) -> dict[str, Tensor]:
    """The text encoder's tensors by the names of transformers 5, of the table only the trained rows."""
    held = {
        name[len("encoder.") :].removeprefix("text_model."): value
        for name, value in reader.items()
        if name.startswith("encoder.")
    }
    held = {name: value for name, value in held.items() if not name.endswith("position_ids")}
    ids = torch.tensor(words.trained_rows())
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
    minutes = {
        name: f"{held['minutes']:.1f} min, {held['step']} steps"
        for name, held in (("vae", vae), ("text", text), ("unet", unet))
    }
    starts = json.loads((folder / "made.json").read_text(encoding="utf-8"))
    said = {name: "; ".join(dict.fromkeys(str(start[name]) for start in starts)) for name in ("commit", "seed", "on")}
    said |= {"torch": torch.__version__, **minutes}
    return tensors, said


def main() -> None:
    """Write the file and say how large it is."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("folder", type=Path)
    ask.add_argument("--to", type=Path, default=model.FILE)
    given = ask.parse_args()
    tensors, said = gather(given.folder)
    small = {
        name: (value.half() if value.is_floating_point() else value).contiguous() for name, value in tensors.items()
    }
    given.to.parent.mkdir(parents=True, exist_ok=True)
    save_file(small, str(given.to), metadata=said)
    given.to.chmod(0o644)  # safetensors leaves it to the owner alone
    print(f"{given.to}: {given.to.stat().st_size / 1e6:.2f} MB, {said}")


if __name__ == "__main__":
    main()
