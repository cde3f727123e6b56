"""Data in the low bits of an image's margins, as the WebUI hides embeddings in preview images.

The layout was read off v1.10.1 `modules/textual_inversion/image_embedding.py`: the zlib-compressed bytes are split
into low and high half-bytes, each half fills a block as high as the image (red, green, blue by columns and rows),
exclusive-or'ed with the numbers of a linear congruential generator; the low half stands left of the image, the high
half right of it, a black column between each and the image. The upper four bits of the blocks are decoration.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tinv_ext.core.errors import FormatError
from tinv_ext.core.messages import message

MAX_PAYLOAD_BYTES = 1 << 23
MAX_PIXELS = 1 << 24
CIRCLE, PITCH = 6, 8

Bytes = NDArray[np.uint8]


def noise_bytes(count: int) -> Bytes:
    """The first `count` numbers of the generator: seed 0, seed = 1664525·seed + 1013904223 mod 2³², each seed mod 255.

    Doubled in leaps: if m steps are seed → a·seed + c, the next m seeds are that of the first m.
    """
    factor, summand = 1664525, 1013904223
    seeds = np.array([summand], dtype=np.uint32)
    while len(seeds) < count:  # numbers of 32 bits overflow as the generator's do
        more = seeds[: count - len(seeds)] * np.uint32(factor) + np.uint32(summand)
        seeds = np.concatenate([seeds, more])
        factor, summand = factor * factor % 2**32, (summand * factor + summand) % 2**32
    return (seeds[:count] % np.uint32(255)).astype(np.uint8)


def embed_payload(image: Image.Image, payload: bytes, edge: Bytes) -> Image.Image:
    """`image` as RGB between the two blocks that hold `payload` compressed; `edge`: the circles' greys."""
    data = np.frombuffer(zlib.compress(payload, 9), np.uint8)
    height = image.height
    low = _block((data & 0x0F).astype(np.uint8), height, edge)
    high = _block((data >> 4).astype(np.uint8), height, edge[::-1])
    width = low.width + 1 + image.width + 1 + high.width
    canvas = Image.new("RGB", (width, height), (0, 0, 0))
    canvas.paste(low, (0, 0))
    canvas.paste(image.convert("RGB"), (low.width + 1, 0))
    canvas.paste(high, (width - high.width, 0))
    return canvas


def _block(nibbles: Bytes, height: int, edge: Bytes) -> Image.Image:
    """Half-bytes, repeated to full columns (one more than needed, as the WebUI does), decorated and exclusive-or'ed."""
    count = len(nibbles) + height - len(nibbles) % height
    count += 3 * height - count % (3 * height)
    block = np.resize(nibbles, count).reshape(height, -1, 3)
    circles = np.asarray(_circles(block.shape[1], height, edge)) & 0xF0
    mask = (noise_bytes(count) & 0x0F).reshape(block.shape)
    return Image.fromarray(block ^ circles ^ mask)


def _circles(width: int, height: int, edge: Bytes) -> Image.Image:
    """Rows of grey discs, every other one half a step further; decoration only."""
    image = Image.new("RGB", (width, height))
    pen = ImageDraw.Draw(image)
    index = 0
    for x in range(-CIRCLE, width, PITCH):
        for row, y in enumerate(range(-CIRCLE, height, PITCH)):
            left = x + (PITCH // 2 if row % 2 == 0 else 0)
            grey = int(edge[index % len(edge)])
            pen.ellipse((left, y, left + CIRCLE, y + CIRCLE), fill=(grey, grey, grey))
            index += 1
    return image


def require_size(image: Image.Image) -> None:
    """Raise FormatError for an image that is too large to be looked through."""
    if image.width * image.height > MAX_PIXELS:
        raise FormatError(
            message(
                "formats.image_too_large",
                "The image has {width}×{height} pixels, too large to carry an embedding.",
                width=image.width,
                height=image.height,
            )
        )


def extract_payload(image: Image.Image) -> bytes | None:
    """The bytes in an image's margins; None when it has none; FormatError when they are damaged or too large."""
    require_size(image)
    low_bits = _without_black_border(np.asarray(image.convert("RGB"))) & 0x0F
    gaps = np.flatnonzero(~low_bits.any(axis=(0, 2)))
    if len(gaps) < 2:
        return None
    low, high = low_bits[:, : gaps[0]], low_bits[:, gaps[-1] + 1 :]
    if low.shape != high.shape or not low.size or low.size > MAX_PAYLOAD_BYTES:
        return None
    mask = (noise_bytes(low.size) & 0x0F).reshape(low.shape)
    return _inflated((((high ^ mask) << 4) | (low ^ mask)).astype(np.uint8).tobytes())


def remove_payload(image: Image.Image) -> Image.Image:
    """The image between the two blocks; the whole of it where there are none."""
    if extract_payload(image) is None:
        return image.convert("RGB")
    pixels = np.asarray(image.convert("RGB"))
    lit = np.flatnonzero(np.all(pixels > 0, axis=2).any(axis=0))
    gaps = lit[0] + np.flatnonzero(~(pixels[:, lit[0] : lit[-1] + 1] & 0x0F).any(axis=(0, 2)))
    return Image.fromarray(pixels[:, gaps[0] + 1 : gaps[-1]])


def _without_black_border(pixels: Bytes) -> Bytes:
    """Cut off rows and columns at the rim in which no pixel has all three colours above zero."""
    lit: NDArray[np.bool_] = np.all(pixels > 0, axis=2)
    rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
    if not len(rows):
        return pixels[:0, :0]
    return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _inflated(data: bytes) -> bytes | None:
    """Decompress, at most MAX_PAYLOAD_BYTES; None when it is no zlib stream (an image with black columns)."""
    if data[:1] != b"\x78" or int.from_bytes(data[:2], "big") % 31:
        return None
    decoder = zlib.decompressobj()
    try:
        payload = decoder.decompress(data, MAX_PAYLOAD_BYTES)
    except zlib.error as error:
        raise FormatError(
            message(
                "formats.pixels_damaged",
                "The embedding in the pixels of the image is damaged ({error}). The image was edited or compressed.",
                error=str(error),
            )
        ) from error
    if not decoder.eof:
        raise FormatError(
            message(
                "formats.pixels_truncated",
                "The embedding in the pixels of the image is truncated or too large. The image was edited.",
            )
        )
    return payload
