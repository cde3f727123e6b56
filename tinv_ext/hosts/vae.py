"""What all hosts do with a VAE: encode images, identify its weights, fill the extra channels of inpainting models."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tinv_ext.core.data.latents import LatentDistribution
from tinv_ext.core.families import SD1, VAE_FACTOR

INPAINTING = 2 * SD1.latent_channels + 1  # inputs of such a UNet, SD1's or SD2's: latent, mask, masked image


@torch.no_grad()
def encode(vae: Any, pixels: Tensor, scale: float) -> LatentDistribution:
    """Latents of pixels (B, 3, H, W) on the VAE's device: float32, times the model's `scale`.

    In half precision SDXL's VAE overflows on some images; those are encoded again in float32. Values that are still not
    finite are returned as they are. diffusers', ldm's and sgm's AutoencoderKL all have `encoder` and `quant_conv`.
    """
    weight = next(vae.parameters())
    moments = _moments(vae, pixels.to(weight.dtype))
    overflowed = ~torch.isfinite(moments).flatten(1).all(1)
    if bool(overflowed.any()) and weight.dtype != torch.float32:
        dtype = weight.dtype
        try:
            vae.float()
            moments[overflowed] = _moments(vae, pixels[overflowed].float())
        finally:
            vae.to(dtype)
    mean, logvar = moments.chunk(2, dim=1)
    return LatentDistribution(mean * scale, torch.exp(0.5 * logvar.clamp(-30.0, 20.0)) * scale)


def _moments(vae: Any, pixels: Tensor) -> Tensor:
    """Means and log variances, one after the other: (B, 2 · channels, h, w) float32."""
    moments: Tensor = vae.quant_conv(vae.encoder(pixels)).float()
    return moments


def encoder_digest(vae: Any, scale: float) -> str:
    """SHA-256 of the VAE's encoder weights, their dtype and the scale factor: the key of its cached latents."""
    digest = hashlib.sha256(f"{next(vae.parameters()).dtype} {float(scale)}".encode())
    for part in (vae.encoder, vae.quant_conv):
        for name, value in part.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def input_channels(unet: Any) -> int:
    """How many channels the UNet takes, in ldm's layout: of its first convolution."""
    return int(unet.input_blocks[0][0].in_channels)


class AllMasked:
    """The channels that make an inpainting model paint everything: a mask of ones and a gray image.

    As the WebUI fills them for txt2img (v1.10.1 modules/processing.py, txt2img_image_conditioning). They are made once
    for each size. `unet_channels` is what the UNet takes; other models than inpainting ones are given nothing.
    """

    def __init__(self, encode_images: Callable[[Tensor], LatentDistribution], unet_channels: int) -> None:
        self._encode_images = encode_images
        self._made: dict[tuple[int, int], Tensor] = {}
        self.needed = unet_channels == INPAINTING

    def channels(self, noisy: Tensor) -> Tensor:
        """For noisy latents (B, 4, h, w): (B, 5, h, w), like them."""
        height, width = noisy.shape[-2:]
        if (height, width) not in self._made:
            gray = self._encode_images(torch.zeros(1, 3, height * VAE_FACTOR, width * VAE_FACTOR)).mean
            self._made[height, width] = torch.cat([torch.ones_like(gray[:, :1]), gray], 1).to(noisy)
        return self._made[height, width].expand(len(noisy), -1, -1, -1)

    def beside(self, noisy: Tensor) -> Tensor:
        """What the UNet takes: (B, 9, h, w), or the latents alone."""
        return torch.cat([noisy, self.channels(noisy)], 1) if self.needed else noisy
