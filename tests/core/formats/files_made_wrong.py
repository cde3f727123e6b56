"""Files made wrong on purpose: the hostile corpus that the readers of embeddings are held against."""

from __future__ import annotations

import base64
import io
import json
import pickle
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image, PngImagePlugin

from tinv_ext.core.formats.image_pixels import embed_payload

PARTS = (b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19", b"M\xe9\x03", b"}U\x0dlittle_endian\x88s")
HEAD = b"".join(b"\x80\x02" + part + b"." for part in PARTS)


def legacy(program: bytes, keys: bytes = b"]") -> bytes:
    """A file in torch's legacy container whose object is the pickle `program`."""
    return HEAD + program + b"\x80\x02" + keys + b"."


def zipped(program: bytes, **others: bytes) -> bytes:
    """A file in torch's zip container."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        for name, data in others.items():
            archive.writestr(f"archive/{name.replace('__', '/')}", data)
    return file.getvalue()


def text(value: str) -> bytes:
    """A text as a pickle's opcode."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"
STORAGE = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")


def tensor(count: int, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    """A tensor of a storage of `count` numbers, in a pickle."""
    return (
        (TENSOR + b"(" + STORAGE + _number(count) + b"NtQ" + _number(offset))
        + (b"(" + b"".join(_number(size) for size in shape) + b"t")
        + (b"(" + b"".join(_number(stride) for stride in strides) + b"t\x89NtR")
    )


def _number(value: int) -> bytes:
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def with_tensor(program: bytes) -> bytes:
    """The A1111 dictionary around a tensor."""
    return b"\x80\x02}" + text("string_to_param") + b"}" + text("*") + program + b"ss."


FLOATS = torch.ones(64).numpy().tobytes()
LAUGHS = b"](K\x01e" + b"".join(b"q" + bytes([i]) + b"](" + (b"h" + bytes([i])) * 10 + b"e" for i in range(40))
HOSTILE: dict[str, bytes] = {
    "memo index of four billion": legacy(b"\x80\x02]r\xff\xff\xff\xff."),
    "text of sixteen exabytes": legacy(b"\x80\x04\x8d" + b"\xff" * 8 + b"abc."),
    "text of four gigabytes": legacy(b"\x80\x02X\xff\xff\xff\xffabc."),
    "bytes of four gigabytes": legacy(b"\x80\x03B\xff\xff\xff\xffabc."),
    "integer of two gigabytes": legacy(b"\x80\x02\x8b\xff\xff\xff\x7f1."),
    "text opcodes of protocol 0": legacy(b"\x80\x02I1\n."),
    "opcode INST": legacy(b"\x80\x02(ios\nsystem\n."),
    "opcode OBJ": legacy(b"\x80\x02(cos\nsystem\no."),
    "extension registry": legacy(b"\x80\x02\x82\x01."),
    "textual persistent id": legacy(b"\x80\x02Pabc\n."),
    "persistent id of a module": legacy(b"\x80\x02(" + text("module") + text("os") + text("a") + text("b") + b"tQ."),
    "protocol 99": legacy(b"\x80\x63N."),
    "empty stack": legacy(b"\x80\x02."),
    "no mark": legacy(b"\x80\x02N" + b"u."),
    "calls a text": legacy(b"\x80\x02" + text("os.system") + b")R."),
    "calls a table": legacy(b"\x80\x02})R."),
    "builds a text": legacy(b"\x80\x02" + text("a") + b"}b."),
    "a million steps": legacy(b"\x80\x02" + b"N" * 1_000_000 + b"."),
    "a million marks": legacy(b"\x80\x02" + b"(" * 1_000_000 + b"."),
    "ninety thousand nested tuples": legacy(b"\x80\x02)" + b"\x85" * 90_000 + b"."),
    "nested tuples as a dtype": legacy(b"\x80\x02cnumpy\ndtype\n)" + b"\x85" * 90_000 + b"R."),
    "nested tuples as a key": legacy(b"\x80\x02})" + b"\x85" * 90_000 + b"Ns."),
    "nested tuples as the version": HEAD[:15] + b"\x80\x02)" + b"\x85" * 90_000 + b"." + HEAD[21:],
    "a list in itself": legacy(b"\x80\x02}" + text("string_to_param") + b"]q\x00h\x00as."),
    "a table in itself": legacy(b"\x80\x02}q\x00" + text("string_to_param") + b"h\x00s."),
    "a billion laughs as facts": legacy(
        with_tensor(tensor(64, 0, (1, 64), (64, 1)))[:-1] + text("tinv") + b"}" + text("a") + LAUGHS + b"ss.",
        b"](" + text("0") + b"e",
    )
    + struct.pack("<q", 64)
    + FLOATS,
    "copies of a large list": legacy(
        b"\x80\x02](" + b"N" * 30_000 + b"eq\x00cbuiltins\nset\nq\x01" + b"h\x01h\x00\x85R" * 15_000 + b"."
    ),
    "copies of a large text": legacy(
        b"\x80\x02" + text("a" * 1_000_000) + b"q\x00" + text("latin1") + b"q\x01c_codecs\nencode\nq\x02"
        b"" + b"h\x02h\x00h\x01\x86R" * 15_000 + b"."
    ),
    "tensor beyond its storage": zipped(with_tensor(tensor(64, 0, (2, 64), (64, 1))), data__0=FLOATS),
    "tensor of a trillion from one number": zipped(
        with_tensor(tensor(64, 0, (1 << 20, 1 << 20), (0, 0))), data__0=FLOATS
    ),
    "tensor with a negative stride": zipped(with_tensor(tensor(64, 63, (1, 64), (64, -1))), data__0=FLOATS),
    "tensor with a negative offset": zipped(with_tensor(tensor(64, -1, (1, 64), (64, 1))), data__0=FLOATS),
    "storage larger than its record": zipped(with_tensor(tensor(1 << 30, 0, (1, 64), (64, 1))), data__0=FLOATS),
    "storage without a record": zipped(with_tensor(tensor(64, 0, (1, 64), (64, 1)))),
    "big-endian": zipped(with_tensor(tensor(64, 0, (1, 64), (64, 1))), data__0=FLOATS, byteorder=b"big"),
    "numbers that are not finite": zipped(
        with_tensor(tensor(64, 0, (1, 64), (64, 1))), data__0=(torch.ones(64) * torch.nan).numpy().tobytes()
    ),
    "shape of three dimensions": zipped(with_tensor(tensor(64, 0, (1, 8, 8), (64, 8, 1))), data__0=FLOATS),
    "no vectors": zipped(with_tensor(tensor(64, 0, (0, 64), (64, 1))), data__0=FLOATS),
    "legacy without its numbers": legacy(with_tensor(tensor(64, 0, (1, 64), (64, 1))), b"](" + text("0") + b"e"),
    "legacy of other keys": legacy(with_tensor(tensor(64, 0, (1, 64), (64, 1))), b"](" + text("1") + b"e"),
    "a plain pickle": pickle.dumps({"string_to_param": {}}, 2),
    "safetensors header of eight exabytes": struct.pack("<Q", 1 << 63) + b"{}",
    "safetensors header beyond the file": struct.pack("<Q", 100) + b"{}",
    "nothing": b"",
    "one byte": b"\x80",
    "text": b"hello, this is no embedding",
    "a web page": b"<!DOCTYPE html><html>",
    "pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\n",
    "JPEG": b"\xff\xd8\xff\xe0" + b"\0" * 100,
    "half a PNG": b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR",
    "WebP without content": b"RIFF\x10\0\0\0WEBPVP8L",
}


def safetensors(header: object, data: bytes = b"", raw: bytes | None = None) -> bytes:
    """A safetensors file with any header."""
    coded = json.dumps(header).encode() if raw is None else raw
    return struct.pack("<Q", len(coded)) + coded + data


def entry(shape: Any = (1, 4), offsets: Any = (0, 16), kind: Any = "F32") -> dict[str, Any]:
    """One tensor of a header."""
    return {"emb_params": {"dtype": kind, "shape": shape, "data_offsets": offsets}}


HOSTILE |= {
    "safetensors: JSON nested a million deep": safetensors(None, raw=b'{"a":' * 1_000_000),
    "safetensors: a million empty lists": safetensors(None, raw=b'{"a":[' + b"[]," * 1_000_000 + b"[]]}"),
    "safetensors: no tensors": safetensors({}),
    "safetensors: a list": safetensors(None, raw=b"{"),
    "safetensors: not UTF-8": safetensors(None, raw=b'{"\xff":1}'),
    "safetensors: shape too large for its bytes": safetensors(entry((1 << 40, 1 << 40)), b"\0" * 16),
    "safetensors: offsets backwards": safetensors(entry(offsets=(16, 0)), b"\0" * 16),
    "safetensors: offsets negative": safetensors(entry(offsets=(-16, 0)), b"\0" * 16),
    "safetensors: offsets beyond the end": safetensors(entry(offsets=(0, 1 << 40)), b"\0" * 16),
    "safetensors: cut off": safetensors(entry(), b"\0" * 8),
    "safetensors: one offset": safetensors(entry(offsets=(0,)), b"\0" * 16),
    "safetensors: shape of booleans": safetensors(entry((True, 4)), b"\0" * 16),
    "safetensors: shape of fractions": safetensors(entry((1.5, 4)), b"\0" * 16),
    "safetensors: type unknown": safetensors(entry(kind="F8_E4M3"), b"\0" * 16),
    "safetensors: type missing": safetensors(entry(kind=None), b"\0" * 16),
    "safetensors: entry is a text": safetensors({"emb_params": "x"}),
    "safetensors: NaN": safetensors(entry(), struct.pack("<4f", 1, 2, float("nan"), 4)),
    "safetensors: metadata of numbers": safetensors({"__metadata__": {"a": 1}, **entry()}, b"\0" * 16),
    "safetensors: our facts are no JSON": safetensors({"__metadata__": {"tinv": "[" * 100_000}, **entry()}, b"\0" * 16),
    "safetensors: our facts are no table": safetensors({"__metadata__": {"tinv": "[]"}, **entry()}, b"\0" * 16),
    "safetensors: our facts hold NaN": safetensors(
        {"__metadata__": {"tinv": '{"facts":{"a":NaN}}'}, **entry()}, b"\0" * 16
    ),
    "safetensors: a checkpoint": safetensors({"model.diffusion_model.a": entry()["emb_params"]}, b"\0" * 16),
    "safetensors: a LoRA": safetensors({"lora_unet_a.alpha": entry()["emb_params"]}, b"\0" * 16),
    "safetensors: XTI": safetensors({"IN01": entry()["emb_params"]}, b"\0" * 16),
    "safetensors: SD3": safetensors({key: entry()["emb_params"] for key in ("clip_l", "clip_g", "t5xxl")}, b"\0" * 16),
    "safetensors: unequal counts": safetensors(
        {"clip_l": entry((2, 2))["emb_params"], "clip_g": entry((1, 4))["emb_params"]}, b"\0" * 16
    ),
    "safetensors: bundle in a bundle": safetensors({"bundle_emb.a.bundle_emb.b": entry()["emb_params"]}, b"\0" * 16),
}


def _bomb(compression: int, name: str = "data/0", count: int = 200_000_000) -> bytes:
    """A zip with a record of `count` zeros, made without holding them."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        if name != "data.pkl":
            archive.writestr("archive/data.pkl", with_tensor(tensor(count // 4, 0, (1, 64), (64, 1))))
        with archive.open(f"archive/{name}", "w") as record:
            for _ in range(count // 1_000_000):
                record.write(bytes(1_000_000))
    return file.getvalue()


def _twice() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02N.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            archive.writestr("archive/data.pkl", b"\x80\x02}.")
    return file.getvalue()


def _many_records() -> bytes:
    record = b"PK\x01\x02" + b"\0" * 42
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 65535, 65535, len(record) * 65535, 0, 0)
    return record * 65535 + end


def picture(value: str | None, image: Image.Image | None = None) -> bytes:
    """A PNG with a text under the WebUI's key."""
    chunks = PngImagePlugin.PngInfo()
    if value is not None:
        chunks.add_text("sd-ti-embedding", value)
    file = io.BytesIO()
    (image or Image.new("RGB", (8, 8))).save(file, "PNG", pnginfo=chunks)
    return file.getvalue()


def coded(values: str) -> str:
    """A text as the WebUI puts it into a picture."""
    return base64.b64encode(values.encode()).decode()


def _huge_picture() -> bytes:
    """A PNG that claims 60000×60000 pixels."""
    data = picture(None)
    size = struct.pack(">II", 60000, 60000) + data[24:29]
    return data[:16] + size + struct.pack(">I", zlib.crc32(b"IHDR" + size)) + data[33:]


def _pixel_bomb() -> bytes:
    """A picture whose margins inflate beyond what is read, to twenty megabytes."""
    image = Image.new("RGB", (64, 256), (200, 100, 50))
    return picture(None, embed_payload(image, b"0" * 20_000_000, np.ones(4, np.uint8)))


MADE: dict[str, Callable[[], bytes]] = {
    "zip bomb, deflated numbers": lambda: _bomb(zipfile.ZIP_DEFLATED),
    "zip bomb, deflated pickle": lambda: _bomb(zipfile.ZIP_DEFLATED, "data.pkl"),
    "zip bomb, bzip2": lambda: _bomb(zipfile.ZIP_BZIP2, count=1_000_000),
    "zip bomb, lzma": lambda: _bomb(zipfile.ZIP_LZMA, count=1_000_000),
    "zip with a record twice": _twice,
    "zip of sixty thousand records": _many_records,
    "zip without a pickle": lambda: zipped(b"", other=b"x").replace(b"data.pkl", b"data.xyz"),
    "picture: an ordinary one": lambda: picture(None),
    "picture: sixty thousand pixels wide": _huge_picture,
    "picture: not base64": lambda: picture("!!!"),
    "picture: not JSON": lambda: picture(coded("{")),
    "picture: nested a million deep": lambda: picture(coded("[" * 1_000_000)),
    "picture: a million empty lists": lambda: picture(coded('{"clip_l":[' + "[]," * 1_000_000 + "[]]}")),
    "picture: NaN": lambda: picture(coded('{"string_to_param":{"*":{"TORCHTENSOR":[[NaN, 1]]}}}')),
    "picture: beyond every number": lambda: picture(coded('{"string_to_param":{"*":{"TORCHTENSOR":[[1e999, 1]]}}}')),
    "picture: integer beyond every float": lambda: picture(
        coded('{"string_to_param":{"*":{"TORCHTENSOR":[[' + "9" * 4000 + ", 1]]}}}")
    ),
    "picture: ragged": lambda: picture(coded('{"string_to_param":{"*":{"TORCHTENSOR":[[1,2],[1]]}}}')),
    "picture: texts as numbers": lambda: picture(coded('{"string_to_param":{"*":{"TORCHTENSOR":[["1"]]}}}')),
    "picture: empty tensor": lambda: picture(coded('{"string_to_param":{"*":{"TORCHTENSOR":[]}}}')),
    "picture: no tensor": lambda: picture(coded('{"string_to_param":{"*":1}}')),
    "picture: pixels inflate": _pixel_bomb,
}
